//! The audit trail: written in the same step as what it tells of.
//!
//! An event is made once a change is known to be possible, and is written with it: what is refused leaves none. What makes none,
//! because an organization makes too many changes, is refused. An operator's change in another organization is on record
//! there and in the operators' own trail, which nobody else can fill.

#[cfg(any(test, feature = "fuzzing"))]
pub(super) mod fuzzing;
mod retention;

use std::{collections::HashMap, net::IpAddr, sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

pub use self::retention::AuditRetention;
use super::{
    Page, PageRequest, ServiceError, clock::Clock, committer::Admission, page::PageTokens,
    rate_limiter::RateLimiter, store_reads::StoreReads,
};
use crate::{
    domain::{
        audit::{Actor, AuditAction, AuditEvent},
        caller::Caller,
        id::{ClientId, OrganizationId},
        limits::AUDIT_TEXT_CHARS_MAX,
        token_bucket::BucketLimits,
    },
    store::{
        StoreError, UsageStore,
        document::{Collection, Document, DocumentChange},
    },
};

/// The burst of an organization, in minutes.
const BURST_MINUTES: u32 = 10;

/// How much is kept on record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditLimits {
    /// Changes that the members of one organization may make in a minute, in the long run; ten minutes' worth at once. Default
    /// 600.
    pub changes_per_minute: u32,
    /// How long events are kept. Default 400 days.
    pub retention: SignedDuration,
    /// Events of each organization that are kept, the latest. Default 100,000.
    pub events_max: u64,
}

impl Default for AuditLimits {
    fn default() -> Self {
        Self {
            changes_per_minute: 600,
            retention: SignedDuration::from_hours(24 * 400),
            events_max: 100_000,
        }
    }
}

/// Figures for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AuditFigures {
    /// Events that were made.
    pub events: u64,
    /// Changes refused because their organization made too many.
    pub changes_refused: u64,
    /// Events removed because they were old, or too many.
    pub events_removed: u64,
}

/// Events of all organizations.
pub struct AuditTrail {
    store: Arc<dyn UsageStore>,
    clock: Arc<dyn Clock>,
    limits: AuditLimits,
    changes: RateLimiter<OrganizationId>,
    figures: Mutex<AuditFigures>,
    // The last number given, of those organizations that were asked for.
    numbers: Mutex<HashMap<OrganizationId, u64>>,
}

impl std::fmt::Debug for AuditTrail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AuditTrail").finish_non_exhaustive()
    }
}

/// An event on the disk.
#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    time: String,
    organization: String,
    client: String,
    address: Option<IpAddr>,
    action: String,
    subject: String,
    detail: String,
}

impl AuditTrail {
    /// The trail of a store, with the default limits.
    #[must_use]
    pub fn new(store: Arc<dyn UsageStore>, clock: Arc<dyn Clock>) -> Self {
        Self::with_limits(store, clock, AuditLimits::default())
    }

    /// The trail of a store.
    #[must_use]
    pub fn with_limits(
        store: Arc<dyn UsageStore>,
        clock: Arc<dyn Clock>,
        limits: AuditLimits,
    ) -> Self {
        let rate = limits.changes_per_minute;
        let burst = rate.saturating_mul(BURST_MINUTES);
        let changes = RateLimiter::new(BucketLimits::new(rate, Duration::from_mins(1), burst));
        let (figures, numbers) = (Mutex::default(), Mutex::default());
        Self { store, clock, limits, changes, figures, numbers }
    }

    /// Figures for metrics.
    #[must_use]
    pub fn figures(&self) -> AuditFigures {
        *self.figures.lock()
    }

    /// The documents that tell of a change in `organization`, to be written together with it. To be called when nothing else
    /// can refuse the change, and where blocking is allowed, since it reads the store.
    ///
    /// # Errors
    /// [`ServiceError::TooManyChanges`] if the actor's organization makes too many changes: then this one must not be made.
    pub(super) fn tell(
        &self,
        organization: &OrganizationId,
        actor: &Actor,
        action: AuditAction,
        subject: &str,
        detail: &str,
    ) -> Result<Vec<DocumentChange>, ServiceError> {
        let own = &actor.caller.organization;
        self.changes.take(own, 1).map_err(|retry_after| {
            self.figures.lock().changes_refused += 1;
            let changes_per_minute = self.limits.changes_per_minute;
            ServiceError::TooManyChanges { changes_per_minute, retry_after }
        })?;
        let mut told = vec![self.document(organization, actor, action, subject, detail)?];
        if own != organization {
            let detail = format!("in the organization {:?}: {detail}", organization.as_str());
            let detail = detail.trim_end_matches(": ");
            told.push(self.document(own, actor, action, subject, detail)?);
        }
        self.figures.lock().events += told.len() as u64;
        Ok(told)
    }

    fn document(
        &self,
        organization: &OrganizationId,
        actor: &Actor,
        action: AuditAction,
        subject: &str,
        detail: &str,
    ) -> Result<DocumentChange, StoreError> {
        let number = self.next_number(organization)?;
        let short = |text: &str| text.chars().take(AUDIT_TEXT_CHARS_MAX).collect::<String>();
        let entry = Entry {
            time: self.clock.now().to_string(),
            organization: actor.caller.organization.to_string(),
            client: actor.caller.client.to_string(),
            address: actor.address,
            action: action.to_string(),
            subject: short(subject),
            detail: short(detail),
        };
        let body = serde_json::to_vec(&entry)
            .map_err(|_| StoreError::Unrepresentable("an audit event that is no JSON"))?;
        Ok(DocumentChange {
            collection: Collection::AuditEvents,
            organization: organization.clone(),
            name: name(number),
            body: Some(body),
        })
    }

