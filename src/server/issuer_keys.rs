//! Keeps the keys of an outside issuer up to date: from the issuer itself (OpenID Connect Discovery 1.0), or from a
//! file. Whatever goes wrong, the keys that were read before stay.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{Request, StatusCode, Uri};
use http_body_util::Full;
use serde::Deserialize;
use tokio::sync::watch;

use crate::{
    api::metrics::Metrics,
    auth::outside_issuer::{IssuerSettings, KeySet, KeySetError, OutsideIssuer},
    https::{HttpsClient, HttpsError},
};

/// Keys that an issuer has withdrawn are gone here after this time.
const READ_INTERVAL: Duration = Duration::from_mins(10);
/// After a failure. The issuer may have started later than we did.
const RETRY_INTERVAL: Duration = Duration::from_secs(15);
/// How often a file is looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// Where an issuer's keys are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// Where the issuer's configuration says, which is found under its own URL.
    Discovery {
        /// The issuer, without a slash at its end.
        issuer: String,
    },
    /// In a file (JSON Web Key Set), read again when it changes.
    File(PathBuf),
}

/// An outside issuer, as `serve` is told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutsideIssuerConfig {
    /// Where its keys are.
    pub keys: KeySource,
    /// Which of its tokens are accepted.
    pub settings: IssuerSettings,
}

