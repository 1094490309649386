//! One load: who is called, with what, and what came of it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use http::Uri;
use tokio::{sync::watch, task::JoinSet};

use super::{
    callers::{
        Caller,
        postgres::PostgresCalls,
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
    target::{Connections, Target},
    verdict::Tally,
    workload::{Lane, MessageShape, Plan, PlanSize},
};
use crate::{
    cli::{CommandError, CommandResult, connection::Connection, terminal::tell},
    domain::limits::STREAM_RECORDS_MAX,
    https::HttpsClient,
    service::clock::{Clock as _, SystemClock},
};

/// After the end of a run, for calls under way.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);
/// What is stored before a run goes over so many streams, with so many messages under way on each.
const FILL_CONNECTIONS_MAX: usize = 4;
const FILL_IN_FLIGHT: usize = 8;

/// Becomes true when the user has had enough.
pub(super) type Interrupted = watch::Receiver<bool>;

/// A server, and callers that know what they have sent it.
#[derive(Debug)]
pub(super) struct Load {
    workload: Workload,
    target: Target,
    connections: Connections,
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
        let size = PlanSize {
            seed: workload.seed,
            version: workload.uuid,
            lanes: workload.lanes(),
            products: workload.products,
            skus: workload.skus,
            usage_spread: workload.usage_spread,
        };
        let plan = Arc::new(Plan::new(size, SystemClock.now()));
        let connections = target.connect(&workload, &plan).await?;
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

    /// Stores records in large messages, evenly from all lanes.
    async fn fill(&mut self) -> CommandResult {
        let messages = self.workload.stored.div_ceil(STREAM_RECORDS_MAX as u64);
        let run = Run::new(Schedule::counted(messages), Duration::ZERO, self.connections.len())?;
        let shape = MessageShape { records: STREAM_RECORDS_MAX, duplicates_percent: 0 };
        let lanes = std::mem::take(&mut self.lanes);
        let mut callers = match &self.connections {
            Connections::Server(connections) => start_filling(connections, lanes, &run, shape),
            Connections::Postgres(calls) => start_inserting(calls, lanes, &run, shape),
        };
        let progress = Progress::filling(messages * STREAM_RECORDS_MAX as u64);
        tokio::select! {
            joined = join(&mut callers) => self.lanes = joined?,
            () = progress.follow(&run) => {}
        }
        progress.finish();
        let (counts, _) = run.take()?;
        self.accepted += counts.tally.accepted;
        if let Some((code, (_, message))) = counts.tally.failures.first_key_value() {
            return Err(CommandError::failed(format!(
                "the records of --stored could not all be stored: {code}: {message}"
            )));
        }
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
        let lanes = std::mem::take(&mut self.lanes);
        let mut callers = match &self.connections {
            Connections::Server(connections) => self.start_calling(connections, lanes, &run)?,
            Connections::Postgres(calls) => start_inserting(calls, lanes, &run, workload.shape),
        };
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

    /// Sets all callers of a server of our own kind to work.
    fn start_calling(
        &self,
        connections: &[Connection],
        lanes: Vec<Lane>,
        run: &Arc<Run>,
    ) -> CommandResult<JoinSet<Vec<Lane>>> {
        let workload = self.workload;
        let mut callers = JoinSet::new();
        let rest = match self.target.options() {
            Some(options) if workload.mode == Mode::Rest => {
                let client = HttpsClient::new(options.place.ca.as_deref());
                let client = client.context("cannot set up HTTP")?;
                let uri = format!("{}{}", options.place.server, rest::PATH);
                let uri: Uri = uri.parse().context("the address of the server is no URL")?;
                Some((client, uri, options.credentials()?.headers()))
            }
            _ => None,
        };
        for (at, lane) in lanes.into_iter().enumerate() {
            let at = at % connections.len().max(1);
            let caller = Caller { run: Arc::clone(run), connection: at, shape: workload.shape };
            let Some(connection) = connections.get(at).cloned() else { continue };
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
                (None, _) => {
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
        self.target.close().await
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

/// Sets streams to work that store as fast as the server takes.
fn start_filling(
    connections: &[Connection],
    lanes: Vec<Lane>,
    run: &Arc<Run>,
    shape: MessageShape,
) -> JoinSet<Vec<Lane>> {
    let mut callers = JoinSet::new();
    let streams = connections.len().min(FILL_CONNECTIONS_MAX);
    for (at, (lanes, connection)) in dealt(lanes, streams).into_iter().zip(connections).enumerate()
    {
        let caller = Caller { run: Arc::clone(run), connection: at, shape };
        let connection = connection.clone();
        let caller = StreamCaller { caller, connection, in_flight_max: FILL_IN_FLIGHT, lanes };
        callers.spawn(caller.run());
    }
    callers
}

/// Sets a caller to work on each connection to PostgreSQL.
fn start_inserting(
    calls: &[PostgresCalls],
    lanes: Vec<Lane>,
    run: &Arc<Run>,
    shape: MessageShape,
) -> JoinSet<Vec<Lane>> {
    let mut callers = JoinSet::new();
    for (at, (lane, transport)) in lanes.into_iter().zip(calls).enumerate() {
        let caller = Caller { run: Arc::clone(run), connection: at, shape };
        let transport = transport.clone();
        callers.spawn(async { vec![caller.call_in_turn(transport, lane).await] });
    }
    callers
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
