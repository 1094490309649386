//! Clients that share no code with meterd; see `tests/clients/README.md`.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

use meterd::service::clock::Clock as _;

use crate::support::{
    authority::Authority,
    process::{MeterdProcess, serve_command},
    server::{TOKEN, TestServer},
};

/// Runs a script against a server of its own, if there is an interpreter for it.
async fn run(script: &'static str, with_credentials: bool, tool: Option<&'static str>) {
    let Some(python) = interpreter(script) else { return };
    let server = TestServer::start().await;
    let mut command = Command::new(python);
    command.arg(script_path(script)).arg(server.api.to_string());
    if with_credentials {
        command.arg(TOKEN).arg(server.clock.now().to_string());
    }
    if let Some(tool) = tool {
        command.arg(std::env::var(tool).unwrap_or_else(|_| panic!("{tool} is not set")));
    }
    finish(script, command, server).await;
}

/// Runs a JavaScript against a server of its own, if there are modules for it.
async fn run_node(script: &'static str) {
    let Some(modules) = modules(script) else { return };
    let server = TestServer::start().await;
    let mut command = Command::new("node");
    command
        .env("NODE_PATH", modules)
        .arg(script_path(script))
        .arg(server.api.to_string())
        .arg(TOKEN)
        .arg(server.clock.now().to_string());
    finish(script, command, server).await;
}

async fn finish(script: &str, mut command: Command, server: TestServer) {
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    check(script, &output);
    server.stop().await;
}

/// The directory of the JavaScript clients' modules, if there is one.
fn modules(script: &str) -> Option<String> {
    let modules = std::env::var("METERD_TEST_NODE_MODULES").ok();
    if modules.is_none() {
        eprintln!(
            "SKIPPED: {script} was NOT run; set METERD_TEST_NODE_MODULES, see tests/clients/README.md"
        );
    }
    modules
}

/// The interpreter that has the clients' packages, if there is one.
fn interpreter(script: &str) -> Option<String> {
    let python = std::env::var("METERD_TEST_PYTHON").ok();
    if python.is_none() {
        eprintln!(
            "SKIPPED: {script} was NOT run; set METERD_TEST_PYTHON, see tests/clients/README.md"
        );
    }
    python
}

fn script_path(script: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(script)
}

fn check(script: &str, output: &Output) {
    assert!(
        output.status.success(),
        "{script}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_vendors_sdk_writes() {
    run("vendor_sdk.py", true, None).await;
}

/// The real binary with TLS, and the certificate authority that signed its certificate. SDKs go by the clock on
/// the wall, so the server's cannot stand still.
struct OverTls {
    server: MeterdProcess,
    authority: PathBuf,
    _directory: tempfile::TempDir,
}

impl OverTls {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::new();
        let (certificate, key) = authority.signs();
        let file = |name: &str, text: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let mut command = serve_command(&[], &directory.path().join("data"));
        command
            .arg("--tls-cert")
            .arg(file("cert.pem", &certificate))
            .arg("--tls-key")
            .arg(file("key.pem", &key));
        let authority = file("ca.pem", &authority.pem());
        Self { server: MeterdProcess::start(command), authority, _directory: directory }
    }

    fn address(&self) -> String {
        format!("localhost:{}", self.server.api.port())
    }
}

#[test]
fn yandex_sdk_signs_in_over_tls() {
    let Some(python) = interpreter("vendor_sdk_sign_in.py") else { return };
    let over_tls = OverTls::start();
    let mut command = Command::new(python);
    command.arg(script_path("vendor_sdk_sign_in.py"));
    command.arg(over_tls.address()).arg(TOKEN).arg(&over_tls.authority);
    check("vendor_sdk_sign_in.py", &command.output().unwrap());
    over_tls.server.kill();
}

#[test]
fn getty_sdk_signs_in_and_reports_a_batch_over_tls() {
    let Some(modules) = modules("getty_sdk.js") else { return };
    let over_tls = OverTls::start();
    let mut command = Command::new("node");
    command
        .env("NODE_PATH", modules)
        .env("NODE_EXTRA_CA_CERTS", &over_tls.authority)
        .arg(script_path("getty_sdk.js"))
        .arg(over_tls.address())
        .arg(TOKEN);
    check("getty_sdk.js", &command.output().unwrap());
    over_tls.server.kill();
}

#[tokio::test(flavor = "multi_thread")]
async fn genesys_sdk_signs_in() {
    run("genesys_sdk_sign_in.py", true, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn genesys_python_sdk_asks_for_usage() {
    run("genesys_usage.py", true, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn genesys_javascript_sdk_asks_for_usage() {
    run_node("genesys_usage.js").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_vendors_descriptors_are_ours() {
    run("vendor_descriptors.py", false, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stubs_from_the_protos_write_and_read() {
    run("plain_grpc.py", true, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoys_own_protos_stream_an_access_log() {
    let script = "envoy_access_log.py";
    let Some(python) = interpreter(script) else { return };
    let server = TestServer::start().await;
    let mut command = Command::new(python);
    command
        // It imports the script beside it, and should leave nothing there.
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .arg(script_path(script))
        .args([server.api.to_string(), TOKEN.to_owned(), server.clock.now().to_string()])
        .arg(server.admin.to_string());
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    check(script, &output);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn buf_curl_needs_nothing_but_reflection() {
    run("buf_curl.py", true, Some("METERD_TEST_BUF")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_vendors_documented_bodies_write_over_rest() {
    run("vendor_rest.py", true, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_openapi_document_is_valid_and_true() {
    run("openapi_document.py", true, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn schemathesis_finds_nothing() {
    run("schemathesis_run.py", true, None).await;
}
