//! Callers that write, repeat, ask for reports and have results computed. What a call says follows from its number, so that
//! nothing but the numbers of unanswered calls need be remembered to send them again.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use jiff::{Timestamp, ToSpan as _, tz::TimeZone};
use meterd::api::pb::{
    meterd::v1::{
        ApiUsageEvent, CreateOrganizationAggregatesJobRequest, GetOrganizationAggregatesJobRequest,
        ListUsageRecordsRequest, OrganizationAggregatesResult, RecordApiUsageRequest,
        usage_ingest_service_client::UsageIngestServiceClient,
        usage_query_service_client::UsageQueryServiceClient,
        usage_report_service_client::UsageReportServiceClient,
    },
    yandex::cloud::marketplace::metering::v1::image_product_usage_service_client::ImageProductUsageServiceClient,
};
use parking_lot::Mutex;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};
use tonic::Status;
use uuid::{Builder, Uuid};

use crate::support::{
    load::send,
    process::{MeterdProcess, connect, counted_over},
    random::Random,
    server::Authed,
};

const CALLERS: usize = 64;
const CONNECTIONS: usize = 4;
/// A call has one record up to so many.
const RECORDS_MAX: u64 = 4;
/// Every eighth call is one of before, once more.
const REPEATED_EVERY: u64 = 8;
/// Events of one call that report API usage, each of a user who was never seen before: a row of totals each.
const NEW_ROWS_PER_CALL: u64 = 1000;
/// More than are kept in memory (131,072) before they are written out.
const NEW_ROWS_PER_LIFE: u64 = 150_000;
/// What they report, apart from the server's own calls.
const NEW_ROWS_TEMPLATE: &str = "/soak/{user}";
/// How often somebody connects to ask how much there is.
const QUESTION_PERIOD: Duration = Duration::from_millis(100);
/// How often a result is computed, and read.
const JOB_PERIOD: Duration = Duration::from_secs(1);

/// What was sent by all callers of all servers.
pub struct Load {
    seed: u64,
    next: AtomicU64,
    unanswered: Mutex<BTreeSet<u64>>,
    acknowledged: AtomicU64,
    sent: AtomicU64,
    /// Calls that report API usage, of which only the last one can be unanswered.
    event_calls: AtomicU64,
}

