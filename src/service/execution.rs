//! Where work runs that waits for the store.

use std::time::Duration;

use tokio::task::JoinHandle;

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
}
