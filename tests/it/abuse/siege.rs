//! A server that is abused while others call it, and what must hold of it.

use std::{
    net::SocketAddr,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use http::{Method, StatusCode};
use meterd::api::pb::yandex::cloud::marketplace::metering::v1::image_product_usage_service_client::ImageProductUsageServiceClient;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tonic::{service::interceptor::InterceptedService, transport::Endpoint};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use uuid::Uuid;

use crate::support::{
    http::call,
    load::send,
    process::{MeterdProcess, http_get, serve_command},
    server::{Authed, Bearer},
};

/// Longer than this no call of a caller may take, whatever goes on. A bound on liveness, not on speed.
const CALL_MAX: Duration = Duration::from_secs(10);
/// Callers that behave, each on connections of its own.
const CALLERS: usize = 3;
/// After so many calls, a caller connects anew: newcomers must be served as well.
const CALLS_PER_CONNECTION: usize = 20;
/// Lines of log that a siege may cause in all.
const LOG_LINES_MAX: usize = 100;
/// Files that the store may open meanwhile.
const DESCRIPTORS_SLACK: usize = 8;
const MIB: u64 = 1 << 20;

/// What the callers of a siege have seen.
struct Served {
    microseconds: Histogram<u64>,
}

pub struct Siege {
    name: &'static str,
    server: MeterdProcess,
    descriptors: usize,
    callers: Vec<JoinHandle<Served>>,
    stop: Arc<AtomicBool>,
    began: Instant,
    _directory: TempDir,
}

impl Siege {
    /// Starts the server with more arguments, and those who call it.
    pub async fn begin(name: &'static str, arguments: &[&str]) -> Self {
        // Attackers need descriptors as well.
        let _ = rlimit::increase_nofile_limit(u64::MAX);
        let directory = tempfile::tempdir().unwrap();
        let mut command: Command = serve_command(&[], &directory.path().join("data"));
        command.args(arguments);
        let server = MeterdProcess::start(command);
        let api = server.api;
        let mut siege = Self {
            name,
            server,
            descriptors: 0,
            callers: Vec::new(),
            stop: Arc::default(),
            began: Instant::now(),
            _directory: directory,
        };
        // Everything is open once everything was called.
        siege.call_for(Duration::ZERO).await;
        siege.descriptors = siege.descriptors_within(usize::MAX).await;
        siege.callers =
            (0..CALLERS).map(|_| tokio::spawn(behave(api, Arc::clone(&siege.stop)))).collect();
        siege
    }

    pub fn api(&self) -> SocketAddr {
        self.server.api
    }

    /// Calls for a while, and at least once.
    async fn call_for(&self, time: Duration) {
        let stop = Arc::new(AtomicBool::new(false));
        let calling = tokio::spawn(behave(self.server.api, Arc::clone(&stop)));
        tokio::time::sleep(time).await;
        stop.store(true, Ordering::Relaxed);
        calling.await.unwrap();
    }

    /// The value of a metric.
    pub fn metric(&self, name: &str) -> f64 {
        let metrics = http_get(self.server.admin, "/metrics");
        let line = metrics.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
        line.unwrap_or_else(|| panic!("{name} is not in {metrics}")).parse().unwrap()
    }

    pub fn log(&self) -> String {
        self.server.log()
    }

    /// Sends the server a signal.
    pub fn signal(&self, name: &str) {
        let process = self.server.id().to_string();
        let status = Command::new("kill").args([&format!("-{name}"), &process]).status().unwrap();
        assert!(status.success());
    }

    /// For calls of the operator.
    pub fn authed(&self) -> Authed {
        self.server.authed()
    }

    /// Descriptors of the server; waits for them to come down to a level.
    async fn descriptors_within(&self, level: usize) -> usize {
        let directory = format!("/proc/{}/fd", self.server.id());
        let mut open = usize::MAX;
        for _ in 0..300 {
            open = std::fs::read_dir(&directory).unwrap().count();
            if open <= level {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        open
    }

    /// The most memory that the server has had, in bytes.
    fn memory_max(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.server.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
        kibibytes << 10
    }

    /// The attack is over, and its connections are closed: checks everything.
    pub async fn end(mut self, memory_mib_max: u64) {
        self.call_for(Duration::from_millis(200)).await;
        let all = self.dismiss_callers().await;
        let memory = self.memory_max();
        let descriptors = self.descriptors_within(self.descriptors + DESCRIPTORS_SLACK).await;
        let log = self.log();
        eprintln!(
            "abuse: {}: {:.1} s; {} calls of others, p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms; memory up to {} MiB; descriptors {} → {descriptors}; {} lines of log",
            self.name,
            self.began.elapsed().as_secs_f64(),
            all.len(),
            all.value_at_quantile(0.5) as f64 / 1e3,
            all.value_at_quantile(0.99) as f64 / 1e3,
            all.max() as f64 / 1e3,
            memory / MIB,
            self.descriptors,
            log.lines().count(),
        );
        assert!(!all.is_empty(), "nobody called");
        assert!(memory <= memory_mib_max * MIB, "{} MiB of memory", memory / MIB);
        assert!(
            descriptors <= self.descriptors + DESCRIPTORS_SLACK,
            "{} descriptors at the start, {descriptors} now",
            self.descriptors
        );
        assert!(http_get(self.server.admin, "/readyz").ends_with("ready\n"));
        assert!(log.lines().count() <= LOG_LINES_MAX, "{log}");
        for word in ["ERROR", "panicked"] {
            assert!(!log.contains(word), "{log}");
        }
        self.terminate().await;
    }

    /// The attack goes on: SIGTERM ends the server all the same, while `last_calls` go on.
    pub async fn end_meanwhile(mut self, last_calls: impl Future<Output = ()>) {
        self.dismiss_callers().await;
        let began = Instant::now();
        let name = self.name;
        tokio::join!(self.terminate(), last_calls);
        eprintln!("abuse: {name}: over after {:.1} s", began.elapsed().as_secs_f64());
    }

    /// Lets callers finish; how long their calls took, in microseconds.
    async fn dismiss_callers(&mut self) -> Histogram<u64> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Histogram::new(3).unwrap();
        for caller in std::mem::take(&mut self.callers) {
            all.add(caller.await.unwrap().microseconds).unwrap();
        }
        all
    }

    async fn terminate(self) {
        let process = self.server.id();
        let ending = tokio::task::spawn_blocking(move || self.server.terminate(process));
        let ended = tokio::time::timeout(Duration::from_secs(30), ending).await;
        assert!(ended.expect("SIGTERM ends it in time").unwrap(), "SIGTERM ends it with 0");
    }
}

/// Calls until told to stop. Every call must succeed.
async fn behave(api: SocketAddr, stop: Arc<AtomicBool>) -> Served {
    let mut served = Served { microseconds: Histogram::new(3).unwrap() };
    loop {
        let channel = Endpoint::from_shared(format!("http://{api}")).unwrap().connect_lazy();
        let authed = InterceptedService::new(channel.clone(), Bearer);
        let mut image = ImageProductUsageServiceClient::new(authed);
        let mut health = HealthClient::new(channel);
        for _ in 0..CALLS_PER_CONNECTION {
            let uuids = [Uuid::new_v4(), Uuid::new_v4()];
            let (accepted, _) = served.time(send(&mut image, &uuids)).await.unwrap();
            assert_eq!(accepted.len(), 2);
            if stop.load(Ordering::Relaxed) {
                return served;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let request = HealthCheckRequest { service: String::new() };
        served.time(health.check(request)).await.unwrap();
        let answer = served.time(call(Method::GET, "/v1/catalog/products").send(api)).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    }
}

impl Served {
    async fn time<T>(&mut self, call: impl Future<Output = T>) -> T {
        let began = Instant::now();
        let answer = tokio::time::timeout(CALL_MAX, call).await.expect("a caller is not served");
        let took = u64::try_from(began.elapsed().as_micros()).unwrap().max(1);
        self.microseconds.record(took).unwrap();
        answer
    }
}
