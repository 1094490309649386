//! A client that keeps what it has to report somewhere safe, and sends it until it is answered, through crashes of its
//! own as well.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

use futures_util::future::{join, join_all};
use tonic::transport::Channel;
use uuid::Uuid;

use super::{
    book::Book,
    calls::{self, Failure, Verdicts},
    connections::Connections,
    ledger::Moment,
    plan::{ClientPlan, Order},
    simulation::Defect,
    stream::{self, Manner},
    usage::{Identity, Message, Report, Verdict},
    wire,
};
use crate::support::random::Random;

/// First pause after a failure; it doubles with every further one.
const PAUSE_MIN: Duration = Duration::from_millis(30);
const DOUBLINGS_MAX: u32 = 5;

/// How far a lane has come. Survives the client's process.
#[derive(Debug, Clone, Copy, Default)]
struct Progress {
    order: usize,
    /// Messages of its stream that are answered.
    messages: usize,
}

pub struct Client {
    plan: ClientPlan,
    progress: Vec<Cell<Progress>>,
    random: RefCell<Random>,
    /// Shared by all lanes until it seems to be broken.
    channel: RefCell<Option<Channel>>,
    connections: Connections,
    book: Book,
    defect: Option<Defect>,
}

impl Client {
    pub fn new(plan: ClientPlan, seed: u64, book: Book, defect: Option<Defect>) -> Rc<Self> {
        Rc::new(Self {
            progress: plan.lanes.iter().map(|_| Cell::default()).collect(),
            plan,
            random: RefCell::new(Random::new(seed)),
            channel: RefCell::new(None),
            connections: Connections::default(),
            book,
            defect,
        })
    }

    pub fn name(&self) -> &str {
        &self.plan.name
    }

    pub fn connections(&self) -> &Connections {
        &self.connections
    }

    pub fn is_done(&self) -> bool {
        let lanes = self.plan.lanes.iter().zip(&self.progress);
        lanes.into_iter().all(|(lane, progress)| progress.get().order == lane.len())
    }

    /// The process: goes on where the one before was, and stays.
    pub async fn run(self: Rc<Self>) -> turmoil::Result {
        let _connections = self.connections.closed_by_system();
        self.report_all().await;
        std::future::pending().await
    }

    /// Reports everything that is not yet reported.
    pub async fn report_all(&self) {
        self.hang_up();
        join_all((0..self.plan.lanes.len()).map(|lane| self.work(lane))).await;
        self.note(format_args!("has nothing more to report"));
        self.hang_up();
    }

    /// Closes its connection.
    fn hang_up(&self) {
        self.channel.borrow_mut().take();
    }

    async fn work(&self, lane: usize) {
        let (orders, progress) = (&self.plan.lanes[lane], &self.progress[lane]);
        while let Some(order) = orders.get(progress.get().order) {
            tokio::time::sleep(order.pause).await;
            self.fulfil(order, progress).await;
            progress.set(Progress { order: progress.get().order + 1, messages: 0 });
        }
    }

    /// Sends until everything is answered, or the client gives up.
    async fn fulfil(&self, order: &Order, progress: &Cell<Progress>) {
        let kind = order.report.kind();
        let mut failures = 0;
        loop {
            self.book.count(format!("attempts: {kind}"));
            let failure = match &order.report {
                Report::Stream(messages) => self.attempt_stream(messages, progress).await,
                report => self.attempt_call(report, order.is_hedged, failures).await,
            };
            match failure {
                None => return,
                Some(Failure::Wrong(text)) => {
                    self.book.violate(format!("{}, {kind}: {text}", self.name()));
                    return;
                }
                Some(Failure::Passing(status)) => {
                    self.note(format_args!("{kind} failed: {:?}", status.code()));
                    self.book.count(format!("failures: {:?}", status.code()));
                }
            }
            failures += 1;
            if order.gives_up_after.is_some_and(|attempts| failures >= attempts) {
                self.note(format_args!("gives {kind} up"));
                self.book.count(format!("given up: {kind}"));
                return;
            }
            self.book.count("retries");
            // The connection may be dead without a word, or its keep-alive may find out; either way must do.
            if self.chance(50) {
                self.hang_up();
            }
            let most = PAUSE_MIN * 2_u32.pow(u32::min(failures, DOUBLINGS_MAX));
            let pause = self.below(most.as_millis() as usize);
            tokio::time::sleep(Duration::from_millis(pause as u64)).await;
        }
    }

