//! Identifiers. One type per kind, so that a SKU is never handed over where a product is meant.

use std::{borrow::Borrow, fmt, sync::Arc};

use super::limits::{BATCH_ID_CHARS_MAX, ID_CHARS_MAX, TEMPLATE_URI_CHARS_MAX};

/// Why a text is not an identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The text is empty.
    #[error("must not be empty")]
    Empty,
    /// The text is too long.
    #[error("has {chars} characters, at most {chars_max} are allowed")]
    TooLong {
        /// Characters found.
        chars: usize,
        /// Characters allowed.
        chars_max: usize,
    },
    /// The text holds a control character.
    #[error("must not contain control characters")]
    ControlCharacter,
    /// The text begins or ends with white space.
    #[error("must not begin or end with white space")]
    SurroundingSpace,
}

fn check(text: &str, chars_max: usize) -> Result<(), IdError> {
    if text.is_empty() {
        return Err(IdError::Empty);
    }
    let chars = text.chars().count();
    if chars > chars_max {
        return Err(IdError::TooLong { chars, chars_max });
    }
    // NUL separates the parts of stored keys, so this check also guards the key order.
    if text.chars().any(char::is_control) {
        return Err(IdError::ControlCharacter);
    }
    if text.trim() != text {
        return Err(IdError::SurroundingSpace);
    }
    Ok(())
}

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident, $chars_max:ident) => {
        $(#[$doc])*
        ///
        #[doc = concat!("1 to [`", stringify!($chars_max), "`] characters, no control characters,")]
        /// no white space at either end. Cheap to clone.
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks `text` and wraps it.
            ///
            /// # Errors
            /// [`IdError`] names the rule that `text` breaks.
            pub fn new(text: &str) -> Result<Self, IdError> {
                check(text, $chars_max)?;
                Ok(Self(text.into()))
            }

            /// The identifier as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }
    };
}

identifier! {
    /// Whose usage and catalog it is: nothing crosses from one organization to another.
    OrganizationId, ID_CHARS_MAX
}
identifier! {
    /// The client that reported usage, for the record and for filters.
    ClientId, ID_CHARS_MAX
}
identifier! {
    /// A product in an organization's catalog.
    ProductId, ID_CHARS_MAX
}
identifier! {
    /// A sold instance of a product (SaaS).
    ProductInstanceId, ID_CHARS_MAX
}
identifier! {
    /// A stock keeping unit: the thing that is counted, in its own usage unit.
    SkuId, ID_CHARS_MAX
}
identifier! {
    /// Something whose use is reported in batches, such as a picture.
    AssetId, ID_CHARS_MAX
}
identifier! {
    /// The caller's identity for a batch of asset usage.
    BatchId, BATCH_ID_CHARS_MAX
}
identifier! {
    /// A user of an API, as whoever reports its usage calls it.
    UserId, ID_CHARS_MAX
}
identifier! {
    /// Through what an API is used, such as `web` or `ios`.
    PlatformName, ID_CHARS_MAX
}
identifier! {
    /// The path of an API, with names for what varies: `/v1/products/{id}`.
    TemplateUri, TEMPLATE_URI_CHARS_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_named_one_by_one() {
        assert_eq!(ProductId::new(""), Err(IdError::Empty));
        assert_eq!(
            ProductId::new(&"x".repeat(51)),
            Err(IdError::TooLong { chars: 51, chars_max: 50 })
        );
        assert_eq!(ProductId::new("a\0b"), Err(IdError::ControlCharacter));
        assert_eq!(ProductId::new(" a"), Err(IdError::SurroundingSpace));
    }

    #[test]
    fn length_counts_characters_not_bytes() {
        assert!(SkuId::new(&"ж".repeat(50)).is_ok());
    }
}
