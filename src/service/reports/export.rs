//! All records, in the order of arrival, as a stream of pages.

use std::sync::Arc;

use super::{
    RawFilter, Reports,
    arguments::{optional_interval, usage_filter},
};
use crate::{
    domain::{
        caller::Caller,
        limits::PAGE_SIZE_MAX,
        record_scan::{RecordPosition, RecordScan},
        usage::{LogSequence, StoredRecord},
    },
    service::{ServiceError, committer::Admission},
};

/// Where the export of everything begins, whatever is no longer kept.
const BEGINNING: LogSequence = LogSequence(1);

/// Asks for an export.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExportQuery {
    /// Should be an ISO 8601 interval of usage time; empty for all.
    pub usage_interval: String,
    /// Should be an ISO 8601 interval of stored time; empty for all.
    pub stored_interval: String,
    /// Which records.
    pub filter: RawFilter,
    /// Only records after this sequence.
    pub after: LogSequence,
}

/// A record of an export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportedRecord {
    /// The record.
    pub record: StoredRecord,
    /// Whether it is the last one of its sequence that is wanted: an export may be taken up again after it.
    pub completes_sequence: bool,
}

/// An export under way.
#[derive(Debug)]
pub struct Export {
    reports: Arc<Reports>,
    caller: Caller,
    scan: RecordScan,
    through: LogSequence,
    // A record of which it is not known yet whether more of its sequence follow.
    held: Option<StoredRecord>,
    ended: bool,
}

impl Reports {
    /// Begins to export what is stored now.
    ///
    /// # Errors
    /// [`ServiceError::InvalidArgument`] with every broken rule.
    pub fn export(
        self: &Arc<Self>,
        caller: &Caller,
        query: &ExportQuery,
    ) -> Result<Export, ServiceError> {
        let mut violations = Vec::new();
        let usage_interval =
            optional_interval("usage_interval", &query.usage_interval, &mut violations);
        let stored_interval =
            optional_interval("stored_interval", &query.stored_interval, &mut violations);
        let filter = usage_filter(&query.filter, "", &mut violations);
        if !violations.is_empty() {
            return Err(ServiceError::InvalidArgument(violations));
        }
        let from =
            RecordPosition { sequence: LogSequence(query.after.0.saturating_add(1)), index: 0 };
        let scan = RecordScan {
            organization: caller.organization.clone(),
            filter,
            usage_interval,
            stored_interval,
            from,
            records_max: PAGE_SIZE_MAX,
        };
        Ok(Export {
            reports: Arc::clone(self),
            caller: caller.clone(),
            scan,
            through: self.store.statistics().last_sequence,
            held: None,
            ended: false,
        })
    }
}

impl Export {
    /// The last sequence that is exported: what arrives later is not.
    #[must_use]
    pub fn through(&self) -> LogSequence {
        self.through
    }

    /// Some more records, perhaps none though others follow; `None` at the end.
    ///
    /// # Errors
    /// [`ServiceError`] if the store cannot be read.
    pub async fn next(&mut self) -> Result<Option<Vec<ExportedRecord>>, ServiceError> {
        if self.ended {
            return Ok(None);
        }
        let scan = self.scan.clone();
        let committer = &self.reports.committer;
        // An export that is under way is slowed down rather than broken off.
        let read = committer.read(&self.caller, Admission::Wait, move |store| store.scan(&scan));
        let page = read.await?;
        let from = self.scan.from.sequence;
        if let Some(dropped) = page.dropped
            && from > BEGINNING
            && from <= dropped.sequence
        {
            return Err(ServiceError::FailedPrecondition(format!(
                "records from sequence {} to {} are no longer kept, so the export cannot go on; one from the beginning has \
                 what is kept",
                from.0, dropped.sequence.0
            )));
        }
        let next = page.next.filter(|next| next.sequence <= self.through);
        let mut records: Vec<StoredRecord> = self.held.take().into_iter().collect();
        records.extend(page.records.into_iter().filter(|found| found.sequence <= self.through));
        match next {
            None => self.ended = true,
            Some(next) => {
                self.scan.from = next;
                if records.last().is_some_and(|last| last.sequence == next.sequence) {
                    self.held = records.pop();
                }
            }
        }
        let follower = self.held.as_ref().map(|held| held.sequence);
        let mut following: Vec<Option<LogSequence>> =
            records.iter().skip(1).map(|record| Some(record.sequence)).collect();
        following.push(follower);
        let exported = records.into_iter().zip(following).map(|(record, following)| {
            let completes_sequence = following != Some(record.sequence);
            ExportedRecord { record, completes_sequence }
        });
        Ok(Some(exported.collect()))
    }
}
