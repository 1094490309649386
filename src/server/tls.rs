//! TLS on the API's listener: certificates that are read again when they change.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use rustls::{
    RootCertStore, ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use tokio::sync::{Notify, watch};
use tokio_rustls::TlsAcceptor;

use crate::{api::metrics::Metrics, auth::server_names::ServerNames};

/// How often the files are looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// The files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The server's certificate and those that signed it, in PEM, the server's first.
    pub certificate: PathBuf,
    /// Its private key, in PEM.
    pub key: PathBuf,
    /// Certificates of those who sign clients' certificates, in PEM. If there are any, clients must have one.
    pub client_ca: Option<PathBuf>,
}

/// Why the files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or holds something else.
    #[error("cannot read {what} from {path}: {reason}")]
    File {
        /// What was looked for.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// They do not fit together.
    #[error("the certificate {certificate} and the key {key} cannot be used")]
    Unusable {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// Why not.
        #[source]
        source: rustls::Error,
    },
    /// The certificates for clients cannot be used.
    #[error("the certificates in {path} cannot be used to check clients: {reason}")]
    ClientCa {
        /// Their file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
}

/// What handshakes are made with; it may change between two of them.
#[derive(Debug)]
pub(super) struct Tls {
    files: TlsFiles,
    loaded: ArcSwap<Loaded>,
}

/// What the files held when they were read last.
#[derive(Debug)]
struct Loaded {
    config: Arc<ServerConfig>,
    dns_names: Vec<String>,
}

impl Tls {
    /// Reads the files.
    pub(super) fn load(files: TlsFiles) -> Result<Self, TlsError> {
        let loaded = ArcSwap::from_pointee(read(&files)?);
        Ok(Self { files, loaded })
    }

    /// For one handshake.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.loaded.load().config))
    }

    /// The DNS names that the certificate is for, those with a wildcard as well.
    pub(super) fn dns_names(&self) -> Vec<String> {
        self.loaded.load().dns_names.clone()
    }

    /// Reads the files again whenever they change or `reload` is notified. Files that cannot be used leave
    /// everything as it is: a half-written certificate must not end a service.
    pub(super) async fn watch(
        &self,
        reload: &Notify,
        names: &ServerNames,
        metrics: &Metrics,
        mut stopping: watch::Receiver<bool>,
    ) {
        let mut seen = self.versions();
        loop {
            let asked = tokio::select! {
                () = reload.notified() => true,
                () = tokio::time::sleep(LOOK_INTERVAL) => false,
                _ = stopping.wait_for(|stopping| *stopping) => return,
            };
            let versions = self.versions();
            if !asked && versions == seen {
                continue;
            }
            seen = versions;
            match read(&self.files) {
                Ok(loaded) => {
                    names.put_certificate(Some(&loaded.dns_names));
                    self.loaded.store(Arc::new(loaded));
                    tracing::info!("the TLS certificates were read again");
                }
                Err(error) => {
                    metrics.tls_reload_failures.inc();
                    tracing::error!(
                        error = &error as &(dyn std::error::Error + 'static),
                        "the new TLS certificates cannot be used; the ones before stay in use"
                    );
                }
            }
        }
    }

    /// What tells one version of a file from another.
    fn versions(&self) -> Vec<Option<(SystemTime, u64)>> {
        let version = |path: &Path| {
            let metadata = std::fs::metadata(path).ok()?;
            Some((metadata.modified().ok()?, metadata.len()))
        };
        [Some(&self.files.certificate), Some(&self.files.key), self.files.client_ca.as_ref()]
            .into_iter()
            .map(|path| path.and_then(|path| version(path)))
            .collect()
    }
}

fn read(files: &TlsFiles) -> Result<Loaded, TlsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let unusable = |source| TlsError::Unusable {
        certificate: files.certificate.clone(),
        key: files.key.clone(),
        source,
    };
    let certificates = certificates(&files.certificate)?;
    let dns_names = certificates.first().map(dns_names).unwrap_or_default();
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(|error| unreadable("a private key", &files.key, &error))?;
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(unusable)?;
    let builder = match &files.client_ca {
        Some(path) => builder.with_client_cert_verifier(client_verifier(path, provider)?),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_single_cert(certificates, key).map_err(unusable)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Loaded { config: Arc::new(config), dns_names })
}

fn dns_names(certificate: &CertificateDer<'_>) -> Vec<String> {
    // One of a form that has no names, such as version 1, may still be good for handshakes.
    webpki::EndEntityCert::try_from(certificate)
        .map(|certificate| certificate.valid_dns_names().map(str::to_owned).collect())
        .unwrap_or_default()
}

fn client_verifier(
    path: &Path,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let refused = |reason: String| TlsError::ClientCa { path: path.to_owned(), reason };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| refused(error.to_string()))?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|error| refused(error.to_string()))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| unreadable("certificates", path, &error))?;
    if found.is_empty() {
        return Err(unreadable("certificates", path, &"there are none"));
    }
    Ok(found)
}

fn unreadable(what: &'static str, path: &Path, reason: &dyn std::fmt::Display) -> TlsError {
    TlsError::File { what, path: path.to_owned(), reason: reason.to_string() }
}
