//! Putting everything together, and serving it until told to stop.

mod admin;
mod answers;
mod connections;
mod issuer_keys;
mod key_rotation;
mod listener;
mod slots;
mod tls;
mod watched_stream;

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use jiff::SignedDuration;
use tokio::{
    net::TcpListener,
    sync::{Notify, watch},
    time::MissedTickBehavior,
};
use tonic_health::{ServingStatus, server::HealthReporter};

pub use connections::ConnectionLimits;
pub use issuer_keys::{IssuerKeysError, KeySource, OutsideIssuerConfig, is_safe};
pub use listener::Listener;
pub use tls::{TlsError, TlsFiles};

use self::{
    admin::{Admin, admin_router},
    connections::{Served, bind, serve_connections},
    issuer_keys::IssuerKeys,
    key_rotation::end_interrupted_rotation,
    tls::Tls,
};
use crate::{
    api::{
        ApiServices, CallLimits, CrossOrigin, RouterError, api_router, grpc_service_names,
        metrics::Metrics,
    },
    auth::{
        Authentication,
        access_token::AccessTokens,
        assertion::{AssertionLimits, Assertions},
        server_names::{PublicUrl, ServerNames},
        signing_keys::{SigningKeyError, SigningKeys},
    },
    domain::catalog::CatalogLimits,
    service::{
        ServiceError,
        acceptance::AcceptanceWindow,
        access::{Access, AccessLimits},
        access_log::{AccessLogRules, AccessLogs},
        api_usage::{ApiUsage, self_metering::SelfMetering},
        assets::Assets,
        audit::{AuditLimits, AuditRetention, AuditTrail},
        backups::{BackupLimits, Backups},
        catalogs::Catalogs,
        clock::Clock,
        committer::{Committer, CommitterLimits},
        disk_reserve::DiskReserve,
        execution::Execution,
        product_usage::ProductUsage,
        reports::Reports,
        retention::Retention,
        usage_batches::UsageBatches,
        usage_queries::{QueryLimits, UsageQueries},
    },
    store::{StoreStatus, UsageStore},
};

/// How often the health service looks whether the store still takes writes.
const HEALTH_INTERVAL: Duration = Duration::from_millis(250);

/// How often it is looked how much of the disk is free.
const DISK_INTERVAL: Duration = Duration::from_secs(1);

/// How often the usage of our own API is stored.
const METERING_INTERVAL: Duration = Duration::from_secs(1);

/// How to serve.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Where the API listens. Port 0 picks a free one.
    pub listen: SocketAddr,
    /// Where metrics and probes are served.
    pub admin_listen: SocketAddr,
    /// How long calls under way may take to finish after a shutdown began. Default 10 s.
    pub drain_timeout: Duration,
    /// Limits of single calls.
    pub calls: CallLimits,
    /// Limits of connections.
    pub connections: ConnectionLimits,
    /// Limits of the write queue.
    pub committer: CommitterLimits,
    /// Where commits and reads of the store run. Default: on threads.
    pub execution: Execution,
    /// Which usage times are accepted.
    pub window: AcceptanceWindow,
    /// Whether the calls that are answered are recorded as API usage. Default: they are.
    pub self_metering: bool,
    /// Limits of usage queries.
    pub queries: QueryLimits,
    /// How much is kept on record of who changed what.
    pub audit: AuditLimits,
    /// How long backups wait for their readers.
    pub backups: BackupLimits,
    /// How long records are kept after they were stored; `None` for ever.
    pub retain_records: Option<SignedDuration>,
    /// Where usage queries sort what does not fit into memory, in nameless files.
    pub spill: PathBuf,
    /// What of the disk is kept free for usage.
    pub disk: Arc<DiskReserve>,
    /// How entries of proxies' access logs are read.
    pub access_log: AccessLogRules,
    /// How large the catalog of each organization may be.
    pub catalogs: CatalogLimits,
    /// How many organizations and clients there may be.
    pub access: AccessLimits,
    /// How callers are recognised.
    pub authentication: Authentication,
    /// TLS for the API; `None` for connections in the clear.
    pub tls: Option<TlsFiles>,
    /// What this server is called; nothing for what its certificate and the address that it listens on say.
    pub public_urls: Vec<PublicUrl>,
    /// Limits of signing in with assertions.
    pub assertions: AssertionLimits,
    /// The file of the keys that sign tokens, made if it is not there; `None` for keys that are gone with the
    /// process.
    pub signing_keys: Option<PathBuf>,
    /// Whose tokens are accepted besides our own; `None` for nobody's.
    pub outside_issuer: Option<OutsideIssuerConfig>,
    /// Which web pages may call. Default: none.
    pub cross_origin: CrossOrigin,
}

