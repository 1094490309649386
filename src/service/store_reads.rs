//! Reads of the store, which block: off the async workers, and only so many at a time. Who must not
//! wait for whom has reads of its own: a few long reports must not keep writes from looking uuids up.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::{ServiceError, execution::Execution};
use crate::store::{StoreError, UsageStore};

/// A store, and the right to read it on a limited number of threads.
pub(super) struct StoreReads {
    store: Arc<dyn UsageStore>,
    slots: Arc<Semaphore>,
    execution: Execution,
}

impl StoreReads {
    /// Reads on so many threads at once, at least one.
    pub(super) fn new(
        store: Arc<dyn UsageStore>,
        threads_max: usize,
        execution: Execution,
    ) -> Self {
        let slots = Semaphore::new(threads_max.clamp(1, Semaphore::MAX_PERMITS));
        Self { store, slots: Arc::new(slots), execution }
    }

    /// Reads as soon as a thread is free. Once begun it goes on to its end, and keeps its thread until
    /// then, even if the caller is dropped.
    ///
    /// # Errors
    /// What the store says; [`ServiceError::Internal`] if it panics; [`ServiceError::Unavailable`] if
    /// the runtime is shutting down.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        read: impl FnOnce(&dyn UsageStore) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, ServiceError> {
        let closing = || ServiceError::Unavailable("the runtime is shutting down".into());
        let slot = Arc::clone(&self.slots).acquire_owned().await.map_err(|_| closing())?;
        let store = Arc::clone(&self.store);
        let reading = self.execution.run(move || {
            let _slot = slot;
            read(&*store)
        });
        match reading.await {
            Ok(result) => Ok(result?),
            Err(error) if error.is_panic() => Err(ServiceError::Internal(error.to_string().into())),
            Err(_) => Err(closing()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::service::testing::TestStore;

    #[tokio::test]
    async fn a_panic_is_an_error_and_costs_no_thread() {
        let in_turn = Execution::InTurn { commit_time: Duration::ZERO };
        for execution in [Execution::Threads, in_turn] {
            let reads = StoreReads::new(TestStore::new(), 1, execution);
            let panicked = reads.run(|_| -> Result<(), StoreError> { panic!("planned") }).await;
            assert!(matches!(panicked, Err(ServiceError::Internal(_))), "{panicked:?}");
            assert_eq!(reads.run(|store| Ok(store.statistics().records)).await.unwrap(), 0);
        }
    }
}
