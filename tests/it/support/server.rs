//! A server in this process, on free ports, with a clock that stands still.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use jiff::Timestamp;
use meterd::{
    api::{
        CallLimits, CrossOrigin,
        pb::{
            envoy::service::accesslog::v3::access_log_service_client::AccessLogServiceClient,
            meterd::v1::{
                access_service_client::AccessServiceClient,
                catalog_service_client::CatalogServiceClient,
                usage_ingest_service_client::UsageIngestServiceClient,
                usage_query_service_client::UsageQueryServiceClient,
                usage_report_service_client::UsageReportServiceClient,
            },
            yandex::cloud::marketplace::{
                metering::v1::{
                    image_product_usage_service_client::ImageProductUsageServiceClient,
                    product_usage_service_client::ProductUsageServiceClient,
                },
                v1::metering as older,
            },
        },
    },
    auth::{AdminToken, Authentication, assertion::AssertionLimits, server_names::PublicUrl},
    domain::{
        audit::Actor,
        catalog::{CatalogLimits, DesiredCatalog, Product, ProductInstance, Sku, State},
        id::{OrganizationId, ProductId, ProductInstanceId, SkuId},
    },
    server::{ConnectionLimits, OutsideIssuerConfig, Server, ServerConfig, TlsFiles},
    service::{
        acceptance::AcceptanceWindow,
        access::AccessLimits,
        access_log::{AccessLogHeaders, AccessLogRules},
        audit::AuditLimits,
        backups::BackupLimits,
        clock::ManualClock,
        committer::CommitterLimits,
        disk_reserve::DiskReserve,
        execution::Execution,
        usage_queries::QueryLimits,
    },
    store::{UsageStore, memory::MemoryStore},
};
use tokio::{
    sync::{Notify, oneshot},
    task::JoinHandle,
};
use tonic::{
    Request, Status,
    metadata::MetadataValue,
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint},
};

pub const TOKEN: &str = "test-token-of-the-operator-of-this-server";

/// The instant at which tests begin.
pub fn noon() -> Timestamp {
    "2026-11-20T12:00:00Z".parse().unwrap()
}

/// Adds the operator's token to every call.
#[derive(Clone)]
pub struct Bearer;

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let value = MetadataValue::try_from(format!("Bearer {TOKEN}")).unwrap();
        request.metadata_mut().insert("authorization", value);
        Ok(request)
    }
}

pub type Authed = InterceptedService<Channel, Bearer>;

pub struct TestServer {
    pub api: SocketAddr,
    pub admin: SocketAddr,
    pub clock: Arc<ManualClock>,
    pub store: Arc<dyn UsageStore>,
    pub reload: Arc<Notify>,
    stop: Option<oneshot::Sender<()>>,
    serving: Option<JoinHandle<()>>,
}

/// What differs from test to test.
pub struct Setup {
    pub store: Arc<dyn UsageStore>,
    pub calls: CallLimits,
    pub connections: ConnectionLimits,
    pub committer: CommitterLimits,
    pub drain_timeout: Duration,
    pub cross_origin: CrossOrigin,
    pub tls: Option<TlsFiles>,
    pub outside_issuer: Option<OutsideIssuerConfig>,
    pub signing_keys: Option<PathBuf>,
    pub public_urls: Vec<PublicUrl>,
    pub assertions: AssertionLimits,
    /// Off, other than in the binary: what is stored is what the test stores.
    pub self_metering: bool,
    pub queries: QueryLimits,
    pub backups: BackupLimits,
    pub catalogs: CatalogLimits,
    pub access: AccessLimits,
    pub audit: AuditLimits,
    pub disk: Arc<DiskReserve>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            store: Arc::new(MemoryStore::new()),
            // Tests try many wrong credentials, and have no time to wait.
            calls: CallLimits { refusal_delay_max: Duration::ZERO, ..CallLimits::default() },
            connections: ConnectionLimits::with_all_descriptors(),
            committer: CommitterLimits::default(),
            drain_timeout: Duration::from_secs(10),
            cross_origin: CrossOrigin::Nobody,
            tls: None,
            outside_issuer: None,
            signing_keys: None,
            public_urls: Vec::new(),
            assertions: AssertionLimits::default(),
            self_metering: false,
            queries: QueryLimits::default(),
            backups: BackupLimits::default(),
            catalogs: CatalogLimits::default(),
            access: AccessLimits::default(),
            audit: AuditLimits::default(),
            disk: DiskReserve::off(),
        }
    }
}

impl TestServer {
    pub async fn start() -> Self {
        Self::with(Setup::default()).await
    }

