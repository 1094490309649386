//! The engine: the real store, the real committer, and the use cases on them, as `serve` composes them.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;

use crate::{
    service::{
        acceptance::AcceptanceWindow,
        access::Access,
        api_usage::ApiUsage,
        assets::Assets,
        audit::AuditTrail,
        catalogs::Catalogs,
        clock::Clock,
        committer::{Committer, CommitterLimits},
        disk_reserve::DiskReserve,
        product_usage::ProductUsage,
        reports::Reports,
        usage_batches::UsageBatches,
        usage_queries::{QueryLimits, UsageQueries},
    },
    store::{
        UsageStore,
        sled::{SledStore, StoreOptions},
    },
};

/// Puts something between the store and the rest. Only tests do.
pub(in crate::cli::simulate) type Wrap = Box<dyn Fn(Arc<SledStore>) -> Arc<dyn UsageStore>>;

/// Puts nothing there.
pub(in crate::cli::simulate) fn plain(sled: Arc<SledStore>) -> Arc<dyn UsageStore> {
    sled
}

/// A running engine.
pub(in crate::cli::simulate) struct Engine {
    sled: Arc<SledStore>,
    pub(in crate::cli::simulate) store: Arc<dyn UsageStore>,
    pub(in crate::cli::simulate) committer: Arc<Committer>,
    pub(in crate::cli::simulate) catalogs: Arc<Catalogs>,
    pub(in crate::cli::simulate) assets: Arc<Assets>,
    pub(in crate::cli::simulate) usage: ProductUsage,
    pub(in crate::cli::simulate) api_usage: ApiUsage,
    pub(in crate::cli::simulate) batches: UsageBatches,
    pub(in crate::cli::simulate) reports: Reports,
    pub(in crate::cli::simulate) queries: UsageQueries,
}

/// Reads that are not over yet keep a store from closing; they take no longer than this.
const CLOSE_PATIENCE: Duration = Duration::from_secs(30);

impl Engine {
    /// Opens the store and composes the use cases.
    pub(super) fn open(
        options: StoreOptions,
        clock: Arc<dyn Clock>,
        wrap: &Wrap,
    ) -> anyhow::Result<Self> {
        let spill = spill(&options.data_dir)?;
        let sled = Arc::new(SledStore::open(options).context("cannot open the store")?);
        let store = wrap(Arc::clone(&sled));
        let committer =
            Committer::start(Arc::clone(&store), Arc::clone(&clock), CommitterLimits::default())?;
        let audit = Arc::new(AuditTrail::new(Arc::clone(&store), Arc::clone(&clock)));
        let catalogs = Arc::new(Catalogs::load(Arc::clone(&store), Arc::clone(&audit))?);
        let reads = Arc::clone(committer.reads());
        let assets = Arc::new(Assets::new(Arc::clone(&store), Arc::clone(&audit), reads));
        let access = Access::load(Arc::clone(&store), Arc::clone(&clock), audit)?;
        let window = AcceptanceWindow::default();
        let usage = ProductUsage::new(
            Arc::clone(&committer),
            Arc::clone(&catalogs),
            Arc::clone(&clock),
            window,
        );
        let api_usage = ApiUsage::new(Arc::clone(&committer), Arc::clone(&clock), window);
        let batches =
            UsageBatches::new(Arc::clone(&committer), Arc::clone(&assets), Arc::clone(&clock));
        let reports = Reports::new(Arc::clone(&store), Arc::clone(&committer));
        let queries = UsageQueries::start(
            Arc::clone(&store),
            Arc::clone(&committer),
            Arc::new(access),
            clock,
            QueryLimits::default(),
            spill,
            DiskReserve::off(),
        )?;
        Ok(Self {
            sled,
            store,
            committer,
            catalogs,
            assets,
            usage,
            api_usage,
            batches,
            reports,
            queries,
        })
    }

    /// Stops everything that writes in the background, wherever it is. Writes fail from now on.
    pub(super) fn halt(&self) {
        self.queries.shut_down();
        self.sled.close();
    }

    /// Ends everything; the store is closed on return.
    pub(super) fn close(self) -> anyhow::Result<()> {
        self.queries.shut_down();
        self.committer.shut_down();
        let sled = Arc::clone(&self.sled);
        drop(self);
        let began = Instant::now();
        while Arc::strong_count(&sled) > 1 {
            anyhow::ensure!(began.elapsed() < CLOSE_PATIENCE, "something keeps the store open");
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }
}

/// Where rows of queries are sorted that do not fit in memory: beside the store.
fn spill(data_dir: &Path) -> anyhow::Result<PathBuf> {
    Ok(data_dir.parent().context("the data directory has no parent")?.to_owned())
}
