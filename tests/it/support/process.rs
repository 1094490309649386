//! The real binary as a process of its own.

use std::{
    ffi::OsString,
    io::{BufRead as _, BufReader, Read as _},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Output, Stdio},
    sync::Arc,
    thread::JoinHandle,
};

use meterd::api::pb::{
    meterd::v1::{QueryProductUsageRequest, usage_report_service_client::UsageReportServiceClient},
    yandex::cloud::marketplace::metering::v1::image_product_usage_service_client::ImageProductUsageServiceClient,
};
use parking_lot::Mutex;
use tonic::{Status, service::interceptor::InterceptedService, transport::Endpoint};

use super::server::{Authed, Bearer, TOKEN};

/// The catalog that the process is started with.
const CATALOG: &str = "products:\n  - id: storage\n    skus:\n      - id: gb-hour\n";

pub struct MeterdProcess {
    child: Child,
    pub api: SocketAddr,
    pub admin: SocketAddr,
    log: Arc<Mutex<String>>,
    reading: Option<JoinHandle<()>>,
}

/// The program of this build, or another one to try out: one that is built for release, say.
fn binary() -> OsString {
    std::env::var_os("METERD_TEST_BINARY").unwrap_or_else(|| env!("CARGO_BIN_EXE_meterd").into())
}

/// A connection of its own.
pub fn connect(api: SocketAddr) -> Authed {
    let channel = Endpoint::from_shared(format!("http://{api}")).unwrap().connect_lazy();
    InterceptedService::new(channel, Bearer)
}

/// Records that the totals of all time add up.
pub async fn counted_over(connection: Authed) -> Result<u64, Status> {
    let mut client = UsageReportServiceClient::new(connection);
    let query =
        QueryProductUsageRequest { interval: "2024-01-01/P3000D".into(), ..Default::default() };
    Ok(client.query_product_usage(query).await?.into_inner().total_record_count)
}

/// The command line of `meterd serve` on free ports. `launcher` goes in front of it.
pub fn serve_command(launcher: &[&str], data_dir: &Path) -> Command {
    let binary = binary();
    let mut command = match launcher.split_first() {
        Some((program, arguments)) => {
            let mut command = Command::new(program);
            command.args(arguments).arg(binary);
            command
        }
        None => Command::new(binary),
    };
    let catalog = data_dir.with_extension("catalog.yaml");
    std::fs::write(&catalog, CATALOG).unwrap();
    command
        .args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--data-dir"])
        .arg(data_dir)
        .arg("--catalog")
        .arg(catalog)
        .env("METERD_ADMIN_TOKEN", TOKEN);
    command
}

impl MeterdProcess {
    /// Starts the command and waits until it listens.
    pub fn start(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut said = String::new();
        let (api, admin) = loop {
            let mut line = String::new();
            let read = stderr.read_line(&mut line).unwrap();
            said.push_str(&line);
            assert!(read > 0, "the server ended before it listened: {said}");
            if let Some(addresses) = line.trim_end().strip_prefix("listening api=") {
                let (api, admin) = addresses.split_once(" admin=").unwrap();
                break (api.parse().unwrap(), admin.parse().unwrap());
            }
        };
        let log = Arc::new(Mutex::new(said));
        let reading = std::thread::spawn({
            let log = Arc::clone(&log);
            move || {
                let mut rest = String::new();
                while stderr.read_line(&mut rest).is_ok_and(|read| read > 0) {
                    log.lock().push_str(&std::mem::take(&mut rest));
                }
            }
        });
        Self { child, api, admin, log, reading: Some(reading) }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn log(&self) -> String {
        self.log.lock().clone()
    }

    pub fn authed(&self) -> Authed {
        connect(self.api)
    }

    pub fn image(&self) -> ImageProductUsageServiceClient<Authed> {
        ImageProductUsageServiceClient::new(self.authed())
    }

    /// Records that the totals of all time add up.
    pub async fn counted(&self) -> u64 {
        self.try_counted().await.unwrap()
    }

    pub async fn try_counted(&self) -> Result<u64, Status> {
        counted_over(self.authed()).await
    }

    /// kill -9.
    pub fn kill(mut self) -> String {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.reading.take().unwrap().join().unwrap();
        self.log()
    }

    /// SIGTERM to `process`, which is this one or, under a launcher, its child; waits for the end.
    pub fn terminate(mut self, process: u32) -> bool {
        let status = Command::new("kill").args(["-TERM", &process.to_string()]).status().unwrap();
        assert!(status.success());
        self.child.wait().unwrap().success()
    }
}

impl Drop for MeterdProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `meterd verify`.
pub fn verify(data_dir: &Path) -> Output {
    Command::new(binary())
        .args(["verify", "--data-dir"])
        .arg(data_dir)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

pub fn assert_verified(data_dir: &Path) {
    let output = verify(data_dir);
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A plain HTTP/1.1 GET; the whole answer as text.
pub fn http_get(address: SocketAddr, path: &str) -> String {
    try_http_get(address, path).unwrap()
}

/// The same of a server that may have ended.
pub fn try_http_get(address: SocketAddr, path: &str) -> std::io::Result<String> {
    use std::io::Write as _;

    let mut stream = std::net::TcpStream::connect(address)?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: meterd\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