    pub async fn with(setup: Setup) -> Self {
        let clock = Arc::new(ManualClock::new(noon()));
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let config = ServerConfig {
            listen: any,
            admin_listen: any,
            drain_timeout: setup.drain_timeout,
            calls: setup.calls,
            connections: setup.connections,
            committer: setup.committer,
            execution: Execution::Threads,
            window: AcceptanceWindow::default(),
            self_metering: setup.self_metering,
            queries: setup.queries,
            backups: setup.backups,
            audit: setup.audit,
            retain_records: None,
            spill: std::env::temp_dir(),
            catalogs: setup.catalogs,
            access: setup.access,
            disk: setup.disk,
            access_log: AccessLogRules::new(
                &["/v1/products/{id}".to_owned()],
                AccessLogHeaders::default(),
            )
            .unwrap(),
            authentication: Authentication::new(Some(AdminToken::new(TOKEN).unwrap()), false)
                .unwrap(),
            tls: setup.tls,
            signing_keys: setup.signing_keys,
            public_urls: setup.public_urls,
            assertions: setup.assertions,
            outside_issuer: setup.outside_issuer,
            cross_origin: setup.cross_origin,
        };
        let server =
            Server::bind(config, Arc::clone(&setup.store), Arc::<ManualClock>::clone(&clock))
                .await
                .unwrap();
        let organization = OrganizationId::new("default").unwrap();
        let actor = Actor::meterd(&organization).unwrap();
        server.catalogs().apply(&actor, sample_catalog(), false).await.unwrap();
        let (api, admin) = (server.api_address(), server.admin_address());
        let reload = Arc::clone(server.reload());
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(async move {
            server
                .serve(async {
                    let _ = stopped.await;
                })
                .await
                .unwrap();
        });
        Self {
            api,
            admin,
            clock,
            store: setup.store,
            reload,
            stop: Some(stop),
            serving: Some(serving),
        }
    }

    pub fn channel(&self) -> Channel {
        Endpoint::from_shared(format!("http://{}", self.api)).unwrap().connect_lazy()
    }

    pub fn authed(&self) -> Authed {
        InterceptedService::new(self.channel(), Bearer)
    }

    pub fn image(&self) -> ImageProductUsageServiceClient<Authed> {
        ImageProductUsageServiceClient::new(self.authed())
    }

    pub fn older_image(
        &self,
    ) -> older::image_product_usage_service_client::ImageProductUsageServiceClient<Authed> {
        older::image_product_usage_service_client::ImageProductUsageServiceClient::new(
            self.authed(),
        )
    }

    pub fn instance(&self) -> ProductUsageServiceClient<Authed> {
        ProductUsageServiceClient::new(self.authed())
    }

    pub fn ingest(&self) -> UsageIngestServiceClient<Authed> {
        UsageIngestServiceClient::new(self.authed())
    }

    pub fn access_logs(&self) -> AccessLogServiceClient<Authed> {
        AccessLogServiceClient::new(self.authed())
    }

    pub fn reports(&self) -> UsageReportServiceClient<Authed> {
        UsageReportServiceClient::new(self.authed())
    }

    pub fn queries(&self) -> UsageQueryServiceClient<Authed> {
        UsageQueryServiceClient::new(self.authed())
    }

    pub fn catalog(&self) -> CatalogServiceClient<Authed> {
        CatalogServiceClient::new(self.authed())
    }

    pub fn access(&self) -> AccessServiceClient<Authed> {
        AccessServiceClient::new(self.authed())
    }

    /// Begins the shutdown without waiting for its end.
    pub fn begin_stop(&mut self) -> JoinHandle<()> {
        let _ = self.stop.take().unwrap().send(());
        self.serving.take().unwrap()
    }

    pub async fn stop(mut self) {
        self.begin_stop().await.unwrap();
    }
}

pub fn sample_catalog() -> DesiredCatalog {
    let sku = |id: &str, state| {
        let id = SkuId::new(id).unwrap();
        (id.clone(), Sku { id, name: String::new(), usage_unit: "unit".into(), state })
    };
    let product = |id: &str, state, skus: BTreeMap<SkuId, Sku>| Product {
        id: ProductId::new(id).unwrap(),
        name: format!("Product {id}"),
        state,
        skus,
    };
    let instance = |id: &str, product: &str, state| ProductInstance {
        id: ProductInstanceId::new(id).unwrap(),
        product: ProductId::new(product).unwrap(),
        name: String::new(),
        state,
    };
    DesiredCatalog {
        products: vec![
            product(
                "storage",
                State::Active,
                [
                    sku("gb-hour", State::Active),
                    sku("requests", State::Active),
                    sku("old", State::Retired),
                ]
                .into(),
            ),
            product("gone", State::Retired, [sku("gb-hour", State::Active)].into()),
            product("saas", State::Active, [sku("seat", State::Active)].into()),
        ],
        instances: vec![
            instance("saas-1", "saas", State::Active),
            instance("saas-2", "saas", State::Active),
            instance("saas-old", "saas", State::Retired),
        ],
        prune: false,
    }
}

static NEXT_UUID: AtomicU64 = AtomicU64::new(1);

/// A uuid that no other test has.
pub fn fresh_uuid() -> String {
    let number = NEXT_UUID.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    uuid::Uuid::from_u128(0xABCD_0000_0000_4000_8000_0000_0000_0000 | u128::from(number))
        .to_string()
}

pub fn proto_time(text: &str) -> Option<prost_types::Timestamp> {
    let instant: Timestamp = text.parse().unwrap();
    Some(prost_types::Timestamp {
        seconds: instant.as_second(),
        nanos: instant.subsec_nanosecond(),
    })
}
