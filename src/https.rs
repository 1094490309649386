//! A client for small documents over HTTPS, and over HTTP where that is meant: bounded in time and size, and it
//! follows no redirects.

use std::{path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};

/// From the request to the end of the answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Of one answer. Key sets and tokens are a hundredth of it.
const BODY_BYTES_MAX: usize = 1 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpsError {
    /// There is nothing to check servers' certificates with.
    #[error("the certificates that sign servers' cannot be used: {0}")]
    Roots(String),
    /// The server cannot be reached, or speaks something else.
    #[error("cannot reach {authority}: {reason}")]
    Unreachable {
        /// Whom.
        authority: String,
        /// Why.
        reason: String,
    },
    /// It takes too long.
    #[error("{0} does not answer within {TIMEOUT:?}")]
    TimedOut(String),
    /// The body does not end well, or is too large.
    #[error("the answer of {0} breaks off, or is larger than {BODY_BYTES_MAX} bytes")]
    Body(String),
}

/// A client; cheap to clone.
#[derive(Debug, Clone)]
pub struct HttpsClient(Client<HttpsConnector<HttpConnector>, Full<Bytes>>);

impl HttpsClient {
    /// Trusts the certificates of a PEM file, or those that the system trusts.
    ///
    /// # Errors
    /// [`HttpsError::Roots`] if there are none.
    pub fn new(ca: Option<&Path>) -> Result<Self, HttpsError> {
        let provider = aws_lc_rs::default_provider();
        let unusable = |reason: String| HttpsError::Roots(reason);
        let builder = HttpsConnectorBuilder::new();
        let builder = match ca {
            None => builder
                .with_provider_and_native_roots(provider)
                .map_err(|error| unusable(error.to_string()))?,
            Some(file) => {
                let mut roots = RootCertStore::empty();
                let found = CertificateDer::pem_file_iter(file)
                    .map_err(|error| unusable(format!("{}: {error}", file.display())))?;
                for certificate in found {
                    let certificate = certificate.map_err(|error| unusable(error.to_string()))?;
                    roots.add(certificate).map_err(|error| unusable(error.to_string()))?;
                }
                let config = ClientConfig::builder_with_provider(Arc::new(provider))
                    .with_safe_default_protocol_versions()
                    .map_err(|error| unusable(error.to_string()))?
                    .with_root_certificates(roots)
                    .with_no_client_auth();
                builder.with_tls_config(config)
            }
        };
        let connector = builder.https_or_http().enable_http1().build();
        Ok(Self(Client::builder(TokioExecutor::new()).build(connector)))
    }

    /// Sends one request; its URL is whole.
    ///
    /// # Errors
    /// [`HttpsError`] if no answer comes, comes too late, or is too large.
    pub async fn send(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<(StatusCode, Bytes), HttpsError> {
        let (parts, body) = self.exchange(request).await?.into_parts();
        Ok((parts.status, body))
    }

    /// The same, and answers headers, too.
    ///
    /// # Errors
    /// [`HttpsError`] if no answer comes, comes too late, or is too large.
    pub async fn exchange(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Bytes>, HttpsError> {
        let authority = request.uri().authority().map(ToString::to_string).unwrap_or_default();
        let answering = async {
            let response = self.0.request(request).await.map_err(|error| {
                HttpsError::Unreachable { authority: authority.clone(), reason: deepest(&error) }
            })?;
            let (parts, body) = response.into_parts();
            let body = Limited::new(body, BODY_BYTES_MAX)
                .collect()
                .await
                .map_err(|_| HttpsError::Body(authority.clone()))?;
            Ok(Response::from_parts(parts, body.to_bytes()))
        };
        let answer = tokio::time::timeout(TIMEOUT, answering).await;
        answer.unwrap_or_else(|_| Err(HttpsError::TimedOut(authority.clone())))
    }
}

/// The innermost cause, which is the one that says something ("connection refused").
fn deepest(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
