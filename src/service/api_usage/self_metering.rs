//! meterd's own API usage: every call that it answers, counted in memory and stored every second.
//!
//! What was counted since the last time is lost if the process is killed; nothing else is. Counts that could not be
//! stored are kept, under the same uuids, and stored later: whether they had been stored after all does not matter.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::Arc,
};

use hashbrown::HashTable;
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::Mutex as AsyncMutex;

use super::ApiUsage;
use crate::{
    domain::{
        api_usage::{ApiEvent, ApiReport, ApiSeries, HttpMethod, HttpStatus, NewSeries},
        asset_usage::UsageDay,
        caller::Caller,
        id::{OrganizationId, PlatformName, TemplateUri},
        limits::API_EVENTS_MAX,
    },
    service::{ServiceError, clock::Clock, committer::Admission},
};

/// Kinds of calls that are told apart in memory. Calls of further kinds are not counted until the others are stored;
/// only a store that takes no writes lets it come to that.
const KINDS_MAX: usize = 10_000;

/// One of our APIs, in one protocol. Those that are counted together are one `Arc`: counting compares addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnsweredApi {
    /// Which API.
    pub template_uri: TemplateUri,
    /// How it is called.
    pub method: HttpMethod,
    /// In which protocol.
    pub platform: PlatformName,
}

/// What answered calls have in common that are counted together. By day as well: what is stored just after midnight may
/// have been counted just before.
#[derive(Debug, Clone)]
struct Kind {
    caller: Caller,
    api: Arc<AnsweredApi>,
    status: HttpStatus,
    day: UsageDay,
}

/// A [`Kind`] that is looked up; most are there already.
struct Sought<'a> {
    caller: &'a Caller,
    api: &'a Arc<AnsweredApi>,
    status: HttpStatus,
    day: UsageDay,
}

impl Sought<'_> {
    fn hash(&self, state: &impl BuildHasher) -> u64 {
        let Caller { organization, client } = self.caller;
        let api = Arc::as_ptr(self.api) as usize;
        state.hash_one((organization, client, api, self.status, self.day))
    }

    fn is(&self, kind: &Kind) -> bool {
        Arc::ptr_eq(self.api, &kind.api)
            && self.status == kind.status
            && self.day == kind.day
            && *self.caller == kind.caller
    }
}

impl Kind {
    fn sought(&self) -> Sought<'_> {
        let Self { caller, api, status, day } = self;
        Sought { caller, api, status: *status, day: *day }
    }
}

#[derive(Debug)]
struct Counted {
    kind: Kind,
    calls: u64,
    last: Timestamp,
}

#[derive(Debug, Default)]
struct Counts {
    kinds: HashTable<Counted>,
    hasher: RandomState,
}

/// Counts and stores.
#[derive(Debug)]
pub struct SelfMetering {
    usage: Arc<ApiUsage>,
    clock: Arc<dyn Clock>,
    counts: Mutex<Counts>,
    // What has its uuids and is not known to be stored.
    reports: AsyncMutex<Vec<ApiReport>>,
}

impl SelfMetering {
    /// Nothing is counted yet.
    #[must_use]
    pub fn new(usage: Arc<ApiUsage>, clock: Arc<dyn Clock>) -> Self {
        Self { usage, clock, counts: Mutex::default(), reports: AsyncMutex::default() }
    }

    /// Counts a call. `false` if there is no room to.
    pub fn count(&self, caller: &Caller, api: &Arc<AnsweredApi>, status: HttpStatus) -> bool {
        let now = self.clock.now();
        let day = UsageDay::of_instant(now);
        let sought = Sought { caller, api, status, day };
        let mut counts = self.counts.lock();
        let Counts { kinds, hasher } = &mut *counts;
        let hash = sought.hash(hasher);
        if let Some(counted) = kinds.find_mut(hash, |counted| sought.is(&counted.kind)) {
            counted.calls += 1;
            counted.last = now;
            return true;
        }
        if kinds.len() >= KINDS_MAX {
            return false;
        }
        let kind = Kind { caller: caller.clone(), api: Arc::clone(api), status, day };
        let counted = Counted { kind, calls: 1, last: now };
        kinds.insert_unique(hash, counted, |counted| counted.kind.sought().hash(hasher));
        true
    }

    /// Stores what was counted; durable on return.
    ///
    /// # Errors
    /// [`ServiceError::Unavailable`] if the store does not take writes; the counts are kept.
    pub async fn store(&self) -> Result<(), ServiceError> {
        let mut reports = self.reports.lock().await;
        self.store_all(&mut reports).await?;
        let kinds = std::mem::take(&mut self.counts.lock().kinds);
        *reports = into_reports(kinds);
        self.store_all(&mut reports).await
    }

    async fn store_all(&self, reports: &mut Vec<ApiReport>) -> Result<(), ServiceError> {
        while let Some(report) = reports.last() {
            self.usage.store(report.clone(), Admission::Wait).await?;
            reports.pop();
        }
        Ok(())
    }
}

fn into_reports(kinds: HashTable<Counted>) -> Vec<ApiReport> {
    let mut by_organization: HashMap<OrganizationId, (Caller, Vec<ApiEvent>)> = HashMap::new();
    for Counted { kind, calls, last } in kinds {
        let Kind { caller, api, status, day: _ } = kind;
        let series = ApiSeries {
            template_uri: api.template_uri.clone(),
            method: api.method,
            client: caller.client.clone(),
            user: None,
            platform: Some(api.platform.clone()),
        };
        let of_organization = by_organization.entry(caller.organization.clone());
        let (_, events) = of_organization.or_insert_with(|| (caller, Vec::new()));
        events.extend(ApiEvent::of_calls(series, status, last, calls));
    }
    let mut reports = Vec::new();
    for (caller, events) in by_organization.into_values() {
        for events in events.chunks(API_EVENTS_MAX) {
            reports.push(ApiReport {
                caller: caller.clone(),
                events: events.to_vec(),
                new_series: NewSeries::Coarsened,
            });
        }
    }
    reports
}
