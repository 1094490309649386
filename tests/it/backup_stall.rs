//! Readers of a backup that take nothing, and servers that stop meanwhile: nobody waits for a backup for ever.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use meterd::{
    api::pb::meterd::v1::{
        StreamBackupRequest, StreamBackupResponse, store_service_client::StoreServiceClient,
        stream_backup_response::Part,
    },
    domain::audit::Actor,
    service::{
        ServiceError,
        audit::AuditTrail,
        backups::{BackupLimits, BackupMessage, Backups},
        clock::ManualClock,
    },
    store::{UsageStore, backup::BackupRequest, document::Page, sled::SledStore},
};
use tokio::{
    sync::{mpsc::Receiver, watch},
    time::timeout,
};
use tonic::{Code, Streaming};

use crate::support::{
    backups::{Changes, fill_memtable, tiny, wait_until_idle},
    process::try_http_get,
    server::{Setup, TestServer, noon},
    usage::organization,
};

/// Far longer than anything here takes.
const LONG: Duration = Duration::from_secs(120);
const NEVER: Duration = Duration::from_secs(86_400);
/// What the messages that wait for a reader may take.
const WAITING_BYTES_MAX: usize = 4 << 20;

/// A store of more bytes than all buffers between a server and its client have.
fn large_store(directory: &Path) -> Arc<SledStore> {
    let store = SledStore::open(tiny(directory)).unwrap();
    (0..10).for_each(|number| fill_memtable(&store, number));
    for first in (0..4_000).step_by(20) {
        let page = |first| Page { first, body: vec![first as u8; 6_000] };
        let pages: Vec<Page> = (first..first + 20).map(page).collect();
        store.write_pages(&organization("filler"), "book", &pages, &[]).unwrap();
    }
    Arc::new(store)
}

fn full() -> BackupRequest {
    BackupRequest { after: None, bytes_per_second_max: u64::MAX }
}

/// Takes the rest; its bytes, and whether it came to the end.
async fn rest(mut messages: Receiver<Result<BackupMessage, ServiceError>>) -> (usize, bool) {
    let (mut bytes, mut ended) = (0, false);
    while let Some(message) = messages.recv().await {
        match message {
            Ok(BackupMessage::Entries(_, entries)) => bytes += entries.len(),
            Ok(BackupMessage::End(_)) => ended = true,
            Err(_) => {}
        }
    }
    (bytes, ended)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_takes_nothing_holds_nobody_up_and_is_given_up() {
    let directory = tempfile::tempdir().unwrap();
    let store = large_store(directory.path());
    let clock = Arc::new(ManualClock::new(noon()));
    let audit = Arc::new(AuditTrail::new(Arc::<SledStore>::clone(&store), clock));
    let limits = BackupLimits { slot_patience: LONG, reader_patience: Duration::from_millis(500) };
    let (_running, stopping) = watch::channel(false);
    let backups = Backups::new(Arc::<SledStore>::clone(&store), audit, limits, stopping);
    let operator = Actor::meterd(&organization("default")).unwrap();

    let stalled = backups.start(&operator, full()).await.unwrap();
    let writing = tokio::task::spawn_blocking({
        let store = Arc::clone(&store);
        move || {
            let mut changes = Changes::new(7);
            for number in 10..40 {
                fill_memtable(&store, number);
                changes.make(&store);
            }
        }
    });
    timeout(LONG, writing).await.unwrap().unwrap();
    // Which begins when the first is given up.
    let next = timeout(LONG, backups.start(&operator, full())).await.unwrap().unwrap();
    let (bytes, ended) = timeout(LONG, rest(stalled)).await.unwrap();
    assert!(!ended, "a part must not pass for a backup");
    assert!((1..=WAITING_BYTES_MAX).contains(&bytes), "{bytes} bytes waited for nobody");
    let (bytes, ended) = timeout(LONG, rest(next)).await.unwrap();
    assert!(ended && bytes > WAITING_BYTES_MAX);
    wait_until_idle(&store);
}

async fn served(store: &Arc<SledStore>, drain_timeout: Duration) -> TestServer {
    let backups = BackupLimits { slot_patience: Duration::from_millis(50), reader_patience: NEVER };
    let store = Arc::<SledStore>::clone(store);
    TestServer::with(Setup { store, drain_timeout, backups, ..Setup::default() }).await
}

/// A backup of which the first part was taken.
async fn begun(server: &TestServer) -> Streaming<StreamBackupResponse> {
    let mut client = StoreServiceClient::new(server.authed());
    let request = StreamBackupRequest::default();
    let mut parts = client.stream_backup(request).await.unwrap().into_inner();
    assert!(parts.message().await.unwrap().is_some());
    parts
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stops_does_not_wait_for_a_reader_that_takes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let store = large_store(directory.path());
    let server = served(&store, Duration::from_secs(1)).await;
    let unread = begun(&server).await;
    // There is one at a time.
    let mut client = StoreServiceClient::new(server.authed());
    let second = client.stream_backup(StreamBackupRequest::default()).await.map(drop).unwrap_err();
    assert_eq!(second.code(), Code::FailedPrecondition, "{second:?}");
    assert!(second.message().contains("another backup"), "{second:?}");
    drop(client);
    timeout(LONG, server.stop()).await.unwrap();
    // Whatever read the store for it has let go of it.
    let began = Instant::now();
    while Arc::strong_count(&store) > 1 {
        assert!(began.elapsed() < LONG, "the store is still read");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    drop(unread);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_ends_without_an_end_when_the_server_stops() {
    let directory = tempfile::tempdir().unwrap();
    let store = large_store(directory.path());
    let mut server = served(&store, NEVER).await;
    let mut parts = begun(&server).await;
    let stopping = server.begin_stop();
    let began = Instant::now();
    // It says so, or is gone already.
    while try_http_get(server.admin, "/readyz").is_ok_and(|answer| !answer.contains(" 503 ")) {
        assert!(began.elapsed() < LONG, "the server does not stop");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let rest = async {
        while let Ok(Some(part)) = parts.message().await {
            assert!(!matches!(part.part, Some(Part::End(_))), "it went on");
        }
    };
    timeout(LONG, rest).await.unwrap();
    timeout(LONG, stopping).await.unwrap().unwrap();
}
