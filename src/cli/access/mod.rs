//! `meterd client`, `organization`, `token`, `signing-key` and `audit`: who may call, and who changed what.

pub(super) mod audit;
pub(super) mod client;
pub(super) mod organization;
pub(super) mod signing_key;
pub(super) mod token;

use clap::{Args, ValueEnum};

use super::connection::ServerOptions;

/// What these commands have in common.
#[derive(Debug, Args)]
pub(super) struct AccessOptions {
    /// Form of the output
    #[arg(long, short, value_enum, default_value_t)]
    output: Form,
    #[command(flatten)]
    server: ServerOptions,
}

/// How something is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum Form {
    #[default]
    Table,
    Json,
}
