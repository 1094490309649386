//! Directories of backups that were damaged, exchanged or lost in part: `meterd restore` names what is wrong before it
//! writes anything.

use std::{
    fs,
    path::{Path, PathBuf},
};

use meterd::store::sled::{SledStore, StoreOptions};
use tempfile::TempDir;

use crate::support::{
    backups::{Changes, tiny},
    command::{Ran, meterd, run},
};

struct Backups {
    directory: TempDir,
}

impl Backups {
    /// A full backup and two increments.
    fn new() -> Self {
        let backups = Self { directory: tempfile::tempdir().unwrap() };
        let mut changes = Changes::new(5);
        for _ in 0..3 {
            let store = SledStore::open(tiny(&backups.path("data"))).unwrap();
            (0..40).for_each(|_| changes.make(&store));
            drop(store);
            backups.back_up("data", &[]).ok();
        }
        backups
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    fn back_up(&self, data_dir: &str, more: &[&str]) -> Ran {
        let (to, data_dir) = (self.text("backups"), self.text(data_dir));
        let arguments = [&["backup", "--to", &to, "--data-dir", &data_dir][..], more].concat();
        run(meterd(&arguments))
    }

    fn list(&self) -> Ran {
        run(meterd(&["backup", "--list", &self.text("backups")]))
    }

    fn restore(&self, more: &[&str]) -> Ran {
        let (from, to) = (self.text("backups"), self.text("restored"));
        let arguments = [&["restore", "--from", &from, "--data-dir", &to][..], more].concat();
        run(meterd(&arguments))
    }

    /// Restoring fails, says why, and has written nothing.
    #[track_caller]
    fn assert_refused(&self, parts: &[&str]) {
        self.restore(&[]).fails(1, parts);
        assert!(!self.path("restored").exists());
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path("backups").join(name)
    }
}

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

const FILES: [&str; 7] = [
    "000001-full/index",
    "000001-full/state",
    "000001-full/log",
    "000002-increment/state",
    "000002-increment/log",
    "000003-increment/state",
    "000003-increment/log",
];

#[test]
fn a_flipped_bit_a_shorter_and_a_missing_file_are_named() {
    let backups = Backups::new();
    for name in FILES {
        let path = backups.file(name);
        let genuine = fs::read(&path).unwrap();
        change(&path, |bytes| {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 4;
        });
        backups.assert_refused(&[name, "is damaged"]);
        let listed = backups.list();
        listed.fails(1, &["backups cannot be restored"]);
        assert!(listed.stdout.contains("is damaged"), "{}", listed.stdout);
        fs::write(&path, &genuine[..genuine.len() - 1]).unwrap();
        backups.assert_refused(&[name, "bytes, its manifest says"]);
        fs::remove_file(&path).unwrap();
        backups.assert_refused(&[name, "cannot read"]);
        fs::write(&path, &genuine).unwrap();
    }
    backups.list().ok();
    backups.restore(&[]).ok();
}

#[test]
fn a_manifest_that_was_altered_is_named() {
    let backups = Backups::new();
    let manifest = backups.file("000002-increment/manifest.json");
    let genuine = fs::read(&manifest).unwrap();
    // The increment after it names its hash.
    change(&manifest, |bytes| bytes.push(b'\n'));
    backups.assert_refused(&["000003-increment", "is not there"]);
    fs::write(&manifest, &genuine[..genuine.len() / 2]).unwrap();
    backups.assert_refused(&["000002-increment/manifest.json", "is damaged"]);
    let newer =
        String::from_utf8(genuine.clone()).unwrap().replace("\"format\": 1", "\"format\": 9");
    fs::write(&manifest, newer).unwrap();
    backups.assert_refused(&["is of format 9"]);
    fs::write(&manifest, genuine).unwrap();
    backups.restore(&[]).ok();
}

#[test]
fn a_backup_that_is_missing_or_at_the_place_of_another_is_named() {
    let backups = Backups::new();
    let (second, third) = (backups.file("000002-increment"), backups.file("000003-increment"));
    let aside = backups.path("aside");
    fs::rename(&second, &aside).unwrap();
    backups.assert_refused(&["000003-increment", "is not there"]);
    // Nothing goes on from there either.
    backups.back_up("data", &[]).fails(1, &["000003-increment", "is not there"]);
    fs::rename(&third, &second).unwrap();
    fs::rename(&aside, &third).unwrap();
    backups.assert_refused(&["holds the manifest of"]);
    fs::rename(&third, &aside).unwrap();
    fs::rename(&second, &third).unwrap();
    fs::rename(&aside, &second).unwrap();
    // Files of one increment in another.
    fs::copy(second.join("log"), third.join("log")).unwrap();
    backups.assert_refused(&["000003-increment/log"]);
    backups.restore(&["--backup", "2"]).ok();
}

#[test]
fn what_has_no_manifest_is_no_backup() {
    let backups = Backups::new();
    fs::remove_file(backups.file("000003-increment/manifest.json")).unwrap();
    let listed = backups.list().ok();
    assert!(listed.lines().any(|line| line.contains("000003") && line.contains("incomplete")));
    backups.restore(&["--backup", "3"]).fails(1, &["no complete backup 3"]);
    backups.restore(&["--backup", "4"]).fails(1, &["no complete backup 4"]);
    let made = backups.back_up("data", &[]);
    assert!(made.stderr.contains("000003-increment, which is incomplete"), "{}", made.stderr);
    // Its number is not given again.
    assert!(made.ok().contains("000004-increment"));
    let said = backups.restore(&[]).ok();
    assert!(said.contains("000004-increment") && said.contains("no differences"), "{said}");
}

#[test]
fn another_store_and_an_earlier_one_need_a_full_backup() {
    let backups = Backups::new();
    drop(SledStore::open(StoreOptions::new(backups.path("other"))).unwrap());
    backups.back_up("other", &[]).fails(1, &["is of another store"]);
    // The same store, as it was at the second backup.
    backups.restore(&["--backup", "2"]).ok();
    backups.back_up("restored", &[]).fails(1, &["a full backup begins anew"]);
    let names = fs::read_dir(backups.path("backups")).unwrap().count();
    assert_eq!(names, 4, "a refusal leaves nothing but the three backups and the lock");
    assert!(backups.back_up("restored", &["--full"]).ok().contains("000004-full"));
    assert!(backups.back_up("restored", &[]).ok().contains("000005-increment"));
    backups.list().ok();
}

#[test]
fn what_is_no_regular_file_is_refused_at_once() {
    let backups = Backups::new();
    let fifo = backups.path("fifo");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    for name in ["000001-full/log", "000002-increment/manifest.json"] {
        let path = backups.file(name);
        let aside = backups.path("aside");
        fs::rename(&path, &aside).unwrap();
        // To a device without an end, to a pipe without a writer, and to what would even be right.
        for target in [Path::new("/dev/zero"), &fifo, &aside] {
            std::os::unix::fs::symlink(target, &path).unwrap();
            backups.assert_refused(&[name, "is no regular file"]);
            let listed = backups.list();
            assert_eq!(listed.code, 1);
            let said = listed.stdout + &listed.stderr;
            assert!(said.contains("is no regular file"), "{said}");
            fs::remove_file(&path).unwrap();
        }
        fs::rename(&fifo, &path).unwrap();
        backups.assert_refused(&[name, "is no regular file"]);
        fs::rename(&path, &fifo).unwrap();
        fs::rename(&aside, &path).unwrap();
    }
    let lock = backups.file("lock");
    fs::remove_file(&lock).unwrap();
    fs::rename(&fifo, &lock).unwrap();
    backups.back_up("data", &[]).fails(1, &["cannot lock", "is no regular file"]);
    backups.restore(&[]).ok();
}

#[test]
fn file_longer_than_its_manifest_says_is_not_read() {
    let backups = Backups::new();
    let (log, manifest) =
        (backups.file("000001-full/log"), backups.file("000003-increment/manifest.json"));
    let genuine = fs::metadata(&log).unwrap().len();
    // Without blocks: reading a terabyte of it would take an hour.
    fs::File::options().write(true).open(&log).unwrap().set_len(1 << 40).unwrap();
    backups.assert_refused(&["000001-full/log", "has 1099511627776 bytes, its manifest says"]);
    assert_eq!(backups.list().code, 1);
    fs::File::options().write(true).open(&log).unwrap().set_len(genuine).unwrap();
    let text = fs::read(&manifest).unwrap();
    fs::File::options().write(true).open(&manifest).unwrap().set_len(1 << 40).unwrap();
    backups.assert_refused(&["000003-increment/manifest.json", "a manifest at most 65536"]);
    backups.list().fails(1, &["a manifest at most 65536"]);
    fs::write(&manifest, text).unwrap();
    backups.restore(&[]).ok();
}

#[test]
fn an_empty_directory_has_nothing_to_restore() {
    let directory = tempfile::tempdir().unwrap();
    let from = directory.path().to_str().unwrap();
    let to = directory.path().join("restored");
    let arguments = ["restore", "--from", from, "--data-dir", to.to_str().unwrap()];
    run(meterd(&arguments)).fails(1, &["holds no complete backup"]);
    assert!(!to.exists());
}
