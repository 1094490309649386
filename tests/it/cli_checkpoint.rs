//! Checkpoints from the command line: keys, signing, and comparing a store with what was signed.

use std::path::Path;

use jiff::Timestamp;
use meterd::store::sled::{SledStore, StoreOptions};

use uuid::Uuid;

use crate::support::{
    command::{Ran, client, meterd, run},
    load::send,
    process::{MeterdProcess, serve_command},
    usage::{commit, record, submission},
};

fn now() -> Timestamp {
    "2026-11-20T12:00:00Z".parse().unwrap()
}

fn write(directory: &Path, uuids: std::ops::Range<u128>) {
    let store = SledStore::open(StoreOptions::new(directory)).unwrap();
    for uuid in uuids {
        commit(&store, submission("alpha", vec![record(uuid, "sku", 5, now())]), now()).unwrap();
    }
}

/// A place with a key, a store of five chunks, and what of it was signed.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        let printed = place.run(&["checkpoint", "new-key", "--to", &place.path("key")]).ok();
        assert!(printed.contains("key.pub"), "{printed}");
        write(Path::new(&place.path("data")), 0..5);
        place.sign(&["--to", &place.path("checkpoint")]).ok();
        place
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        run(meterd(arguments))
    }

    fn sign(&self, more: &[&str]) -> Ran {
        let (data, key) = (self.path("data"), self.path("key"));
        let arguments = ["checkpoint", "sign", "--data-dir", &data, "--key", &key];
        self.run(&[&arguments, more].concat())
    }

    fn verify(&self, data: &str, public_key: &str) -> Ran {
        let (data, checkpoint, key) =
            (self.path(data), self.path("checkpoint"), self.path(public_key));
        self.run(&["verify", "--data-dir", &data, "--against", &checkpoint, "--public-key", &key])
    }
}

#[test]
fn a_store_that_went_on_agrees_with_what_was_signed_and_one_that_was_cut_off_does_not() {
    use std::os::unix::fs::PermissionsExt as _;

    let place = Place::new();
    let mode = std::fs::metadata(place.path("key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    write(Path::new(&place.path("data")), 5..9);
    let printed = place.verify("data", "key.pub").ok();
    assert!(printed.contains("no differences"), "{printed}");
    assert!(printed.contains("the log leads through the checkpoint at chunk 5"), "{printed}");

    // What is restored from a backup has the same log.
    let (data, backups, restored) =
        (place.path("data"), place.path("backups"), place.path("restored"));
    place.run(&["backup", "--to", &backups, "--data-dir", &data]).ok();
    place.run(&["restore", "--from", &backups, "--data-dir", &restored, "--no-verify"]).ok();
    let printed = place.verify("restored", "key.pub").ok();
    assert!(printed.contains("the log leads through the checkpoint at chunk 5"), "{printed}");

    // Somebody puts an older state of the store in its place: sound in itself.
    write(Path::new(&place.path("other")), 0..3);
    let ran = place.verify("other", "key.pub");
    ran.fails(1, &["differences in"]);
    let told = "the log ends at chunk 3, the checkpoint was signed at chunk 5";
    assert!(ran.stdout.contains(told), "{}", ran.stdout);
}

#[test]
fn what_was_not_signed_with_the_key_is_refused() {
    let place = Place::new();
    place.run(&["checkpoint", "new-key", "--to", &place.path("other-key")]).ok();
    place.verify("data", "other-key.pub").fails(1, &["another key signed it"]);

    let signed = std::fs::read_to_string(place.path("checkpoint")).unwrap();
    std::fs::write(place.path("checkpoint"), signed.replace("\"sequence\": 5", "\"sequence\": 4"))
        .unwrap();
    place.verify("data", "key.pub").fails(1, &["the checkpoint was changed"]);
    std::fs::write(place.path("checkpoint"), "{}").unwrap();
    place.verify("data", "key.pub").fails(1, &["is no checkpoint"]);
}

#[test]
fn nothing_is_overwritten_and_wrong_files_are_named() {
    let place = Place::new();
    place.sign(&["--to", &place.path("checkpoint")]).fails(1, &["cannot write", "checkpoint"]);
    place.run(&["checkpoint", "new-key", "--to", &place.path("key")]).fails(1, &["cannot write"]);
    // The key that is there still signs.
    let printed = place.sign(&[]).ok();
    assert!(printed.contains("\"sequence\": 5"), "{printed}");

    std::fs::rename(place.path("key.pub"), place.path("key")).unwrap();
    place.sign(&[]).fails(1, &["is no private key", "checkpoint new-key"]);
    place.verify("data", "checkpoint").fails(1, &["is no public key"]);
    let data = place.path("nowhere");
    place
        .run(&["checkpoint", "sign", "--data-dir", &data, "--key", &place.path("key")])
        .fails(1, &["is no private key"]);
    place
        .run(&["verify", "--data-dir", &place.path("data"), "--against", &place.path("checkpoint")])
        .fails(2, &["--public-key"]);
}

#[tokio::test]
async fn where_the_log_of_a_server_ends_is_signed_while_it_serves() {
    let place = Place::new();
    let data = place.0.path().join("served");
    let server = MeterdProcess::start(serve_command(&[], &data));
    let uuids: Vec<_> = (0..3).map(|_| Uuid::new_v4()).collect();
    send(&mut server.image(), &uuids).await.unwrap();
    let (key, to) = (place.path("key"), place.path("served-checkpoint"));
    let sign = ["checkpoint", "sign", "--key", &key, "--to", &to];
    run(client(server.api, &sign)).ok();
    // More comes, and then the end that is not waited for.
    send(&mut server.image(), &[Uuid::new_v4()]).await.unwrap();
    server.kill();
    let served = data.to_str().unwrap().to_owned();
    let public_key = place.path("key.pub");
    let verify = |against: &str| {
        let arguments = ["verify", "--data-dir", &served, "--against", against];
        place.run(&[&arguments[..], &["--public-key", &public_key]].concat())
    };
    let printed = verify(&to).ok();
    assert!(printed.contains("the log leads through the checkpoint at chunk"), "{printed}");
    assert!(verify(&place.path("checkpoint")).stdout.contains("the store is "));
}
