//! Clients that share no code with meterd; see `tests/clients/README.md`.

use std::{path::Path, process::Command};

use meterd::service::clock::Clock as _;

use crate::support::server::{TOKEN, TestServer};

/// Runs a script against a server of its own, if there is an interpreter for it.
async fn run(script: &'static str, with_credentials: bool, tool: Option<&'static str>) {
    let Ok(python) = std::env::var("METERD_TEST_PYTHON") else {
        eprintln!(
            "SKIPPED: {script} was NOT run; set METERD_TEST_PYTHON, see tests/clients/README.md"
        );
        return;
    };
    let server = TestServer::start().await;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(script);
    let mut command = Command::new(python);
    command.arg(path).arg(server.api.to_string());
    if with_credentials {
        command.arg(TOKEN).arg(server.clock.now().to_string());
    }
    if let Some(tool) = tool {
        command.arg(std::env::var(tool).unwrap_or_else(|_| panic!("{tool} is not set")));
    }
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    assert!(
        output.status.success(),
        "{script}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_vendors_sdk_writes() {
    run("vendor_sdk.py", true, None).await;
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
