//! What must hold of the texts of the domain, and what the targets of other layers are made of: decisions read from
//! bytes, and things of the domain made of them.

mod choices;
mod dates;
mod intervals;
pub mod made_up;

pub use choices::{Choices, damaged};
pub use dates::usage_dates;
pub use intervals::intervals;

/// A text, if the input is one. What is read as text elsewhere has been found to be UTF-8 before.
#[must_use]
pub fn text(input: &[u8]) -> Option<&str> {
    std::str::from_utf8(input).ok()
}
