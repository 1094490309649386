//! Where work runs that waits for the store.

use std::time::Duration;

use tokio::task::JoinHandle;

use super::ServiceError;

/// Where work runs that waits for the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Execution {
    /// On threads that may block. What happens first of two things at once is up to the system.
    #[default]
    Threads,
    /// On the runtime of whoever asks, one thing after the other. Where that runtime has one thread and a simulated
    /// clock, everything happens in an order that can be repeated. For stores that answer at once, such as the one in
    /// memory.
    InTurn {
        /// How long a commit takes, by the runtime's clock: it is stored half-way, and answered at the end.
        commit_time: Duration,
    },
}

impl Execution {
    /// Runs work that blocks. It goes on to its end even if nobody waits for it.
    pub(crate) fn run<T: Send + 'static>(
        self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        match self {
            Self::Threads => tokio::task::spawn_blocking(work),
            Self::InTurn { .. } => tokio::spawn(async move { work() }),
        }
    }

    /// Runs work that blocks, and waits for its end. Work that has not begun when the future is dropped never begins;
    /// work that has goes on to its end.
    ///
    /// # Errors
    /// [`ServiceError::Internal`] if the work panics; [`ServiceError::Unavailable`] if the runtime is shutting down.
    pub(super) async fn complete<T: Send + 'static>(
        self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ServiceError> {
        let mut running = AbortOnDrop(self.run(work));
        (&mut running.0).await.map_err(|error| {
            if error.is_panic() {
                ServiceError::Internal(error.to_string().into())
            } else {
                ServiceError::Unavailable("the runtime is shutting down".into())
            }
        })
    }
}

/// A task that is withdrawn, if it has not begun, when nobody waits for it any more.
struct AbortOnDrop<T>(JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
