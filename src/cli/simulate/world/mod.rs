//! Everything around the model: the engine, its clock, its disk, and how it ends.

mod crash;
mod engine;
mod sending;

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use anyhow::Context as _;
use jiff::Timestamp;
use tokio::runtime::Runtime;

pub(super) use self::{
    engine::{Engine, Wrap, plain},
    sending::Answer,
};
use super::plan::Plan;
use crate::{
    service::clock::ManualClock,
    store::sled::{FaultAction, FaultPoint, Faults, StoreOptions},
};

/// sled is generous with its cache; the stores are small.
const CACHE_BYTES: u64 = 16 << 20;

/// How an engine ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// As when a server is stopped.
    Clean,
    /// As when its process is killed: what follows sees the files as they are now.
    Abandoned,
}

/// The world that the clients live in.
pub(super) struct World {
    runtime: Runtime,
    data_dir: PathBuf,
    memtable_keys: usize,
    rollup_rows: usize,
    clock: Arc<ManualClock>,
    faults: Faults,
    wrap: Wrap,
    interrupted: Arc<AtomicBool>,
    // None only while it is started again.
    engine: Option<Engine>,
}

impl World {
    /// Starts the engine on a directory. It is down for good once `interrupted` is raised.
    pub(super) fn new(
        plan: &Plan,
        data_dir: &Path,
        wrap: Wrap,
        interrupted: Arc<AtomicBool>,
    ) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .context("cannot start the runtime")?;
        let mut world = Self {
            runtime,
            data_dir: std::path::absolute(data_dir).context("cannot resolve the directory")?,
            memtable_keys: plan.memtable_keys,
            rollup_rows: plan.rollup_rows,
            clock: Arc::new(ManualClock::new(plan.time_of(0))),
            faults: Faults::default(),
            wrap,
            interrupted,
            engine: None,
        };
        world.start()?;
        Ok(world)
    }

    /// The engine.
    pub(super) fn engine(&self) -> anyhow::Result<&Engine> {
        anyhow::ensure!(!self.interrupted.load(Ordering::Relaxed), "interrupted");
        self.engine.as_ref().context("the engine is down")
    }

    /// Waits for a use case.
    pub(super) fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// Where the store is.
    pub(super) fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// What the server's clock says.
    pub(super) fn now(&self) -> Timestamp {
        use crate::service::clock::Clock as _;
        self.clock.now()
    }

    /// Sets the server's clock, in either direction.
    pub(super) fn set_clock(&self, now: Timestamp) {
        self.clock.set(now);
    }

    /// Lets the next write fail at a point, as it does on a full disk. All that follow are refused.
    pub(super) fn plant(&self, point: FaultPoint) {
        self.faults.arm(point, 0, FaultAction::Fail);
    }

    /// Whether what was planted has struck.
    pub(super) fn has_struck(&self) -> bool {
        !self.faults.is_armed()
    }

    /// Ends the engine. [`World::start`] starts it again.
    pub(super) fn end(&mut self, ending: Ending) -> anyhow::Result<()> {
        let engine = self.engine.take().context("the engine is down")?;
        match ending {
            Ending::Clean => engine.close(),
            Ending::Abandoned => {
                engine.halt();
                let image = crash::image_of(&self.data_dir)?;
                engine.close()?;
                crash::put_in_place(&image, &self.data_dir)
            }
        }
    }

    /// Starts the engine on what is there.
    pub(super) fn start(&mut self) -> anyhow::Result<()> {
        let mut options = StoreOptions::new(&self.data_dir);
        options.cache_bytes = CACHE_BYTES;
        options.memtable_keys_max = self.memtable_keys;
        options.rollup_rows_max = self.rollup_rows;
        options.faults = self.faults.clone();
        let clock = Arc::<ManualClock>::clone(&self.clock);
        self.engine = Some(Engine::open(options, clock, &self.wrap)?);
        Ok(())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(engine) = self.engine.take() {
            // It failed already, or was interrupted; what is on the disk stays as it is.
            let _ = engine.close();
        }
    }
}
