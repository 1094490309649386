//! The records themselves.

use jiff::Timestamp;

use super::{
    RawFilter, Reports,
    arguments::{optional_interval, page_size, usage_filter},
};
use crate::{
    domain::{
        caller::Caller,
        record_scan::{RecordPosition, RecordScan},
        usage::{LogSequence, StoredRecord},
    },
    service::{
        PageRequest, ServiceError, committer::Admission, page::PageTokens,
        product_usage::parse_uuid,
    },
};

pub(super) const NOT_A_UUID: &str = "must be a UUID in its hyphenated form";

/// Asks for records.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RecordsQuery {
    /// Should be an ISO 8601 interval of usage time; empty for all.
    pub usage_interval: String,
    /// Should be an ISO 8601 interval of stored time; empty for all.
    pub stored_interval: String,
    /// Which records.
    pub filter: RawFilter,
    /// Which page.
    pub page: PageRequest,
}

/// Some records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordsPage {
    /// They, in the order of arrival.
    pub items: Vec<StoredRecord>,
    /// How to ask for the next page; empty at the end.
    pub next_page_token: String,
    /// If records are kept for a limited time: those stored before this may be gone, and none that was stored later.
    pub kept_from: Option<Timestamp>,
}

impl Reports {
    /// Lists records in the order of arrival.
    ///
    /// # Errors
    /// [`ServiceError::InvalidArgument`] with every broken rule.
    pub async fn records(
        &self,
        caller: &Caller,
        query: RecordsQuery,
    ) -> Result<RecordsPage, ServiceError> {
        let mut violations = Vec::new();
        let usage_interval =
            optional_interval("usage_interval", &query.usage_interval, &mut violations);
        let stored_interval =
            optional_interval("stored_interval", &query.stored_interval, &mut violations);
        let filter = usage_filter(&query.filter, "", &mut violations);
        let size = page_size(&query.page, &mut violations);
        if !violations.is_empty() {
            return Err(ServiceError::InvalidArgument(violations));
        }
        let described = (
            "records",
            caller.organization.as_str(),
            &query.usage_interval,
            &query.stored_interval,
            &query.filter,
        );
        let tokens = PageTokens::new(self.store.token_key(), &described)?;
        let from = tokens.decode(&query.page.page_token)?.map_or(
            RecordPosition::START,
            |(sequence, index)| RecordPosition { sequence: LogSequence(sequence), index },
        );
        let scan = RecordScan {
            organization: caller.organization.clone(),
            filter,
            usage_interval,
            stored_interval,
            from,
            records_max: size,
        };
        let page =
            self.committer.read(caller, Admission::Refuse, move |store| store.scan(&scan)).await?;
        let next_page_token = match page.next {
            Some(next) => tokens.encode(&(next.sequence.0, next.index))?,
            None => String::new(),
        };
        Ok(RecordsPage { items: page.records, next_page_token, kept_from: page.kept_from })
    }

    /// The record accepted under a uuid.
    ///
    /// # Errors
    /// [`ServiceError::InvalidArgument`] if the text is no UUID, [`ServiceError::NotFound`],
    /// [`ServiceError::NoLongerKept`].
    pub async fn record(&self, caller: &Caller, uuid: &str) -> Result<StoredRecord, ServiceError> {
        let parsed = parse_uuid(uuid).ok_or_else(|| ServiceError::invalid("uuid", NOT_A_UUID))?;
        let organization = caller.organization.clone();
        let found = self
            .committer
            .read(caller, Admission::Refuse, move |store| Ok(store.find(&organization, parsed)))
            .await?;
        found
            .map_err(|error| ServiceError::of_one(error, "usage record", uuid))?
            .ok_or_else(|| ServiceError::not_found("usage record", uuid))
    }
}
