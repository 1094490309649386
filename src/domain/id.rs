//! Identifiers. One type per kind, so that a SKU is never handed over where a product is meant.

use std::{borrow::Borrow, fmt, sync::Arc};

use super::{
    format_character::{code_point, first_unprintable},
    limits::{BATCH_ID_CHARS_MAX, ID_CHARS_MAX, OUTSIDE_SUBJECT_BYTES_MAX, TEMPLATE_URI_CHARS_MAX},
};

/// What the ids of an outside issuer's principals begin with, and those of registered clients never.
pub const OUTSIDE_CLIENT_PREFIX: &str = "oidc:";

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
    /// The text is too long in bytes.
    #[error("has {bytes} bytes, at most {bytes_max} are allowed")]
    TooManyBytes {
        /// Bytes found.
        bytes: usize,
        /// Bytes allowed.
        bytes_max: usize,
    },
    /// The text holds a control character.
    #[error("must not contain control characters, but has {}", code_point(*.0))]
    ControlCharacter(char),
    /// The text holds an invisible character.
    #[error("must not contain invisible characters, but has {}", code_point(*.0))]
    FormatCharacter(char),
    /// The text begins as no registered client's id may.
    #[error(
        "must not begin with {OUTSIDE_CLIENT_PREFIX:?}, which is for principals of an outside issuer"
    )]
    ReservedPrefix,
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
    if let Some(control) = text.chars().find(|character| character.is_control()) {
        return Err(IdError::ControlCharacter(control));
    }
    if text.trim() != text {
        return Err(IdError::SurroundingSpace);
    }
    Ok(())
}

/// The id of a registered client, or of a principal of an outside issuer: that is the prefix and a subject, which OpenID
/// Connect allows 255 ASCII characters.
fn check_client(text: &str) -> Result<(), IdError> {
    let Some(subject) = text.strip_prefix(OUTSIDE_CLIENT_PREFIX) else {
        return check(text, ID_CHARS_MAX);
    };
    check(subject, OUTSIDE_SUBJECT_BYTES_MAX)?;
    let (bytes, bytes_max) = (subject.len(), OUTSIDE_SUBJECT_BYTES_MAX);
    if bytes > bytes_max { Err(IdError::TooManyBytes { bytes, bytes_max }) } else { Ok(()) }
}

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident, $chars_max:ident) => {
        identifier! {
            $(#[$doc])*
            ///
            #[doc = concat!("1 to [`", stringify!($chars_max), "`] characters, no control characters,")]
            /// no white space at either end. Cheap to clone.
            $name by |text| check(text, $chars_max)
        }
    };
    ($(#[$doc:meta])* $name:ident by $rule:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks `text` and wraps it.
            ///
            /// # Errors
            /// [`IdError`] names the rule that `text` breaks.
            pub fn new(text: &str) -> Result<Self, IdError> {
                let rule: fn(&str) -> Result<(), IdError> = $rule;
                rule(text)?;
                Ok(Self(text.into()))
            }

            /// Checks `text` as a new identifier, which must not have invisible characters.
            ///
            /// # Errors
            /// [`IdError`] names the rule that `text` breaks.
            pub fn of_new(text: &str) -> Result<Self, IdError> {
                let id = Self::new(text)?;
                first_unprintable(text).map_or(Ok(id), |found| Err(IdError::FormatCharacter(found)))
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
    ///
    /// 1 to [`ID_CHARS_MAX`] characters, or [`OUTSIDE_CLIENT_PREFIX`] and the subject of an outside issuer's token, of 1 to
    /// [`OUTSIDE_SUBJECT_BYTES_MAX`] bytes. No control characters, no white space at either end. Cheap to clone.
    ClientId by check_client
}

impl ClientId {
    /// The most bytes that an id has: four for each character, or prefix and subject.
    pub const BYTES_MAX: usize = OUTSIDE_CLIENT_PREFIX.len() + OUTSIDE_SUBJECT_BYTES_MAX;

    /// The id of a client that is about to be registered.
    ///
    /// # Errors
    /// [`IdError`] names the rule that `text` breaks; [`IdError::ReservedPrefix`] if it could be taken for a principal
    /// of an outside issuer.
    pub fn of_registered(text: &str) -> Result<Self, IdError> {
        if text.starts_with(OUTSIDE_CLIENT_PREFIX) {
            return Err(IdError::ReservedPrefix);
        }
        Self::of_new(text)
    }

    /// The id of the principal that an outside issuer calls `subject`.
    ///
    /// # Errors
    /// [`IdError`] names the rule that `subject` breaks.
    pub fn of_outside(subject: &str) -> Result<Self, IdError> {
        Self::of_new(&format!("{OUTSIDE_CLIENT_PREFIX}{subject}"))
    }

    /// How many characters an id may have that begins as `text` does.
    #[must_use]
    pub fn chars_max(text: &str) -> usize {
        if text.starts_with(OUTSIDE_CLIENT_PREFIX) { Self::BYTES_MAX } else { ID_CHARS_MAX }
    }
}
const _: () = assert!(4 * ID_CHARS_MAX <= ClientId::BYTES_MAX);

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
        assert_eq!(ProductId::new("a\0b"), Err(IdError::ControlCharacter('\0')));
        assert_eq!(ProductId::new(" a"), Err(IdError::SurroundingSpace));
    }

    #[test]
    fn invisible_character_is_refused_in_new_ids_only() {
        for character in ['\u{202E}', '\u{200B}', '\u{FEFF}', '\u{2028}'] {
            let text = format!("a{character}b");
            assert_eq!(ProductId::of_new(&text), Err(IdError::FormatCharacter(character)));
            assert!(ProductId::new(&text).is_ok(), "what is stored stays readable");
        }
        let told = ProductId::of_new("a\u{202E}b").unwrap_err().to_string();
        assert!(told.ends_with("has U+202E"), "{told}");
        assert!(ProductId::of_new("größe-中").is_ok());
    }

    #[test]
    fn outside_client_id_is_no_registered_one() {
        let outside = ClientId::of_outside("agent").unwrap();
        assert_eq!(outside.as_str(), "oidc:agent");
        assert_eq!(ClientId::new("oidc:agent"), Ok(outside));
        assert_eq!(ClientId::of_registered("oidc:agent"), Err(IdError::ReservedPrefix));
        assert!(ClientId::of_registered("agent").is_ok());
        assert!(ClientId::of_registered("OIDC:agent").is_ok(), "case tells ids apart");
    }

    #[test]
    fn outside_subject_has_up_to_255_bytes() {
        let longest = ClientId::of_outside(&"s".repeat(255)).unwrap();
        assert_eq!(longest.as_str().len(), ClientId::BYTES_MAX);
        assert_eq!(
            ClientId::of_outside(&"s".repeat(256)),
            Err(IdError::TooLong { chars: 256, chars_max: 255 })
        );
        assert_eq!(
            ClientId::of_outside(&"ж".repeat(128)),
            Err(IdError::TooManyBytes { bytes: 256, bytes_max: 255 })
        );
        assert_eq!(ClientId::of_outside(""), Err(IdError::Empty));
        assert_eq!(ClientId::of_outside(" x"), Err(IdError::SurroundingSpace));
        assert_eq!(
            ClientId::new(&"x".repeat(51)),
            Err(IdError::TooLong { chars: 51, chars_max: 50 })
        );
        assert_eq!((ClientId::chars_max("oidc:x"), ClientId::chars_max("x")), (260, 50));
    }

    #[test]
    fn length_counts_characters_not_bytes() {
        assert!(SkuId::new(&"ж".repeat(50)).is_ok());
    }
}
