//! Secrets and API keys: what they look like, and what is kept of them.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

/// What a credential is for. It shows in its text, so that one that turns up in a log or a repository is
/// recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CredentialKind {
    /// Exchanged for tokens.
    Secret,
    /// Sent with every call, in the header `api-key`.
    ApiKey,
}

impl CredentialKind {
    const fn prefix(self) -> &'static str {
        match self {
            Self::Secret => "mtrs_",
            Self::ApiKey => "mtrk_",
        }
    }
}

/// The text of a credential. It is shown once, to whom it was made for, and kept nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct CredentialText(String);

impl CredentialText {
    /// Spells 256 random bits.
    #[must_use]
    pub fn new(kind: CredentialKind, random: &[u8; 32]) -> Self {
        Self(format!("{}{}", kind.prefix(), URL_SAFE_NO_PAD.encode(random)))
    }

    /// The text itself.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for CredentialText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CredentialText(…)")
    }
}

/// What is kept of a credential: SHA-256 of its text. A slow hash would protect texts that can be guessed;
/// 256 random bits cannot be. Looking one up by its hash tells nothing about others, however long it takes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CredentialHash(pub [u8; 32]);

impl CredentialHash {
    /// Of the text that a caller sent.
    #[must_use]
    pub fn of(text: &[u8]) -> Self {
        Self(Sha256::digest(text).into())
    }
}

impl fmt::Debug for CredentialHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CredentialHash(…)")
    }
}

/// A credential that is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Credential {
    /// Recognises it.
    pub hash: CredentialHash,
    /// When it was made.
    pub created: Timestamp,
    /// Since when it is accepted no more; `None` for the one in use.
    pub expires: Option<Timestamp>,
}

impl Credential {
    /// Whether it is accepted at `now`.
    #[must_use]
    pub fn is_valid(&self, now: Timestamp) -> bool {
        self.expires.is_none_or(|expires| now < expires)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_recognisable_and_do_not_show() {
        let text = CredentialText::new(CredentialKind::ApiKey, &[0xFF; 32]);
        assert!(text.reveal().starts_with("mtrk_") && text.reveal().len() == 48);
        assert!(!format!("{text:?}").contains(text.reveal()));
        let hash = CredentialHash::of(text.reveal().as_bytes());
        assert_ne!(hash, CredentialHash::of(b""));
        assert!(!format!("{hash:?}").contains("255"));
    }

    #[test]
    fn a_rotated_credential_is_accepted_until_its_end() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let credential = Credential {
            hash: CredentialHash([0; 32]),
            created: at("2026-11-20T12:00:00Z"),
            expires: Some(at("2026-11-20T13:00:00Z")),
        };
        assert!(credential.is_valid(at("2026-11-20T12:59:59.999999999Z")));
        assert!(!credential.is_valid(at("2026-11-20T13:00:00Z")));
    }
}
