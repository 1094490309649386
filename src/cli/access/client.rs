//! `meterd client`.

use std::{
    io::{self, Write as _},
    path::PathBuf,
};

use anyhow::Context as _;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::{AccessOptions, Form};
use crate::{
    api::pb::meterd::v1::{
        AddPublicKeyRequest, Client, CreateClientRequest, CreateClientResponse, Credential,
        DeleteClientRequest, GetClientRequest, ListClientsRequest, RemovePublicKeyRequest,
        RotateApiKeyRequest, RotateClientSecretRequest, UpdateClientRequest,
        access_service_client::AccessServiceClient,
    },
    cli::{
        CommandError, CommandResult,
        connection::{Connection, call_failed},
        output::{json_document, table},
        terminal::tell,
        wire_time,
    },
    config::HumanDuration,
};

/// Create, list, change and delete clients
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum ClientCommand {
    /// Create a client, and print its id, secret and API key: this once
    Create {
        /// Its id [default: one that the server makes up]
        #[arg(default_value = "", hide_default_value = true)]
        id: String,
        #[command(flatten)]
        profile: Profile,
        #[command(flatten)]
        target: Target,
    },
    /// List clients
    List {
        #[command(flatten)]
        target: Target,
    },
    /// Print one client
    Get {
        /// Its id
        id: String,
        #[command(flatten)]
        target: Target,
    },
    /// Give a client another name and other permissions
    Update {
        /// Its id
        id: String,
        #[command(flatten)]
        profile: Profile,
        #[command(flatten)]
        target: Target,
    },
    /// Give a client a new secret or API key, and print it: this once
    Rotate {
        /// Its id
        id: String,
        /// Which of the two
        #[arg(long, value_enum, default_value_t)]
        kind: Kind,
        /// How long the one before is still accepted, at most 90 days
        #[arg(long, value_name = "DURATION", default_value = "24h")]
        overlap: HumanDuration,
        /// Whether the tokens that the client got so far end at once [default: true if the overlap is 0]
        #[arg(long, num_args = 0..=1, require_equals = true, value_name = "BOOL",
            default_missing_value = "true")]
        revoke_tokens: Option<bool>,
        #[command(flatten)]
        target: Target,
    },
    /// Register a public RSA key, for signing in by signed assertion; prints its id
    AddKey {
        /// The client's id
        id: String,
        /// The public key (PEM)
        file: PathBuf,
        #[command(flatten)]
        target: Target,
    },
    /// Remove a public key
    RemoveKey {
        /// The client's id
        id: String,
        /// The key's id
        key: String,
        /// End the tokens that the client got so far at once
        #[arg(long)]
        revoke_tokens: bool,
        #[command(flatten)]
        target: Target,
    },
    /// Delete a client; what it reported stays
    Delete {
        /// Its id
        id: String,
        #[command(flatten)]
        target: Target,
    },
}

/// What a client proves itself with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(in crate::cli) enum Kind {
    /// What it gets tokens with
    #[default]
    Secret,
    /// What it sends with every call
    ApiKey,
}

/// What a client is.
#[derive(Debug, Args)]
pub(in crate::cli) struct Profile {
    /// Its name, for people
    #[arg(long, default_value = "", hide_default_value = true)]
    name: String,
    /// What it may do; separated by commas, or given several times
    #[arg(long = "permission", value_name = "PERMISSION", value_delimiter = ',')]
    permissions: Vec<String>,
}

/// Where it is.
#[derive(Debug, Args)]
pub(in crate::cli) struct Target {
    /// The organization [default: that of the caller]
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    organization: String,
    #[command(flatten)]
    options: AccessOptions,
}

impl Target {
    async fn connect(&self) -> CommandResult<AccessServiceClient<Connection>> {
        Ok(AccessServiceClient::new(self.options.server.connect().await?))
    }
}

impl ClientCommand {
    pub(in crate::cli) async fn run(self) -> CommandResult {
        match self {
            Self::Create { id, profile, target } => create(id, profile, target).await,
            Self::List { target } => list(target).await,
            Self::Get { id, target } => {
                let request = GetClientRequest {
                    organization_id: target.organization.clone(),
                    client_id: id,
                };
                let answer = target.connect().await?.get_client(request).await;
                let answer = answer.map_err(|status| call_failed(&status))?.into_inner();
                print(target.options.output, answer.client.as_slice())
            }
            Self::Update { id, profile, target } => {
                let request = UpdateClientRequest {
                    organization_id: target.organization.clone(),
                    client_id: id,
                    name: profile.name,
                    permissions: profile.permissions,
                };
                let answer = target.connect().await?.update_client(request).await;
                let answer = answer.map_err(|status| call_failed(&status))?.into_inner();
                print(target.options.output, answer.client.as_slice())
            }
            Self::Rotate { id, kind, overlap, revoke_tokens, target } => match kind {
                Kind::Secret => rotate_secret(id, overlap, revoke_tokens, target).await,
                Kind::ApiKey if revoke_tokens.is_some() => Err(CommandError::usage(
                    "--revoke-tokens goes with --kind secret: no token is got with an API key",
                )),
                Kind::ApiKey => rotate_api_key(id, overlap, target).await,
            },
            Self::AddKey { id, file, target } => add_key(id, file, target).await,
            Self::RemoveKey { id, key, revoke_tokens, target } => {
                let request = RemovePublicKeyRequest {
                    organization_id: target.organization.clone(),
                    client_id: id,
                    key_id: key.clone(),
                    revoke_tokens,
                };
                let answer = target.connect().await?.remove_public_key(request).await;
                answer.map_err(|status| call_failed(&status))?;
                tell(format_args!("{key} is removed"));
                Ok(())
            }
            Self::Delete { id, target } => {
                let request = DeleteClientRequest {
                    organization_id: target.organization.clone(),
                    client_id: id.clone(),
                };
                let answer = target.connect().await?.delete_client(request).await;
                answer.map_err(|status| call_failed(&status))?;
                tell(format_args!("{id} is deleted"));
                Ok(())
            }
        }
    }
}

