//! `meterd demo`: the main job, end to end, in one command.
//!
//! It checks what it shows: every verdict is compared with the one that was planned, and every total
//! with a count of its own. It is not a benchmark; client and server share the machine.

mod callers;
mod other_usage;
mod progress;
mod report;
mod stage;
mod tally;
mod workload;

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    pin::pin,
    time::Instant,
};

use anyhow::Context as _;
use clap::Args;
use jiff::tz::TimeZone;

use self::{
    progress::Progress,
    stage::{ACCEPT_PAST, Stage},
    tally::Tally,
    workload::{Period, Verdict, Workload},
};
use super::{
    CommandError, CommandResult, catalog,
    catalog_file::CatalogFile,
    connection::Connection,
    output::grouped,
    query::{self, Report},
    serve::stop_signal,
};
use crate::{
    api::pb::meterd::v1::{
        Granularity, ProductUsageFilter, ProductUsageRow, QueryProductUsageRequest, UsageDimension,
    },
    domain::{
        calendar::{self, Buckets},
        interval::HalfOpenInterval,
        limits::{STREAM_RECORDS_MAX, WRITE_RECORDS_MAX},
    },
    service::clock::{Clock as _, SystemClock},
    telemetry::{self, LogFormat},
};

const UNARY_CALLERS: u64 = 4;
const STREAM_CALLERS: u64 = 2;
/// Of ten records, so many go through the unary methods.
const UNARY_TENTHS: u64 = 3;
/// What the chart shows.
const CHARTED: (&str, &str) = ("object-storage", "requests-1k");

/// Show the main job end to end, on a temporary data directory
///
/// Serves on free ports, applies the sample catalog, writes invented usage of the last 24 hours over
/// gRPC with some duplicates and invalid records among it, prints verdicts, totals and a chart, reports a
/// batch of asset usage, restarts the server, asks how its own API was used, and
/// checks all that against its own count. Fails if anything differs.
#[derive(Debug, Args)]
pub(super) struct DemoCommand {
    /// Records to write
    #[arg(long, value_name = "N", default_value_t = 100_000,
        value_parser = clap::value_parser!(u64).range(100..=1_000_000_000))]
    records: u64,
    /// Use this directory, which must be new or empty, and leave it
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Go on serving at the end, until interrupted
    #[arg(long)]
    keep_serving: bool,
}

impl DemoCommand {
    pub(super) async fn run(self) -> CommandResult {
        telemetry::init(LogFormat::Human, "warn").context("cannot set up logging")?;
        // Removed when it is dropped, also after a failure or an interrupt.
        let (data_dir, _removed_at_end) = match &self.keep {
            Some(kept) => (checked_new(kept)?, None),
            None => {
                let temporary = tempfile::Builder::new()
                    .prefix("meterd-demo-")
                    .tempdir()
                    .context("cannot create a temporary directory")?;
                (temporary.path().to_owned(), Some(temporary))
            }
        };
        let mut interrupted = pin!(stop_signal()?);
        let stage = tokio::select! {
            shown = self.show(&data_dir) => shown?,
            () = &mut interrupted => return Err(CommandError::failed("interrupted")),
        };
        if let Some(kept) = &self.keep {
            say(format_args!("The data stay in {}", kept.display()))?;
        }
        if self.keep_serving {
            announce(&stage)?;
            interrupted.await;
        }
        stage.close().await
    }

    /// Everything there is to show. Answers the server, which is still up.
    async fn show(&self, data_dir: &Path) -> CommandResult<Stage> {
        let stage = Stage::open(data_dir).await?;
        say(format_args!(
            "Serving gRPC on {}, metrics on {}, data in {}",
            stage.api,
            stage.admin,
            data_dir.display()
        ))?;
        say(format_args!(
            "Usage up to {}h old is accepted (the default of serve: 1h)\n",
            ACCEPT_PAST.as_secs() / 3600
        ))?;

        let sample = CatalogFile::sample();
        let changes =
            catalog::apply(stage.connect().await?, &sample, "the sample catalog", false).await?;
        say(format_args!("Applied the sample catalog: {} entries\n", changes.len()))?;

        let now = SystemClock.now();
        let interval = query::last_day(now);
        let period = Period { start: interval.start(), now };
        let started = Instant::now();
        let mut tally = write(&stage, period, self.records).await?;
        let elapsed = started.elapsed();
        say(report::throughput(self.records, elapsed, &mut tally.calls))?;
        say(report::verdicts(&tally))?;

        let connection = stage.connect().await?;
        self.print_usage(connection.clone(), &interval, &sample).await?;
        let compared = check(connection, &interval, &mut tally).await?;
        conclude(&tally)?;
        say(format_args!(
            "Checked: every verdict is the expected one, and {} hourly totals equal the count made here \
             while sending\n",
            grouped(compared as u64)
        ))?;

        say(other_usage::batch(stage.connect().await?, now).await?)?;
        restart(stage, data_dir, &interval, &mut tally).await
    }

    /// Totals by product and SKU, and a chart of one of them.
    async fn print_usage(
        &self,
        connection: Connection,
        interval: &HalfOpenInterval,
        sample: &CatalogFile,
    ) -> CommandResult {
        let by_sku = [UsageDimension::Product, UsageDimension::Sku];
        let totals = usage(connection.clone(), interval, Granularity::Total, &by_sku, None).await?;
        say(format_args!("Usage in {interval}"))?;
        say(report::totals(totals.rows(), sample))?;

        let hourly = usage(connection, interval, Granularity::Hour, &by_sku, Some(CHARTED)).await?;
        let buckets = Buckets::divide(interval, calendar::Granularity::Hour, &TimeZone::UTC)
            .context("cannot divide the interval")?;
        hourly.write_chart(io::stdout().lock(), &buckets, &TimeZone::UTC)?;
        say("")
    }
}

