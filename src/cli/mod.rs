//! The command line: one file per command.
//!
//! Data goes to stdout, everything else to stderr. Nothing here decides anything about usage; commands
//! that need a server talk gRPC to it like any other client.

mod access;
mod assets;
mod backup;
mod bench;
mod catalog;
mod catalog_file;
mod checkpoint;
mod connection;
mod demo;
mod error;
mod export;
mod filters;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod hexadecimal;
mod lines;
mod openapi;
mod output;
mod private_files;
mod query;
mod random;
mod record_api;
mod records;
mod report_batch;
mod reporting;
mod restore;
mod serve;
mod simulate;
mod terminal;
mod verify;
mod wire_time;
mod write;

use std::{ffi::OsString, future::Future};

use anyhow::Context as _;
use clap::{Parser, Subcommand};

pub use error::{CommandError, CommandResult};

/// Exactly-once usage metering: services report usage over gRPC, meterd answers exactly how much was
/// used, by whom, when.
#[derive(Debug, Parser)]
#[command(name = "meterd", version, max_term_width = 100, arg_required_else_help = true)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    // By far the largest: one field for every setting.
    Serve(Box<serve::ServeCommand>),
    Demo(demo::DemoCommand),
    Bench(Box<bench::BenchCommand>),
    #[command(subcommand)]
    Catalog(catalog::CatalogCommand),
    #[command(subcommand)]
    Assets(assets::AssetsCommand),
    Write(write::WriteCommand),
    RecordApi(record_api::RecordApiCommand),
    ReportBatch(report_batch::ReportBatchCommand),
    Query(query::QueryCommand),
    Records(records::RecordsCommand),
    Export(export::ExportCommand),
    #[command(subcommand)]
    Client(access::client::ClientCommand),
    #[command(subcommand)]
    Organization(access::organization::OrganizationCommand),
    Token(access::token::TokenCommand),
    #[command(subcommand)]
    SigningKey(access::signing_key::SigningKeyCommand),
    Audit(access::audit::AuditCommand),
    Openapi(openapi::OpenapiCommand),
    Verify(verify::VerifyCommand),
    #[command(subcommand)]
    Checkpoint(checkpoint::CheckpointCommand),
    Backup(backup::BackupCommand),
    Restore(restore::RestoreCommand),
    Simulate(simulate::SimulateCommand),
}

/// Runs the command that the arguments ask for; the first is the program's name.
///
/// # Errors
/// [`CommandError`] says what it came to otherwise.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> CommandResult {
    let line = CommandLine::try_parse_from(arguments).map_err(CommandError::Arguments)?;
    match line.command {
        Command::Serve(command) => block_on(command.run()),
        Command::Demo(command) => block_on(command.run()),
        Command::Bench(command) => block_on(command.run()),
        Command::Catalog(command) => block_on(command.run()),
        Command::Assets(command) => block_on(command.run()),
        Command::Write(command) => block_on(command.run()),
        Command::RecordApi(command) => block_on(command.run()),
        Command::ReportBatch(command) => block_on(command.run()),
        Command::Query(command) => block_on(command.run()),
        Command::Records(command) => block_on(command.run()),
        Command::Export(command) => block_on(command.run()),
        Command::Client(command) => block_on(command.run()),
        Command::Organization(command) => block_on(command.run()),
        Command::Token(command) => block_on(command.run()),
        Command::SigningKey(command) => block_on(command.run()),
        Command::Audit(command) => block_on(command.run()),
        Command::Openapi(command) => command.run(),
        Command::Verify(command) => command.run(),
        Command::Checkpoint(command) => block_on(command.run()),
        Command::Backup(command) => block_on(command.run()),
        Command::Restore(command) => command.run(),
        Command::Simulate(command) => command.run(),
    }
}

/// Runs a command that waits for the network.
fn block_on(command: impl Future<Output = CommandResult>) -> CommandResult {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let result = runtime.block_on(command);
    // A thread that waits for stdin cannot be interrupted; what it was to read is not needed any more.
    runtime.shutdown_background();
    result
}
