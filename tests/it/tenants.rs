//! One organization does one thing as fast as it can while another one writes. Each test lets the other one write for
//! slices of time, every second of them under attack, and compares how many of its calls were answered: both slices have
//! the same machine, however slow and busy it is.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::{StreamExt as _, stream};
use http::{Method, StatusCode};
use meterd::api::pb::{
    meterd::v1::{
        ExportUsageRecordsRequest, GetUsageRecordRequest, ListUsageRecordsRequest,
        ProductUsageRecord, QueryProductUsageRequest, StreamProductUsageRequest,
        stream_product_usage_request::Target,
        usage_report_service_client::UsageReportServiceClient,
    },
    yandex::cloud::marketplace::metering::v1::image_product_usage_service_client::ImageProductUsageServiceClient,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{sync::Mutex, task::JoinHandle};
use uuid::Uuid;

use crate::support::{
    http::call,
    load::request,
    process::{MeterdProcess, http_get, serve_command},
    tenant::{Keyed, Tenant},
};

/// Calls of the attack that are under way at once.
const ATTACKERS: usize = 32;
const SLICE: Duration = Duration::from_millis(300);
/// Slices of each kind.
const SLICES: usize = 4;
/// Under attack, at least one in so many calls must be answered. The attack shares both processors with the writer, in
/// the server and in the test; a writer that waits for the attacker's calls is answered less than one in a hundred.
const FRACTION: usize = 20;
/// An interval that has all usage of a test in it.
const ALL: &str = "2024-01-01/P3000D";

/// Attacks would disturb each other's comparisons.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

type AttackCall = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A server with two organizations: `acme` writes, `evil` attacks.
struct Setting {
    server: MeterdProcess,
    acme: Tenant,
    evil: Tenant,
    _directory: TempDir,
}

impl Setting {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let server = MeterdProcess::start(serve_command(&[], &directory.path().join("data")));
        let acme = Tenant::create(server.api, "acme").await;
        let evil = Tenant::create(server.api, "evil").await;
        for tenant in [&acme, &evil] {
            tenant.sells_storage().await;
        }
        Self { server, acme, evil, _directory: directory }
    }

    /// What `call` makes of 0, 1, 2 …, so many at a time, until it is aborted.
    fn attack(&self, call: impl Fn(Tenant, usize) -> AttackCall + Send + Sync + 'static) -> Attack {
        let (tenant, begun) = (self.evil.clone(), Arc::new(AtomicUsize::new(0)));
        let counter = Arc::clone(&begun);
        let calls = stream::iter(0..usize::MAX).map(move |number| {
            counter.fetch_add(1, Ordering::Relaxed);
            call(tenant.clone(), number)
        });
        let calling = calls.buffer_unordered(ATTACKERS).for_each(async |()| {});
        Attack { calls: tokio::spawn(calling), begun }
    }

    /// Waits until nothing of an attack is left in the server.
    async fn calm(&self) {
        // The scrape itself is no call.
        while !http_get(self.server.admin, "/metrics").contains("meterd_calls_in_flight 0\n") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Calls under way; dropped, it hangs up on all of them.
struct Attack {
    calls: JoinHandle<()>,
    begun: Arc<AtomicUsize>,
}

impl Attack {
    /// Waits until as many calls are under way as may be.
    async fn has_begun(&self) {
        while self.begun.load(Ordering::Relaxed) < ATTACKERS {
            assert!(!self.calls.is_finished(), "the attack has failed");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    async fn end(self) {
        assert!(!self.calls.is_finished(), "the attack has failed");
        self.calls.abort();
        let _ = self.calls.await;
    }
}

/// What the writer does, again and again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Work {
    /// Writes a record, and sends it again.
    Writes,
    /// The same, and reads it, and asks for a report.
    WritesAndReads,
}

struct Writer {
    image: ImageProductUsageServiceClient<Keyed>,
    reports: UsageReportServiceClient<Keyed>,
    work: Work,
}

impl Writer {
    /// Works for so long; how many calls were answered meanwhile. None may be refused, however long it takes.
    ///
    /// On a new connection and a thread of its own: on those of the attack it would wait for that in the test, however
    /// fair the server is.
    async fn work_for(tenant: &Tenant, work: Work, time: Duration) -> usize {
        let tenant = tenant.clone();
        let working = tokio::task::spawn_blocking(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let writer = Self { image: tenant.image(), reports: tenant.reports(), work };
                writer.answered_until(Instant::now() + time).await
            })
        });
        working.await.unwrap()
    }

    async fn answered_until(mut self, end: Instant) -> usize {
        let mut answered = 0;
        let mut count = || answered += usize::from(Instant::now() < end);
        while Instant::now() < end {
            let uuid = Uuid::new_v4();
            let first = self.image.write(request(&[uuid])).await.unwrap().into_inner();
            assert_eq!((first.accepted.len(), first.rejected.len()), (1, 0), "{first:?}");
            count();
            let again = self.image.write(request(&[uuid])).await.unwrap().into_inner();
            assert_eq!((again.accepted.len(), again.rejected.len()), (0, 1), "{again:?}");
            count();
            if self.work == Work::WritesAndReads {
                let wanted = GetUsageRecordRequest { uuid: uuid.to_string() };
                self.reports.get_usage_record(wanted).await.unwrap();
                count();
                let report =
                    QueryProductUsageRequest { interval: ALL.into(), ..Default::default() };
                self.reports.query_product_usage(report).await.unwrap();
                count();
            }
        }
        answered
    }
}

