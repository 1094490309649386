//! Writing product usage.

mod rules;

use std::{str::FromStr as _, sync::Arc};

use jiff::Timestamp;
use uuid::Uuid;

use super::{
    ServiceError,
    acceptance::AcceptanceWindow,
    catalogs::Catalogs,
    clock::Clock,
    committer::{Admission, Committer, Queued},
};
use crate::{
    domain::{
        caller::Caller,
        usage::{Submission, UsageRecord},
        verdict::{Decision, Original, RejectionReason},
    },
    store::{StoreError, UsageStore},
};

/// What a report is of, as the caller names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReportedTarget {
    /// A product id.
    Product(String),
    /// A product instance id.
    Instance(String),
}

/// A record as the caller sent it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportedRecord {
    /// Should be a UUID.
    pub uuid: String,
    /// Should be a SKU of the target's product.
    pub sku_id: String,
    /// Should be greater than zero.
    pub quantity: i64,
    /// `None` if missing or impossible.
    pub timestamp: Option<Timestamp>,
}

/// Records of one target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageReport {
    /// What they are of.
    pub target: ReportedTarget,
    /// The records.
    pub records: Vec<ReportedRecord>,
    /// Only judge them.
    pub validate_only: bool,
}

/// What became of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordVerdict {
    /// It is stored.
    Accepted,
    /// It is not.
    Rejected {
        /// The first reason that applies.
        reason: RejectionReason,
        /// Of a duplicate: it says something else than the record first accepted.
        conflict: bool,
    },
}

impl RecordVerdict {
    fn rejected(reason: RejectionReason) -> Self {
        Self::Rejected { reason, conflict: false }
    }
}

/// What became of the records of a report, in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// Their uuids, as the caller spelled them.
    pub uuids: Vec<String>,
    /// What became of each.
    pub verdicts: Vec<RecordVerdict>,
}

/// A report that has its place in the queue. Dropping it does not withdraw it.
#[derive(Debug)]
pub struct QueuedReport {
    uuids: Vec<String>,
    /// Those on records that were submitted say accepted until it is known better.
    verdicts: Vec<RecordVerdict>,
    /// `None` if nothing was left for the store to decide.
    submitted: Option<Submitted>,
}

#[derive(Debug)]
struct Submitted {
    /// Where each record stands in the report.
    places: Vec<usize>,
    submission: Arc<Submission>,
    queued: Queued,
}

/// The use case.
#[derive(Debug)]
pub struct ProductUsage {
    committer: Arc<Committer>,
    catalogs: Arc<Catalogs>,
    clock: Arc<dyn Clock>,
    window: AcceptanceWindow,
}

impl ProductUsage {
    /// Puts the use case together.
    #[must_use]
    pub fn new(
        committer: Arc<Committer>,
        catalogs: Arc<Catalogs>,
        clock: Arc<dyn Clock>,
        window: AcceptanceWindow,
    ) -> Self {
        Self { committer, catalogs, clock, window }
    }

    /// Judges and stores a report. What is accepted is durable and visible on return.
    ///
    /// # Errors
    /// What [`Self::queue`] and [`Self::finish`] say.
    pub async fn write(
        &self,
        caller: &Caller,
        report: UsageReport,
        records_max: usize,
        admission: Admission,
    ) -> Result<Judged, ServiceError> {
        let queued = self.queue(caller, report, records_max, admission).await?;
        self.finish(queued).await
    }

