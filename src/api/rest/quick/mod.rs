//! The quick way between JSON and messages: one pass, from text to the bytes on the wire or back, for what nearly every
//! request and answer looks like.
//!
//! prost-reflect stays the judge. Whatever is out of the ordinary makes the quick way answer `None`, and then the way
//! through prost-reflect decides: it reads it after all, or says what is wrong. So there are no errors here, only this
//! promise, which `tests/quick.rs` tries with all that it can come up with: what the quick way reads, the other way reads as
//! an equal message, and what it writes, the other way writes byte by byte.

pub(super) mod answer;
pub(super) mod plan;
pub(super) mod request;
mod time;
mod wire;