/// Lets `acme` work, every second slice of time under attack, and compares.
async fn compare(
    name: &str,
    setting: Setting,
    work: Work,
    call: impl Fn(Tenant, usize) -> AttackCall + Clone + Send + Sync + 'static,
) {
    let work_for = |time| Writer::work_for(&setting.acme, work, time);
    work_for(Duration::from_millis(1)).await;
    let (mut undisturbed, mut attacked, mut calls) = (0, 0, 0);
    for _ in 0..SLICES {
        undisturbed += work_for(SLICE).await;
        let attack = setting.attack(call.clone());
        attack.has_begun().await;
        attacked += work_for(SLICE).await;
        calls += attack.begun.load(Ordering::Relaxed);
        attack.end().await;
        setting.calm().await;
    }
    eprintln!(
        "tenants: {name}: {undisturbed} calls answered, and {attacked} beside {calls} others"
    );
    assert!(
        attacked * FRACTION >= undisturbed,
        "{name}: {attacked} calls were answered under attack, {undisturbed} without"
    );
}

/// Records of `evil`, so many for each of its SKUs.
async fn fill(setting: &Setting, products: usize, skus: usize, records: usize) {
    let id = |kind: &str, number: usize| format!("{kind}-{number}");
    for product in 0..products {
        let skus: Vec<Value> = (0..skus).map(|sku| json!({"id": id("sku", sku)})).collect();
        let products = json!({"products": [{"id": id("product", product), "skus": skus}]});
        setting.evil.post("/v1/catalog:apply", products).await;
    }
    let timestamp = request(&[Uuid::new_v4()]).usage_records[0].timestamp;
    let record = move |number: usize| ProductUsageRecord {
        uuid: Uuid::new_v4().to_string(),
        sku_id: id("sku", number % skus),
        quantity: 1,
        timestamp,
    };
    let messages = (0..products).flat_map(move |product| {
        let numbers: Vec<usize> = (0..skus * records).collect();
        let chunks: Vec<Vec<usize>> = numbers.chunks(1000).map(<[usize]>::to_vec).collect();
        chunks.into_iter().map(move |numbers| (product, numbers))
    });
    let messages: Vec<_> = (1..)
        .zip(messages)
        .map(|(sequence, (product, numbers))| StreamProductUsageRequest {
            sequence,
            target: Some(Target::ProductId(format!("product-{product}"))),
            usage_records: numbers.into_iter().map(&record).collect(),
            validate_only: false,
        })
        .collect();
    let stream = setting.evil.ingest().stream_product_usage(tokio_stream::iter(messages)).await;
    let (mut answers, mut accepted) = (stream.unwrap().into_inner(), 0);
    while let Some(answer) = answers.message().await.unwrap() {
        accepted += answer.accepted_count as usize;
    }
    assert_eq!(accepted, products * skus * records);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reports_of_one_tenant_do_not_stop_another() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let setting = Setting::new().await;
    fill(&setting, 10, 1000, 1).await;
    let reports = setting.evil.reports();
    let attack = move |_: Tenant, _| -> AttackCall {
        let mut reports = reports.clone();
        let query = QueryProductUsageRequest {
            interval: ALL.into(),
            group_by: vec![1, 3],
            page_size: 1,
            ..Default::default()
        };
        Box::pin(async move { drop(reports.query_product_usage(query).await.unwrap()) })
    };
    compare("reports", setting, Work::WritesAndReads, attack).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_of_one_tenant_do_not_stop_another() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let setting = Setting::new().await;
    fill(&setting, 1, 1, 30_000).await;
    let reports = setting.evil.reports();
    let attack = move |_: Tenant, _| -> AttackCall {
        let mut reports = reports.clone();
        // Nothing matches, so that all is read and nothing answered.
        let list = ListUsageRecordsRequest { sku_ids: vec!["none".into()], ..Default::default() };
        Box::pin(async move { drop(reports.list_usage_records(list).await.unwrap()) })
    };
    compare("lists", setting, Work::WritesAndReads, attack).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exports_of_one_tenant_do_not_stop_another() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let setting = Setting::new().await;
    fill(&setting, 1, 1, 30_000).await;
    let reports = setting.evil.reports();
    let attack = move |_: Tenant, _| -> AttackCall {
        let mut reports = reports.clone();
        let export =
            ExportUsageRecordsRequest { sku_ids: vec!["none".into()], ..Default::default() };
        Box::pin(async move {
            let mut records = reports.export_usage_records(export).await.unwrap().into_inner();
            assert!(records.message().await.unwrap().is_none());
        })
    };
    compare("exports", setting, Work::WritesAndReads, attack).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn usage_queries_of_one_tenant_do_not_stop_another() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let setting = Setting::new().await;
    let now = jiff::Timestamp::now();
    let time = now.to_string();
    let yesterday = (now - jiff::SignedDuration::from_hours(24)).strftime("%Y-%m-%d");
    let query = json!({"interval": format!("{yesterday}/P3D"), "groupBy": ["UserId"]});
    for batch in 0..10 {
        let event = |number: usize| {
            json!({
                "uuid": Uuid::new_v4().to_string(), "userId": format!("user-{batch}-{number}"),
                "templateUri": "/v1/things/{id}", "httpMethod": "GET", "status": 200, "timestamp": time,
            })
        };
        let events: Vec<Value> = (0..1000).map(event).collect();
        setting.evil.post("/v1/apiUsage:record", json!({"events": events})).await;
    }
    let attack = move |evil: Tenant, _| -> AttackCall {
        let query = query.clone();
        Box::pin(async move {
            let answer =
                evil.send(Method::POST, "/api/v2/usage/aggregates/query/jobs", Some(query)).await;
            // There may be only so many.
            let expected = [StatusCode::ACCEPTED, StatusCode::TOO_MANY_REQUESTS];
            assert!(expected.contains(&answer.status), "{}", answer.json());
        })
    };
    compare("usage queries", setting, Work::Writes, attack).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn catalog_changes_of_one_tenant_do_not_stop_another() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let setting = Setting::new().await;
    fill(&setting, 10, 1000, 1).await;
    let attack = |evil: Tenant, number: usize| -> AttackCall {
        // Every other one changes something.
        let name = format!("name {number}");
        let product = json!({"id": format!("product-{}", number % 10), "name": name, "skus": [{"id": "sku-0"}]});
        let change = json!({"products": [product], "validateOnly": number.is_multiple_of(2)});
        Box::pin(async move { drop(evil.post("/v1/catalog:apply", change).await) })
    };
    compare("catalog changes", setting, Work::Writes, attack).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_changes_of_one_tenant_do_not_stop_another() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let setting = Setting::new().await;
    let attack = |evil: Tenant, number: usize| -> AttackCall {
        Box::pin(async move {
            let client = json!({"clientId": format!("client-{}", Uuid::new_v4()), "name": number.to_string()});
            let created = evil.send(Method::POST, "/v1/access/clients", Some(client)).await;
            // There may be only so many.
            let expected = [StatusCode::OK, StatusCode::TOO_MANY_REQUESTS, StatusCode::BAD_REQUEST];
            assert!(expected.contains(&created.status), "{}", created.json());
            let target = "/v1/access/clients/agent:rotateSecret";
            evil.send(Method::POST, target, Some(json!({}))).await;
        })
    };
    compare("client changes", setting, Work::Writes, attack).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sign_ins_of_one_tenant_do_not_stop_another() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let setting = Setting::new().await;
    let attack = |evil: Tenant, number: usize| -> AttackCall {
        // Every other one is right.
        let secret =
            if number.is_multiple_of(2) { evil.secret.clone() } else { format!("wrong-{number}") };
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", &evil.client),
            ("client_secret", &secret),
        ];
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let sign_in = call(Method::POST, "/oauth/token")
            .anonymous()
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body);
        Box::pin(async move {
            let answer = sign_in.send(evil.api).await;
            assert!(!answer.status.is_server_error(), "{}", answer.json());
        })
    };
    compare("sign-ins", setting, Work::Writes, attack).await;
}
