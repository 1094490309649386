//! One load: who is called, with what, and what came of it.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use http::Uri;
use tokio::{sync::watch, task::JoinSet};

use super::{
    callers::{
        Caller,
        rest::{self, RestCalls},
        stream::StreamCaller,
        unary::UnaryCalls,
    },
    measure::Run,
    options::{Mode, Workload},
    progress::Progress,
    report::{Measured, Outcome},
    schedule::{Pace, Schedule},
    server_figures::ServerFigures,
    server_process::ServerProcess,
    verdict::Tally,
    workload::{Lane, MessageShape, Plan, PlanSize},
};
use crate::{
    cli::{
        CommandError, CommandResult, catalog,
        connection::{Connection, ServerOptions},
        terminal::tell,
    },
    domain::limits::STREAM_RECORDS_MAX,
    https::HttpsClient,
    service::clock::{Clock as _, SystemClock},
};

/// After the end of a run, for calls under way.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);
/// What is stored before a run goes over so many streams, with so many messages under way on each.
const FILL_CONNECTIONS_MAX: usize = 4;
const FILL_IN_FLIGHT: usize = 8;

/// The server that is called.
#[derive(Debug)]
pub(super) enum Target {
    /// It was there before.
    Running(ServerOptions),
    /// It was started for this.
    Started { process: ServerProcess, data_dir: Option<PathBuf> },
}

impl Target {
    fn options(&self) -> &ServerOptions {
        match self {
            Self::Running(options) => options,
            Self::Started { process, .. } => &process.options,
        }
    }

    fn figures(&self) -> Option<ServerFigures> {
        match self {
            Self::Running(_) => None,
            Self::Started { process, data_dir } => {
                Some(ServerFigures::read(process.id(), data_dir.as_deref()))
            }
        }
    }

    /// Stores nothing, and has no catalog.
    fn is_noop(&self) -> bool {
        matches!(self, Self::Started { data_dir: None, .. })
    }
}

/// Becomes true when the user has had enough.
pub(super) type Interrupted = watch::Receiver<bool>;

/// A server, and callers that know what they have sent it.
#[derive(Debug)]
pub(super) struct Load {
    workload: Workload,
    target: Target,
    connections: Vec<Connection>,
    lanes: Vec<Lane>,
    plan: Arc<Plan>,
    interrupted: Interrupted,
    /// Before anything was stored.
    first: Option<ServerFigures>,
    accepted: u64,
}

impl Load {
    /// Connects and prepares the catalog, and stores what is to be there before.
    pub(super) async fn prepare(
        workload: Workload,
        target: Target,
        interrupted: &Interrupted,
    ) -> CommandResult<Self> {
        let mut enough = interrupted.clone();
        tokio::select! {
            prepared = Self::prepare_at_leisure(workload, target, interrupted.clone()) => prepared,
            _ = enough.wait_for(|interrupted| *interrupted) => {
                Err(CommandError::failed("interrupted before there was anything to measure"))
            }
        }
    }

    async fn prepare_at_leisure(
        workload: Workload,
        target: Target,
        interrupted: Interrupted,
    ) -> CommandResult<Self> {
        let mut connections = Vec::new();
        for _ in 0..workload.connections {
            connections.push(target.options().connect().await?);
        }
        let size = PlanSize {
            seed: workload.seed,
            version: workload.uuid,
            lanes: workload.lanes(),
            products: workload.products,
            skus: workload.skus,
        };
        let plan = Arc::new(Plan::new(size, SystemClock.now()));
        if !target.is_noop()
            && let Some(connection) = connections.first()
        {
            let name = "the catalog of the bench";
            catalog::apply(connection.clone(), &plan.catalog(), name, false).await?;
        }
        let first = target.figures();
        let lanes = (0..workload.lanes() as usize).map(|number| Lane::new(&plan, number)).collect();
        let accepted = 0;
        let mut load =
            Self { workload, target, connections, lanes, plan, interrupted, first, accepted };
        if workload.stored > 0 {
            load.fill().await?;
        }
        Ok(load)
    }

    /// Stores records over streams, evenly from all lanes.
    async fn fill(&mut self) -> CommandResult {
        let messages = self.workload.stored.div_ceil(STREAM_RECORDS_MAX as u64);
        let run = Run::new(Schedule::counted(messages), Duration::ZERO, FILL_CONNECTIONS_MAX)?;
        let shape = MessageShape { records: STREAM_RECORDS_MAX, duplicates_percent: 0 };
        let lanes = std::mem::take(&mut self.lanes);
        let mut callers = JoinSet::new();
        let streams = self.connections.len().min(FILL_CONNECTIONS_MAX);
        for (at, lanes) in dealt(lanes, streams).into_iter().enumerate() {
            let caller = Caller { run: Arc::clone(&run), connection: at, shape };
            let Some(connection) = self.connections.get(at).cloned() else { continue };
            let caller = StreamCaller { caller, connection, in_flight_max: FILL_IN_FLIGHT, lanes };
            callers.spawn(caller.run());
        }
        let progress = Progress::filling(messages * STREAM_RECORDS_MAX as u64);
        tokio::select! {
            joined = join(&mut callers) => self.lanes = joined?,
            () = progress.follow(&run) => {}
        }
        progress.finish();
        let (counts, _) = run.take()?;
        self.accepted += counts.tally.accepted;
        fail_if_wrong(&counts.tally)
    }

