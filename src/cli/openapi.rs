//! `meterd openapi`: what the REST side offers, for tools.

use anyhow::Context as _;
use clap::Args;

use super::{CommandResult, output::json_document};
use crate::api::rest::openapi;

/// Print the OpenAPI 3.1 document of the REST side, as a server answers it at /openapi.json
#[derive(Debug, Args)]
pub(super) struct OpenapiCommand {}

impl OpenapiCommand {
    pub(super) fn run(self) -> CommandResult {
        let Self {} = self;
        let document = openapi::of_this_binary().context("cannot describe the REST side")?;
        json_document(std::io::stdout().lock(), &document)
    }
}
