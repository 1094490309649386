//! The real server, on a simulated host.

use std::{cell::Cell, net::SocketAddr, rc::Rc, sync::Arc, time::Duration};

use meterd::{
    api::{CallLimits, CrossOrigin},
    auth::{AdminToken, Authentication, assertion::AssertionLimits},
    domain::catalog::CatalogLimits,
    server::{ConnectionLimits, Server, ServerConfig},
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
    store::UsageStore,
};
use tokio::sync::watch;

use super::{
    connections::Connections,
    plan::Plan,
    wire::{ADMIN_PORT, API_PORT, SimulatedListener},
};
use crate::support::server::TOKEN;

/// How long a server that is asked to stop waits for calls under way.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);
/// How soon the server notices that a connection is dead.
const KEEP_ALIVE: Duration = Duration::from_secs(1);
const OPENING_TIMEOUT: Duration = Duration::from_secs(2);
/// After this long no connection is left whose client is gone.
pub const CONNECTIONS_GONE: Duration = Duration::from_secs(40);

/// What a process of the server is started with.
#[derive(Clone)]
pub struct Host {
    /// Survives the process, as a disk does: what is committed is durable.
    pub store: Arc<dyn UsageStore>,
    pub clock: Arc<ManualClock>,
    /// Counts how often the server was asked to stop.
    pub stops: watch::Sender<u64>,
    /// Whether it has done so; then its process is to be ended.
    pub has_stopped: Rc<Cell<bool>>,
    pub connections: Connections,
    pub commit_time: Duration,
    pub queued_records_max: u32,
}

impl Host {
    pub fn new(plan: &Plan, store: Arc<dyn UsageStore>, clock: Arc<ManualClock>) -> Self {
        Self {
            store,
            clock,
            stops: watch::Sender::default(),
            has_stopped: Rc::default(),
            connections: Connections::default(),
            commit_time: plan.commit_time,
            queued_records_max: plan.queued_records_max,
        }
    }

    fn config(&self) -> ServerConfig {
        let port = |port| SocketAddr::from(([0, 0, 0, 0], port));
        ServerConfig {
            listen: port(API_PORT),
            admin_listen: port(ADMIN_PORT),
            drain_timeout: DRAIN_TIMEOUT,
            calls: CallLimits::default(),
            connections: ConnectionLimits {
                connections_max: 1024,
                opening_timeout: OPENING_TIMEOUT,
                keep_alive_interval: KEEP_ALIVE,
                keep_alive_timeout: KEEP_ALIVE,
                ..ConnectionLimits::default()
            },
            committer: CommitterLimits {
                queued_records_max: self.queued_records_max,
                ..CommitterLimits::default()
            },
            execution: Execution::InTurn { commit_time: self.commit_time },
            window: AcceptanceWindow::default(),
            // What it counts is lost with the process, by design; and uuids of its own would not be in the plan.
            self_metering: false,
            queries: QueryLimits { workers: 1, ..QueryLimits::default() },
            audit: AuditLimits::default(),
            backups: BackupLimits::default(),
            retain_records: None,
            spill: std::env::temp_dir(),
            catalogs: CatalogLimits::default(),
            access: AccessLimits::default(),
            disk: DiskReserve::off(),
            access_log: AccessLogRules::new(&[], AccessLogHeaders::default()).unwrap(),
            authentication: Authentication::new(Some(AdminToken::new(TOKEN).unwrap()), false)
                .unwrap(),
            tls: None,
            public_urls: Vec::new(),
            assertions: AssertionLimits::default(),
            signing_keys: None,
            outside_issuer: None,
            cross_origin: CrossOrigin::Nobody,
        }
    }

    /// The process: serves until it is asked to stop, and stays.
    pub async fn run(self) -> turmoil::Result {
        let _connections = self.connections.closed_by_system();
        let mut stops = self.stops.subscribe();
        let api = SimulatedListener::bind(API_PORT, &self.connections).await?;
        let admin = SimulatedListener::bind(ADMIN_PORT, &self.connections).await?;
        let config = self.config();
        let server = Server::compose(config, api, admin, self.store, self.clock)?;
        let stopped = async move {
            let _ = stops.changed().await;
        };
        Box::pin(server.serve(stopped)).await?;
        self.has_stopped.set(true);
        std::future::pending().await
    }
}