    /// Calls for the warm-up and the duration, without a rate in a closed loop, and reports what was measured.
    pub(super) async fn run(&mut self, records_per_second: Option<f64>) -> CommandResult<Outcome> {
        let workload = self.workload;
        let pace = records_per_second
            .map(|records| Pace { calls_per_second: records / workload.shape.records as f64 });
        tell(format_args!("measuring for {}", humantime::format_duration(workload.duration)));
        let schedule = Schedule::lasting(workload.warm_up + workload.duration, pace);
        let run = Run::new(schedule, workload.warm_up, workload.connections as usize)?;
        let mut callers = self.start(&run)?;
        let progress = Progress::measuring(workload.warm_up, workload.duration);
        let started = run.schedule.started();
        self.wait_until(started + workload.warm_up, &run, &progress).await;
        let before = self.target.figures();
        self.wait_until(started + run.schedule.length(), &run, &progress).await;
        run.schedule.end_now();
        let after = self.target.figures();
        progress.finish();
        let joined = tokio::time::timeout(DRAIN_TIMEOUT, join(&mut callers)).await;
        self.lanes = joined.map_err(|_| {
            CommandError::failed(format!("calls were not answered within {DRAIN_TIMEOUT:?}"))
        })??;
        let (counts, not_started) = run.take()?;
        self.accepted += counts.tally.accepted;
        Ok(Outcome::new(Measured {
            workload,
            records_per_second,
            interrupted: *self.interrupted.borrow(),
            seconds: run.measured().as_secs_f64(),
            counts,
            not_started,
            unanswered: self.lanes.iter().map(Lane::unanswered_records).sum(),
            server: before.zip(after),
            first: self.first,
            last: self.target.figures(),
            stored: self.accepted,
        }))
    }

    /// Sets all callers to work.
    fn start(&mut self, run: &Arc<Run>) -> CommandResult<JoinSet<Vec<Lane>>> {
        let workload = self.workload;
        let options = self.target.options();
        let connections = self.connections.len().max(1);
        let mut callers = JoinSet::new();
        let rest = match workload.mode {
            Mode::Rest => {
                let client = HttpsClient::new(options.place.ca.as_deref());
                let client = client.context("cannot set up HTTP")?;
                let uri = format!("{}{}", options.place.server, rest::PATH);
                let uri: Uri = uri.parse().context("the address of the server is no URL")?;
                Some((client, uri, options.credentials()?.headers()))
            }
            Mode::Unary | Mode::Stream => None,
        };
        for (at, lane) in std::mem::take(&mut self.lanes).into_iter().enumerate() {
            let at = at % connections;
            let caller = Caller { run: Arc::clone(run), connection: at, shape: workload.shape };
            let Some(connection) = self.connections.get(at).cloned() else { continue };
            let plan = Arc::clone(&self.plan);
            match (&rest, workload.mode) {
                (Some((client, uri, headers)), _) => {
                    let transport =
                        RestCalls::new(client.clone(), uri.clone(), headers.clone(), plan);
                    callers.spawn(async { vec![caller.call_in_turn(transport, lane).await] });
                }
                (None, Mode::Stream) => {
                    let in_flight_max = workload.callers as usize;
                    let lanes = vec![lane];
                    callers.spawn(StreamCaller { caller, connection, in_flight_max, lanes }.run());
                }
                (None, Mode::Unary | Mode::Rest) => {
                    let transport = UnaryCalls::new(connection, plan);
                    callers.spawn(async { vec![caller.call_in_turn(transport, lane).await] });
                }
            }
        }
        Ok(callers)
    }

    /// Or until the user has had enough.
    async fn wait_until(&self, until: Instant, run: &Run, progress: &Progress) {
        let mut interrupted = self.interrupted.clone();
        tokio::select! {
            () = tokio::time::sleep_until(until.into()) => {}
            _ = interrupted.wait_for(|interrupted| *interrupted) => {}
            () = progress.follow(run) => {}
        }
    }

    /// Ends the server if it was started for this.
    pub(super) async fn close(self) -> CommandResult {
        drop(self.connections);
        match self.target {
            Target::Running(_) => Ok(()),
            Target::Started { process, .. } => process.stop().await,
        }
    }
}

/// Fails if the server did not do with the records what it had to.
pub(super) fn fail_if_wrong(tally: &Tally) -> CommandResult {
    if tally.wrong == 0 {
        return Ok(());
    }
    Err(CommandError::failed(format!(
        "{} verdicts are not the expected ones:\n  {}",
        tally.wrong,
        tally.wrong_listed.join("\n  ")
    )))
}

/// Deals lanes out, one by one.
fn dealt(lanes: Vec<Lane>, hands: usize) -> Vec<Vec<Lane>> {
    let mut dealt: Vec<Vec<Lane>> = (0..hands).map(|_| Vec::new()).collect();
    for (at, lane) in lanes.into_iter().enumerate() {
        if let Some(hand) = dealt.get_mut(at % hands.max(1)) {
            hand.push(lane);
        }
    }
    dealt.retain(|hand| !hand.is_empty());
    dealt
}

/// The lanes of all callers, in any order: each caller begins anew with any of them.
async fn join(callers: &mut JoinSet<Vec<Lane>>) -> CommandResult<Vec<Lane>> {
    let mut lanes = Vec::new();
    while let Some(joined) = callers.join_next().await {
        lanes.extend(joined.context("a caller failed")?);
    }
    Ok(lanes)
}