/// Why a server cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The services do not fit together.
    #[error(transparent)]
    Router(#[from] RouterError),
    /// The files of TLS cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The keys that sign tokens cannot be used.
    #[error(transparent)]
    SigningKeys(#[from] SigningKeyError),
    /// The keys of the outside issuer cannot be used.
    #[error(transparent)]
    IssuerKeys(#[from] IssuerKeysError),
    /// A use case cannot be set up.
    #[error(transparent)]
    Service(#[from] ServiceError),
}

/// A server that is bound and not serving yet.
pub struct Server<L = TcpListener> {
    config: ServerConfig,
    api: L,
    admin: L,
    api_address: SocketAddr,
    admin_address: SocketAddr,
    store: Arc<dyn UsageStore>,
    committer: Arc<Committer>,
    catalogs: Arc<Catalogs>,
    access: Arc<Access>,
    metrics: Arc<Metrics>,
    self_metering: Option<Arc<SelfMetering>>,
    queries: Arc<UsageQueries>,
    retention: Option<Retention>,
    audit: Arc<AuditTrail>,
    tls: Option<Arc<Tls>>,
    names: Arc<ServerNames>,
    issuer_keys: Option<IssuerKeys>,
    reload: Arc<Notify>,
    draining: watch::Sender<bool>,
    router: axum::Router,
    health: HealthReporter,
}

impl<L> std::fmt::Debug for Server<L> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("api", &self.api_address)
            .field("admin", &self.admin_address)
            .finish_non_exhaustive()
    }
}

impl Server {
    /// Binds both listeners and composes the services.
    ///
    /// # Errors
    /// [`ServerError`] if an address is taken or the store cannot be read.
    pub async fn bind(
        config: ServerConfig,
        store: Arc<dyn UsageStore>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, ServerError> {
        let api = listen(config.listen)?;
        let admin = listen(config.admin_listen)?;
        Self::compose(config, api, admin, store, clock)
    }
}

impl<L: Listener> Server<L> {
    /// Composes the services behind listeners that are bound already. Must be called within the runtime that serves.
    ///
    /// # Errors
    /// [`ServerError`] if the store cannot be read, or the services do not fit together.
    pub fn compose(
        config: ServerConfig,
        api: L,
        admin: L,
        store: Arc<dyn UsageStore>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, ServerError> {
        let api_address = address_of(&api, config.listen)?;
        let admin_address = address_of(&admin, config.admin_listen)?;
        let execution = config.execution;
        let tls = config.tls.clone().map(Tls::load).transpose()?.map(Arc::new);
        let names = Arc::new(ServerNames::new(
            config.public_urls.clone(),
            api_address,
            tls.as_ref().map(|tls| tls.dns_names()).as_deref(),
        ));
        tell_names(&names);
        let metrics = Arc::new(Metrics::new());
        let committer = Committer::start_with(
            Arc::clone(&store),
            Arc::clone(&clock),
            config.committer,
            execution,
        )?;
        let audit = AuditTrail::with_limits(Arc::clone(&store), Arc::clone(&clock), config.audit);
        let audit = Arc::new(audit);
        let catalogs = Catalogs::load_with(
            Arc::clone(&store),
            Arc::clone(&audit),
            config.catalogs,
            execution,
        )?;
        let catalogs = Arc::new(catalogs);
        let reads = Arc::clone(committer.reads());
        let assets = Assets::new(Arc::clone(&store), Arc::clone(&audit), reads);
        let assets = Arc::new(assets.with_reserve(Arc::clone(&config.disk)));
        let access = Access::load_with(
            Arc::clone(&store),
            Arc::clone(&clock),
            Arc::clone(&audit),
            config.access,
            execution,
        )?;
        let access = Arc::new(access);
        let keys = match &config.signing_keys {
            Some(file) => {
                end_interrupted_rotation(file, &audit)?;
                SigningKeys::open(file, clock.now())?
            }
            None => SigningKeys::ephemeral()?,
        };
        let api_usage = ApiUsage::new(Arc::clone(&committer), Arc::clone(&clock), config.window);
        let api_usage = Arc::new(api_usage);
        let self_metering = config
            .self_metering
            .then(|| Arc::new(SelfMetering::new(Arc::clone(&api_usage), Arc::clone(&clock))));
        let queries = UsageQueries::start(
            Arc::clone(&store),
            Arc::clone(&committer),
            Arc::clone(&access),
            Arc::clone(&clock),
            config.queries,
            config.spill.clone(),
            Arc::clone(&config.disk),
        )?;
        let queries = Arc::new(queries);
        let retention = config
            .retain_records
            .map(|keep| Retention::new(Arc::clone(&store), Arc::clone(&clock), keep, execution));
        let (draining, stopping) = watch::channel(false);
        let services = ApiServices {
            queries: Arc::clone(&queries),
            api_usage: Arc::clone(&api_usage),
            self_metering: self_metering.clone(),
            usage: Arc::new(ProductUsage::new(
                Arc::clone(&committer),
                Arc::clone(&catalogs),
                Arc::clone(&clock),
                config.window,
            )),
            batches: Arc::new(UsageBatches::new(
                Arc::clone(&committer),
                Arc::clone(&assets),
                Arc::clone(&clock),
            )),
            access_logs: Arc::new(AccessLogs::new(
                api_usage,
                Arc::clone(&clock),
                config.window,
                config.access_log.clone(),
            )),
            reports: Arc::new(Reports::new(Arc::clone(&store), Arc::clone(&committer))),
            catalogs: Arc::clone(&catalogs),
            assets,
            access: Arc::clone(&access),
            backups: Arc::new(Backups::new(
                Arc::clone(&store),
                Arc::clone(&audit),
                config.backups,
                stopping.clone(),
            )),
            audit: Arc::clone(&audit),
            assertions: Arc::new(Assertions::new(Arc::clone(&names), config.assertions)),
            tokens: Arc::new(AccessTokens::new(keys)),
            clock,
            metrics: Arc::clone(&metrics),
            stopping,
        };
        let issuer_keys = config.outside_issuer.clone().map(IssuerKeys::open).transpose()?;
        let mut authentication = config.authentication.clone();
        if let Some(keys) = &issuer_keys {
            authentication = authentication.with_outside_issuer(Arc::clone(keys.issuer()));
        }
        let (router, health) =
            api_router(services, authentication, &config.calls, &config.cross_origin)?;
        Ok(Self {
            config,
            api,
            admin,
            api_address,
            admin_address,
            store,
            committer,
            catalogs,
            access,
            metrics,
            self_metering,
            queries,
            retention,
            audit,
            tls,
            names,
            issuer_keys,
            reload: Arc::new(Notify::new()),
            draining,
            router,
            health,
        })
    }

    /// Where the API is bound.
    #[must_use]
    pub fn api_address(&self) -> SocketAddr {
        self.api_address
    }

    /// Where metrics and probes are bound.
    #[must_use]
    pub fn admin_address(&self) -> SocketAddr {
        self.admin_address
    }

    /// The catalogs, to be filled before serving.
    #[must_use]
    pub fn catalogs(&self) -> &Arc<Catalogs> {
        &self.catalogs
    }

    /// Who may call, for the first client of a new store.
    #[must_use]
    pub fn access(&self) -> &Arc<Access> {
        &self.access
    }

    /// Notified, it makes the server read its certificates again at once.
    #[must_use]
    pub fn reload(&self) -> &Arc<Notify> {
        &self.reload
    }

    /// Serves until `shutdown` completes. Then health says NOT_SERVING, nothing new is taken, calls
    /// under way get the drain timeout, and what is queued is stored.
    ///
    /// # Errors
    /// None today; kept for listeners that can fail while serving.
    pub async fn serve(self, shutdown: impl Future<Output = ()> + Send) -> Result<(), ServerError> {
        let watching = self.draining.subscribe();
        let (stopping_admin, admin_watching) = watch::channel(false);
        set_health(&self.health, ServingStatus::Serving).await;
        let health = tokio::spawn(watch_writes(
            Arc::clone(&self.store),
            Arc::clone(&self.committer),
            self.health.clone(),
        ));
        let disk = tokio::spawn(watch_disk(Arc::clone(&self.config.disk), self.config.execution));
        let metering = self.self_metering.clone().map(|metering| tokio::spawn(meter(metering)));
        let admin = Admin {
            store: Arc::clone(&self.store),
            committer: Arc::clone(&self.committer),
            access: Arc::clone(&self.access),
            catalogs: Arc::clone(&self.catalogs),
            audit: Arc::clone(&self.audit),
            metrics: Arc::clone(&self.metrics),
            queries: Arc::clone(&self.queries),
            disk: Arc::clone(&self.config.disk),
            draining: watching.clone(),
        };
        let served = |router, tls| Served {
            router,
            tls,
            limits: self.config.connections,
            metrics: Arc::clone(&self.metrics),
            clients: None,
        };
        // No operator signs in there.
        let admin_limits = ConnectionLimits { operator_connections: 0, ..self.config.connections };
        let certificates = self.tls.clone().map(|tls| {
            let (reload, metrics) = (Arc::clone(&self.reload), Arc::clone(&self.metrics));
            let (names, stopping) = (Arc::clone(&self.names), watching.clone());
            tokio::spawn(async move { tls.watch(&reload, &names, &metrics, stopping).await })
        });
        let issuer_keys = self.issuer_keys.map(|keys| {
            let (metrics, stopping) = (Arc::clone(&self.metrics), watching.clone());
            tokio::spawn(async move { keys.watch(&metrics, stopping).await })
        });
        let retention = self.retention.map(|retention| {
            let stopping = watching.clone();
            tokio::spawn(async move { retention.run(stopping).await })
        });
        let audit_retention = {
            let retention = AuditRetention::new(self.audit, self.config.execution);
            let stopping = watching.clone();
            Some(tokio::spawn(async move { retention.run(stopping).await }))
        };
        let api = tokio::spawn(serve_connections(
            self.api,
            Served { clients: Some(self.access), ..served(self.router, self.tls) },
            watching,
            self.config.drain_timeout,
        ));
        let admin = tokio::spawn(serve_connections(
            self.admin,
            Served { limits: admin_limits, ..served(admin_router(admin), None) },
            admin_watching,
            Duration::ZERO,
        ));

        shutdown.await;
        tracing::info!("shutting down");
        health.abort();
        disk.abort();
        set_health(&self.health, ServingStatus::NotServing).await;
        // Receivers live as long as the tasks; if those are gone there is nothing to tell.
        let _ = self.draining.send(true);
        let _ = api.await;
        for watching in
            [certificates, issuer_keys, retention, audit_retention].into_iter().flatten()
        {
            let _ = watching.await;
        }
        if let (Some(task), Some(metering)) = (metering, self.self_metering) {
            task.abort();
            store_counts(&metering).await;
        }
        let queries = self.queries;
        let _ = self.config.execution.run(move || queries.shut_down()).await;
        self.committer.finish().await;
        let _ = stopping_admin.send(true);
        let _ = admin.await;
        Ok(())
    }
}

/// Says what the server is called, since assertions for anybody else are refused.
fn tell_names(names: &ServerNames) {
    if names.is_empty() {
        tracing::warn!(
            "this server does not know what it is called: clients' assertions are refused, and the vendor's SDKs do not \
             find it; set --public-url"
        );
        return;
    }
    let all = names.all();
    for url in all.iter().filter(|url| !url.is_private()) {
        tracing::warn!(%url, "what is sent to this URL can be read on the way, secrets and tokens included");
    }
    let called: Vec<String> = all.iter().map(ToString::to_string).collect();
    tracing::info!(called = called.join(" "), "assertions must be for this server");
}

fn listen(address: SocketAddr) -> Result<TcpListener, ServerError> {
    bind(address).map_err(|source| ServerError::Bind { address, source })
}

/// Where a listener is bound that was to listen on `wanted`.
fn address_of(listener: &impl Listener, wanted: SocketAddr) -> Result<SocketAddr, ServerError> {
    listener.local_address().map_err(|source| ServerError::Bind { address: wanted, source })
}

async fn set_health(health: &HealthReporter, status: ServingStatus) {
    for service in grpc_service_names().into_iter().chain([""]) {
        health.set_service_status(service, status).await;
    }
}

/// Stores what was counted about our own API, again and again.
async fn meter(metering: Arc<SelfMetering>) {
    let mut interval = tokio::time::interval(METERING_INTERVAL);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        store_counts(&metering).await;
    }
}

async fn store_counts(metering: &SelfMetering) {
    if let Err(error) = metering.store().await {
        // Why the store takes no writes is in the log already; the counts are kept.
        tracing::debug!(%error, "the usage of our own API could not be stored");
    }
}

/// Looks again and again how much of the disk is free.
async fn watch_disk(disk: Arc<DiskReserve>, execution: Execution) {
    let mut interval = tokio::time::interval(DISK_INTERVAL);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        let disk = Arc::clone(&disk);
        // It fails as the runtime does, which is over then.
        let _ = execution.run(move || disk.observe()).await;
    }
}

/// Reports NOT_SERVING once writes are refused: a balancer then sends them elsewhere.
async fn watch_writes(
    store: Arc<dyn UsageStore>,
    committer: Arc<Committer>,
    health: HealthReporter,
) {
    let mut interval = tokio::time::interval(HEALTH_INTERVAL);
    loop {
        interval.tick().await;
        if store.status() != StoreStatus::Ready || !committer.is_running() {
            set_health(&health, ServingStatus::NotServing).await;
            return;
        }
    }
}
