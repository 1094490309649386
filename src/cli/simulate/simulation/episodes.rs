//! What goes wrong with the engine: restarts, crashes, and a disk that is full.

use anyhow::Context as _;
use jiff::SignedDuration;

use super::Simulation;
use crate::cli::simulate::{
    auditor::Invariant,
    clients::{Call, Fate, Moment},
    plan::{Strike, StruckCall},
    world::Ending,
};

/// How long it takes until somebody has made room on the disk, and until a killed process is back.
const OUTAGE: SignedDuration = SignedDuration::from_mins(4);

/// Of so many crashes, verify looks at one: it reads the whole log, and does so at the end anyway.
const VERIFIED_EVERY: u64 = 3;

/// A write that failed.
enum Struck {
    /// The client does not know whether it was kept.
    Call(Box<Call>),
    /// A change of the catalog, which was not made.
    Catalog,
}

impl Simulation {
    /// Ends the engine and starts it again. What was acknowledged is there, and verify finds nothing.
    pub(super) fn restart(&mut self, ending: Ending) -> anyhow::Result<()> {
        self.world.end(ending)?;
        match ending {
            Ending::Clean => self.figures.count("server", "restarts", 1),
            Ending::Abandoned => {
                self.figures.count("server", "crashes", 1);
                if self.crashes.is_multiple_of(VERIFIED_EVERY) {
                    self.verify()?;
                }
                self.crashes += 1;
            }
        }
        self.world.start()?;
        // While something is in doubt it may be there, and is not acknowledged.
        if self.model.doubts() == 0 {
            self.survived()?;
        }
        Ok(())
    }

    fn survived(&mut self) -> anyhow::Result<()> {
        let (auditor, books) = self.audit();
        auditor.survived(books)
    }

    /// The process is killed while it writes; whoever had called calls again.
    pub(super) fn crash_in_a_write(&mut self, strike: Strike, at: Moment) -> anyhow::Result<()> {
        let struck = self.strike(strike, at)?;
        self.pass_time(at);
        self.restart(Ending::Abandoned)?;
        self.settle(struck, at)
    }

    /// The disk is full: one write fails, all others are refused, reads go on. Then there is room, the engine is started
    /// again, and everybody calls again.
    pub(super) fn disk_full(
        &mut self,
        strike: Strike,
        at: Moment,
        calls: Vec<Call>,
    ) -> anyhow::Result<()> {
        self.figures.count("server", "full disks", 1);
        let struck = self.strike(strike, at)?;
        let mut again = Vec::new();
        for call in calls {
            // Everybody waits: what was refused must be known to be so.
            let call = Call { fate: Fate::Answered, ..call };
            let answer = self.world.send(&call)?;
            if self.auditor.refused(&call, &answer) {
                again.push(call);
            } else {
                let now = self.world.now();
                let expected = self.model.decide(&call, now).context("nobody's call")?;
                self.auditor.answer(&call, &expected, &answer, &mut self.figures);
            }
        }
        let (auditor, books) = self.audit();
        auditor.reads_go_on(books)?;
        self.pass_time(at);
        self.restart(Ending::Clean)?;
        self.settle(struck, at)?;
        self.figures.count("clients", "calls refused and made again", again.len());
        self.make(&again)
    }

    /// Lets a write fail.
    fn strike(&mut self, strike: Strike, at: Moment) -> anyhow::Result<Struck> {
        let organization = self.plan.organizations.first().context("no organization")?.clone();
        let call = match strike.call {
            StruckCall::Product => match self.clients.sure_product_call(at, &self.model) {
                Some(call) => Some(call),
                // Nothing is sold at the moment.
                None => Some(self.clients.sure_api_call(&organization, at)?),
            },
            StruckCall::ApiUsage => Some(self.clients.sure_api_call(&organization, at)?),
            StruckCall::Batch => Some(self.clients.sure_batch_call(&organization, at)?),
            StruckCall::Catalog => None,
        };
        self.figures.count("server", "failed writes", 1);
        self.world.plant(strike.point);
        let struck = match call {
            Some(call) => {
                let answer = self.world.send(&call)?;
                self.auditor.refused(&call, &answer);
                self.model.doubt(&call, self.world.now());
                Struck::Call(Box::new(call))
            }
            None => {
                let changed = self.rename_asset(&organization, format!("Round {}", at.round));
                self.auditor.check(Invariant::FailsClosed, changed.is_err(), || {
                    "a change of the catalog was made on a full disk".into()
                });
                Struck::Catalog
            }
        };
        anyhow::ensure!(self.world.has_struck(), "the planted fault did not strike: {strike:?}");
        Ok(struck)
    }

    /// Whoever had called calls again: it counts once, whether it was kept or not.
    fn settle(&mut self, struck: Struck, at: Moment) -> anyhow::Result<()> {
        let organization = self.plan.organizations.first().context("no organization")?.clone();
        self.figures.count("clients", "calls made again", 1);
        match struck {
            Struck::Call(call) => self.make(&[*call])?,
            Struck::Catalog => self.rename_asset(&organization, format!("Round {}", at.round))?,
        }
        // Something that is surely written: from here on the log's last time is known again.
        let now = Moment { server: self.world.now(), ..at };
        let call = self.clients.sure_api_call(&organization, now)?;
        self.make(&[call])?;
        self.survived()
    }

    /// Some minutes go by.
    fn pass_time(&mut self, at: Moment) {
        self.set_clock(at.truth.saturating_add(OUTAGE).unwrap_or(at.truth));
    }
}
