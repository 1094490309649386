//! What can be asked of the bench, and what it must be.

use std::{path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};
use serde::{Serialize, Serializer};

use super::{uuids::UuidVersion, workload::MessageShape};
use crate::{
    cli::{
        CommandError, CommandResult,
        connection::{ServerOptions, ServerPlace},
    },
    config::HumanDuration,
    domain::limits::{CATALOG_ENTRIES_PER_APPLY_MAX, STREAM_RECORDS_MAX, WRITE_RECORDS_MAX},
};

/// Usage is of the quarter of an hour before the run unless asked for otherwise, and servers take an hour by default: a
/// longer run against a server with that default would see its repetitions refused as EXPIRED.
const TARGET_LENGTH_MAX: Duration = Duration::from_mins(40);
/// Finer than a second there is nothing to spread.
const USAGE_SPREAD_MIN: Duration = Duration::from_mins(15);
/// More than a year and a leap day are no benchmark.
const USAGE_SPREAD_MAX: Duration = Duration::from_hours(24 * 366);
const LENGTH_MAX: Duration = Duration::from_hours(24);

/// How records are reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(super) enum Mode {
    /// The vendor's Write over gRPC; up to 25 records a call
    #[default]
    Unary,
    /// StreamProductUsage, a stream for each connection; up to 1000 records a message
    Stream,
    /// The vendor's Write over HTTP/1.1 and JSON; up to 25 records a call
    Rest,
    /// Rows of a table of PostgreSQL; up to 25 a call. Only for comparing
    #[value(skip)]
    Postgres,
}

/// What callers do.
#[derive(Debug, Clone, Args)]
pub(super) struct WorkloadOptions {
    /// How records are reported
    #[arg(long, value_enum, default_value_t)]
    mode: Mode,
    /// Connections, at most 256; a REST connection carries one call, so --mode rest has N × --callers of them
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=256))]
    connections: u32,
    /// Calls (or messages of a stream) under way on each connection, at most 1024 [default: 16, for streams 8]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    callers: Option<u32>,
    /// Records of each call, at most 25, for streams 1000 [default: the most]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    records: Option<u32>,
    /// Of a hundred records, so many repeat one that was accepted before, drawn evenly from all the caller has sent
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=100))]
    duplicates: u8,
    /// Form of the uuids
    #[arg(long, value_enum, default_value_t)]
    uuid: UuidVersion,
    /// Products that usage is of, at most 1000; they are put into the catalog, named bench-product-1 and so on
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    products: u32,
    /// SKUs of each product, at most 1000; with the products at most 10,000 entries of the catalog
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    skus: u32,
    /// Usage is spread over so long before the run, from 15m to 366d; the --accept-past of a --target must cover it
    #[arg(long, value_name = "DURATION", default_value = "15m")]
    usage_spread: HumanDuration,
    /// How long to measure, after the warm-up; at most 24h (with --target 40m in all)
    #[arg(long, value_name = "DURATION", default_value = "10s")]
    duration: HumanDuration,
    /// How long to call before that
    #[arg(long, value_name = "DURATION", default_value = "2s")]
    warm_up: HumanDuration,
    /// Records to have stored before, over streams and without measuring; duplicates are of these, too
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=1_000_000_000))]
    stored: u64,
    /// Decides all uuids (of v7 all but the time) and quantities; a server takes each seed once [default: a random
    /// one, which is printed]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

/// Who is called, if it is not a server of our own.
#[derive(Debug, Clone, Args)]
pub(super) struct TargetOptions {
    /// A running server, such as http://127.0.0.1:8080, instead of one that is started for the run
    #[arg(long, value_name = "URL")]
    target: Option<String>,
    /// Certificates that sign the server's (PEM), instead of those that the system trusts; for https
    #[arg(long, env = "METERD_CA", value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Bearer token for --target; not needed by a server in --dev mode
    #[arg(long, env = "METERD_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// API key of a client, instead of a token
    #[arg(long, env = "METERD_API_KEY", value_name = "KEY", hide_env_values = true)]
    api_key: Option<String>,
}

/// A load, with everything decided.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Workload {
    pub(super) mode: Mode,
    pub(super) connections: u32,
    pub(super) callers: u32,
    #[serde(flatten)]
    pub(super) shape: MessageShape,
    pub(super) uuid: UuidVersion,
    pub(super) products: u32,
    pub(super) skus: u32,
    #[serde(rename = "usage_spread_seconds", serialize_with = "whole_seconds")]
    pub(super) usage_spread: Duration,
    pub(super) stored: u64,
    pub(super) seed: u64,
    #[serde(skip)]
    pub(super) duration: Duration,
    #[serde(skip)]
    pub(super) warm_up: Duration,
}