impl Load {
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            next: AtomicU64::new(0),
            unanswered: Mutex::default(),
            acknowledged: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            event_calls: AtomicU64::new(0),
        }
    }

    /// Rows of API usage that answered calls have made.
    pub fn new_rows(&self) -> u64 {
        self.event_calls.load(Ordering::SeqCst) * NEW_ROWS_PER_CALL
    }

    /// Reports the next users' calls, or, after a call that was not answered, the same once more.
    async fn send_new_rows(&self, connection: Authed) -> Result<(), Status> {
        let call = self.event_calls.load(Ordering::SeqCst);
        let timestamp = Some(std::time::SystemTime::now().into());
        let events = (0..NEW_ROWS_PER_CALL).map(|number| {
            let number = call * NEW_ROWS_PER_CALL + number;
            ApiUsageEvent {
                uuid: Uuid::from_u64_pair(self.seed, number).to_string(),
                user_id: format!("user-{number}"),
                template_uri: NEW_ROWS_TEMPLATE.into(),
                http_method: "GET".into(),
                status: 200,
                timestamp,
                ..Default::default()
            }
        });
        let request = RecordApiUsageRequest { events: events.collect() };
        let response = UsageIngestServiceClient::new(connection).record_api_usage(request).await?;
        let response = response.into_inner();
        let answered = response.accepted_count as usize + response.rejected.len();
        assert_eq!(answered as u64, NEW_ROWS_PER_CALL);
        self.event_calls.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    /// Records in calls that were answered.
    pub fn acknowledged_records(&self) -> u64 {
        self.acknowledged.load(Ordering::SeqCst)
    }

    /// Records in all calls.
    pub fn sent_records(&self) -> u64 {
        self.sent.load(Ordering::SeqCst)
    }

    fn records(&self, call: u64) -> Vec<Uuid> {
        let mut random = Random::new(self.seed ^ call.wrapping_mul(0xD6E8_FEB8_6659_FD93));
        let uuid = |random: &mut Random| {
            let bytes = u128::from(random.next()) << 64 | u128::from(random.next());
            Builder::from_random_bytes(bytes.to_be_bytes()).into_uuid()
        };
        (0..=random.next() % RECORDS_MAX).map(|_| uuid(&mut random)).collect()
    }

    /// Sends what nobody has sent.
    async fn send_new(&self, connection: Authed) -> Result<(), Status> {
        let call = self.next.fetch_add(1, Ordering::SeqCst);
        self.unanswered.lock().insert(call);
        let uuids = self.records(call);
        self.sent.fetch_add(uuids.len() as u64, Ordering::SeqCst);
        let (accepted, _) =
            send(&mut ImageProductUsageServiceClient::new(connection), &uuids).await?;
        assert_eq!(accepted, uuids, "nobody has sent call {call} before");
        self.answered(call, &uuids);
        Ok(())
    }

    /// Sends a call that was answered.
    async fn send_again(&self, connection: Authed, random: u64) -> Result<(), Status> {
        let call = random % self.next.load(Ordering::SeqCst).max(1);
        if self.acknowledged_records() == 0 || self.unanswered.lock().contains(&call) {
            return Ok(());
        }
        let uuids = self.records(call);
        let (accepted, duplicates) =
            send(&mut ImageProductUsageServiceClient::new(connection), &uuids).await?;
        assert_eq!((accepted, duplicates), (Vec::new(), uuids), "call {call} was answered");
        Ok(())
    }

    fn answered(&self, call: u64, uuids: &[Uuid]) {
        self.acknowledged.fetch_add(uuids.len() as u64, Ordering::SeqCst);
        self.unanswered.lock().remove(&call);
    }

    /// Sends what was not answered once more. It may have been stored or not.
    pub async fn settle(&self, server: &MeterdProcess) {
        let unanswered = self.unanswered.lock().clone();
        for call in unanswered {
            let uuids = self.records(call);
            send(&mut server.image(), &uuids).await.unwrap();
            self.answered(call, &uuids);
        }
        // The last one may not have been answered.
        self.send_new_rows(server.authed()).await.unwrap();
    }

    /// Calls that the server has counted of those that made new rows.
    pub async fn counted_new_rows(&self, server: &MeterdProcess) -> u64 {
        let result = aggregate(server.authed()).await.unwrap();
        let of_template = result
            .entities
            .iter()
            .filter(|row| row.template_uri.as_deref() == Some(NEW_ROWS_TEMPLATE));
        of_template.map(|row| row.request_count.unwrap_or_default() as u64).sum()
    }
}

/// When calls begin.
#[derive(Default)]
struct Pace {
    next: Mutex<Option<(Instant, Duration)>>,
}

impl Pace {
    fn set(&self, calls_per_second: f64) {
        *self.next.lock() = Some((Instant::now(), Duration::from_secs_f64(1.0 / calls_per_second)));
    }

    /// Until it is time for another call, if there is a pace at all.
    async fn keep(&self) {
        let time = self.next.lock().as_mut().map(|(next, period)| {
            let time = *next;
            *next += *period;
            time
        });
        if let Some(time) = time {
            sleep_until(time).await;
        }
    }
}

/// Those who call one server, until it is gone.
pub struct Callers {
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
}

struct Shared {
    load: Arc<Load>,
    pace: Pace,
    calls: AtomicU64,
    is_ending: AtomicBool,
}

impl Callers {
    /// Begins to call, as fast as it goes.
    pub fn begin(load: &Arc<Load>, server: &MeterdProcess) -> Self {
        let shared = Arc::new(Shared {
            load: Arc::clone(load),
            pace: Pace::default(),
            calls: AtomicU64::new(0),
            is_ending: AtomicBool::new(false),
        });
        let mut tasks = JoinSet::new();
        let connections: Vec<_> = (0..CONNECTIONS).map(|_| server.authed()).collect();
        for caller in 0..CALLERS {
            let connection = connections[caller % CONNECTIONS].clone();
            tasks.spawn(Arc::clone(&shared).write(connection, caller as u64));
        }
        tasks.spawn(Arc::clone(&shared).ask(server.api));
        tasks.spawn(Arc::clone(&shared).compute(server.authed(), JOB_PERIOD));
        tasks.spawn(Arc::clone(&shared).make_rows(server.authed()));
        // Without a pause: there is a query under way at all times while rows arrive.
        tasks.spawn(Arc::clone(&shared).compute(server.authed(), Duration::ZERO));
        Self { shared, tasks }
    }

