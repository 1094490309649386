//! Texts that callers hand back later and cannot read: page tokens, cursors, and the moments that answers are of.
//!
//! AES-256-GCM-SIV, with a key for each purpose that is derived from a secret of the store; what a text belongs to is
//! authenticated with it. The nonce is always the same, as this cipher allows: equal contents that belong to the same are equal
//! texts. A content whose equality would tell something begins with random bytes.

use aws_lc_rs::{
    aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    hkdf::{HKDF_SHA256, Salt},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::ServiceError;

/// Bytes that sealing adds.
#[cfg(any(test, feature = "fuzzing"))]
pub(super) const TAG_BYTES: usize = 16;

/// Makes and reads the texts of one purpose.
pub(super) struct SealingKey(LessSafeKey);

impl SealingKey {
    /// The key of a purpose.
    pub(super) fn derive(secret: [u8; 16], purpose: &'static str) -> Result<Self, ServiceError> {
        let derived = Salt::new(HKDF_SHA256, b"meterd").extract(&secret);
        let info = [purpose.as_bytes()];
        let key = derived
            .expand(&info, &AES_256_GCM_SIV)
            .map_err(|_| ServiceError::Internal("no key for sealed texts".into()))?;
        Ok(Self(LessSafeKey::new(UnboundKey::from(key))))
    }

    /// The text of a content that belongs to `context`.
    pub(super) fn seal(
        &self,
        context: &[u8],
        mut content: Vec<u8>,
    ) -> Result<String, ServiceError> {
        self.0
            .seal_in_place_append_tag(nonce(), Aad::from(context), &mut content)
            .map_err(|_| ServiceError::Internal("a text could not be sealed".into()))?;
        Ok(URL_SAFE_NO_PAD.encode(content))
    }

    /// The content of a text; `None` if it was altered, made with another key, or belongs to something else.
    pub(super) fn open(&self, context: &[u8], text: &str) -> Option<Vec<u8>> {
        let mut bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let content = self.0.open_in_place(nonce(), Aad::from(context), &mut bytes).ok()?;
        Some(content.to_vec())
    }
}

fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; NONCE_LEN])
}