/// Has all callers report at once, and adds their counts up.
async fn write(stage: &Stage, period: Period, records: u64) -> CommandResult<Tally> {
    let progress = Progress::new(records);
    let unary_records = records * UNARY_TENTHS / 10;
    let mut running = tokio::task::JoinSet::new();
    for (caller, share) in shares(unary_records, UNARY_CALLERS).enumerate() {
        let workload = Workload::new(caller as u64 + 1, period, share, WRITE_RECORDS_MAX, 1);
        running.spawn(callers::unary(stage.connect().await?, workload, progress.clone()));
    }
    for (caller, share) in shares(records - unary_records, STREAM_CALLERS).enumerate() {
        // Short demos use shorter messages, so that there are some to repeat records of.
        let message_records = usize::try_from(share / 50).unwrap_or(usize::MAX);
        let message_records = message_records.clamp(1, STREAM_RECORDS_MAX);
        let distance = callers::STREAM_IN_FLIGHT_MAX as u64 + 1;
        let seed = caller as u64 + 1000;
        let workload = Workload::new(seed, period, share, message_records, distance);
        running.spawn(callers::stream(stage.connect().await?, workload, progress.clone()));
    }
    let mut tally = Tally::default();
    while let Some(finished) = running.join_next().await {
        tally.merge(finished.context("a caller failed")??);
    }
    progress.finish();
    Ok(tally)
}

fn shares(records: u64, callers: u64) -> impl Iterator<Item = u64> {
    (0..callers).map(move |caller| records / callers + u64::from(caller < records % callers))
}

async fn usage(
    connection: Connection,
    interval: &HalfOpenInterval,
    granularity: Granularity,
    dimensions: &[UsageDimension],
    only: Option<(&str, &str)>,
) -> CommandResult<Report<ProductUsageRow>> {
    let filter = only.map(|(product, sku)| ProductUsageFilter {
        product_ids: vec![product.to_owned()],
        sku_ids: vec![sku.to_owned()],
        ..ProductUsageFilter::default()
    });
    let request = QueryProductUsageRequest {
        interval: interval.to_string(),
        granularity: granularity.into(),
        filter,
        group_by: dimensions.iter().map(|dimension| (*dimension).into()).collect(),
        ..QueryProductUsageRequest::default()
    };
    query::fetch(connection, request).await
}

/// Compares every hourly total with the count. Answers how many there were.
async fn check(
    connection: Connection,
    interval: &HalfOpenInterval,
    tally: &mut Tally,
) -> CommandResult<usize> {
    let dimensions =
        [UsageDimension::Product, UsageDimension::ProductInstance, UsageDimension::Sku];
    let report = usage(connection, interval, Granularity::Hour, &dimensions, None).await?;
    Ok(tally.compare(report.rows()))
}

/// Stops and starts the server, sends accepted records again, and checks that nothing changed.
async fn restart(
    stage: Stage,
    data_dir: &Path,
    interval: &HalfOpenInterval,
    tally: &mut Tally,
) -> CommandResult<Stage> {
    stage.close().await?;
    let stage = Stage::open(data_dir).await?;
    // What was counted last was stored when the server stopped.
    say(other_usage::own_calls(stage.connect().await?, SystemClock.now(), tally).await?)?;
    let kept = tally.kept.take();
    let connection = stage.connect().await?;
    let mut resent = 0;
    if let Some(message) = &kept {
        let verdicts = callers::write(connection.clone(), message).await?;
        resent = message.records.len();
        for (uuid, verdict) in verdicts {
            if verdict != Verdict::Identical {
                tally.differ(format!("{uuid} was sent again and got {verdict:?}"));
            }
        }
    }
    check(connection, interval, tally).await?;
    conclude(tally)?;
    say(format_args!(
        "Restarted: totals are unchanged, and {resent} accepted records sent again are DUPLICATE\n"
    ))?;
    Ok(stage)
}

/// Fails if anything was not as it must be.
fn conclude(tally: &Tally) -> CommandResult {
    if tally.differences_count == 0 {
        return Ok(());
    }
    Err(CommandError::failed(format!(
        "{} differences from what was expected:\n  {}",
        tally.differences_count,
        tally.differences.join("\n  ")
    )))
}

fn announce(stage: &Stage) -> CommandResult {
    say(format_args!("Serving until interrupted. Try:\n  grpcurl -plaintext {} list", stage.api))?;
    say(format_args!("  METERD_SERVER=http://{} meterd query --output chart\n", stage.api))
}

fn checked_new(kept: &Path) -> CommandResult<PathBuf> {
    let used =
        kept.exists() && fs::read_dir(kept).map_or(true, |mut entries| entries.next().is_some());
    if used {
        return Err(CommandError::usage(format!(
            "--keep {} holds something; name a new or an empty directory",
            kept.display()
        )));
    }
    Ok(kept.to_owned())
}

/// Prints a paragraph.
fn say(text: impl std::fmt::Display) -> CommandResult {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    Ok(out.flush()?)
}
