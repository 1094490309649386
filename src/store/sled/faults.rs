//! Places at which a test can make the store fail, or the process die. They do nothing unless a
//! test arms one; there is no way to arm them from outside the process.

use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use crate::store::StoreError;

/// A step of the store that a fault can be planted at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultPoint {
    /// A commit is about to hand its log chunks to sled.
    CommitWrite,
    /// The chunks are with sled, the flush has not begun.
    CommitFlush,
    /// The flush returned; nothing is published or answered yet.
    CommitPublish,
    /// The index flusher or a merger is about to write a page of a run.
    RunPage,
    /// A run is complete and flushed, the manifest does not name it yet.
    RunComplete,
    /// A batch of rollup rows is about to be written.
    RollupBatch,
    /// The manifest is about to be written.
    ManifestWrite,
    /// The manifest is durable; memory still shows the state before.
    ManifestPublish,
    /// Pages of a dead run are about to be removed.
    RunRemoval,
    /// Old values of the log are about to be dropped.
    LogDrop,
    /// A catalog change is about to be written.
    CatalogWrite,
    /// Documents are about to be written.
    DocumentWrite,
}

/// What happens there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultAction {
    /// The step fails as if the disk had.
    Fail,
    /// The process dies at once, as if killed.
    Abort,
    /// The thread panics.
    Panic,
    /// The step takes until [`Faults::release`].
    Stall,
}

#[derive(Debug)]
struct Armed {
    point: FaultPoint,
    passes_left: u32,
    action: FaultAction,
}

/// The planted fault of one store, if any.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    armed: Arc<Mutex<Option<Armed>>>,
    stall: Arc<Stall>,
}

/// Where a step waits that a test holds up.
#[derive(Debug, Default)]
struct Stall {
    released: Mutex<bool>,
    changed: Condvar,
}

impl Faults {
    /// Plants a fault that strikes when `point` is reached after it was passed `passes` times.
    pub fn arm(&self, point: FaultPoint, passes: u32, action: FaultAction) {
        *self.armed.lock() = Some(Armed { point, passes_left: passes, action });
    }

    /// Lets the step go on that a planted stall holds up, and any later one.
    pub fn release(&self) {
        *self.stall.released.lock() = true;
        self.stall.changed.notify_all();
    }

    /// Whether a planted fault has not struck yet.
    #[must_use]
    pub fn is_armed(&self) -> bool {
        self.armed.lock().is_some()
    }

    pub(super) fn pass(&self, point: FaultPoint) -> Result<(), StoreError> {
        let mut armed = self.armed.lock();
        let Some(fault) = armed.as_mut().filter(|fault| fault.point == point) else {
            return Ok(());
        };
        if fault.passes_left > 0 {
            fault.passes_left -= 1;
            return Ok(());
        }
        let action = fault.action;
        *armed = None;
        drop(armed);
        match action {
            FaultAction::Fail => {
                Err(StoreError::Engine(format!("planted fault at {point:?}").into()))
            }
            FaultAction::Abort => std::process::abort(),
            FaultAction::Panic => panic!("planted panic at {point:?}"),
            FaultAction::Stall => {
                let mut released = self.stall.released.lock();
                self.stall.changed.wait_while(&mut released, |released| !*released);
                Ok(())
            }
        }
    }
}