    /// Calls so far that wrote.
    pub fn calls(&self) -> u64 {
        self.shared.calls.load(Ordering::SeqCst)
    }

    pub fn pace(&self, calls_per_second: f64) {
        self.shared.pace.set(calls_per_second);
    }

    /// From now on a call may fail.
    pub fn expect_end(&self) {
        self.shared.is_ending.store(true, Ordering::SeqCst);
    }

    /// After the server is gone.
    pub async fn end(mut self) {
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
    }
}

impl Shared {
    /// Whether to go on.
    fn goes_on(&self, result: Result<(), Status>) -> bool {
        let is_ending = self.is_ending.load(Ordering::SeqCst);
        if let Err(status) = result {
            assert!(is_ending, "{status}");
        }
        !is_ending
    }

    async fn write(self: Arc<Self>, connection: Authed, caller: u64) {
        let mut random = Random::new(self.load.seed ^ caller);
        loop {
            self.pace.keep().await;
            let draw = random.next();
            let sent = if draw.is_multiple_of(REPEATED_EVERY) {
                self.load.send_again(connection.clone(), draw / REPEATED_EVERY).await
            } else {
                self.load.send_new(connection.clone()).await
            };
            if !self.goes_on(sent) {
                return;
            }
            self.calls.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Asks over connections that live for one question or two.
    async fn ask(self: Arc<Self>, api: SocketAddr) {
        loop {
            let connection = connect(api);
            let at_least = self.load.acknowledged_records();
            let question = async {
                let counted = counted_over(connection.clone()).await?;
                assert!(counted >= at_least, "{counted} of {at_least}");
                assert!(counted <= self.load.sent_records());
                let request = ListUsageRecordsRequest { page_size: 1000, ..Default::default() };
                UsageReportServiceClient::new(connection).list_usage_records(request).await?;
                Ok(())
            };
            let asked = question.await;
            if !self.goes_on(asked) {
                return;
            }
            sleep(QUESTION_PERIOD).await;
        }
    }

    /// Makes new rows of totals, so many that they are written out while queries read them.
    async fn make_rows(self: Arc<Self>, connection: Authed) {
        let before = self.load.new_rows();
        while self.load.new_rows() - before < NEW_ROWS_PER_LIFE {
            let made = self.load.send_new_rows(connection.clone()).await;
            if !self.goes_on(made) {
                return;
            }
        }
    }

    /// Has results computed that are kept for a day.
    async fn compute(self: Arc<Self>, connection: Authed, pause: Duration) {
        loop {
            let computed = aggregate(connection.clone()).await.map(|_| ());
            if !self.goes_on(computed) {
                return;
            }
            sleep(pause).await;
        }
    }
}

/// How many calls there were of each template, yesterday and today, and today may become tomorrow meanwhile.
async fn aggregate(connection: Authed) -> Result<OrganizationAggregatesResult, Status> {
    let day = Timestamp::now().to_zoned(TimeZone::UTC).date();
    let request = CreateOrganizationAggregatesJobRequest {
        interval: format!("{}/{}", day.saturating_sub(1.day()), day.saturating_add(1.day())),
        metrics: vec!["Requests".into()],
        group_by: vec!["TemplateUri".into()],
        ..Default::default()
    };
    let mut client = UsageQueryServiceClient::new(connection);
    let job = client.create_organization_aggregates_job(request).await?;
    let request =
        GetOrganizationAggregatesJobRequest { job_id: job.into_inner().id, ..Default::default() };
    loop {
        let result = client.get_organization_aggregates_job(request.clone()).await?.into_inner();
        match result.query_status.as_str() {
            "Succeeded" => return Ok(result),
            "Queued" | "Running" => sleep(QUESTION_PERIOD).await,
            ended => panic!("a query is {ended}: {:?}", result.error_body),
        }
    }
}
