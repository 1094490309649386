//! All records, in the order of arrival, as a stream of pages.

use std::sync::Arc;

use uuid::Uuid;

use super::{
    RawFilter, Reports,
    arguments::{optional_interval, usage_filter},
    records::NOT_A_UUID,
};
use crate::{
    domain::{
        caller::Caller,
        limits::PAGE_SIZE_MAX,
        record_scan::{RecordPosition, RecordScan},
        usage::{LogSequence, StoredRecord},
    },
    service::{
        FieldViolation, ServiceError, as_of, committer::Admission, product_usage::parse_uuid,
    },
    store::{StoreError, UsageStore},
};

/// Asks for an export.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExportQuery {
    /// Should be an ISO 8601 interval of usage time; empty for all.
    pub usage_interval: String,
    /// Should be an ISO 8601 interval of stored time; empty for all.
    pub stored_interval: String,
    /// Which records.
    pub filter: RawFilter,
    /// Should be the uuid of a record: only those that arrived after it. Empty for all that are kept.
    pub after_uuid: String,
    /// Should be the moment of an answer: only what that one includes. Empty for all that is stored now.
    pub through: String,
}

/// An export under way.
#[derive(Debug)]
pub struct Export {
    reports: Arc<Reports>,
    caller: Caller,
    scan: RecordScan,
    through: LogSequence,
    as_of: String,
    ended: bool,
}

impl Reports {
    /// Begins to export what is stored now.
    ///
    /// # Errors
    /// [`ServiceError::InvalidArgument`] with every broken rule; [`ServiceError::FailedPrecondition`] if the record to go on
    /// after is no longer kept.
    pub async fn export(
        self: &Arc<Self>,
        caller: &Caller,
        query: ExportQuery,
    ) -> Result<Export, ServiceError> {
        let mut violations = Vec::new();
        let usage_interval =
            optional_interval("usage_interval", &query.usage_interval, &mut violations);
        let stored_interval =
            optional_interval("stored_interval", &query.stored_interval, &mut violations);
        let filter = usage_filter(&query.filter, "", &mut violations);
        let after = after_uuid(&query.after_uuid, &mut violations);
        let through = self.through(caller, &query.through, &mut violations)?;
        if !violations.is_empty() {
            return Err(ServiceError::InvalidArgument(violations));
        }
        let from = match after {
            Some(uuid) => self.position_after(caller, uuid).await?,
            None => RecordPosition::START,
        };
        let scan = RecordScan {
            organization: caller.organization.clone(),
            filter,
            usage_interval,
            stored_interval,
            from,
            records_max: PAGE_SIZE_MAX,
        };
        let as_of = as_of::text(&*self.store, &caller.organization, through)?;
        Ok(Export {
            reports: Arc::clone(self),
            caller: caller.clone(),
            scan,
            through,
            as_of,
            ended: false,
        })
    }

    /// The last sequence to export.
    fn through(
        &self,
        caller: &Caller,
        text: &str,
        violations: &mut Vec<FieldViolation>,
    ) -> Result<LogSequence, ServiceError> {
        let stored = self.store.statistics().last_sequence;
        if text.is_empty() {
            return Ok(stored);
        }
        match as_of::parse(&*self.store, &caller.organization, "through", text) {
            Ok(wanted) => Ok(wanted.min(stored)),
            Err(ServiceError::InvalidArgument(more)) => {
                violations.extend(more);
                Ok(stored)
            }
            Err(error) => Err(error),
        }
    }

    /// The place behind the record of a uuid.
    async fn position_after(
        &self,
        caller: &Caller,
        uuid: Uuid,
    ) -> Result<RecordPosition, ServiceError> {
        let organization = caller.organization.clone();
        let read = move |store: &dyn UsageStore| Ok(store.position(&organization, uuid));
        match self.committer.read(caller, Admission::Refuse, read).await? {
            Ok(Some(RecordPosition { sequence, index })) => {
                Ok(RecordPosition { sequence, index: index.saturating_add(1) })
            }
            Ok(None) => Err(ServiceError::invalid(
                "after_uuid",
                format!(
                    "there is no usage record {uuid}; use the uuid of the last record that was exported"
                ),
            )),
            Err(StoreError::Dropped(_)) => Err(ServiceError::FailedPrecondition(format!(
                "the usage record {uuid} is no longer kept, and perhaps later ones neither, so the export cannot go on after \
                 it; one from the beginning has what is kept"
            ))),
            Err(error) => Err(error.into()),
        }
    }
}

fn after_uuid(text: &str, violations: &mut Vec<FieldViolation>) -> Option<Uuid> {
    if text.is_empty() {
        return None;
    }
    let parsed = parse_uuid(text);
    if parsed.is_none() {
        violations.push(FieldViolation::new("after_uuid", NOT_A_UUID));
    }
    parsed
}

impl Export {
    /// The moment up to which records are exported, as a text for [`ExportQuery::through`].
    #[must_use]
    pub fn as_of(&self) -> &str {
        &self.as_of
    }

    /// Some more records, perhaps none though others follow; `None` at the end.
    ///
    /// # Errors
    /// [`ServiceError`] if the store cannot be read, or no longer keeps what comes next.
    pub async fn next(&mut self) -> Result<Option<Vec<StoredRecord>>, ServiceError> {
        if self.ended {
            return Ok(None);
        }
        let scan = self.scan.clone();
        let committer = &self.reports.committer;
        // An export that is under way is slowed down rather than broken off.
        let read = committer.read(&self.caller, Admission::Wait, move |store| store.scan(&scan));
        let page = read.await?;
        let from = self.scan.from;
        if from > RecordPosition::START
            && page.dropped.is_some_and(|dropped| from.sequence <= dropped.sequence)
        {
            return Err(ServiceError::FailedPrecondition(
                "the records that come next are no longer kept, so the export cannot go on; one from the beginning has what \
                 is kept"
                    .into(),
            ));
        }
        match page.next.filter(|next| next.sequence <= self.through) {
            Some(next) => self.scan.from = next,
            None => self.ended = true,
        }
        let mut records = page.records;
        records.retain(|found| found.sequence <= self.through);
        Ok(Some(records))
    }
}
