//! Judging a write against the catalog.

use std::{hint::black_box, sync::Arc};

use meterd::{
    domain::caller::Caller,
    service::{
        acceptance::AcceptanceWindow,
        audit::AuditTrail,
        catalogs::Catalogs,
        clock::ManualClock,
        committer::{Admission, Committer, CommitterLimits},
        product_usage::{ProductUsage, ReportedRecord, ReportedTarget, UsageReport},
    },
    store::{UsageStore, memory::MemoryStore},
};
use tokio::runtime::Runtime;

use super::{
    Work,
    inputs::{Numbers, RECORDS, now},
    runtime,
};
use crate::support;

/// A write of 25 good records, only to be judged: from the report as the wire has it to the verdicts. The store is the
/// one in memory, which costs next to nothing; its part and the committer's are on another thread.
pub(super) fn judge() -> Box<dyn Work> {
    let runtime = runtime();
    let store: Arc<dyn UsageStore> = Arc::new(MemoryStore::new());
    let clock = Arc::new(ManualClock::new(now()));
    let committer =
        Committer::start(Arc::clone(&store), clock.clone(), CommitterLimits::default()).unwrap();
    let audit = Arc::new(AuditTrail::new(Arc::clone(&store), clock.clone()));
    let catalogs = Arc::new(Catalogs::load(store, audit).unwrap());
    runtime.block_on(support::put_catalog(&catalogs));
    let mut numbers = Numbers::from(1);
    let record = |_| ReportedRecord {
        uuid: numbers.uuid().to_string(),
        sku_id: "gb-hour".into(),
        quantity: 42,
        timestamp: Some(now()),
    };
    let report = UsageReport {
        target: ReportedTarget::Product("storage".into()),
        records: (0..RECORDS).map(record).collect(),
        validate_only: true,
    };
    let usage = ProductUsage::new(committer, catalogs, clock, AcceptanceWindow::default());
    Box::new(Judging { runtime, usage, caller: support::caller(), report, next: None })
}

struct Judging {
    runtime: Runtime,
    usage: ProductUsage,
    caller: Caller,
    report: UsageReport,
    next: Option<UsageReport>,
}

impl Work for Judging {
    fn prepare(&mut self) {
        self.next = Some(self.report.clone());
    }

    fn run(&mut self) {
        let report = self.next.take().unwrap();
        let written = self.usage.write(&self.caller, report, RECORDS, Admission::Refuse);
        black_box(self.runtime.block_on(written).unwrap());
    }
}
