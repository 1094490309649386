//! What is counted about calls. Label values come from fixed sets: nothing a caller sends becomes one.

mod kept;

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};
use tonic::Code;

pub use self::kept::KeptMetrics;

use crate::{
    domain::{api_usage::EventRejection, verdict::RejectionReason},
    service::{
        FirstBatch, ServiceError, access_log::Tally, api_usage::EventVerdict, audit::AuditFigures,
        disk_reserve::ReserveReading, product_usage::RecordVerdict, store_reads::ReadStatistics,
        usage_queries::QueryStatistics,
    },
    store::StoreStatistics,
};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MethodLabels {
    method: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    method: &'static str,
    code: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VerdictLabels {
    verdict: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PurposeLabels {
    purpose: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LimitLabels {
    limit: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ValueLabels {
    value: &'static str,
}

/// All metrics of a process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    calls: Family<CallLabels, Counter>,
    call_seconds: Family<MethodLabels, Histogram, fn() -> Histogram>,
    calls_in_flight: Gauge,
    records: Family<VerdictLabels, Counter>,
    batches: Family<VerdictLabels, Counter>,
    asset_usages: Counter,
    events: Family<VerdictLabels, Counter>,
    /// Calls of our own API whose usage was not recorded.
    pub calls_not_metered: Counter,
    access_log_calls: Counter,
    access_log_entries_dropped: Family<ReasonLabels, Counter>,
    access_log_values_ignored: Family<ValueLabels, Counter>,
    /// Calls refused because their client reported faster than it may.
    pub(super) calls_rate_limited: Counter,
    /// Messages of streams that waited because their client reported faster than it may.
    pub(super) messages_rate_limited: Counter,
    /// Connections that are open.
    pub connections: Gauge,
    /// Connections that were closed at once because too many were open.
    pub connections_refused: Counter,
    /// Connections of clients that called of late, and of operators.
    pub connections_authenticated: Gauge,
    connections_evicted: Family<ReasonLabels, Counter>,
    /// Connections that were closed because their peers did not take their answers.
    pub connections_stalled: Counter,
    /// Calls with credentials that nobody has.
    pub failed_credentials: Counter,
    /// Unauthenticated requests refused because too many were unfinished.
    pub unfinished_requests_refused: Counter,
    /// Certificates that were to be read again and could not be used.
    pub tls_reload_failures: Counter,
    /// Attempts to read an outside issuer's keys that failed.
    pub issuer_key_failures: Counter,
    /// What organizations keep, and limits on that.
    pub kept: KeptMetrics,
    audit_events: Counter,
    audit_changes_refused: Counter,
    audit_events_removed: Counter,
    assertions_refused: Family<ReasonLabels, Counter>,
    queued_records: Gauge,
    queued_reads: Family<PurposeLabels, Gauge>,
    reads_refused: Family<LimitLabels, Counter>,
    store_records: Gauge,
    store_sequence: Gauge,
    store_writable: Gauge,
    series: Gauge,
    organization_series_highest: Gauge,
    series_reports_refused: Counter,
    series_events_coarsened: Counter,
    index_runs: Gauge,
    dropped_chunks: Gauge,
    index_bytes: Gauge,
    background_bytes: Gauge,
    disk_bytes: Gauge<f64, AtomicU64>,
    disk_free_bytes: Gauge<f64, AtomicU64>,
    disk_reserve_bytes: Gauge<f64, AtomicU64>,
    disk_reserve_breached: Gauge,
    queries_kept: Gauge,
    queries_waiting: Gauge,
    queries_running: Gauge,
    query_result_bytes: Gauge<f64, AtomicU64>,
    query_results_evicted: Counter,
    query_results_shared: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Registers everything.
    #[must_use]
    pub fn new() -> Self {
        // From a quarter of a millisecond to about two minutes.
        let histogram: fn() -> Histogram =
            || Histogram::new(exponential_buckets(0.000_25, 2.0, 20));
        let mut metrics = Self {
            registry: Registry::with_prefix("meterd"),
            calls: Family::default(),
            call_seconds: Family::new_with_constructor(histogram),
            calls_in_flight: Gauge::default(),
            records: Family::default(),
            batches: Family::default(),
            asset_usages: Counter::default(),
            events: Family::default(),
            calls_not_metered: Counter::default(),
            access_log_calls: Counter::default(),
            access_log_entries_dropped: Family::default(),
            access_log_values_ignored: Family::default(),
            calls_rate_limited: Counter::default(),
            messages_rate_limited: Counter::default(),
            connections: Gauge::default(),
            connections_refused: Counter::default(),
            connections_authenticated: Gauge::default(),
            connections_evicted: Family::default(),
            connections_stalled: Counter::default(),
            failed_credentials: Counter::default(),
            unfinished_requests_refused: Counter::default(),
            tls_reload_failures: Counter::default(),
            issuer_key_failures: Counter::default(),
            kept: KeptMetrics::default(),
            audit_events: Counter::default(),
            audit_changes_refused: Counter::default(),
            audit_events_removed: Counter::default(),
            assertions_refused: Family::default(),
            queued_records: Gauge::default(),
            queued_reads: Family::default(),
            reads_refused: Family::default(),
            store_records: Gauge::default(),
            store_sequence: Gauge::default(),
            store_writable: Gauge::default(),
            series: Gauge::default(),
            organization_series_highest: Gauge::default(),
            series_reports_refused: Counter::default(),
            series_events_coarsened: Counter::default(),
            index_runs: Gauge::default(),
            dropped_chunks: Gauge::default(),
            index_bytes: Gauge::default(),
            background_bytes: Gauge::default(),
            disk_bytes: Gauge::default(),
            disk_free_bytes: Gauge::default(),
            disk_reserve_bytes: Gauge::default(),
            disk_reserve_breached: Gauge::default(),
            queries_kept: Gauge::default(),
            queries_waiting: Gauge::default(),
            queries_running: Gauge::default(),
            query_result_bytes: Gauge::default(),
            query_results_evicted: Counter::default(),
            query_results_shared: Counter::default(),
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        let to = &mut self.registry;
        to.register("calls", "Calls answered, by method and gRPC code", self.calls.clone());
        to.register_with_unit(
            "call_duration",
            "Time from request to end of answer",
            Unit::Seconds,
            self.call_seconds.clone(),
        );
        to.register("calls_in_flight", "Calls under way", self.calls_in_flight.clone());
        to.register("records", "Product usage records judged, by verdict", self.records.clone());
        to.register("batches", "Batches of asset usage judged, by verdict", self.batches.clone());
        to.register("asset_usages", "Asset usages recorded", self.asset_usages.clone());
        to.register("api_events", "Events of API usage judged, by verdict", self.events.clone());
        to.register(
            "calls_not_metered",
            "Calls whose usage was not recorded: too much was waiting to be",
            self.calls_not_metered.clone(),
        );
        to.register(
            "access_log_calls",
            "Calls recorded from the access logs of proxies",
            self.access_log_calls.clone(),
        );
        to.register(
            "access_log_entries_dropped",
            "Entries of access logs that were not recorded, by reason",
            self.access_log_entries_dropped.clone(),
        );
        to.register(
            "access_log_values_ignored",
            "Values that could not be used in entries of access logs that were recorded without them",
            self.access_log_values_ignored.clone(),
        );
        to.register(
            "calls_rate_limited",
            "Calls refused because their client reported faster than it may",
            self.calls_rate_limited.clone(),
        );
        to.register(
            "messages_rate_limited",
            "Messages of streams that waited because their client reported faster than it may",
            self.messages_rate_limited.clone(),
        );
        to.register("connections", "Connections open", self.connections.clone());
        to.register(
            "connections_refused",
            "Connections closed at once: too many were open",
            self.connections_refused.clone(),
        );
        to.register(
            "connections_authenticated",
            "Connections on which a call was permitted of late",
            self.connections_authenticated.clone(),
        );
        to.register(
            "connections_evicted",
            "Connections closed for others, by reason",
            self.connections_evicted.clone(),
        );
        to.register(
            "connections_stalled",
            "Connections closed because their peers did not take their answers",
            self.connections_stalled.clone(),
        );
        to.register(
            "failed_credentials",
            "Calls with credentials that nobody has",
            self.failed_credentials.clone(),
        );
        to.register(
            "unfinished_requests_refused",
            "Requests without valid credentials refused because too many were unfinished",
            self.unfinished_requests_refused.clone(),
        );
        to.register(
            "tls_reload_failures",
            "New TLS certificates that could not be used",
            self.tls_reload_failures.clone(),
        );
        to.register(
            "issuer_key_failures",
            "Failed attempts to read the keys of the outside issuer",
            self.issuer_key_failures.clone(),
        );
        self.kept.register(to);
        to.register("audit_events", "Changes put on record", self.audit_events.clone());
        to.register(
            "audit_changes_refused",
            "Changes refused because their organization made too many to be put on record",
            self.audit_changes_refused.clone(),
        );
        to.register(
            "audit_events_removed",
            "Events of the audit trail removed because they were old, or too many",
            self.audit_events_removed.clone(),
        );
        to.register(
            "assertions_refused",
            "Assertions of clients that were refused, by the check that they did not pass",
            self.assertions_refused.clone(),
        );
        to.register("queued_records", "Records waiting to be stored", self.queued_records.clone());
        to.register(
            "queued_reads",
            "Reads of the store waiting for a thread: for an answer, for a write, or to look uuids up",
            self.queued_reads.clone(),
        );
        to.register(
            "reads_refused",
            "Reads refused because too many of the organization or of the client were waiting",
            self.reads_refused.clone(),
        );
        to.register("store_records", "Records stored", self.store_records.clone());
        to.register("store_sequence", "Last log sequence", self.store_sequence.clone());
        to.register(
            "store_writable",
            "1 while the store takes writes",
            self.store_writable.clone(),
        );
        to.register(
            "series",
            "Series of usage: combinations that have totals",
            self.series.clone(),
        );
        to.register(
            "organization_series_highest",
            "Series of the organization that has most",
            self.organization_series_highest.clone(),
        );
        to.register(
            "series_reports_refused",
            "Reports refused because they would have begun too many series",
            self.series_reports_refused.clone(),
        );
        to.register(
            "series_events_coarsened",
            "Events of API usage stored in a series that says less: there were too many",
            self.series_events_coarsened.clone(),
        );
        to.register("index_runs", "Runs of the uuid index", self.index_runs.clone());
        to.register(
            "log_dropped_chunks",
            "Values of the log that are no longer kept, and counted",
            self.dropped_chunks.clone(),
        );
        to.register_with_unit(
            "index_memory",
            "Memory of the uuid index",
            Unit::Bytes,
            self.index_bytes.clone(),
        );
        to.register_with_unit(
            "background_owed",
            "Background writes still to be done",
            Unit::Bytes,
            self.background_bytes.clone(),
        );
        to.register_with_unit(
            "store_disk",
            "Disk space of the store",
            Unit::Bytes,
            self.disk_bytes.clone(),
        );
        to.register_with_unit(
            "disk_free",
            "Free space of the filesystem of the data directory",
            Unit::Bytes,
            self.disk_free_bytes.clone(),
        );
        to.register_with_unit(
            "disk_reserve",
            "Free space that is reserved for usage",
            Unit::Bytes,
            self.disk_reserve_bytes.clone(),
        );
        to.register(
            "disk_reserve_breached",
            "1 while less is free than is reserved, and only usage is written",
            self.disk_reserve_breached.clone(),
        );
        to.register("queries_kept", "Usage queries kept", self.queries_kept.clone());
        to.register(
            "queries_waiting",
            "Usage queries that wait for a worker, equal ones counted once",
            self.queries_waiting.clone(),
        );
        to.register(
            "queries_running",
            "Usage queries that run, equal ones counted once",
            self.queries_running.clone(),
        );
        to.register_with_unit(
            "query_results",
            "Results of usage queries kept",
            Unit::Bytes,
            self.query_result_bytes.clone(),
        );
        to.register(
            "query_results_evicted",
            "Results of usage queries removed before they expired: there were too many",
            self.query_results_evicted.clone(),
        );
        to.register(
            "query_results_shared",
            "Usage queries that got the result of an equal one",
            self.query_results_shared.clone(),
        );
    }

    /// Counts connections that were closed for others.
    pub fn count_evicted(&self, reason: &'static str, connections: u64) {
        self.connections_evicted.get_or_create(&ReasonLabels { reason }).inc_by(connections);
    }

    /// A call began. Matched by [`Self::call_ended`].
    pub(super) fn call_began(&self) {
        self.calls_in_flight.inc();
    }

    /// A call's answer is complete, or was given up.
    pub(super) fn call_ended(&self, method: &'static str, code: Code, took: Duration) {
        self.calls_in_flight.dec();
        self.calls.get_or_create(&CallLabels { method, code: code_name(code) }).inc();
        self.call_seconds.get_or_create(&MethodLabels { method }).observe(took.as_secs_f64());
    }

    /// Counts the verdicts of a call.
    pub(super) fn count_records(&self, verdicts: &[RecordVerdict]) {
        let accepted =
            verdicts.iter().filter(|verdict| **verdict == RecordVerdict::Accepted).count();
        self.count_verdict("accepted", accepted as u64);
        for verdict in verdicts {
            if let RecordVerdict::Rejected { reason, .. } = verdict {
                self.count_verdict(reason_name(*reason), 1);
            }
        }
    }

    /// Counts what became of a batch: how many usages were recorded, or why none was.
    pub(super) fn count_batch(&self, outcome: Result<usize, &ServiceError>) {
        let verdict = match outcome {
            Ok(usages) => {
                self.asset_usages.inc_by(usages as u64);
                "recorded"
            }
            Err(ServiceError::InvalidBatch { .. }) => "invalid",
            Err(ServiceError::BatchRecorded {
                first: Some(FirstBatch { identical: false, .. }),
                ..
            }) => "conflict",
            Err(ServiceError::BatchRecorded { .. }) => "duplicate",
            Err(_) => "failed",
        };
        self.batches.get_or_create(&VerdictLabels { verdict }).inc();
    }

    /// Counts the verdicts on events of API usage.
    pub(super) fn count_events(&self, verdicts: &[EventVerdict]) {
        for verdict in verdicts {
            let verdict = match verdict {
                EventVerdict::Accepted => "accepted",
                EventVerdict::Rejected { reason, .. } => event_reason_name(*reason),
            };
            self.events.get_or_create(&VerdictLabels { verdict }).inc();
        }
    }

    /// Counts what became of entries of access logs.
    pub(super) fn count_access_log(&self, tally: &Tally) {
        self.access_log_calls.inc_by(tally.calls);
        for (reason, entries) in &tally.dropped {
            let labels = ReasonLabels { reason: reason.as_str() };
            self.access_log_entries_dropped.get_or_create(&labels).inc_by(*entries);
        }
        for (value, times) in &tally.ignored {
            let labels = ValueLabels { value: value.as_str() };
            self.access_log_values_ignored.get_or_create(&labels).inc_by(*times);
        }
    }

    /// Counts an assertion that was refused.
    pub(super) fn count_refused_assertion(&self, reason: &'static str) {
        self.assertions_refused.get_or_create(&ReasonLabels { reason }).inc();
    }

    fn count_verdict(&self, verdict: &'static str, records: u64) {
        self.records.get_or_create(&VerdictLabels { verdict }).inc_by(records);
    }

    /// Takes over what others know, just before a scrape.
    pub fn observe(&self, store: &StoreStatistics, writable: bool, queued_records: usize) {
        let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        self.queued_records.set(number(queued_records as u64));
        self.store_records.set(number(store.records));
        self.store_sequence.set(number(store.last_sequence.0));
        self.store_writable.set(i64::from(writable));
        self.series.set(number(store.series));
        self.organization_series_highest.set(number(store.organization_series_highest));
        raise_to(&self.series_reports_refused, store.series_reports_refused);
        raise_to(&self.series_events_coarsened, store.series_events_coarsened);
        self.index_runs.set(number(store.index_runs as u64));
        self.dropped_chunks.set(number(store.dropped_chunks));
        self.index_bytes.set(number(store.index_bytes));
        self.background_bytes.set(number(store.background_bytes_owed));
        self.disk_bytes.set(store.disk_bytes as f64);
    }

    /// Takes over how many reads wait and were refused, just before a scrape.
    pub fn observe_reads(&self, reads: &ReadStatistics) {
        for (purpose, queued) in [
            ("answer", reads.queued_answers),
            ("write", reads.queued_for_writes),
            ("probe", reads.queued_probes),
        ] {
            let gauge = self.queued_reads.get_or_create(&PurposeLabels { purpose });
            gauge.set(i64::try_from(queued).unwrap_or(i64::MAX));
        }
        for (limit, refused) in
            [("organization", reads.refused_of_organizations), ("client", reads.refused_of_clients)]
        {
            let counter = self.reads_refused.get_or_create(&LimitLabels { limit });
            counter.inner().store(refused, Ordering::Relaxed);
        }
    }

    /// Takes over the figures of the audit trail, just before a scrape.
    pub fn observe_audit(&self, audit: &AuditFigures) {
        raise_to(&self.audit_events, audit.events);
        raise_to(&self.audit_changes_refused, audit.changes_refused);
        raise_to(&self.audit_events_removed, audit.events_removed);
    }

    /// Takes over what is known of usage queries, just before a scrape.
    pub fn observe_queries(&self, queries: &QueryStatistics) {
        let number = |value: usize| i64::try_from(value).unwrap_or(i64::MAX);
        self.queries_kept.set(number(queries.kept));
        self.queries_waiting.set(number(queries.waiting));
        self.queries_running.set(number(queries.running));
        self.query_result_bytes.set(queries.result_bytes as f64);
        self.query_results_evicted.inner().store(queries.evicted, Ordering::Relaxed);
        self.query_results_shared.inner().store(queries.shared, Ordering::Relaxed);
    }

    /// Takes over how much of the disk is free, just before a scrape. Without a reading the figures stay as they were.
    pub fn observe_disk(&self, reading: Option<ReserveReading>) {
        let Some(reading) = reading else { return };
        self.disk_free_bytes.set(reading.free as f64);
        self.disk_reserve_bytes.set(reading.reserve as f64);
        self.disk_reserve_breached.set(i64::from(reading.is_below()));
    }

    /// Everything in the OpenMetrics text format.
    ///
    /// # Errors
    /// [`std::fmt::Error`] if it cannot be written, which a `String` always can.
    pub fn encode(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// Takes over a count that somebody else keeps.
fn raise_to(counter: &Counter, count: u64) {
    counter.inner().fetch_max(count, Ordering::Relaxed);
}

fn reason_name(reason: RejectionReason) -> &'static str {
    match reason {
        RejectionReason::Duplicate => "duplicate",
        RejectionReason::Expired => "expired",
        RejectionReason::InvalidTimestamp => "invalid_timestamp",
        RejectionReason::InvalidSkuId => "invalid_sku_id",
        RejectionReason::InvalidProductId => "invalid_product_id",
        RejectionReason::InvalidQuantity => "invalid_quantity",
        RejectionReason::InvalidId => "invalid_id",
    }
}

fn event_reason_name(reason: EventRejection) -> &'static str {
    match reason {
        EventRejection::InvalidId => "invalid_id",
        EventRejection::InvalidClientId => "invalid_client_id",
        EventRejection::InvalidUserId => "invalid_user_id",
        EventRejection::InvalidTemplateUri => "invalid_template_uri",
        EventRejection::InvalidHttpMethod => "invalid_http_method",
        EventRejection::InvalidStatus => "invalid_status",
        EventRejection::InvalidPlatform => "invalid_platform",
        EventRejection::InvalidCount => "invalid_count",
        EventRejection::InvalidTimestamp => "invalid_timestamp",
        EventRejection::Expired => "expired",
        EventRejection::Duplicate => "duplicate",
    }
}

/// A code in the protocol's spelling.
pub(crate) fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
