//! `meterd token`.

use std::{
    io::{self, Write as _},
    path::PathBuf,
};

use anyhow::Context as _;
use bytes::Bytes;
use clap::Args;
use http::{Request, StatusCode, header};
use http_body_util::Full;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    cli::{CommandError, CommandResult, connection::ServerPlace, output::json_document},
    https::HttpsClient,
    service::clock::{Clock as _, SystemClock},
};

const TOKEN_PATH: &str = "/oauth/token";
/// What an assertion of ours is good for, in seconds: it is used at once.
const ASSERTION_SECONDS: i64 = 300;

/// Sign in and print a token, for METERD_TOKEN and for other programs
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  export METERD_TOKEN=$(METERD_CLIENT_SECRET=… meterd token --client-id agent)"
)]
pub(in crate::cli) struct TokenCommand {
    /// The client
    #[arg(long, env = "METERD_CLIENT_ID", value_name = "ID", required_unless_present = "key_file")]
    client_id: Option<String>,

    /// Its secret
    #[arg(
        long,
        env = "METERD_CLIENT_SECRET",
        value_name = "SECRET",
        hide_env_values = true,
        required_unless_present = "key_file"
    )]
    client_secret: Option<String>,

    /// A service-account key file (JSON with id, service_account_id and private_key) to sign in with instead
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,

    /// What the server is called, if it is reached by another URL: one that its --public-url names [default: --server]
    #[arg(long, value_name = "URL", requires = "key_file")]
    audience: Option<String>,

    /// Print the server's whole answer, with the token's lifetime
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    place: ServerPlace,
}

/// The file that Yandex' tools write for a key, as far as it matters here.
#[derive(Deserialize)]
struct KeyFile {
    id: String,
    service_account_id: String,
    private_key: String,
}

impl TokenCommand {
    pub(in crate::cli) async fn run(self) -> CommandResult {
        let server = self.place.server.trim_end_matches('/');
        let url = format!("{server}{TOKEN_PATH}");
        let form = self.form(self.audience.as_deref().unwrap_or(&url))?;
        let request = Request::post(&url)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Full::new(Bytes::from(form)))
            .map_err(|_| CommandError::usage(format!("--server {server:?} is not a URL")))?;
        let client = HttpsClient::new(self.place.ca.as_deref()).context("cannot sign in")?;
        let (status, body) = client.send(request).await.context("cannot sign in")?;
        let answer: Value = serde_json::from_slice(&body)
            .with_context(|| format!("{url} answers with something else than a token"))?;
        if status != StatusCode::OK {
            let text =
                |name: &str| answer.get(name).and_then(Value::as_str).unwrap_or("").to_owned();
            return Err(CommandError::failed(format!(
                "cannot sign in: {} ({})",
                text("error_description"),
                text("error")
            )));
        }
        let mut out = io::stdout().lock();
        if self.json {
            return json_document(out, &answer);
        }
        let token = answer
            .get("access_token")
            .and_then(Value::as_str)
            .with_context(|| format!("{url} answers without a token"))?;
        Ok(writeln!(out, "{token}")?)
    }

    /// What is sent: the client's secret, or a proof that it has its private key.
    fn form(&self, audience: &str) -> CommandResult<String> {
        let mut form = form_urlencoded::Serializer::new(String::new());
        match &self.key_file {
            Some(file) => {
                let cannot = || format!("cannot sign in with the key file {}", file.display());
                let text = std::fs::read(file).with_context(cannot)?;
                let key: KeyFile = serde_json::from_slice(&text).with_context(cannot)?;
                form.append_pair("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer");
                form.append_pair("assertion", &assertion(&key, audience).with_context(cannot)?);
            }
            None => {
                form.append_pair("grant_type", "client_credentials");
                for (name, value) in
                    [("client_id", &self.client_id), ("client_secret", &self.client_secret)]
                {
                    form.append_pair(name, value.as_deref().unwrap_or_default());
                }
            }
        }
        Ok(form.finish())
    }
}

fn assertion(key: &KeyFile, audience: &str) -> anyhow::Result<String> {
    // Yandex' files begin with a line that says not to share the key.
    let pem = key.private_key.find("-----BEGIN").and_then(|at| key.private_key.get(at..));
    let pem = pem.context("private_key is not PEM")?;
    let signs = EncodingKey::from_rsa_pem(pem.as_bytes()).context("private_key is no RSA key")?;
    let now = SystemClock.now().as_second();
    let claims = json!({
        "iss": key.service_account_id,
        "sub": key.service_account_id,
        "aud": audience,
        "iat": now,
        "exp": now + ASSERTION_SECONDS,
    });
    let header = Header { kid: Some(key.id.clone()), ..Header::new(Algorithm::PS256) };
    Ok(jsonwebtoken::encode(&header, &claims, &signs)?)
}