/// Why keys cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum IssuerKeysError {
    /// The file cannot be read.
    #[error("cannot read the keys of the outside issuer from {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The file or the answer holds something else.
    #[error("the keys of the outside issuer at {place} cannot be used")]
    Keys {
        /// Where they were read.
        place: String,
        /// Why not.
        #[source]
        source: KeySetError,
    },
    /// The issuer cannot be reached.
    #[error(transparent)]
    Https(#[from] HttpsError),
    /// The issuer answers with an error.
    #[error("{url} answers with status {status}")]
    Status {
        /// What was asked for.
        url: String,
        /// The answer.
        status: StatusCode,
    },
    /// The issuer's configuration cannot be used.
    #[error("the configuration at {url} {reason}")]
    Configuration {
        /// Where it was read.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// What OpenID Connect Discovery says of an issuer, as far as it matters here.
#[derive(Deserialize)]
struct Configuration {
    issuer: String,
    jwks_uri: String,
}

/// What tells one version of a file from another.
type FileVersion = Option<(SystemTime, u64)>;

/// Reads keys, again and again.
pub(super) struct IssuerKeys {
    issuer: Arc<OutsideIssuer>,
    source: KeySource,
    https: HttpsClient,
}

impl IssuerKeys {
    /// Reads a file at once: what cannot be right should stop the start. An issuer that cannot be reached
    /// should not, for it may come later.
    pub(super) fn open(config: OutsideIssuerConfig) -> Result<Self, IssuerKeysError> {
        let issuer = Arc::new(OutsideIssuer::new(config.settings));
        if let KeySource::File(path) = &config.keys {
            issuer.put_keys(read_file(path)?);
        }
        Ok(Self { issuer, source: config.keys, https: HttpsClient::new(None)? })
    }

    pub(super) fn issuer(&self) -> &Arc<OutsideIssuer> {
        &self.issuer
    }

    /// Reads the keys when it is time, when a file has changed, or when a call needs them.
    pub(super) async fn watch(self, metrics: &Metrics, mut stopping: watch::Receiver<bool>) {
        let mut seen = self.version();
        let mut next = match self.source {
            KeySource::Discovery { .. } => Duration::ZERO,
            KeySource::File(_) => LOOK_INTERVAL,
        };
        loop {
            let asked = tokio::select! {
                () = self.issuer.refresh().wanted() => true,
                () = tokio::time::sleep(next) => false,
                _ = stopping.wait_for(|stopping| *stopping) => return,
            };
            let version = self.version();
            let is_file = matches!(self.source, KeySource::File(_));
            if is_file && !asked && version == seen {
                continue;
            }
            seen = version;
            let read = tokio::select! {
                read = self.read() => read,
                _ = stopping.wait_for(|stopping| *stopping) => return,
            };
            next = if is_file {
                LOOK_INTERVAL
            } else if read.is_ok() {
                READ_INTERVAL
            } else {
                RETRY_INTERVAL
            };
            let well = read.is_ok();
            match read {
                Ok(keys) => {
                    tracing::debug!(?keys, "read the keys of the outside issuer");
                    self.issuer.put_keys(keys);
                }
                Err(error) => {
                    metrics.issuer_key_failures.inc();
                    tracing::error!(
                        error = &error as &(dyn std::error::Error + 'static),
                        "cannot read the keys of the outside issuer; those before stay in use"
                    );
                }
            }
            self.issuer.refresh().ended(well);
        }
    }

    fn version(&self) -> FileVersion {
        let KeySource::File(path) = &self.source else { return None };
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    }

    async fn read(&self) -> Result<KeySet, IssuerKeysError> {
        match &self.source {
            KeySource::File(path) => read_file(path),
            KeySource::Discovery { issuer } => self.discover(issuer).await,
        }
    }

    async fn discover(&self, issuer: &str) -> Result<KeySet, IssuerKeysError> {
        let url = format!("{issuer}/.well-known/openid-configuration");
        let wrong = |reason: String| IssuerKeysError::Configuration { url: url.clone(), reason };
        let document = self.get(&url).await?;
        let found: Configuration =
            serde_json::from_slice(&document).map_err(|error| wrong(error.to_string()))?;
        // Section 4.3: otherwise somebody could pass off his keys as another's.
        if found.issuer.trim_end_matches('/') != issuer {
            return Err(wrong(format!("is that of {:?}", found.issuer)));
        }
        // An issuer elsewhere has no business on this machine.
        let is_as_safe = issuer.starts_with("http:") || found.jwks_uri.starts_with("https:");
        if !is_safe(&found.jwks_uri) || !is_as_safe {
            return Err(wrong(format!("has its keys at {:?}, which is not https", found.jwks_uri)));
        }
        let keys = self.get(&found.jwks_uri).await?;
        KeySet::parse(&keys)
            .map_err(|source| IssuerKeysError::Keys { place: found.jwks_uri, source })
    }

    async fn get(&self, url: &str) -> Result<Bytes, IssuerKeysError> {
        let request = Request::get(url).body(Full::default()).map_err(|_| {
            IssuerKeysError::Configuration { url: url.to_owned(), reason: "is no URL".into() }
        })?;
        let (status, body) = self.https.send(request).await?;
        if status != StatusCode::OK {
            return Err(IssuerKeysError::Status { url: url.to_owned(), status });
        }
        Ok(body)
    }
}

fn read_file(path: &Path) -> Result<KeySet, IssuerKeysError> {
    let json = std::fs::read(path)
        .map_err(|source| IssuerKeysError::File { path: path.to_owned(), source })?;
    KeySet::parse(&json)
        .map_err(|source| IssuerKeysError::Keys { place: path.display().to_string(), source })
}

/// Whether nobody between can change what is read from a URL: https, or a connection within this machine.
#[must_use]
pub fn is_safe(url: &str) -> bool {
    let Ok(uri) = url.parse::<Uri>() else { return false };
    match (uri.scheme_str(), uri.host()) {
        (Some("https"), Some(_)) => true,
        (Some("http"), Some(host)) => {
            let host = host.trim_start_matches('[').trim_end_matches(']');
            host == "localhost"
                || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_over_https_or_from_this_machine() {
        for url in [
            "https://id.example.com/keys",
            "http://127.0.0.1:9/x",
            "http://[::1]/x",
            "http://localhost",
        ] {
            assert!(is_safe(url), "{url}");
        }
        for url in [
            "http://id.example.com/keys",
            "http://127.0.0.1.example.com",
            "ftp://localhost",
            "keys",
            "",
        ] {
            assert!(!is_safe(url), "{url}");
        }
    }
}