    /// An event of a change that no document holds, to be put on record with [`PendingEvent::write`] when nothing else can
    /// refuse the change and before it takes effect. Blocks.
    ///
    /// # Errors
    /// [`ServiceError::TooManyChanges`] if the organization makes changes faster than they are put on record.
    pub fn prepare(
        self: &Arc<Self>,
        actor: &Actor,
        action: AuditAction,
        subject: &str,
        detail: &str,
    ) -> Result<PendingEvent, ServiceError> {
        let told = self.tell(&actor.caller.organization, actor, action, subject, detail)?;
        Ok(PendingEvent { store: Arc::clone(&self.store), told })
    }

    /// Whether an event of an organization is on record, by its [`PendingEvent::name`], and is of this action, with `text` in
    /// its detail. Blocks.
    ///
    /// # Errors
    /// [`ServiceError`] if the store cannot be read.
    pub fn has(
        &self,
        organization: &OrganizationId,
        event_name: &str,
        action: AuditAction,
        text: &str,
    ) -> Result<bool, ServiceError> {
        let after = name(number(event_name)?.saturating_add(1));
        let collection = Collection::AuditEvents;
        let found = self.store.documents_before(collection, organization, Some(&after), 1)?;
        let Some(found) = found.first().filter(|found| found.name == event_name) else {
            return Ok(false);
        };
        let found = event(found)?;
        Ok(found.action == action && found.detail.contains(text))
    }

    fn next_number(&self, organization: &OrganizationId) -> Result<u64, StoreError> {
        let mut numbers = self.numbers.lock();
        let last = match numbers.get(organization) {
            Some(last) => *last,
            None => self
                .store
                .documents_before(Collection::AuditEvents, organization, None, 1)?
                .first()
                .map_or(Ok(0), |document| number(&document.name))?,
        };
        let next = last.checked_add(1).ok_or(StoreError::Unrepresentable("more audit events"))?;
        numbers.insert(organization.clone(), next);
        Ok(next)
    }

    /// Events of an organization, the latest first, a page at a time; read when it is the caller's turn.
    ///
    /// # Errors
    /// [`ServiceError::InvalidArgument`] if size or token of the page are wrong; [`ServiceError::TooManyReads`]; others
    /// if the store cannot be read.
    pub async fn list(
        &self,
        reads: &StoreReads,
        caller: &Caller,
        organization: &OrganizationId,
        page: &PageRequest,
    ) -> Result<Page<AuditEvent>, ServiceError> {
        let tokens =
            PageTokens::new(self.store.token_key(), &("audit events", organization.as_str()))?;
        let size = page.size()?;
        let before: Option<String> = tokens.decode(&page.page_token)?;
        let organization = organization.clone();
        let read = move |store: &dyn UsageStore| {
            let before = before.as_deref();
            store.documents_before(Collection::AuditEvents, &organization, before, size + 1)
        };
        let mut documents = reads.answer(caller, Admission::Refuse, read).await?;
        let more = documents.len() > size;
        documents.truncate(size);
        let next_page_token = match documents.last() {
            Some(last) if more => tokens.encode(&last.name)?,
            _ => String::new(),
        };
        let items = documents.iter().map(event).collect::<Result<_, _>>()?;
        Ok(Page { items, next_page_token })
    }
}

/// An event that is not on record yet.
pub struct PendingEvent {
    store: Arc<dyn UsageStore>,
    told: Vec<DocumentChange>,
}

impl std::fmt::Debug for PendingEvent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("PendingEvent").field(&self.name()).finish()
    }
}

impl PendingEvent {
    /// What it is called in the actor's organization.
    #[must_use]
    pub fn name(&self) -> &str {
        self.told.last().map_or("", |told| &told.name)
    }

    /// Puts it on record, durably. Blocks.
    ///
    /// # Errors
    /// [`ServiceError::Unavailable`] if the store does not take it; it may be on record after a restart all the same.
    pub fn write(self) -> Result<(), ServiceError> {
        Ok(self.store.write_documents(&self.told)?)
    }
}

fn name(number: u64) -> String {
    format!("{number:020}")
}

fn number(name: &str) -> Result<u64, StoreError> {
    name.parse().map_err(|_| damaged(&"its name is no number"))
}

fn event(document: &Document) -> Result<AuditEvent, StoreError> {
    let entry: Entry = serde_json::from_slice(&document.body).map_err(|error| damaged(&error))?;
    Ok(AuditEvent {
        number: number(&document.name)?,
        time: entry.time.parse::<Timestamp>().map_err(|error| damaged(&error))?,
        actor: Actor {
            caller: Caller {
                organization: OrganizationId::new(&entry.organization)
                    .map_err(|error| damaged(&error))?,
                client: ClientId::new(&entry.client).map_err(|error| damaged(&error))?,
            },
            address: entry.address,
        },
        action: entry.action.parse().map_err(|error| damaged(&error))?,
        subject: entry.subject,
        detail: entry.detail,
    })
}

fn damaged(error: &dyn std::fmt::Display) -> StoreError {
    StoreError::Damaged(format!("audit event: {error}").into())
}

#[cfg(test)]
mod tests;
