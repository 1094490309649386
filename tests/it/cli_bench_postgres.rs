//! The bench beside a real PostgreSQL, if `METERD_TEST_POSTGRES` has the URL of one: without TLS, for a user who may
//! create schemas.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Command, Stdio},
};

use serde_json::Value;
use tokio_postgres::{Client, NoTls};

use crate::support::command::{meterd, run};

const SMALL: [&str; 9] = [
    "bench",
    "--compare",
    "--repeats=1",
    "--connections=2",
    "--callers=3",
    "--products=3",
    "--warm-up=100ms",
    "--output=json",
    "--stored=3000",
];

fn postgres(test: &str) -> Option<String> {
    let url = std::env::var("METERD_TEST_POSTGRES").ok();
    if url.is_none() {
        eprintln!(
            "SKIPPED: {test} was NOT run; set METERD_TEST_POSTGRES, such as \
             postgres://user:password@127.0.0.1/database"
        );
    }
    url
}

fn bench(directory: &Path, url: &str, arguments: &[&str]) -> Command {
    let mut command = meterd(&SMALL);
    command.args(arguments).env("TMPDIR", directory).env("METERD_BENCH_POSTGRES", url);
    command
}

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

async fn has_schema(client: &Client, schema: &str) -> bool {
    let found = "SELECT FROM pg_namespace WHERE nspname = $1";
    !client.query(found, &[&schema]).await.unwrap().is_empty()
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_a_table_are_compared_and_dropped() {
    let Some(url) = postgres("the comparison with PostgreSQL") else { return };
    let directory = tempfile::tempdir().unwrap();
    let arguments = ["--seed=7001", "--duration=300ms", "--duplicates=20"];
    let ran = run(bench(directory.path(), &url, &arguments));
    let compared: Value = serde_json::from_str(&ran.ok()).unwrap();
    let case = compared["cases"].as_array().unwrap().last().unwrap();
    assert_eq!(case["name"], "PostgreSQL");
    let outcome = &case["outcomes"][0];
    assert_eq!((&outcome["mode"], &outcome["connections"]), (&"postgres".into(), &6.into()));
    let count = |name: &str| outcome["verdicts"][name].as_u64().unwrap();
    assert!(count("accepted") > 0 && count("duplicates") > 0, "{outcome:#}");
    assert_eq!(count("accepted"), count("expected_accepted"), "{outcome:#}");
    assert_eq!(count("duplicates"), count("expected_duplicates"), "{outcome:#}");
    assert_eq!(count("wrong"), 0, "{outcome:#}");
    assert!(outcome["failures"].as_object().unwrap().is_empty(), "{outcome:#}");
    assert!(outcome["server"].is_null(), "what PostgreSQL uses is not known");
    let ratios = compared["ratios"].as_array().unwrap();
    let beside: Vec<&str> = ratios
        .iter()
        .filter(|ratio| ratio["to"] == "PostgreSQL")
        .map(|ratio| ratio["name"].as_str().unwrap())
        .collect();
    assert_eq!(beside, ["unary", "stream"]);
    assert!(!has_schema(&connect(&url).await, "meterd_bench_7001").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_there_already_is_left_as_it_is() {
    let Some(url) = postgres("the bench beside a schema of the same name") else { return };
    let directory = tempfile::tempdir().unwrap();
    let client = connect(&url).await;
    let make = "CREATE SCHEMA meterd_bench_7002; \
                CREATE TABLE meterd_bench_7002.meterd_bench_usage AS SELECT 1 AS one";
    client.batch_execute(make).await.unwrap();
    let ran = run(bench(directory.path(), &url, &["--seed=7002"]));
    let kept = client.query("SELECT one FROM meterd_bench_7002.meterd_bench_usage", &[]).await;
    client.batch_execute("DROP SCHEMA meterd_bench_7002 CASCADE").await.unwrap();
    ran.fails(1, &["has a schema meterd_bench_7002 already", "--seed"]);
    assert_eq!(kept.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_that_would_not_be_durable_are_refused() {
    let Some(url) = postgres("the bench without synchronous_commit") else { return };
    let directory = tempfile::tempdir().unwrap();
    let options = "options=-c%20synchronous_commit%3Doff";
    let url = format!("{url}{}{options}", if url.contains('?') { '&' } else { '?' });
    let ran = run(bench(directory.path(), &url, &["--seed=7003"]));
    ran.fails(1, &["synchronous_commit of PostgreSQL is off", "set it to on"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_are_at_most_the_connections_that_postgres_allows() {
    let Some(url) = postgres("the bench with too many connections") else { return };
    let directory = tempfile::tempdir().unwrap();
    let mut command = meterd(&["bench", "--compare", "--connections=256", "--callers=1024"]);
    command.args(["--postgres", &url]).env("TMPDIR", directory.path());
    let ran = run(command);
    ran.fails(1, &["--connections times --callers is 262144", "max_connections leaves"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_comparison_drops_its_table() {
    let Some(url) = postgres("Ctrl-C beside PostgreSQL") else { return };
    let directory = tempfile::tempdir().unwrap();
    let client = connect(&url).await;
    let mut command = bench(directory.path(), &url, &["--seed=7005", "--duration=2s"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap()).lines();
    // The last case, once it measures.
    stderr.find(|line| line.as_ref().unwrap().ends_with(": PostgreSQL")).unwrap().unwrap();
    stderr.find(|line| line.as_ref().unwrap().starts_with("measuring")).unwrap().unwrap();
    assert!(has_schema(&client, "meterd_bench_7005").await);
    let interrupted = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(interrupted.unwrap().success());
    let rest: Vec<String> = stderr.map(Result::unwrap).collect();
    assert!(child.wait_with_output().unwrap().status.success(), "{rest:?}");
    assert!(!has_schema(&client, "meterd_bench_7005").await);
}
