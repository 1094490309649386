//! What can be wrong with an engine, and which invariants must notice.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use crate::cli::simulate::auditor::Invariant;

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Defect {
    /// One record is accepted and not kept.
    LosesRecord,
    /// One record is kept twice.
    CopiesRecord,
    /// Duplicates are called accepted.
    AcceptsDuplicates,
    /// A write that fails is acknowledged.
    AcknowledgesFailedWrite,
    /// Stored times are a second ahead.
    StoresWrongTimes,
    /// No record can be looked up.
    FindsNothing,
    /// A record that is not there is looked for in all organizations.
    ShowsOthersRecords,
    /// Totals stand a quarter of an hour too late.
    ShiftsTotals,
    /// Every total has one unit too much.
    MiscountsTotals,
    /// The first total of API usage is left out.
    LosesApiTotal,
    /// The first total of assets is left out.
    LosesAssetTotal,
    /// A SKU is gone after a restart.
    ForgetsSku,
}

impl Defect {
    pub(super) const ALL: [Self; 12] = [
        Self::LosesRecord,
        Self::CopiesRecord,
        Self::AcceptsDuplicates,
        Self::AcknowledgesFailedWrite,
        Self::StoresWrongTimes,
        Self::FindsNothing,
        Self::ShowsOthersRecords,
        Self::ShiftsTotals,
        Self::MiscountsTotals,
        Self::LosesApiTotal,
        Self::LosesAssetTotal,
        Self::ForgetsSku,
    ];

    /// The invariants that it violates for certain.
    pub(super) fn violates(self) -> &'static [Invariant] {
        use Invariant::{
            Apart, ApiUsage, Assets, CountedOnce, Days, Durable, Exact, FailsClosed, Hours,
            Invoices, Listings, LogIsTruth, LogTime, Months, Together, Verdicts, Visible,
        };
        match self {
            Self::LosesRecord => &[Durable, Together, Exact, Days, Months, Listings],
            Self::CopiesRecord => &[Together, Exact, Days, Listings, LogIsTruth],
            Self::AcceptsDuplicates => &[CountedOnce],
            Self::AcknowledgesFailedWrite => &[FailsClosed],
            Self::StoresWrongTimes => &[LogTime],
            Self::FindsNothing => &[Durable, Visible, FailsClosed],
            Self::ShowsOthersRecords => &[Apart],
            Self::ShiftsTotals => &[Days, Hours],
            Self::MiscountsTotals => &[Exact, Days, Months, Invoices],
            Self::LosesApiTotal => &[ApiUsage],
            Self::LosesAssetTotal => &[Assets],
            Self::ForgetsSku => &[Verdicts],
        }
    }
}

/// What stays across restarts.
#[derive(Debug)]
pub(super) struct State {
    defect: Defect,
    has_happened: AtomicBool,
}

impl State {
    pub(super) fn new(defect: Defect) -> Arc<Self> {
        Arc::new(Self { defect, has_happened: AtomicBool::new(false) })
    }

    /// Whether this is what is wrong.
    pub(super) fn is(&self, defect: Defect) -> bool {
        self.defect == defect
    }

    /// Whether it is to happen now, and never again.
    pub(super) fn once(&self, defect: Defect) -> bool {
        self.is(defect) && !self.has_happened.swap(true, Ordering::SeqCst)
    }
}
