//! A router on a store, in process, as the server has it.

use std::sync::Arc;

use axum::Router;
use meterd::{
    api::{ApiServices, CallLimits, CrossOrigin, api_router, metrics::Metrics},
    auth::{
        Authentication,
        access_token::AccessTokens,
        assertion::{AssertionLimits, Assertions},
        server_names::ServerNames,
        signing_keys::SigningKeys,
    },
    domain::{
        audit::Actor,
        caller::Caller,
        catalog::{DesiredCatalog, Product, Sku, State},
        id::{ClientId, OrganizationId, ProductId, SkuId},
    },
    service::{
        acceptance::AcceptanceWindow,
        access::Access,
        access_log::{AccessLogHeaders, AccessLogRules, AccessLogs},
        api_usage::{ApiUsage, self_metering::SelfMetering},
        assets::Assets,
        audit::AuditTrail,
        backups::{BackupLimits, Backups},
        catalogs::Catalogs,
        clock::SystemClock,
        committer::{Committer, CommitterLimits},
        disk_reserve::DiskReserve,
        product_usage::ProductUsage,
        reports::Reports,
        usage_batches::UsageBatches,
        usage_queries::{QueryLimits, UsageQueries},
    },
    store::UsageStore,
};
use tokio::sync::watch;

/// The router, and what counts its calls if anything does.
pub(crate) struct Bench {
    pub(crate) router: Router,
    #[allow(dead_code, reason = "one of the benches stores what was counted")]
    pub(crate) self_metering: Option<Arc<SelfMetering>>,
}

/// Whoever calls without credentials in development mode.
pub(crate) fn caller() -> Caller {
    Caller {
        organization: OrganizationId::new("dev").unwrap(),
        client: ClientId::new("bench").unwrap(),
    }
}

/// One product, `storage`, with one SKU, `gb-hour`.
pub(crate) async fn put_catalog(catalogs: &Catalogs) {
    let sku = SkuId::new("gb-hour").unwrap();
    let product = Product {
        id: ProductId::new("storage").unwrap(),
        name: String::new(),
        state: State::Active,
        skus: [(
            sku.clone(),
            Sku { id: sku, name: String::new(), usage_unit: String::new(), state: State::Active },
        )]
        .into(),
    };
    let actor = Actor { caller: caller(), address: None };
    let desired = DesiredCatalog { products: vec![product], instances: vec![], prune: false };
    catalogs.apply(&actor, desired, false).await.unwrap();
}

/// A catalog with one product, and everybody let in.
pub(crate) async fn router(store: Arc<dyn UsageStore>, meters_itself: bool) -> Bench {
    let clock = Arc::new(SystemClock);
    let committer =
        Committer::start(Arc::clone(&store), clock.clone(), CommitterLimits::default()).unwrap();
    let audit = Arc::new(AuditTrail::new(Arc::clone(&store), clock.clone()));
    let catalogs = Arc::new(Catalogs::load(Arc::clone(&store), Arc::clone(&audit)).unwrap());
    let access =
        Arc::new(Access::load(Arc::clone(&store), clock.clone(), Arc::clone(&audit)).unwrap());
    let reads = Arc::clone(committer.reads());
    let assets = Arc::new(Assets::new(Arc::clone(&store), Arc::clone(&audit), reads));
    put_catalog(&catalogs).await;
    let api_usage =
        ApiUsage::new(Arc::clone(&committer), clock.clone(), AcceptanceWindow::default());
    let api_usage = Arc::new(api_usage);
    let self_metering =
        meters_itself.then(|| Arc::new(SelfMetering::new(Arc::clone(&api_usage), clock.clone())));
    let queries = UsageQueries::start(
        Arc::clone(&store),
        Arc::clone(&committer),
        Arc::clone(&access),
        clock.clone(),
        QueryLimits::default(),
        std::env::temp_dir(),
        DiskReserve::off(),
    )
    .unwrap();
    let services = ApiServices {
        usage: Arc::new(ProductUsage::new(
            Arc::clone(&committer),
            Arc::clone(&catalogs),
            clock.clone(),
            AcceptanceWindow::default(),
        )),
        access_logs: Arc::new(AccessLogs::new(
            Arc::clone(&api_usage),
            clock.clone(),
            AcceptanceWindow::default(),
            AccessLogRules::new(&[], AccessLogHeaders::default()).unwrap(),
        )),
        stopping: watch::channel(false).1,
        api_usage,
        self_metering: self_metering.clone(),
        queries: Arc::new(queries),
        batches: Arc::new(UsageBatches::new(
            Arc::clone(&committer),
            Arc::clone(&assets),
            clock.clone(),
        )),
        backups: Arc::new(Backups::new(
            Arc::clone(&store),
            Arc::clone(&audit),
            BackupLimits::default(),
            watch::channel(false).1,
        )),
        reports: Arc::new(Reports::new(store, committer)),
        catalogs,
        assets,
        access,
        audit,
        assertions: Arc::new(Assertions::new(
            Arc::new(ServerNames::new(Vec::new(), ([127, 0, 0, 1], 8080).into(), None)),
            AssertionLimits::default(),
        )),
        tokens: Arc::new(AccessTokens::new(SigningKeys::ephemeral().unwrap())),
        clock,
        metrics: Arc::new(Metrics::new()),
    };
    let limits = CallLimits { calls_in_flight_max: 1 << 20, ..CallLimits::default() };
    let authentication = Authentication::new(None, true).unwrap();
    let router = api_router(services, authentication, &limits, &CrossOrigin::Nobody).unwrap().0;
    Bench { router, self_metering }
}
