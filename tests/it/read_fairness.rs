//! Reads of the store: what one organization waits for holds no other up, too many are refused, and what nobody waits for
//! any more costs nothing.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use http::{Method, StatusCode};
use meterd::{
    api::pb::meterd::v1::{
        ExportUsageRecordsRequest, GetUsageRecordRequest, ListUsageRecordsRequest,
        ListUsageRecordsResponse,
    },
    service::{committer::CommitterLimits, store_reads::ReadLimits},
};
use tokio::{io::AsyncWriteExt as _, net::TcpStream, task::JoinHandle};
use tonic::{Code, Response, Status};
use tonic_types::StatusExt as _;
use uuid::Uuid;

use crate::support::{
    blocking_store::BlockingStore,
    process::http_get,
    server::{Setup, TestServer, proto_time},
    tenant::Tenant,
};

/// Threads of one organization, of four.
const SHARE: usize = 2;

/// A server whose lists are held up, and two organizations on it.
struct Blocked {
    server: TestServer,
    store: Arc<BlockingStore>,
    acme: Tenant,
    evil: Tenant,
}

type List = JoinHandle<Result<Response<ListUsageRecordsResponse>, Status>>;

impl Blocked {
    async fn new(queued_max: usize) -> Self {
        let store = Arc::new(BlockingStore::new());
        let reads = ReadLimits { queued_max, ..ReadLimits::default() };
        let committer = CommitterLimits { reads, ..CommitterLimits::default() };
        let setup = Setup { store: store.clone(), committer, ..Setup::default() };
        let server = TestServer::with(setup).await;
        let acme = Tenant::create(server.api, "acme").await;
        let evil = Tenant::create(server.api, "evil").await;
        acme.sells_storage().await;
        store.scans.close();
        Self { server, store, acme, evil }
    }

    fn metric(&self, name: &str) -> usize {
        let metrics = http_get(self.server.admin, "/metrics");
        let line = metrics.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
        line.unwrap_or_else(|| panic!("{name} is not in {metrics}")).parse().unwrap()
    }

