//! The public keys of an issuer (RFC 7517).

use jsonwebtoken::{
    Algorithm, DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, PublicKeyUse},
};
use serde::Deserialize;
use serde_json::Value;

/// Keys in one set. Issuers have a handful.
const KEYS_MAX: usize = 100;
/// Bytes of the modulus of an RSA key of 2048 bits; shorter ones prove nothing any more.
const RSA_MODULUS_BYTES_MIN: usize = 256;
const RSA: [Algorithm; 6] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];

/// Why a document is no key set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    /// It has another form.
    #[error("it is no JSON Web Key Set: {0}")]
    Malformed(String),
    /// It has no key that tokens could be verified with.
    #[error(
        "it holds no RSA key of at least 2048 bits, P-256, P-384 or Ed25519 key for signatures"
    )]
    NoKeys,
}

/// One key, and what it may be used with.
struct Key {
    id: Option<String>,
    algorithms: Vec<Algorithm>,
    verifies: DecodingKey,
}

/// Keys that signatures can be verified with.
#[derive(Default)]
pub struct KeySet(Vec<Key>);

impl std::fmt::Debug for KeySet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|key| &key.id)).finish()
    }
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<Value>,
}

impl KeySet {
    /// Reads a document. Keys of kinds that are not known, or for other purposes, are left out, as RFC 7517,
    /// section 5, wants it.
    ///
    /// # Errors
    /// [`KeySetError`] if it is something else, or holds nothing of use.
    pub fn parse(json: &[u8]) -> Result<Self, KeySetError> {
        let document: Document = serde_json::from_slice(json)
            .map_err(|error| KeySetError::Malformed(error.to_string()))?;
        if document.keys.len() > KEYS_MAX {
            return Err(KeySetError::Malformed(format!("more than {KEYS_MAX} keys")));
        }
        let keys: Vec<Key> = document.keys.into_iter().filter_map(read).collect();
        if keys.is_empty() { Err(KeySetError::NoKeys) } else { Ok(Self(keys)) }
    }

    /// The key that a token names, if it may be used with the token's algorithm. A token that names none means
    /// the only one.
    pub(super) fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Option<&DecodingKey> {
        let key = match (id, self.0.as_slice()) {
            (Some(id), keys) => keys.iter().find(|key| key.id.as_deref() == Some(id))?,
            (None, [only]) => only,
            (None, _) => return None,
        };
        key.algorithms.contains(&algorithm).then_some(&key.verifies)
    }
}

fn read(key: Value) -> Option<Key> {
    let jwk: Jwk = serde_json::from_value(key).ok()?;
    if !matches!(jwk.common.public_key_use, None | Some(PublicKeyUse::Signature)) {
        return None;
    }
    let possible: &[Algorithm] = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => &RSA,
        AlgorithmParameters::EllipticCurve(curve) => match curve.curve {
            EllipticCurve::P256 => &[Algorithm::ES256],
            EllipticCurve::P384 => &[Algorithm::ES384],
            _ => return None,
        },
        AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => {
            &[Algorithm::EdDSA]
        }
        // A shared secret is no public key.
        _ => return None,
    };
    let algorithms: Vec<Algorithm> = match jwk.common.key_algorithm {
        None => possible.to_vec(),
        Some(named) => {
            let named: Algorithm = named.to_string().parse().ok()?;
            possible.iter().copied().filter(|algorithm| *algorithm == named).collect()
        }
    };
    let verifies = DecodingKey::from_jwk(&jwk).ok()?;
    let long_enough = match &jwk.algorithm {
        AlgorithmParameters::RSA(parameters) => {
            modulus_bytes(&parameters.n) >= RSA_MODULUS_BYTES_MIN
        }
        _ => true,
    };
    (long_enough && !algorithms.is_empty()).then(|| Key {
        id: jwk.common.key_id,
        algorithms,
        verifies,
    })
}

/// The size of a number in unpadded base64.
fn modulus_bytes(base64: &str) -> usize {
    base64.trim_start_matches('A').len() * 3 / 4
}
