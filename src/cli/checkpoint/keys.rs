//! Keys that sign checkpoints: Ed25519 (RFC 8032) in PEM, as `openssl genpkey -algorithm ed25519` makes them, too.

use std::{
    fs::OpenOptions,
    io::{Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use rustls_pki_types::{PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer, pem::PemObject as _};

use crate::cli::{CommandError, CommandResult};

/// What comes before the 32 bytes of a public key (RFC 8410, section 4).
const PUBLIC_KEY_PREFIX: [u8; 12] =
    [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// A file that is larger is no key.
const KEY_FILE_BYTES_MAX: u64 = 64 << 10;

/// A key that signs.
pub(super) struct PrivateKey(Ed25519KeyPair);

impl PrivateKey {
    pub(super) fn read(path: &Path) -> CommandResult<Self> {
        let pem = read(path)?;
        let unusable = |what: &str| {
            CommandError::failed(format!(
                "{} is no private key: {what}; meterd checkpoint new-key makes one",
                path.display()
            ))
        };
        let der = PrivatePkcs8KeyDer::from_pem_slice(&pem)
            .map_err(|error| unusable(&error.to_string()))?;
        // Keys of openssl do not hold the public half.
        Ed25519KeyPair::from_pkcs8_maybe_unchecked(der.secret_pkcs8_der())
            .map(Self)
            .map_err(|_| unusable("it is not an Ed25519 key in PKCS#8"))
    }

    /// The 64 bytes of a signature.
    pub(super) fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.0.sign(message).as_ref().to_vec()
    }

    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn of_seed(seed: [u8; 32]) -> (Self, PublicKey) {
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).expect("any 32 bytes are a seed");
        let public = PublicKey(pair.public_key().as_ref().to_vec());
        (Self(pair), public)
    }
}

/// A key that tells who signed.
#[derive(Debug, Clone)]
pub(in crate::cli) struct PublicKey(Vec<u8>);

impl PublicKey {
    pub(in crate::cli) fn read(path: &Path) -> CommandResult<Self> {
        let pem = read(path)?;
        let unusable = |what: &str| {
            CommandError::failed(format!("{} is no public key: {what}", path.display()))
        };
        let der = SubjectPublicKeyInfoDer::from_pem_slice(&pem)
            .map_err(|error| unusable(&error.to_string()))?;
        der.strip_prefix(PUBLIC_KEY_PREFIX.as_slice())
            .filter(|key| key.len() == 32)
            .map(|key| Self(key.to_vec()))
            .ok_or_else(|| unusable("it is not an Ed25519 key"))
    }

    pub(super) fn signed(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.0).verify(message, signature).is_ok()
    }
}

/// A new key pair: both halves in PEM.
pub(super) fn generate() -> CommandResult<(String, String)> {
    let pair = Ed25519KeyPair::generate().context("cannot make a key")?;
    let private = pair.to_pkcs8v1().context("cannot write the key")?;
    let public = [&PUBLIC_KEY_PREFIX, pair.public_key().as_ref()].concat();
    Ok((pem("PRIVATE KEY", private.as_ref()), pem("PUBLIC KEY", &public)))
}

/// RFC 7468. Keys of Ed25519 fit one line.
fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    debug_assert!(text.len() <= 64, "{} characters need more than a line", text.len());
    format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
}

/// Where the public half of a key goes.
pub(super) fn public_path(private: &Path) -> PathBuf {
    let mut path = private.as_os_str().to_owned();
    path.push(".pub");
    path.into()
}

/// Writes a file that must not exist yet.
pub(super) fn write_new(path: &Path, mode: u32, content: &[u8]) -> CommandResult {
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
        file.write_all(content)?;
        file.sync_all()
    };
    Ok(write().with_context(|| format!("cannot write {}", path.display()))?)
}

fn read(path: &Path) -> CommandResult<Vec<u8>> {
    let mut content = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(KEY_FILE_BYTES_MAX).read_to_end(&mut content))
        .with_context(|| format!("cannot read {}", path.display()))?;
    Ok(content)
}
