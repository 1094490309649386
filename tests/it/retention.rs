//! Old records go, and what they add up to stays: in the store, in backups, for `verify`, and from the outside.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use http::{Method, StatusCode};
use jiff::{SignedDuration, Timestamp};
use meterd::{
    domain::usage::LogSequence,
    store::{
        LogHead, LogPosition, StoreError, UsageStore,
        backup::BackupRefusal,
        sled::{SledStore, VerifyReport, verify, verify_against},
    },
};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{
    backups::{Changes, back_up, now, restore, tiny},
    closed_store::open_tree,
    command::{meterd, run},
    http::{Answer, call},
    process::{MeterdProcess, http_get, serve_command},
    usage::{
        all_records, all_totals, commit, dropped, kept_from, organization, record, submission,
    },
};

const LOG: u8 = 0x10;
const LOG_FLOOR: u8 = 0x11;
const RETIRED_ROW: u8 = 0x33;
const ROLLUP: u8 = 0x30;
const RUN_PAGE: u8 = 0x20;

/// Drops everything that may be dropped of what is there.
fn drop_all(store: &SledStore) {
    let later = now() + SignedDuration::from_hours(1);
    while store.drop_records(later).unwrap().more_to_come {
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn report(directory: &Path) -> VerifyReport {
    verify(directory, &mut |_| {}).unwrap()
}

fn assert_verified(directory: &Path) -> VerifyReport {
    let report = report(directory);
    assert_eq!(report.differences, Vec::<String>::new());
    report
}

/// A store of which everything but the end was dropped, and what it knows.
fn dropped_store(directory: &Path, seed: u64) -> Changes {
    let store = SledStore::open(tiny(directory)).unwrap();
    let mut changes = Changes::new(seed);
    (0..200).for_each(|_| changes.make(&store));
    let totals = all_totals(&store, "alpha");
    let listed = all_records(&store, "alpha", 100).len();
    drop_all(&store);
    assert_eq!(all_totals(&store, "alpha"), totals);
    assert!(all_records(&store, "alpha", 100).len() < listed / 10);
    while !store.is_idle() {
        std::thread::sleep(Duration::from_millis(1));
    }
    changes
}

#[test]
fn what_is_dropped_stays_counted_and_taken_for_ever() {
    let directory = tempfile::tempdir().unwrap();
    let changes = dropped_store(directory.path(), 1);
    for _ in 0..2 {
        let found = assert_verified(directory.path());
        assert!(found.dropped.records > 0 && found.dropped.batches > 0, "{:?}", found.dropped);
        assert!(found.dropped.api_events > 0 && found.dropped.asset_usages > 0);
        let store = SledStore::open(tiny(directory.path())).unwrap();
        let totals = all_totals(&store, "alpha");
        for uuid in &changes.records {
            let name = if *uuid < 1 << 40 { "alpha" } else { "beta" };
            let again = submission(name, vec![record(*uuid, "sku", 1, now())]);
            let decisions = commit(&store, again, now()).unwrap();
            assert!(
                matches!(decisions[..], [meterd::domain::verdict::Decision::Duplicate(_)]),
                "record {uuid} was counted and is taken for new"
            );
        }
        assert_eq!(all_totals(&store, "alpha"), totals);
        let through = dropped(&store, "alpha").expect("something was dropped");
        assert_eq!(through.stored_time, now());
        drop_all(&store);
    }
}

#[test]
fn nothing_that_is_younger_is_dropped() {
    let directory = tempfile::tempdir().unwrap();
    let store = SledStore::open(tiny(directory.path())).unwrap();
    let write = |uuid: u128, at: Timestamp| {
        commit(&store, submission("alpha", vec![record(uuid, "sku", 1, at)]), at).unwrap();
    };
    let hour = |hours: i64| now() + SignedDuration::from_hours(hours);
    for at in 0..50 {
        write(at, hour(i64::try_from(at).unwrap()));
    }
    loop {
        if !store.drop_records(hour(20)).unwrap().more_to_come {
            break;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let kept = all_records(&store, "alpha", 7);
    assert_eq!(kept.len(), 30);
    assert_eq!(kept[0].stored_time, hour(20));
    assert_eq!(dropped(&store, "alpha").unwrap().stored_time, hour(19));
    let found = |uuid: u128| store.find(&organization("alpha"), Uuid::from_u128(uuid));
    assert!(matches!(found(19), Err(StoreError::Dropped(LogSequence(20)))));
    assert!(found(20).unwrap().is_some());
    assert!(found(50).unwrap().is_none());
    // A clock that was put back drops nothing.
    assert_eq!(store.drop_records(hour(5)).unwrap().chunks, 0);
    assert_eq!(kept_from(&store, "alpha"), Some(hour(20)));
}

#[test]
fn kept_from_follows_the_limit_and_not_the_records() {
    let directory = tempfile::tempdir().unwrap();
    let hour = |hours: i64| now() + SignedDuration::from_hours(hours);
    {
        let store = SledStore::open(tiny(directory.path())).unwrap();
        assert_eq!(kept_from(&store, "alpha"), None);
        store.drop_records(hour(-5)).unwrap();
        // Nothing was there to be dropped, neither of this organization nor of another.
        assert_eq!(kept_from(&store, "alpha"), Some(hour(-5)));
        commit(&store, submission("beta", vec![record(1, "sku", 1, now())]), now()).unwrap();
        store.drop_records(hour(-4)).unwrap();
        assert_eq!(kept_from(&store, "alpha"), Some(hour(-4)));
    }
    let store = SledStore::open(tiny(directory.path())).unwrap();
    assert_eq!(kept_from(&store, "alpha"), Some(hour(-4)));
    assert_eq!(kept_from(&store, "beta"), Some(hour(-4)));
}

#[test]
fn backups_hold_what_dropped_records_add_up_to() {
    let directory = tempfile::tempdir().unwrap();
    let (original, restored) = (directory.path().join("store"), directory.path().join("restored"));
    let store = SledStore::open(tiny(&original)).unwrap();
    let mut changes = Changes::new(4);
    (0..150).for_each(|_| changes.make(&store));
    let early = back_up(&store, None, || {}).unwrap();
    (0..50).for_each(|_| changes.make(&store));
    drop_all(&store);
    // While a backup is read, nothing is dropped.
    let mut dropped_meanwhile = 0;
    let full = back_up(&store, None, || {
        dropped_meanwhile +=
            store.drop_records(now() + SignedDuration::from_hours(1)).unwrap().chunks;
    })
    .unwrap();
    assert_eq!(dropped_meanwhile, 0);
    (0..50).for_each(|_| changes.make(&store));
    let increment = back_up(&store, Some(full.point()), || {}).unwrap();
    let totals = all_totals(&store, "alpha");

    restore(tiny(&restored), &[full, increment]).unwrap();
    assert!(assert_verified(&restored).dropped.records > 0);
    let again = SledStore::open(tiny(&restored)).unwrap();
    assert_eq!(all_totals(&again, "alpha"), totals);
    assert_eq!(all_records(&again, "alpha", 100), all_records(&store, "alpha", 100));
    // It goes on where the original was.
    drop_all(&again);
    drop(again);
    assert_verified(&restored);

    // What came after the early one is gone in part.
    let refused = back_up(&store, Some(early.point()), || {}).map(drop).unwrap_err();
    assert!(matches!(refused, StoreError::CannotBackUp(BackupRefusal::NotInLog)), "{refused}");
}

#[test]
fn an_increment_on_a_backup_that_ends_where_the_log_begins_is_made() {
    let directory = tempfile::tempdir().unwrap();
    let (original, restored) = (directory.path().join("store"), directory.path().join("restored"));
    let store = SledStore::open(tiny(&original)).unwrap();
    let write = |uuid: u128| {
        commit(&store, submission("alpha", vec![record(uuid, "sku", 1, now())]), now()).unwrap();
    };
    (0..100).for_each(write);
    let full = back_up(&store, None, || {}).unwrap();
    write(100);
    drop_all(&store);
    assert_eq!(dropped(&store, "alpha").unwrap().sequence, LogSequence(100));
    let increment = back_up(&store, Some(full.point()), || {}).unwrap();
    restore(tiny(&restored), &[full, increment]).unwrap();
    assert_eq!(assert_verified(&restored).records, 101);
}

/// What `verify` says after somebody has been at the store.
fn differences_after(tamper: impl FnOnce(&sled::Db)) -> Vec<String> {
    let directory = tempfile::tempdir().unwrap();
    dropped_store(directory.path(), 7);
    {
        let tree = open_tree(directory.path());
        tamper(&tree);
        tree.flush().unwrap();
    }
    report(directory.path()).differences
}

#[track_caller]
fn assert_named(differences: &[String], what: &str) {
    assert!(differences.iter().any(|said| said.contains(what)), "{what:?}: {differences:?}");
}

#[test]
fn verify_notices_when_what_was_dropped_is_no_longer_accounted_for() {
    let rows = |tree: &sled::Db| tree.scan_prefix([RETIRED_ROW]).keys().map(Result::unwrap);
    let found = differences_after(|tree| {
        let row = rows(tree).find(|key| key[1] == ROLLUP).unwrap();
        tree.remove(row).unwrap();
    });
    assert_named(&found, ", the log says ");

    // A total that lost something which cannot be recounted from records any more.
    let found = differences_after(|tree| {
        let (row, _) = tree.scan_prefix([ROLLUP]).next().unwrap().unwrap();
        tree.remove(row).unwrap();
    });
    assert_named(&found, ": stored 0 in 0 records, ");

    let found = differences_after(|tree| {
        tree.remove([LOG_FLOOR]).unwrap();
    });
    assert_named(&found, "are missing");

    let found = differences_after(|tree| {
        let (key, value) = tree.scan_prefix([LOG]).next().unwrap().unwrap();
        let mut before = key.to_vec();
        before[8] -= 1;
        tree.insert(before, value).unwrap();
    });
    assert_named(&found, "is there, and was dropped");

    // An index that forgot uuids of which nothing else is left.
    let found = differences_after(|tree| {
        let (key, _) = tree.scan_prefix([RUN_PAGE]).next().unwrap().unwrap();
        tree.remove(key).unwrap();
    });
    assert_named(&found, "the index does not hold the");
}

#[test]
fn a_checkpoint_of_what_was_dropped_proves_nothing_any_more() {
    let directory = tempfile::tempdir().unwrap();
    let heads: Vec<LogHead> = {
        let store = SledStore::open(tiny(directory.path())).unwrap();
        let head_after = |uuid: u128| {
            commit(&store, submission("alpha", vec![record(uuid, "sku", 1, now())]), now())
                .unwrap();
            store.log_head().unwrap()
        };
        let heads = (0..100).map(head_after).collect();
        drop_all(&store);
        assert_eq!(dropped(&store, "alpha").unwrap().sequence, LogSequence(99));
        heads
    };
    let against = |head: &LogHead| {
        verify_against(directory.path(), Some(head), &mut |_| {}).unwrap().differences
    };
    // The last one that is gone, and the one that is there.
    assert_eq!(against(&heads[98]), Vec::<String>::new());
    assert_eq!(against(&heads[99]), Vec::<String>::new());
    assert_named(&against(&heads[97]), "it proves nothing any more");
    let forged = LogPosition { link: heads[0].position.link, ..heads[98].position };
    let other = LogHead { position: forged, ..heads[98] };
    assert_named(&against(&other), "is not the one that the checkpoint was signed for");
}

/// A server that keeps records for a second, and its caller.
struct Short {
    server: MeterdProcess,
}

impl Short {
    fn start(data_dir: &Path) -> Self {
        let mut command = serve_command(&[], data_dir);
        command.args(["--dev", "--retain-records", "1s", "--log", "info"]);
        Self { server: MeterdProcess::start(command) }
    }

    async fn post(&self, path: &str, body: Value) -> Answer {
        call(Method::POST, path)
            .host("localhost")
            .anonymous()
            .json(body)
            .send(self.server.api)
            .await
    }

    async fn get(&self, path: &str) -> Answer {
        call(Method::GET, path).host("localhost").anonymous().send(self.server.api).await
    }

    async fn write(&self, uuid: &str) -> Value {
        let sent = json!({"productId": "storage", "usageRecords": [
            {"uuid": uuid, "skuId": "gb-hour", "quantity": 5, "timestamp": Timestamp::now().to_string()},
        ]});
        self.post("/marketplace/metering/v1/imageProductUsage/write", sent).await.json()
    }

    async fn report_batch(&self) -> Answer {
        let batch = json!({"asset_usages": [
            {"asset_id": "a1", "quantity": 3, "usage_date": "2026-11-20"},
        ]});
        call(Method::PUT, "/v3/usage-batches/b1")
            .host("localhost")
            .anonymous()
            .json(batch)
            .send(self.server.api)
            .await
    }

    async fn wait_until_gone(&self, path: &str) -> Answer {
        let began = Instant::now();
        loop {
            let answer = self.get(path).await;
            if answer.status == StatusCode::NOT_FOUND {
                return answer;
            }
            assert!(began.elapsed() < Duration::from_secs(60), "{path} is kept for ever");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

#[tokio::test]
async fn callers_hear_that_records_are_no_longer_kept_and_nothing_is_counted_twice() {
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().join("data");
    let short = Short::start(&data_dir);
    let uuid = Uuid::new_v4().to_string();
    assert_eq!(short.write(&uuid).await["accepted"], json!([{"uuid": uuid}]));
    let asset = json!({"assets": [{"id": "a1"}]});
    assert_eq!(short.post("/v1/catalog/assets:apply", asset).await.status, StatusCode::OK);
    assert_eq!(short.report_batch().await.status, StatusCode::CREATED);

    // Our own calls are stored, too, and so the log goes on.
    let path = format!("/v1/usageRecords/{uuid}");
    let gone = short.wait_until_gone(&path).await;
    assert_eq!(gone.reason(), "NO_LONGER_KEPT", "{}", gone.json());
    let gone = short.wait_until_gone("/v3/usage-batches/b1").await;
    assert_eq!(gone.reason(), "NO_LONGER_KEPT", "{}", gone.json());

    let listed = short.get("/v1/usageRecords").await.json();
    assert_eq!(listed["records"], json!([]));
    let kept_from: Timestamp = listed["keptFromTime"].as_str().unwrap().parse().unwrap();
    assert!(kept_from < Timestamp::now());
    let all = short.get("/v1/usageRecords:export").await;
    assert_eq!(all.status, StatusCode::OK);
    let rest = short.get(&format!("/v1/usageRecords:export?afterUuid={uuid}")).await;
    let said = String::from_utf8_lossy(&rest.body).into_owned();
    assert!(said.contains("no longer kept"), "{said}");

    for _ in 0..2 {
        let again = short.write(&uuid).await;
        assert_eq!(again["rejected"], json!([{"uuid": uuid, "reason": "DUPLICATE"}]));
    }
    let taken = short.report_batch().await;
    assert_eq!(taken.status, StatusCode::CONFLICT);
    assert_eq!(taken.reason(), "TRANSACTION_ID_DUPLICATED");
    assert!(taken.json()["details"][0]["metadata"]["identical"].is_null(), "{}", taken.json());
    let query = json!({"interval": "2026-01-01/P1000D"});
    let total = short.post("/v1/productUsage:query", query).await.json();
    assert_eq!((&total["totalQuantity"], &total["totalRecordCount"]), (&json!("5"), &json!("1")));
    let metrics = http_get(short.server.admin, "/metrics");
    let chunks = metrics.lines().find_map(|line| line.strip_prefix("meterd_log_dropped_chunks "));
    assert!(chunks.is_some_and(|chunks| chunks.parse::<u64>().unwrap() > 0), "{metrics}");
    let log = short.server.log();
    assert!(log.contains("dropped records that were kept for long enough"), "{log}");
    drop(short);

    let printed = run(meterd(&["verify", "--data-dir", data_dir.to_str().unwrap()])).ok();
    assert!(printed.contains("dropped  ") && printed.contains("no differences"), "{printed}");
}

#[test]
fn a_time_that_is_too_short_is_refused() {
    let mut command = meterd(&["serve", "--retain-records", "400s", "--data-dir", "/nowhere"]);
    command.env("METERD_ADMIN_TOKEN", "t".repeat(40));
    run(command).fails(2, &["retain-records is 6m 40s, at least 1day is needed"]);
}
