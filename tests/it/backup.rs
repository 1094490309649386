//! `meterd backup` and `meterd restore` while a server takes writes, and killed in the middle.
//!
//! `METERD_KILL_BACKUP_CYCLES` sets how often something is killed (default 10), `METERD_KILL_SEED` when exactly.

use std::{
    collections::HashSet,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use meterd::api::pb::meterd::v1::{
    ApplyAssetsRequest, Asset, AssetUsage, ReportUsageBatchRequest,
    catalog_service_client::CatalogServiceClient,
    usage_batch_service_client::UsageBatchServiceClient,
};
use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tonic::{Code, Status};
use uuid::Uuid;

use crate::support::{
    command::{Ran, client, meterd, run},
    load::{Ledger, send, settle, write_until_refused},
    process::{MeterdProcess, assert_verified, serve_command},
    random::Random,
};

const WRITERS: usize = 6;

fn start(data_dir: &Path) -> MeterdProcess {
    let mut command = serve_command(&[], data_dir);
    command.args(["--memtable-keys-max", "1000", "--log", "warn"]);
    MeterdProcess::start(command)
}

/// Writers at a server.
struct Load {
    ledger: Arc<Mutex<Ledger>>,
    stop: Arc<AtomicBool>,
    writers: Vec<JoinHandle<Option<Status>>>,
}

impl Load {
    fn on(server: &MeterdProcess, ledger: &Arc<Mutex<Ledger>>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let writer = |_| {
            let (ledger, stop) = (Arc::clone(ledger), Arc::clone(&stop));
            tokio::spawn(write_until_refused(server.image(), ledger, stop))
        };
        let writers = (0..WRITERS).map(writer).collect();
        Self { ledger: Arc::clone(ledger), stop, writers }
    }

    /// What is acknowledged now.
    fn acknowledged(&self) -> HashSet<Uuid> {
        self.ledger.lock().acknowledged.clone()
    }

    /// Waits until so many more records are acknowledged.
    async fn progress(&self, records: usize) {
        let began = Instant::now();
        let wanted = self.ledger.lock().acknowledged.len() + records;
        while self.ledger.lock().acknowledged.len() < wanted {
            assert!(began.elapsed() < Duration::from_secs(120), "nothing is acknowledged any more");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    async fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        for writer in self.writers {
            writer.await.unwrap();
        }
    }
}

fn backup_command(server: &MeterdProcess, to: &Path, more: &[&str]) -> Command {
    let mut arguments = vec!["backup", "--to", to.to_str().unwrap()];
    arguments.extend(more);
    client(server.api, &arguments)
}

async fn back_up(server: &MeterdProcess, to: &Path, more: &[&str]) -> Ran {
    let command = backup_command(server, to, more);
    tokio::task::spawn_blocking(move || run(command)).await.unwrap()
}

fn restore(from: &Path, to: &Path, more: &[&str]) -> Ran {
    let paths = ["--from", from.to_str().unwrap(), "--data-dir", to.to_str().unwrap()];
    let mut arguments = vec!["restore"];
    arguments.extend(paths);
    arguments.extend(more);
    run(meterd(&arguments))
}

/// Names of the backups in a directory that have a manifest, and of those that have none.
fn backups(directory: &Path) -> (Vec<String>, Vec<String>) {
    let mut names: Vec<String> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "lock")
        .collect();
    names.sort();
    names.into_iter().partition(|name| directory.join(name).join("manifest.json").exists())
}

/// Every one of these is a duplicate at a server.
async fn assert_known(server: &MeterdProcess, records: &HashSet<Uuid>) {
    let records: Vec<Uuid> = records.iter().copied().collect();
    for uuids in records.chunks(25) {
        let (accepted, duplicates) = send(&mut server.image(), uuids).await.unwrap();
        assert_eq!((accepted.len(), duplicates.len()), (0, uuids.len()), "acknowledged and gone");
    }
}

async fn report_batch(server: &MeterdProcess, id: &str) -> Result<(), Status> {
    let usage = |number: usize| AssetUsage {
        asset_id: format!("asset-{}", number % 20),
        quantity: 1,
        usage_date: "2026-03-11".into(),
    };
    let batch =
        ReportUsageBatchRequest { id: id.into(), asset_usages: (0..600).map(usage).collect() };
    let mut batches = UsageBatchServiceClient::new(server.authed());
    batches.report_usage_batch(batch).await.map(drop)
}

async fn apply_assets(server: &MeterdProcess, name: &str) {
    let asset = |number: usize| Asset {
        id: format!("asset-{number}"),
        name: name.into(),
        ..Asset::default()
    };
    let request = ApplyAssetsRequest { assets: (0..20).map(asset).collect(), validate_only: false };
    CatalogServiceClient::new(server.authed()).apply_assets(request).await.unwrap();
}

fn assert_secret(directory: &Path) {
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(directory), 0o700);
    for name in backups(directory).0 {
        let backup = directory.join(name);
        assert_eq!(mode(&backup), 0o700);
        for file in std::fs::read_dir(&backup).unwrap() {
            assert_eq!(mode(&file.unwrap().path()), 0o600);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_before_a_backup_is_there_after_a_restore() {
    let directory = tempfile::tempdir().unwrap();
    let (data_dir, to) = (directory.path().join("data"), directory.path().join("backups"));
    let server = start(&data_dir);
    let ledger = Arc::new(Mutex::new(Ledger::default()));
    let load = Load::on(&server, &ledger);
    load.progress(3000).await;
    let mut before = Vec::new();
    for (at, kind) in ["full", "increment", "increment"].into_iter().enumerate() {
        apply_assets(&server, &format!("name {at}")).await;
        report_batch(&server, &format!("batch-{at}")).await.unwrap();
        before.push(load.acknowledged());
        let said = back_up(&server, &to, &[]).await.ok();
        assert!(said.contains(&format!("{:06}-{kind}", at + 1)), "{said}");
        load.progress(1500).await;
    }
    load.end().await;
    assert_secret(&to);
    let listed = run(meterd(&["backup", "--list", to.to_str().unwrap()])).ok();
    assert_eq!(listed.matches(" complete").count(), 3, "{listed}");

    for (at, before) in before.iter().enumerate() {
        let restored = directory.path().join(format!("restored-{at}"));
        let said = restore(&to, &restored, &["--backup", &(at + 1).to_string()]).ok();
        assert!(said.contains("no differences"), "{said}");
        let server = start(&restored);
        let counted = server.counted().await;
        assert!(counted >= before.len() as u64);
        assert_known(&server, before).await;
        assert_eq!(server.counted().await, counted, "duplicates do not count");
        let asset = run(client(server.api, &["assets", "list"])).ok();
        assert!(asset.contains(&format!("name {at}")), "{asset}");
        for number in 0..3 {
            let again = report_batch(&server, &format!("batch-{number}")).await;
            let code = again.map_or_else(|status| status.code(), |()| Code::Ok);
            let expected = if number <= at { Code::AlreadyExists } else { Code::Ok };
            assert_eq!(code, expected, "batch-{number} after backup {at}");
        }
        // Whoever sends again what is not there gets everything counted once.
        if at == 2 {
            let mut everything = Ledger { sent: ledger.lock().sent.clone(), ..Ledger::default() };
            settle(server.image(), &mut everything).await;
            let sent = everything.sent.len() as u64;
            assert_eq!(server.counted().await, sent);
        }
        let id = server.id();
        assert!(server.terminate(id));
        assert_verified(&restored);
    }
    let id = server.id();
    assert!(server.terminate(id));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_moment_it_leaves_nothing_that_passes_for_a_backup() {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let cycles = number("METERD_KILL_BACKUP_CYCLES").unwrap_or(10);
    let seed = number("METERD_KILL_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    eprintln!("backup: METERD_KILL_SEED={seed} METERD_KILL_BACKUP_CYCLES={cycles}");
    let mut random = Random::new(seed);
    let directory = tempfile::tempdir().unwrap();
    let (data_dir, to) = (directory.path().join("data"), directory.path().join("backups"));
    let ledger = Arc::new(Mutex::new(Ledger::default()));
    let mut server = start(&data_dir);
    // What was acknowledged before the last complete backup began.
    let (mut safe, mut complete, mut interrupted) = (HashSet::new(), 0, 0);
    for _ in 0..cycles {
        let load = Load::on(&server, &ledger);
        load.progress(1000).await;
        let before = load.acknowledged();
        let full: &[&str] = if random.below(3) == 0 { &["--full"] } else { &[] };
        // Slow enough to be met in its middle.
        let more = [full, &["--rate", "1MiB"][..]].concat();
        let mut child = backup_command(&server, &to, &more)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        tokio::time::sleep(Duration::from_millis(random.below(400) as u64)).await;
        if random.below(2) == 0 {
            server.kill();
            load.end().await;
            server = start(&data_dir);
        } else {
            child.kill().unwrap();
            load.end().await;
        }
        let succeeded = tokio::task::spawn_blocking(move || child.wait()).await.unwrap().unwrap();
        let (whole, parts) = if to.exists() { backups(&to) } else { Default::default() };
        interrupted += parts.len();
        assert!(parts.len() <= 1, "the next backup removes what is left: {parts:?}");
        assert!(whole.len() == complete || whole.len() == complete + 1);
        if succeeded.success() {
            assert_eq!(whole.len(), complete + 1);
        }
        if whole.len() > complete {
            safe = before;
            complete = whole.len();
        }
    }
    eprintln!("{complete} complete, {interrupted} interrupted");
    // The next one works, whatever is left of the last.
    let last = ledger.lock().acknowledged.clone();
    let parts = if to.exists() { backups(&to).1 } else { Vec::new() };
    let made = back_up(&server, &to, &[]).await;
    for part in &parts {
        assert!(made.stderr.contains(part), "{}", made.stderr);
    }
    made.ok();
    assert_eq!(backups(&to).1, Vec::<String>::new());
    safe.extend(last);
    let restored = directory.path().join("restored");
    restore(&to, &restored, &[]).ok();
    let again = start(&restored);
    assert_known(&again, &safe).await;
    let mut ledger = Arc::into_inner(ledger).unwrap().into_inner();
    settle(again.image(), &mut ledger).await;
    let id = again.id();
    assert!(again.terminate(id));
    assert_verified(&restored);
    server.kill();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_stopped_ends_a_backup_and_leaves_nothing_that_passes_for_one() {
    let directory = tempfile::tempdir().unwrap();
    let (data_dir, to) = (directory.path().join("data"), directory.path().join("backups"));
    let server = start(&data_dir);
    let ledger = Arc::new(Mutex::new(Ledger::default()));
    let load = Load::on(&server, &ledger);
    load.progress(2000).await;
    load.end().await;
    // It would take minutes.
    let mut child = backup_command(&server, &to, &["--rate", "1KiB"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let began = Instant::now();
    while !run(client(server.api, &["audit"])).ok().contains("store.backUp") {
        assert!(began.elapsed() < Duration::from_secs(120), "it does not begin");
    }
    let id = server.id();
    assert!(server.terminate(id));
    let status = tokio::task::spawn_blocking(move || child.wait()).await.unwrap().unwrap();
    assert_eq!(status.code(), Some(1));
    assert_eq!(backups(&to).0, Vec::<String>::new());
    let again = start(&data_dir);
    back_up(&again, &to, &[]).await.ok();
    let restored = directory.path().join("restored");
    restore(&to, &restored, &[]).ok();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_that_is_killed_leaves_nothing_that_passes_for_a_store() {
    let seed = u64::from(std::process::id());
    eprintln!("backup: seed {seed}");
    let mut random = Random::new(seed);
    let directory = tempfile::tempdir().unwrap();
    let (data_dir, to) = (directory.path().join("data"), directory.path().join("backups"));
    let server = start(&data_dir);
    let ledger = Arc::new(Mutex::new(Ledger::default()));
    let load = Load::on(&server, &ledger);
    load.progress(5000).await;
    load.end().await;
    back_up(&server, &to, &[]).await.ok();
    let counted = server.counted().await;
    server.kill();
    let mut unfinished = 0;
    for at in 0..12 {
        let restored: PathBuf = directory.path().join(format!("restored-{at}"));
        let paths = ["--from", to.to_str().unwrap(), "--data-dir", restored.to_str().unwrap()];
        let arguments = [&["restore", "--no-verify"][..], &paths].concat();
        let mut child = meterd(&arguments).stdout(Stdio::null()).spawn().unwrap();
        tokio::time::sleep(Duration::from_millis(random.below(300) as u64)).await;
        let _ = child.kill();
        child.wait().unwrap();
        if restored.join("unfinished-restore").exists() {
            unfinished += 1;
            let verified = run(meterd(&["verify", "--data-dir", restored.to_str().unwrap()]));
            verified.fails(1, &["holds a restore that did not finish"]);
            restore(&to, &restored, &[]).fails(1, &["is not empty"]);
        } else if restored.join("db").exists() {
            assert_verified(&restored);
            let server = start(&restored);
            assert_eq!(server.counted().await, counted);
        }
    }
    eprintln!("{unfinished} unfinished");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_store_is_backed_up_without_a_server() {
    let directory = tempfile::tempdir().unwrap();
    let (data_dir, to) = (directory.path().join("data"), directory.path().join("backups"));
    let server = start(&data_dir);
    let uuids: Vec<Uuid> = (0..25).map(|_| Uuid::new_v4()).collect();
    send(&mut server.image(), &uuids).await.unwrap();
    back_up(&server, &to, &[]).await.ok();
    let here = ["backup", "--to", to.to_str().unwrap(), "--data-dir", data_dir.to_str().unwrap()];
    run(meterd(&here)).fails(1, &["is in use by another process"]);
    server.kill();
    let said = run(meterd(&here)).ok();
    assert!(said.contains("000002-increment"), "{said}");
    let restored = directory.path().join("restored");
    restore(&to, &restored, &[]).ok();
    let again = start(&restored);
    assert_known(&again, &uuids.into_iter().collect()).await;
    let nowhere = directory.path().join("nowhere");
    let there = ["backup", "--to", to.to_str().unwrap(), "--data-dir", nowhere.to_str().unwrap()];
    run(meterd(&there)).fails(1, &["there is no"]);
    assert!(!nowhere.exists());
}