impl Workload {
    /// The same in another way, with the most records and the usual number of messages under way. PostgreSQL takes one
    /// call at a time on a connection, so there each caller has its own.
    pub(super) fn in_mode(self, mode: Mode) -> Self {
        let shape = MessageShape { records: records_max(mode), ..self.shape };
        let (connections, callers) = match mode {
            Mode::Unary | Mode::Rest => (self.connections, self.callers),
            Mode::Stream => (self.connections, callers_default(mode)),
            Mode::Postgres => (self.connections * self.callers, 1),
        };
        Self { mode, shape, connections, callers, ..self }
    }

    /// The same from one caller, who waits for nobody but the server.
    pub(super) fn of_one_caller(self) -> Self {
        Self { connections: 1, callers: 1, ..self }
    }

    /// Callers that each have records of their own.
    pub(super) fn lanes(&self) -> u32 {
        match self.mode {
            Mode::Stream => self.connections,
            Mode::Unary | Mode::Rest | Mode::Postgres => self.connections * self.callers,
        }
    }
}

fn whole_seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(duration.as_secs())
}

fn records_max(mode: Mode) -> usize {
    if mode == Mode::Stream { STREAM_RECORDS_MAX } else { WRITE_RECORDS_MAX }
}

fn callers_default(mode: Mode) -> u32 {
    if mode == Mode::Stream { 8 } else { 16 }
}

impl WorkloadOptions {
    pub(super) fn workload(&self) -> CommandResult<Workload> {
        let most = records_max(self.mode);
        let records = self.records.map_or(most, |records| records as usize);
        if records > most {
            return Err(CommandError::usage(format!(
                "--records is {records}; --mode {} takes at most {most} records a call",
                self.mode.name()
            )));
        }
        let entries = (self.products * (self.skus + 1)) as usize;
        if entries > CATALOG_ENTRIES_PER_APPLY_MAX {
            return Err(CommandError::usage(format!(
                "--products {} with --skus {} makes {entries} entries of the catalog; one change holds at most \
                 {CATALOG_ENTRIES_PER_APPLY_MAX}",
                self.products, self.skus
            )));
        }
        if self.duration.0.is_zero() {
            return Err(CommandError::usage(
                "--duration is 0s; there must be something to measure",
            ));
        }
        if self.duration.0 + self.warm_up.0 > LENGTH_MAX {
            return Err(CommandError::usage("--duration and --warm-up are more than 24h together"));
        }
        if !(USAGE_SPREAD_MIN..=USAGE_SPREAD_MAX).contains(&self.usage_spread.0) {
            return Err(CommandError::usage(format!(
                "--usage-spread is {}; it may be from 15m to 366d",
                self.usage_spread
            )));
        }
        let seed = match self.seed {
            Some(seed) => seed,
            // Short enough to be read out.
            None => getrandom::u32().map(u64::from).map_err(|error| {
                CommandError::failed(format!("cannot choose a random seed: {error}"))
            })?,
        };
        Ok(Workload {
            mode: self.mode,
            connections: self.connections,
            callers: self.callers.unwrap_or_else(|| callers_default(self.mode)),
            shape: MessageShape { records, duplicates_percent: self.duplicates },
            uuid: self.uuid,
            products: self.products,
            skus: self.skus,
            usage_spread: Duration::from_secs(self.usage_spread.0.as_secs()),
            stored: self.stored,
            seed,
            duration: self.duration.0,
            warm_up: self.warm_up.0,
        })
    }
}

impl Mode {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Unary => "unary",
            Self::Stream => "stream",
            Self::Rest => "rest",
            Self::Postgres => "postgres",
        }
    }
}

impl TargetOptions {
    /// The running server, if one is named. `runs` are as long as the workload, each.
    pub(super) fn server(
        &self,
        workload: &Workload,
        runs: u32,
    ) -> CommandResult<Option<ServerOptions>> {
        let Some(url) = &self.target else { return Ok(None) };
        if !url.starts_with("http://") && !url.starts_with("https://") {
            return Err(CommandError::usage(format!(
                "--target {url:?} is not a URL; it looks like http://127.0.0.1:8080"
            )));
        }
        if (workload.duration + workload.warm_up) * runs > TARGET_LENGTH_MAX {
            return Err(CommandError::usage(
                "--duration and --warm-up of all runs are more than 40m together: a server with the default \
                 --accept-past would refuse repeated records as EXPIRED",
            ));
        }
        Ok(Some(ServerOptions {
            place: ServerPlace {
                server: url.trim_end_matches('/').to_owned(),
                ca: self.ca.clone(),
            },
            token: self.token.clone(),
            api_key: self.api_key.clone(),
        }))
    }
}
