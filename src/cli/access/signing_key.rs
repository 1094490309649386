//! `meterd signing-key`.

use std::io::{self, Write as _};

use clap::Subcommand;
use serde_json::json;

use super::{AccessOptions, Form};
use crate::{
    api::pb::meterd::v1::{RotateSigningKeyRequest, access_service_client::AccessServiceClient},
    cli::{CommandResult, connection::call_failed, output::json_document, terminal::tell},
};

/// Replace the key that tokens are signed with; operators only
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum SigningKeyCommand {
    /// Sign with a new key from now on, and print its id
    Rotate {
        /// Make every token given out so far invalid at once: the key before has got into wrong hands
        #[arg(long)]
        revoke: bool,
        #[command(flatten)]
        options: AccessOptions,
    },
}

impl SigningKeyCommand {
    pub(in crate::cli) async fn run(self) -> CommandResult {
        let Self::Rotate { revoke, options } = self;
        let mut client = AccessServiceClient::new(options.server.connect().await?);
        let rotated = client
            .rotate_signing_key(RotateSigningKeyRequest { revoke })
            .await
            .map_err(|status| call_failed(&status))?
            .into_inner();
        let mut out = io::stdout().lock();
        if options.output == Form::Json {
            let document =
                json!({"key_id": rotated.key_id, "previous_key_ids": rotated.previous_key_ids});
            return json_document(out, &document);
        }
        writeln!(out, "{}", rotated.key_id)?;
        match rotated.previous_key_ids.len() {
            0 => tell(format_args!("tokens signed before are not valid any more")),
            count => tell(format_args!("{count} keys before still verify what they signed")),
        }
        Ok(())
    }
}