    async fn attempt_call(
        &self,
        report: &Report,
        is_hedged: bool,
        failures: u32,
    ) -> Option<Failure> {
        let report = match self.defect {
            Some(Defect::FreshUuids) if failures > 0 => &self.with_fresh_uuids(report),
            _ => report,
        };
        let (channel, patience) = (self.channel(), self.plan.patience);
        let begun = self.begin(&report.identities(), report.kind());
        if !is_hedged {
            let verdicts = calls::send(report, &channel, &self.connections, patience).await;
            return verdicts.map(|verdicts| self.answered(begun, &verdicts)).err();
        }
        self.book.count("hedged attempts");
        let again = self.begin(&report.identities(), report.kind());
        let other = wire::channel(&self.connections);
        let send = |channel| calls::send(report, channel, &self.connections, patience);
        let both = join(send(&channel), send(&other));
        // Boxed for their size.
        let (first, second) = Box::pin(both).await;
        let first = first.map(|verdicts| self.answered(begun, &verdicts));
        let second = second.map(|verdicts| self.answered(again, &verdicts));
        match (first, second) {
            (Err(wrong @ Failure::Wrong(_)), _) | (_, Err(wrong @ Failure::Wrong(_))) => {
                Some(wrong)
            }
            // One answer is enough.
            (Ok(()), _) | (_, Ok(())) => None,
            (Err(failure), Err(_)) => Some(failure),
        }
    }

    async fn attempt_stream(
        &self,
        messages: &[Message],
        progress: &Cell<Progress>,
    ) -> Option<Failure> {
        let Progress { order, messages: before } = progress.get();
        let rest = &messages[before..];
        let hangs_up = self.chance(15);
        let manner = Manner {
            gap: Duration::from_millis(self.below(60) as u64),
            patience: self.plan.patience,
            hangs_up_after: hangs_up.then(|| self.below(rest.len())),
        };
        let identities: Vec<Identity> = rest.iter().flat_map(Message::identities).collect();
        let begun = self.begin(&identities, "stream");
        let answered = |verdicts: Verdicts| {
            self.answered(begun, &verdicts);
            progress.set(Progress { order, messages: progress.get().messages + 1 });
        };
        let channel = self.channel();
        let sending = stream::send(rest, &channel, manner, answered);
        match Box::pin(sending).await {
            Ok(()) if progress.get().messages == messages.len() => None,
            Ok(()) => {
                self.book.count("streams left in the middle");
                Some(Failure::Passing(tonic::Status::cancelled("hung up")))
            }
            Err(failure) => Some(failure),
        }
    }

    fn begin(&self, identities: &[Identity], kind: &str) -> Moment {
        self.note(format_args!("sends {kind} of {}", identities.len()));
        self.book.open().ledger.send(identities)
    }

    fn answered(&self, begun: Moment, verdicts: &[(Identity, Verdict)]) {
        let duplicates = self.book.open().ledger.answer(begun, verdicts);
        self.note(format_args!("hears of {}, {duplicates} duplicates", verdicts.len()));
        let mut book = self.book.open();
        book.figures.add("answers", 1);
        book.figures.add("duplicates in answers", duplicates);
    }

    fn channel(&self) -> Channel {
        self.channel.borrow_mut().get_or_insert_with(|| wire::channel(&self.connections)).clone()
    }

    fn chance(&self, percent: usize) -> bool {
        self.below(100) < percent
    }

    fn below(&self, end: usize) -> usize {
        self.random.borrow_mut().below(end)
    }

    fn note(&self, what: std::fmt::Arguments<'_>) {
        self.book.note(self.name(), what);
    }

    /// The planted defect: a retry that looks like something new.
    fn with_fresh_uuids(&self, report: &Report) -> Report {
        let mut report = report.clone();
        if let Report::Write(message) | Report::Rest(message) = &mut report {
            for record in &mut message.records {
                record.uuid = Uuid::from_u64_pair(self.random.borrow_mut().next(), 1 << 63);
            }
        }
        report
    }
}