async fn create(id: String, profile: Profile, target: Target) -> CommandResult {
    let request = CreateClientRequest {
        organization_id: target.organization.clone(),
        client_id: id,
        name: profile.name,
        permissions: profile.permissions,
    };
    let created = target.connect().await?.create_client(request).await;
    let created = created.map_err(|status| call_failed(&status))?.into_inner();
    let CreateClientResponse { client, secret, api_key } = created;
    let client = client.unwrap_or_default();
    tell(format_args!("the secret and the API key are not kept: note them now"));
    if target.options.output == Form::Json {
        let document = json!({
            "organization_id": client.organization_id,
            "client_id": client.id,
            "secret": secret,
            "api_key": api_key,
        });
        return json_document(io::stdout().lock(), &document);
    }
    let mut rows = table::table(&["what", "text"], &[]);
    rows.add_row(["organization", &client.organization_id]);
    rows.add_row(["client id", &client.id]);
    rows.add_row(["secret", &secret]);
    rows.add_row(["API key", &api_key]);
    Ok(io::stdout().lock().write_all(table::render(&rows).as_bytes())?)
}

async fn rotate_secret(
    id: String,
    overlap: HumanDuration,
    revoke_tokens: Option<bool>,
    target: Target,
) -> CommandResult {
    let request = RotateClientSecretRequest {
        organization_id: target.organization.clone(),
        client_id: id,
        overlap: Some(wire_duration(overlap)),
        revoke_tokens,
    };
    let answer = target.connect().await?.rotate_client_secret(request).await;
    let secret = answer.map_err(|status| call_failed(&status))?.into_inner().secret;
    print_once(&target, "secret", &secret)
}

async fn rotate_api_key(id: String, overlap: HumanDuration, target: Target) -> CommandResult {
    let request = RotateApiKeyRequest {
        organization_id: target.organization.clone(),
        client_id: id,
        overlap: Some(wire_duration(overlap)),
    };
    let answer = target.connect().await?.rotate_api_key(request).await;
    let key = answer.map_err(|status| call_failed(&status))?.into_inner().api_key;
    print_once(&target, "api_key", &key)
}

fn wire_duration(duration: HumanDuration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(duration.0.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(duration.0.subsec_nanos()).unwrap_or(0),
    }
}

/// Prints a credential that cannot be printed again.
fn print_once(target: &Target, name: &str, text: &str) -> CommandResult {
    tell(format_args!("this is not kept: note it now"));
    let mut out = io::stdout().lock();
    if target.options.output == Form::Json {
        return json_document(out, &json!({name: text}));
    }
    Ok(writeln!(out, "{text}")?)
}

async fn add_key(id: String, file: PathBuf, target: Target) -> CommandResult {
    let public_key = std::fs::read_to_string(&file)
        .with_context(|| format!("cannot read {}", file.display()))?;
    let request = AddPublicKeyRequest {
        organization_id: target.organization.clone(),
        client_id: id,
        public_key,
    };
    let answer = target.connect().await?.add_public_key(request).await;
    let key_id = answer.map_err(|status| call_failed(&status))?.into_inner().key_id;
    let mut out = io::stdout().lock();
    if target.options.output == Form::Json {
        return json_document(out, &json!({"key_id": key_id}));
    }
    Ok(writeln!(out, "{key_id}")?)
}

async fn list(target: Target) -> CommandResult {
    let mut client = target.connect().await?;
    let mut clients = Vec::new();
    let mut request = ListClientsRequest {
        organization_id: target.organization.clone(),
        ..ListClientsRequest::default()
    };
    loop {
        let page = client
            .list_clients(request.clone())
            .await
            .map_err(|status| call_failed(&status))?
            .into_inner();
        clients.extend(page.clients);
        if page.next_page_token.is_empty() {
            return print(target.options.output, &clients);
        }
        request.page_token = page.next_page_token;
    }
}

fn print(form: Form, clients: &[Client]) -> CommandResult {
    let mut out = io::stdout().lock();
    if form == Form::Json {
        return json_document(out, &clients.iter().map(printed).collect::<Vec<_>>());
    }
    let mut rows = table::table(&["client", "name", "permissions", "created", "last used"], &[]);
    for client in clients {
        rows.add_row([
            client.id.clone(),
            client.name.clone(),
            client.permissions.join(" "),
            wire_time::text(client.create_time.as_ref()),
            wire_time::text(client.last_used_time.as_ref()),
        ]);
    }
    Ok(out.write_all(table::render(&rows).as_bytes())?)
}

/// What a program gets to see of a client.
fn printed(client: &Client) -> Value {
    let credentials = |of: &[Credential]| -> Vec<Value> {
        of.iter()
            .map(|credential| {
                json!({
                    "create_time": wire_time::text(credential.create_time.as_ref()),
                    "expire_time": wire_time::text(credential.expire_time.as_ref()),
                })
            })
            .collect()
    };
    json!({
        "organization_id": client.organization_id,
        "client_id": client.id,
        "name": client.name,
        "permissions": client.permissions,
        "create_time": wire_time::text(client.create_time.as_ref()),
        "last_used_time": wire_time::text(client.last_used_time.as_ref()),
        "secrets": credentials(&client.secrets),
        "api_keys": credentials(&client.api_keys),
        "public_keys": client.public_keys.iter().map(|key| json!({
            "key_id": key.id,
            "create_time": wire_time::text(key.create_time.as_ref()),
        })).collect::<Vec<_>>(),
    })
}
