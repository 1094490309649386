//! One lock for each organization, so that what one of them changes never waits for another.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;

use crate::domain::id::OrganizationId;

/// Locks that are kept although nobody uses them, before they are looked through.
const IDLE_LOCKS_MAX: usize = 1024;

/// The locks of all organizations; each is there while it is held or waited for, or was of late.
#[derive(Debug, Default)]
pub(super) struct OrganizationLocks(Mutex<HashMap<OrganizationId, Arc<tokio::sync::Mutex<()>>>>);

impl OrganizationLocks {
    /// Waits until nobody else holds the organization's lock. First come, first served.
    pub(super) async fn lock(&self, organization: &OrganizationId) -> OwnedMutexGuard<()> {
        self.of(organization).lock_owned().await
    }

    fn of(&self, organization: &OrganizationId) -> Arc<tokio::sync::Mutex<()>> {
        let mut locks = self.0.lock();
        if let Some(lock) = locks.get(organization) {
            return Arc::clone(lock);
        }
        if locks.len() >= IDLE_LOCKS_MAX && locks.len() == locks.capacity() {
            // Others than this map only get hold of a lock in here, so one that nobody else has stays unused.
            locks.retain(|_, lock| Arc::strong_count(lock) > 1);
        }
        Arc::clone(locks.entry(organization.clone()).or_default())
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;
    use crate::service::testing::organization;

    #[tokio::test]
    async fn one_organization_waits_for_itself_alone() {
        let locks = OrganizationLocks::default();
        let (acme, other) = (organization("acme"), organization("other"));
        let held = locks.lock(&acme).await;
        assert!(locks.lock(&acme).now_or_never().is_none());
        assert!(locks.lock(&other).now_or_never().is_some());
        drop(held);
        assert!(locks.lock(&acme).now_or_never().is_some());
    }

    #[tokio::test]
    async fn unused_locks_do_not_pile_up() {
        let locks = OrganizationLocks::default();
        let held = locks.lock(&organization("held")).await;
        for number in 0..20 * IDLE_LOCKS_MAX {
            drop(locks.lock(&organization(&format!("organization-{number}"))).await);
        }
        assert!(locks.0.lock().len() <= 2 * IDLE_LOCKS_MAX);
        assert!(locks.lock(&organization("held")).now_or_never().is_none());
        drop(held);
    }
}
