//! The keys that sign our tokens: made at the first start, kept in one file that only its owner may read.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::{DecodingKey, EncodingKey};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Why keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SigningKeyError {
    /// The file cannot be read or written.
    #[error("cannot use the file of signing keys {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Others may read the file.
    #[error(
        "others may read the signing keys in {path}: run chmod 600 {path}, and rotate them if somebody did"
    )]
    Exposed {
        /// The file.
        path: PathBuf,
    },
    /// The file does not hold keys.
    #[error("the signing keys in {path} cannot be read: {reason}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Too many keys may still be needed.
    #[error(
        "there are {KEYS_MAX} signing keys already, each of which may have signed a token that is still valid; revoke them, or rotate again in a day"
    )]
    TooMany,
    /// An earlier rotation is on record and did not take effect.
    #[error("a rotation that is on record did not take effect; restart meterd, which ends it")]
    Unfinished,
    /// No key can be made.
    #[error("no signing key can be made")]
    Unavailable,
}

/// One key pair.
pub(super) struct SigningKey {
    entry: KeyEntry,
    pub(super) signs: EncodingKey,
    pub(super) verifies: DecodingKey,
    /// As RFC 8037 wants it in a JWK.
    pub(super) public: String,
}

/// All keys: the first signs, all verify.
pub struct SigningKeys {
    keys: Vec<SigningKey>,
    /// Where they are kept; `None` if nowhere.
    file: Option<PathBuf>,
}

impl std::fmt::Debug for SigningKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.ids()).finish()
    }
}

/// The file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyFile {
    keys: Vec<KeyEntry>,
    /// The audit event of the rotation that made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    event: Option<String>,
}

/// A rotation that was interrupted: its keys are written beside those of the file.
#[derive(Debug)]
pub struct PendingRotation {
    path: PathBuf,
    event: String,
    key_id: String,
}

impl PendingRotation {
    /// Looks for one beside a file of keys.
    ///
    /// # Errors
    /// [`SigningKeyError`] if what is there cannot be read.
    pub fn find(path: &Path) -> Result<Option<Self>, SigningKeyError> {
        let pending = pending_file(path);
        let text = match fs::read_to_string(&pending) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(SigningKeyError::File { path: pending, source }),
        };
        let damaged = |reason: String| SigningKeyError::Damaged { path: pending.clone(), reason };
        let file: KeyFile =
            serde_json::from_str(&text).map_err(|error| damaged(error.to_string()))?;
        let first = file.keys.first().ok_or_else(|| damaged("it holds none".into()))?;
        let key_id = first.id.clone();
        let event = file.event.ok_or_else(|| damaged("it names no audit event".into()))?;
        Ok(Some(Self { path: path.to_owned(), event, key_id }))
    }

    /// The name of the event that tells of it.
    #[must_use]
    pub fn event(&self) -> &str {
        &self.event
    }

    /// The id of the key that was to sign from then on.
    #[must_use]
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// Carries it out, durably.
    ///
    /// # Errors
    /// [`SigningKeyError::File`] if that is not possible.
    pub fn complete(self) -> Result<(), SigningKeyError> {
        put_in_place(&self.path)
    }

    /// Forgets it, durably.
    ///
    /// # Errors
    /// [`SigningKeyError::File`] if that is not possible.
    pub fn withdraw(self) -> Result<(), SigningKeyError> {
        let pending = pending_file(&self.path);
        fs::remove_file(&pending)
            .and_then(|()| sync_directory(&pending))
            .map_err(|source| SigningKeyError::File { path: pending, source })
    }
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyEntry {
    id: String,
    algorithm: String,
    created: String,
    /// Since when another key signs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retired: Option<String>,
    /// The private key: base64 of PKCS#8.
    pkcs8: String,
}

const ALGORITHM: &str = "EdDSA";
/// Keys at once: the set is read whole by whoever verifies our tokens.
const KEYS_MAX: usize = 16;
/// How long a key may be needed after it signed for the last time: the longest life of a token, and what clocks
/// differ by.
const LAST_TOKEN: SignedDuration = SignedDuration::from_hours(25);

