//! Removing audit events that were kept for long enough, or are more than there may be.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::sync::watch;

use super::{AuditTrail, event};
use crate::{
    domain::id::OrganizationId,
    service::{ServiceError, execution::Execution},
    store::{
        StoreError,
        document::{Collection, DocumentChange},
    },
};

/// How often events are looked for that are to go, at most.
const LOOK_INTERVAL_MAX: Duration = Duration::from_mins(10);
/// And at least.
const LOOK_INTERVAL_MIN: Duration = Duration::from_secs(1);
/// Events that are removed in one step.
const STEP_EVENTS: usize = 256;
/// How long to rest after each step, in lengths of that step: commits need the disk more.
const REST: u32 = 4;

/// Removes old audit events, now and then.
pub struct AuditRetention {
    trail: Arc<AuditTrail>,
    execution: Execution,
}

impl std::fmt::Debug for AuditRetention {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AuditRetention").finish_non_exhaustive()
    }
}

impl AuditRetention {
    /// Of a trail, whose limits it keeps.
    #[must_use]
    pub fn new(trail: Arc<AuditTrail>, execution: Execution) -> Self {
        Self { trail, execution }
    }

    /// Removes what is to go, again and again, until `stopping` says true.
    pub async fn run(&self, mut stopping: watch::Receiver<bool>) {
        let interval = (self.trail.limits.retention.unsigned_abs() / 10)
            .clamp(LOOK_INTERVAL_MIN, LOOK_INTERVAL_MAX);
        loop {
            tokio::select! {
                swept = self.sweep() => {
                    if let Err(error) = swept {
                        let error = error.internal_text().unwrap_or_default();
                        tracing::warn!(error, "old audit events could not be removed");
                    }
                }
                _ = stopping.wait_for(|stopping| *stopping) => return,
            }
            tokio::select! {
                () = tokio::time::sleep(interval) => {}
                _ = stopping.wait_for(|stopping| *stopping) => return,
            }
        }
    }

    /// Removes all that is to go by now, step by step.
    ///
    /// # Errors
    /// [`ServiceError`] if the store cannot be read or written; the rest goes later.
    pub async fn sweep(&self) -> Result<(), ServiceError> {
        let organizations = self.work(|trail| Ok(trail.store.organizations())).await?;
        for organization in organizations {
            loop {
                let organization = organization.clone();
                let begun = tokio::time::Instant::now();
                if self.work(move |trail| trail.remove_some(&organization)).await? < STEP_EVENTS {
                    break;
                }
                tokio::time::sleep(begun.elapsed() * REST).await;
            }
        }
        Ok(())
    }

    /// Works on the store off the async workers.
    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce(&AuditTrail) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, ServiceError> {
        let trail = Arc::clone(&self.trail);
        let working = self.execution.run(move || work(&trail));
        Ok(working.await.map_err(|error| ServiceError::Internal(error.to_string().into()))??)
    }
}

impl AuditTrail {
    /// Removes the oldest events of an organization, a bounded number of those that are to go; answers how many.
    fn remove_some(&self, organization: &OrganizationId) -> Result<usize, StoreError> {
        let collection = Collection::AuditEvents;
        let latest = self.store.documents_before(collection, organization, None, 1)?;
        let Some(latest) = latest.first() else { return Ok(0) };
        // The latest one stays: its number is what the next one counts from.
        let last = event(latest)?.number;
        let beyond = last.saturating_sub(self.limits.events_max.max(1));
        let oldest_kept = self.clock.now().checked_sub(self.limits.retention).ok();
        let is_over = |number: u64, time: Timestamp| {
            number <= beyond
                || (number < last && oldest_kept.is_some_and(|oldest_kept| time < oldest_kept))
        };
        let first = self.store.first_documents(collection, organization, STEP_EVENTS)?;
        let mut gone = Vec::new();
        for document in first {
            let event = event(&document)?;
            if !is_over(event.number, event.time) {
                break;
            }
            gone.push(DocumentChange {
                collection,
                organization: organization.clone(),
                name: document.name,
                body: None,
            });
        }
        if !gone.is_empty() {
            self.store.write_documents(&gone)?;
            self.figures.lock().events_removed += gone.len() as u64;
        }
        Ok(gone.len())
    }
}
