//! A few threads that read the store, and the queue in front of them.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::fair_queue::{FairQueue, QueueFull, QueueLimits, Ticket};
use crate::{
    domain::caller::Caller,
    service::{ServiceError, committer::Admission, execution::Execution},
    store::{StoreError, UsageStore},
};

/// A store, and the right to read it on a limited number of threads.
pub(super) struct ReadThreads {
    store: Arc<dyn UsageStore>,
    queue: Arc<Mutex<FairQueue<oneshot::Sender<()>>>>,
    execution: Execution,
}

impl ReadThreads {
    pub(super) fn new(
        store: Arc<dyn UsageStore>,
        limits: QueueLimits,
        execution: Execution,
    ) -> Self {
        Self { store, queue: Arc::new(Mutex::new(FairQueue::new(limits))), execution }
    }

    /// Reads that wait for a thread.
    pub(super) fn waiting(&self) -> usize {
        self.queue.lock().waiting()
    }

    /// Gives a read its place in the queue. Dropping what is returned gives the place up.
    pub(super) fn wait(&self, caller: &Caller) -> Turn {
        self.enter(&mut self.queue.lock(), caller, Admission::Wait)
    }

    /// The same, if there is room.
    ///
    /// # Errors
    /// [`QueueFull`] if as many reads wait as may.
    pub(super) fn wait_or_refuse(&self, caller: &Caller) -> Result<Turn, QueueFull> {
        let mut queue = self.queue.lock();
        queue.check_limits(caller)?;
        Ok(self.enter(&mut queue, caller, Admission::Refuse))
    }

    fn enter(
        &self,
        queue: &mut FairQueue<oneshot::Sender<()>>,
        caller: &Caller,
        admission: Admission,
    ) -> Turn {
        let (wake, woken) = oneshot::channel();
        let ticket = queue.enter(caller, admission, wake);
        start_next(queue);
        Turn { queue: Arc::clone(&self.queue), caller: caller.clone(), ticket, woken }
    }

    /// Reads when the turn has come. A read that has not begun when the future is dropped never begins; one that has
    /// goes on to its end, and keeps its thread until then.
    ///
    /// # Errors
    /// What the store says; [`ServiceError::Internal`] if it panics; [`ServiceError::Unavailable`] if the runtime is
    /// shutting down.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        mut turn: Turn,
        read: impl FnOnce(&dyn UsageStore) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, ServiceError> {
        // The other end is in the queue, which `turn` keeps: it is never dropped before it has sent.
        let _ = (&mut turn.woken).await;
        let store = Arc::clone(&self.store);
        let reading = self.execution.complete(move || {
            let _turn = turn;
            read(&*store)
        });
        Ok(reading.await??)
    }
}

/// A read's place in the queue, and then on a thread; dropped, it leaves both.
pub(super) struct Turn {
    queue: Arc<Mutex<FairQueue<oneshot::Sender<()>>>>,
    caller: Caller,
    ticket: Ticket,
    woken: oneshot::Receiver<()>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut queue = self.queue.lock();
        queue.leave(&self.caller, self.ticket);
        start_next(&mut queue);
    }
}

fn start_next(queue: &mut FairQueue<oneshot::Sender<()>>) {
    while let Some(wake) = queue.next() {
        // Whoever does not wait any more is about to leave, which frees the thread again.
        let _ = wake.send(());
    }
}

#[cfg(test)]
mod tests;
