//! The operator's static token.

use std::hash::Hasher as _;

use siphasher::sip128::{Hasher128 as _, SipHasher24};
use subtle::ConstantTimeEq as _;

/// Shortest admin token, in bytes: one that cannot be guessed, however many guesses are answered in a second.
const ADMIN_TOKEN_BYTES_MIN: usize = 32;

/// A bearer token with every permission. Only a keyed digest of it is kept.
#[derive(Clone)]
pub struct AdminToken {
    key: [u8; 16],
    digest: [u8; 16],
}

impl std::fmt::Debug for AdminToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AdminToken(..)")
    }
}

/// Why a text is not an admin token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AdminTokenError {
    /// Too short to be a secret.
    #[error(
        "the admin token must have at least {ADMIN_TOKEN_BYTES_MIN} characters; make one with `openssl rand -hex 32`"
    )]
    TooShort,
    /// It could not be sent in a header.
    #[error("the admin token must consist of visible ASCII characters")]
    NotVisibleAscii,
    /// The system gave no randomness for the digest key.
    #[error("the system gives no randomness")]
    NoRandomness,
}

impl AdminToken {
    /// Takes a token; white space at its ends (of a file, say) does not belong to it.
    ///
    /// # Errors
    /// [`AdminTokenError`] names the rule that it breaks.
    pub fn new(token: &str) -> Result<Self, AdminTokenError> {
        let token = token.trim();
        if token.len() < ADMIN_TOKEN_BYTES_MIN {
            return Err(AdminTokenError::TooShort);
        }
        if !token.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) {
            return Err(AdminTokenError::NotVisibleAscii);
        }
        let mut key = [0; 16];
        getrandom::fill(&mut key).map_err(|_| AdminTokenError::NoRandomness)?;
        Ok(Self { digest: digest(&key, token.as_bytes()), key })
    }

    /// Whether `presented` is the token. Takes the same time whatever differs: digests under a random
    /// key are compared, not texts.
    pub(super) fn matches(&self, presented: &[u8]) -> bool {
        digest(&self.key, presented).ct_eq(&self.digest).into()
    }
}

fn digest(key: &[u8; 16], text: &[u8]) -> [u8; 16] {
    let mut hasher = SipHasher24::new_with_key(key);
    hasher.write(text);
    hasher.finish128().as_bytes()
}