    /// Judges a report and queues it: on return it is decided before every one that is queued later.
    ///
    /// # Errors
    /// [`ServiceError::InvalidArgument`] if the report as a whole breaks rules: `records_max` records,
    /// lengths, a missing target. Otherwise what [`Committer::queue`] says.
    pub async fn queue(
        &self,
        caller: &Caller,
        report: UsageReport,
        records_max: usize,
        admission: Admission,
    ) -> Result<QueuedReport, ServiceError> {
        rules::check_report(&report, records_max)?;
        let catalog = self.catalogs.of(&caller.organization);
        let target = rules::find_target(&catalog, &report.target);
        let now = self.clock.now();
        // The records that only the store can still refuse, and where each stands in the report.
        let mut places = Vec::with_capacity(report.records.len());
        let mut records = Vec::with_capacity(report.records.len());
        let mut verdicts = Vec::with_capacity(report.records.len());
        for (place, record) in report.records.iter().enumerate() {
            match rules::judge(record, target.as_ref(), now, &self.window) {
                Ok(record) => {
                    places.push(place);
                    records.push(record);
                    verdicts.push(RecordVerdict::Accepted);
                }
                Err(reason) => verdicts.push(RecordVerdict::rejected(reason)),
            }
        }
        let target = target.map(|target| target.usage).filter(|_| !records.is_empty());
        let validate_only = report.validate_only;
        let uuids = report.records.into_iter().map(|record| record.uuid).collect();
        let Some(target) = target else {
            return Ok(QueuedReport { uuids, verdicts, submitted: None });
        };
        let submission =
            Arc::new(Submission { caller: caller.clone(), target, records, validate_only });
        let queued = self.committer.queue(Arc::clone(&submission), admission).await?;
        Ok(QueuedReport {
            uuids,
            verdicts,
            submitted: Some(Submitted { places, submission, queued }),
        })
    }

    /// Waits for the verdicts on a report. What is accepted is durable and visible on return.
    ///
    /// # Errors
    /// [`ServiceError::Unavailable`] if the store does not take writes, or cannot be read to compare
    /// duplicates with.
    pub async fn finish(&self, queued: QueuedReport) -> Result<Judged, ServiceError> {
        let QueuedReport { uuids, mut verdicts, submitted } = queued;
        let Some(Submitted { places, submission, queued }) = submitted else {
            return Ok(Judged { uuids, verdicts });
        };
        let decisions = queued.decided().await?;
        // Most reports have no duplicates, and then every verdict stands.
        if decisions.iter().any(|decision| *decision != Decision::Accepted) {
            let conflicts = self.conflicts(submission, decisions.clone()).await?;
            for ((place, decision), conflict) in places.into_iter().zip(decisions).zip(conflicts) {
                if let (Some(slot), Decision::Duplicate(_)) = (verdicts.get_mut(place), decision) {
                    *slot =
                        RecordVerdict::Rejected { reason: RejectionReason::Duplicate, conflict };
                }
            }
        }
        Ok(Judged { uuids, verdicts })
    }

    /// For every record: whether it is a duplicate that differs from its original.
    async fn conflicts(
        &self,
        submission: Arc<Submission>,
        decisions: Vec<Decision>,
    ) -> Result<Vec<bool>, ServiceError> {
        let caller = submission.caller.clone();
        let compare = move |store: &dyn UsageStore| {
            let Submission { caller, target, records, .. } = &*submission;
            let differs = |record: &UsageRecord, decision: &Decision| match decision {
                Decision::Accepted => Ok(false),
                Decision::Duplicate(Original::InSubmission(first)) => {
                    Ok(records.get(*first) != Some(record))
                }
                Decision::Duplicate(Original::Stored(sequence)) => {
                    match store.original(&caller.organization, record.uuid, *sequence) {
                        Ok(original) => Ok(!original.says_the_same(target, record)),
                        // What it said is not known any more.
                        Err(StoreError::Dropped(_)) => Ok(false),
                        Err(error) => Err(error),
                    }
                }
            };
            records
                .iter()
                .zip(&decisions)
                .map(|(record, decision)| differs(record, decision))
                .collect()
        };
        self.committer.read_for_write(&caller, compare).await
    }
}

/// Reads a UUID in its hyphenated form, in any case: the only spelling the contract knows.
pub(super) fn parse_uuid(text: &str) -> Option<Uuid> {
    (text.len() == uuid::fmt::Hyphenated::LENGTH).then(|| Uuid::from_str(text).ok()).flatten()
}

#[cfg(test)]
mod tests;
