//! The audit trail: written in the same step as what it tells of.

#[cfg(any(test, feature = "fuzzing"))]
pub(super) mod fuzzing;

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use jiff::Timestamp;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::{
    Page, PageRequest, ServiceError, clock::Clock, committer::Admission, page::PageTokens,
    store_reads::StoreReads,
};
use crate::{
    domain::{
        audit::{Actor, AuditAction, AuditEvent},
        caller::Caller,
        id::{ClientId, OrganizationId},
        limits::AUDIT_TEXT_CHARS_MAX,
    },
    store::{
        StoreError, UsageStore,
        document::{Collection, Document, DocumentChange},
    },
};

/// Events of all organizations.
pub struct AuditTrail {
    store: Arc<dyn UsageStore>,
    clock: Arc<dyn Clock>,
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
    /// The trail of a store.
    #[must_use]
    pub fn new(store: Arc<dyn UsageStore>, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock, numbers: Mutex::new(HashMap::new()) }
    }

    /// The document that tells of a change in `organization`, to be written together with it. Reads the
    /// store, so it is called where blocking is allowed. A number whose document is not written is missing
    /// for ever.
    pub(super) fn tell(
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

    /// Writes down a change that no document holds, before it is made: an event too many does less harm than one
    /// too few.
    ///
    /// # Errors
    /// [`ServiceError`] if the event cannot be stored.
    pub async fn record(
        self: &Arc<Self>,
        organization: &OrganizationId,
        actor: &Actor,
        action: AuditAction,
        subject: &'static str,
        detail: &'static str,
    ) -> Result<(), ServiceError> {
        let (trail, organization, actor) = (Arc::clone(self), organization.clone(), actor.clone());
        let writing = tokio::task::spawn_blocking(move || {
            let told = trail.tell(&organization, &actor, action, subject, detail)?;
            trail.store.write_documents(&[told])
        });
        Ok(writing.await.map_err(|error| ServiceError::Internal(error.to_string().into()))??)
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
