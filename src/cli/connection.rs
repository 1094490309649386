//! Talking to a server, and saying what went wrong there.

use std::{error::Error as _, fmt::Write as _, path::PathBuf, time::Duration};

use anyhow::Context as _;
use clap::Args;
use http::HeaderMap;
use tonic::{
    Code, Status,
    metadata::{Ascii, MetadataMap, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint},
};
use tonic_types::StatusExt as _;

use super::{CommandError, CommandResult};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(15);

/// Which server.
#[derive(Debug, Clone, Args)]
pub(super) struct ServerPlace {
    /// The server
    #[arg(
        long,
        env = "METERD_SERVER",
        value_name = "URL",
        default_value = "http://127.0.0.1:8080"
    )]
    pub(super) server: String,

    /// Certificates that sign the server's (PEM), instead of those that the system trusts; for https
    #[arg(long, env = "METERD_CA", value_name = "FILE")]
    pub(super) ca: Option<PathBuf>,
}

/// Which server, and on whose behalf.
#[derive(Debug, Clone, Args)]
pub(super) struct ServerOptions {
    #[command(flatten)]
    pub(super) place: ServerPlace,

    /// Bearer token; not needed by a server in --dev mode
    #[arg(long, env = "METERD_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    pub(super) token: Option<String>,

    /// API key of a client, instead of a token
    #[arg(long, env = "METERD_API_KEY", value_name = "KEY", hide_env_values = true)]
    pub(super) api_key: Option<String>,
}

/// Adds the credentials to every call.
#[derive(Debug, Clone)]
pub(super) struct Credentials {
    authorization: Option<MetadataValue<Ascii>>,
    api_key: Option<MetadataValue<Ascii>>,
}

impl Credentials {
    /// As headers of plain HTTP.
    pub(super) fn headers(&self) -> HeaderMap {
        let mut metadata = MetadataMap::new();
        if let Some(value) = &self.authorization {
            metadata.insert("authorization", value.clone());
        }
        if let Some(value) = &self.api_key {
            metadata.insert("api-key", value.clone());
        }
        metadata.into_headers()
    }
}

impl Interceptor for Credentials {
    fn call(&mut self, mut request: tonic::Request<()>) -> Result<tonic::Request<()>, Status> {
        if let Some(value) = &self.authorization {
            request.metadata_mut().insert("authorization", value.clone());
        }
        if let Some(value) = &self.api_key {
            request.metadata_mut().insert("api-key", value.clone());
        }
        Ok(request)
    }
}

/// A connection that knows who is calling. Cheap to clone.
pub(super) type Connection = InterceptedService<Channel, Credentials>;

impl ServerOptions {
    /// Connects, and reconnects by itself if a later call finds the connection gone.
    pub(super) async fn connect(&self) -> CommandResult<Connection> {
        let endpoint = self.place.endpoint()?;
        let credentials = self.credentials()?;
        let channel = endpoint.connect().await.map_err(|error| {
            CommandError::failed(format!(
                "cannot reach the server at {}: {}",
                self.place.server,
                deepest(&error)
            ))
        })?;
        Ok(InterceptedService::new(channel, credentials))
    }

    /// What every call carries.
    pub(super) fn credentials(&self) -> CommandResult<Credentials> {
        let header = |what: &str, text: String| {
            let mut value: MetadataValue<Ascii> = text.parse().map_err(|_| {
                CommandError::usage(format!(
                    "the {what} holds characters that cannot be sent in a header"
                ))
            })?;
            value.set_sensitive(true);
            Ok::<_, CommandError>(value)
        };
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        Ok(Credentials {
            authorization: given(&self.token)
                .map(|token| header("token", format!("Bearer {token}")))
                .transpose()?,
            api_key: given(&self.api_key).map(|key| header("API key", key)).transpose()?,
        })
    }
}

impl ServerPlace {
    fn endpoint(&self) -> CommandResult<Endpoint> {
        let wrong = |reason: &str| {
            CommandError::usage(format!(
                "--server {:?} {reason}; it looks like http://127.0.0.1:8080",
                self.server
            ))
        };
        let is_tls = self.server.starts_with("https://");
        if !is_tls && !self.server.starts_with("http://") {
            return Err(wrong("is not a URL"));
        }
        let mut endpoint =
            Endpoint::from_shared(self.server.clone()).map_err(|_| wrong("is not a URL"))?;
        match &self.ca {
            _ if !is_tls => {}
            None => {
                let tls = ClientTlsConfig::new().with_native_roots();
                endpoint = endpoint.tls_config(tls).context("cannot set up TLS")?;
            }
            Some(file) => {
                let pem = std::fs::read(file)
                    .with_context(|| format!("cannot read {}", file.display()))?;
                let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem));
                endpoint = endpoint.tls_config(tls).context("cannot set up TLS")?;
            }
        }
        Ok(endpoint
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
            .keep_alive_timeout(KEEP_ALIVE_INTERVAL)
            .tcp_nodelay(true))
    }
}

/// What a failed call comes to, in words.
pub(super) fn call_failed(status: &Status) -> CommandError {
    CommandError::failed(describe(status))
}

/// Whether the same call may succeed a little later.
pub(super) fn is_passing(status: &Status) -> bool {
    // A status with a source was made on this side, out of a connection that broke.
    if status.source().is_some() {
        return true;
    }
    match status.code() {
        Code::Unavailable | Code::Aborted => true,
        // Series stay, so there will be too many later as well.
        Code::ResourceExhausted => {
            status.get_details_error_info().is_none_or(|info| info.reason != "TOO_MANY_SERIES")
        }
        _ => false,
    }
}

/// A status in words, with every violation that it names on a line of its own.
pub(super) fn describe(status: &Status) -> String {
    let message = status.message();
    match status.code() {
        Code::Unauthenticated => {
            format!("not authenticated: {message} (set METERD_TOKEN or --token)")
        }
        Code::PermissionDenied => format!("not allowed: {message}"),
        Code::Unavailable => {
            let cause = status.source().map(deepest).filter(|cause| cause != message);
            match cause {
                Some(cause) => format!("the server is not available: {cause}"),
                None => format!("the server is not available: {message}"),
            }
        }
        Code::InvalidArgument => {
            let violations = violations(status);
            if violations.is_empty() {
                return format!("the server refused the request: {message}");
            }
            let mut text = "the server refused the request:".to_owned();
            for (field, description) in violations {
                let _ = write!(text, "\n  {field}: {description}");
            }
            text
        }
        Code::NotFound => format!("not found: {message}"),
        code => format!("{message} ({code:?})"),
    }
}

/// Every member that a status finds fault with, and why.
pub(super) fn violations(status: &Status) -> Vec<(String, String)> {
    let details = status.get_details_bad_request();
    let violations = details.map(|details| details.field_violations).unwrap_or_default();
    violations.into_iter().map(|one| (one.field, one.description)).collect()
}

/// The innermost cause, which is the one that says something ("connection refused").
fn deepest(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