    async fn await_queued(&self, reads: usize) {
        let queued = || self.metric("meterd_queued_reads{purpose=\"answer\"}");
        let awaited = async {
            while queued() != reads {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let reached = tokio::time::timeout(Duration::from_secs(10), awaited).await;
        assert!(reached.is_ok(), "{} reads are queued, not {reads}", queued());
    }

    /// Lists that hold all threads that the organization may have.
    async fn hold_share(&self) -> Vec<List> {
        let lists = (0..SHARE).map(|_| list(&self.evil)).collect();
        self.store.scans.wait_for(SHARE).await;
        lists
    }

    async fn end(self, lists: Vec<List>) {
        self.store.scans.open();
        for list in lists {
            list.await.unwrap().unwrap();
        }
        self.server.stop().await;
    }
}

fn list(tenant: &Tenant) -> List {
    let mut reports = tenant.reports();
    tokio::spawn(
        async move { reports.list_usage_records(ListUsageRecordsRequest::default()).await },
    )
}

/// Writes a record; whether it was new.
async fn write(tenant: &Tenant, uuid: Uuid) -> bool {
    let mut request = crate::support::load::request(&[uuid]);
    request.usage_records[0].timestamp = proto_time("2026-11-20T12:00:00Z");
    let answer = tenant.image().write(request).await.unwrap().into_inner();
    answer.rejected.is_empty()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_of_one_organization_hold_no_other_up() {
    let blocked = Blocked::new(256).await;
    let uuid = Uuid::new_v4();
    assert!(write(&blocked.acme, uuid).await);
    let mut lists = blocked.hold_share().await;
    lists.extend((0..30).map(|_| list(&blocked.evil)));
    blocked.await_queued(30).await;

    assert!(!write(&blocked.acme, uuid).await, "a retried write is compared with its original");
    let wanted = GetUsageRecordRequest { uuid: uuid.to_string() };
    let found = blocked.acme.reports().get_usage_record(wanted).await.unwrap().into_inner();
    assert_eq!(found.record.unwrap().quantity, 3);
    let more = list(&blocked.acme);
    blocked.store.scans.wait_for(SHARE + 1).await;

    assert_eq!(
        blocked.store.scans.waiting(),
        SHARE + 1,
        "the organization has half of the threads"
    );
    assert!(lists.iter().all(|list| !list.is_finished()));
    lists.push(more);
    blocked.end(lists).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retried_write_waits_for_no_read_of_its_own_organization() {
    let blocked = Blocked::new(256).await;
    blocked.evil.sells_storage().await;
    let uuid = Uuid::new_v4();
    assert!(write(&blocked.evil, uuid).await);
    let lists = blocked.hold_share().await;
    assert!(!write(&blocked.evil, uuid).await);
    assert_eq!(blocked.store.scans.waiting(), SHARE);
    blocked.end(lists).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn read_past_its_deadline_never_runs() {
    let blocked = Blocked::new(256).await;
    let lists = blocked.hold_share().await;
    for target in ["/v1/usageRecords", "/v1/usageRecords:export"] {
        let answer = crate::support::http::call(Method::GET, target)
            .anonymous()
            .header("api-key", &blocked.evil.api_key)
            .header("grpc-timeout", "30m")
            .send(blocked.server.api)
            .await;
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(text.contains("DEADLINE_EXCEEDED"), "{}: {text}", answer.status);
    }
    blocked.await_queued(0).await;
    let store = Arc::clone(&blocked.store);
    blocked.end(lists).await;
    assert_eq!(store.scans.passed(), SHARE);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn read_of_a_caller_that_hung_up_never_runs() {
    let blocked = Blocked::new(256).await;
    let lists = blocked.hold_share().await;

    let grpc = list(&blocked.evil);
    blocked.await_queued(1).await;
    grpc.abort();
    blocked.await_queued(0).await;

    let mut reports = blocked.evil.reports();
    let export = reports.export_usage_records(ExportUsageRecordsRequest::default()).await.unwrap();
    blocked.await_queued(1).await;
    drop((export, reports));
    blocked.await_queued(0).await;

    let connection = say_list(blocked.server.api, &blocked.evil).await;
    blocked.await_queued(1).await;
    drop(connection);
    blocked.await_queued(0).await;

    let store = Arc::clone(&blocked.store);
    blocked.end(lists).await;
    assert_eq!(store.scans.passed(), SHARE);
}

/// Asks for a list over HTTP/1.1 and leaves the answer to the peer.
async fn say_list(api: SocketAddr, tenant: &Tenant) -> TcpStream {
    let mut connection = TcpStream::connect(api).await.unwrap();
    let key = &tenant.api_key;
    let request =
        format!("GET /v1/usageRecords HTTP/1.1\r\nHost: meterd\r\nApi-Key: {key}\r\n\r\n");
    connection.write_all(request.as_bytes()).await.unwrap();
    connection
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_beyond_the_queue_are_refused_with_a_time_to_retry() {
    let blocked = Blocked::new(4).await;
    let other = Tenant::add_client(blocked.server.api, "evil", "other").await;
    let mut lists = blocked.hold_share().await;
    lists.extend((0..3).map(|_| list(&blocked.evil)));
    blocked.await_queued(3).await;
    let refused = |status: Status, whose: &str| {
        assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
        assert!(status.message().contains(whose), "{}", status.message());
        assert!(status.message().contains("queued-reads-max"), "{}", status.message());
        let details = status.get_error_details();
        assert_eq!(details.error_info().unwrap().reason, "READ_QUEUE_FULL");
        assert!(details.retry_info().unwrap().retry_delay.unwrap() > Duration::ZERO);
    };
    refused(list(&blocked.evil).await.unwrap().unwrap_err(), "3 reads of this client");
    lists.push(list(&other));
    blocked.await_queued(4).await;
    refused(list(&other).await.unwrap().unwrap_err(), "4 reads of this organization");
    let answer = other.send(Method::GET, "/v1/usageRecords", None).await;
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS, "{}", answer.json());
    assert!(answer.headers.contains_key("retry-after"));
    let audit = other.send(Method::GET, "/v1/access/auditEvents", None).await;
    assert_eq!((audit.status, audit.reason()), (answer.status, "READ_QUEUE_FULL".into()));

    // An export waits, and neither counts nor is refused.
    let mut reports = other.reports();
    let export = reports.export_usage_records(ExportUsageRecordsRequest::default()).await.unwrap();
    blocked.await_queued(5).await;
    assert_eq!(blocked.metric("meterd_reads_refused_total{limit=\"client\"}"), 1);
    assert_eq!(blocked.metric("meterd_reads_refused_total{limit=\"organization\"}"), 3);

    // What the queue is full of holds no write up.
    blocked.evil.sells_storage().await;
    let uuid = Uuid::new_v4();
    assert!(write(&other, uuid).await);
    assert!(!write(&other, uuid).await);
    lists.push(list(&blocked.acme));
    blocked.end(lists).await;
    drop(export);
}