impl SigningKeys {
    /// Reads the keys of a file, or makes one and the file.
    ///
    /// # Errors
    /// [`SigningKeyError`] if the file cannot be used, or others may read it.
    pub fn open(path: &Path, now: Timestamp) -> Result<Self, SigningKeyError> {
        let failed = |source| SigningKeyError::File { path: path.to_owned(), source };
        let damaged = |reason: String| SigningKeyError::Damaged { path: path.to_owned(), reason };
        match File::open(path) {
            Ok(mut file) => {
                if file.metadata().map_err(failed)?.mode() & 0o077 != 0 {
                    return Err(SigningKeyError::Exposed { path: path.to_owned() });
                }
                let mut text = String::new();
                file.read_to_string(&mut text).map_err(failed)?;
                let file: KeyFile =
                    serde_json::from_str(&text).map_err(|error| damaged(error.to_string()))?;
                if file.keys.is_empty() {
                    return Err(damaged("it holds none".into()));
                }
                let keys = file.keys.into_iter().map(|entry| entry.read().map_err(damaged));
                Ok(Self { keys: keys.collect::<Result<_, _>>()?, file: Some(path.to_owned()) })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let entry = KeyEntry::new(now)?;
                let keys = vec![entry.clone()];
                write(path, &KeyFile { keys, event: None }).map_err(failed)?;
                let key = entry.read().map_err(damaged)?;
                Ok(Self { keys: vec![key], file: Some(path.to_owned()) })
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// A key that is gone with the process.
    ///
    /// # Errors
    /// [`SigningKeyError::Unavailable`] if none can be made.
    pub fn ephemeral() -> Result<Self, SigningKeyError> {
        let entry = KeyEntry::new(Timestamp::UNIX_EPOCH)?;
        let key = entry.read().map_err(|_| SigningKeyError::Unavailable)?;
        Ok(Self { keys: vec![key], file: None })
    }

    /// These keys and a new one to sign with. Those before verify for as long as a token may be valid, or, with `revoke`, no
    /// more. Nothing is written.
    ///
    /// # Errors
    /// [`SigningKeyError`] if no key can be made, or there are too many.
    pub(super) fn rotated(&self, now: Timestamp, revoke: bool) -> Result<Self, SigningKeyError> {
        if self.file.as_deref().is_some_and(|path| pending_file(path).exists()) {
            return Err(SigningKeyError::Unfinished);
        }
        let mut entries = vec![KeyEntry::new(now)?];
        let before = self.keys.iter().filter(|_| !revoke).map(|key| key.entry.clone());
        entries.extend(before.filter_map(|entry| entry.retired_by(now)));
        let unavailable = |_| SigningKeyError::Unavailable;
        if entries.len() > KEYS_MAX {
            return Err(SigningKeyError::TooMany);
        }
        let keys = entries.into_iter().map(|entry| entry.read().map_err(unavailable));
        Ok(Self { keys: keys.collect::<Result<_, _>>()?, file: self.file.clone() })
    }

    /// Puts the keys beside those of the file, durably, with the name of the event that tells of it.
    ///
    /// # Errors
    /// [`SigningKeyError::File`] if they cannot be written; then nothing is there.
    pub(super) fn stage(&self, event: &str) -> Result<(), SigningKeyError> {
        let Some(path) = &self.file else { return Ok(()) };
        let keys = self.keys.iter().map(|key| key.entry.clone()).collect();
        let pending = pending_file(path);
        write(&pending, &KeyFile { keys, event: Some(event.to_owned()) })
            .map_err(|source| SigningKeyError::File { path: pending, source })
    }

    /// Makes the keys that were staged those of the file, durably.
    ///
    /// # Errors
    /// [`SigningKeyError::File`] if that is not possible; the next start does it.
    pub(super) fn put_in_place(&self) -> Result<(), SigningKeyError> {
        self.file.as_deref().map_or(Ok(()), put_in_place)
    }

    pub(super) fn signing(&self) -> Option<&SigningKey> {
        self.keys.first()
    }

    pub(super) fn with_id(&self, id: &str) -> Option<&SigningKey> {
        self.keys.iter().find(|key| key.entry.id == id)
    }

    /// The ids of all keys; the first is that of the key that signs.
    pub(super) fn ids(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(|key| key.entry.id.as_str())
    }

    /// The public keys, as RFC 7517 has them.
    #[must_use]
    pub fn jwks(&self) -> serde_json::Value {
        let keys: Vec<_> = self
            .keys
            .iter()
            .map(|key| {
                serde_json::json!({
                    "kty": "OKP",
                    "crv": "Ed25519",
                    "use": "sig",
                    "alg": ALGORITHM,
                    "kid": key.entry.id,
                    "x": key.public,
                })
            })
            .collect();
        serde_json::json!({"keys": keys})
    }
}

impl KeyEntry {
    fn new(now: Timestamp) -> Result<Self, SigningKeyError> {
        let pair = Ed25519KeyPair::generate().map_err(|_| SigningKeyError::Unavailable)?;
        let pkcs8 = pair.to_pkcs8().map_err(|_| SigningKeyError::Unavailable)?;
        Ok(Self {
            id: Uuid::new_v4().to_string(),
            algorithm: ALGORITHM.into(),
            created: now.to_string(),
            retired: None,
            pkcs8: STANDARD.encode(pkcs8.as_ref()),
        })
    }

    /// What becomes of it when another key signs from `now` on; `None` if nothing it signed can still be valid.
    fn retired_by(mut self, now: Timestamp) -> Option<Self> {
        match &self.retired {
            None => self.retired = Some(now.to_string()),
            Some(retired) => {
                let retired: Timestamp = retired.parse().ok()?;
                if now.duration_since(retired) > LAST_TOKEN {
                    return None;
                }
            }
        }
        Some(self)
    }

    fn read(self) -> Result<SigningKey, String> {
        if self.algorithm != ALGORITHM {
            return Err(format!("the algorithm {:?} is not known", self.algorithm));
        }
        let pkcs8 = STANDARD.decode(&self.pkcs8).map_err(|error| error.to_string())?;
        let pair = Ed25519KeyPair::from_pkcs8(&pkcs8).map_err(|error| error.to_string())?;
        let public = URL_SAFE_NO_PAD.encode(pair.public_key().as_ref());
        Ok(SigningKey {
            signs: EncodingKey::from_ed_der(&pkcs8),
            verifies: DecodingKey::from_ed_components(&public)
                .map_err(|error| error.to_string())?,
            public,
            entry: self,
        })
    }
}

/// Writes the file whole or not at all.
fn write(path: &Path, keys: &KeyFile) -> io::Result<()> {
    let new = path.with_extension("new");
    if new.exists() {
        fs::remove_file(&new)?;
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    serde_json::to_writer_pretty(&mut file, keys)?;
    writeln!(file)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    sync_directory(path)
}

/// Where keys stand that are not those of the file yet.
fn pending_file(path: &Path) -> PathBuf {
    path.with_extension("pending")
}

fn put_in_place(path: &Path) -> Result<(), SigningKeyError> {
    fs::rename(pending_file(path), path)
        .and_then(|()| sync_directory(path))
        .map_err(|source| SigningKeyError::File { path: path.to_owned(), source })
}

fn sync_directory(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn now() -> Timestamp {
        "2026-11-20T12:00:00Z".parse().unwrap()
    }

    #[test]
    fn a_key_is_made_once_and_only_its_owner_may_read_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("signing-keys.json");
        let made = SigningKeys::open(&path, now()).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let read = SigningKeys::open(&path, now()).unwrap();
        assert_eq!(made.jwks(), read.jwks());
        assert!(!format!("{:?}", made).contains("pkcs8"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let exposed = SigningKeys::open(&path, now()).unwrap_err();
        assert!(exposed.to_string().contains("chmod 600"), "{exposed}");
    }

    #[test]
    fn rotation_keeps_keys_while_their_tokens_may_be_valid() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("signing-keys.json");
        let ids = |keys: &SigningKeys| keys.ids().map(ToOwned::to_owned).collect::<Vec<_>>();
        let first = SigningKeys::open(&path, now()).unwrap();
        let rotated = |keys: &SigningKeys, now, revoke| {
            let rotated = keys.rotated(now, revoke).unwrap();
            rotated.stage("7").unwrap();
            rotated.put_in_place().unwrap();
            rotated
        };
        let second = rotated(&first, now(), false);
        assert_eq!(ids(&second)[1..], ids(&first)[..]);
        assert_eq!(ids(&SigningKeys::open(&path, now()).unwrap()), ids(&second));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        // The second retires now; the first has been for too long.
        let later = now() + SignedDuration::from_hours(26);
        let third = rotated(&SigningKeys::open(&path, now()).unwrap(), later, false);
        assert_eq!(ids(&third)[1..], ids(&second)[..1]);
        let mut many = SigningKeys::open(&path, now()).unwrap();
        while many.ids().count() < KEYS_MAX {
            many = rotated(&many, later, false);
        }
        let refused = many.rotated(later, false).unwrap_err();
        assert!(matches!(refused, SigningKeyError::TooMany), "{refused}");
        let revoked = rotated(&many, later, true);
        assert_eq!(ids(&revoked).len(), 1);
        assert!(!ids(&third).contains(&ids(&revoked)[0]));
    }

    #[test]
    fn interrupted_rotation_is_completed_or_withdrawn() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("signing-keys.json");
        let ids = || {
            let keys = SigningKeys::open(&path, now()).unwrap();
            keys.ids().map(ToOwned::to_owned).collect::<Vec<_>>()
        };
        let first = SigningKeys::open(&path, now()).unwrap();
        let before = ids();
        assert!(PendingRotation::find(&path).unwrap().is_none());
        for completes in [false, true] {
            let rotated = first.rotated(now(), false).unwrap();
            rotated.stage("00000000000000000007").unwrap();
            assert_eq!(ids(), before, "nothing has changed yet");
            let again = first.rotated(now(), false).unwrap_err();
            assert!(matches!(again, SigningKeyError::Unfinished), "{again}");
            let pending = PendingRotation::find(&path).unwrap().unwrap();
            assert_eq!(pending.event(), "00000000000000000007");
            assert_eq!(Some(pending.key_id()), rotated.ids().next());
            if completes {
                pending.complete().unwrap();
                assert_eq!(ids(), rotated.ids().collect::<Vec<_>>());
            } else {
                pending.withdraw().unwrap();
                assert_eq!(ids(), before);
            }
            assert!(PendingRotation::find(&path).unwrap().is_none());
        }
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_file_without_keys_is_refused_rather_than_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("signing-keys.json");
        for text in [
            "",
            "{}",
            "{\"keys\":[]}",
            "{\"keys\":[{\"id\":\"a\",\"algorithm\":\"none\",\"created\":\"\",\"pkcs8\":\"\"}]}",
        ] {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            let error = SigningKeys::open(&path, now()).unwrap_err();
            assert!(matches!(error, SigningKeyError::Damaged { .. }), "{text}: {error}");
        }
    }
}
