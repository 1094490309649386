//! Who may look into the data directory.

use std::{
    fs,
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _},
        process::CommandExt as _,
    },
    path::Path,
};

use crate::support::{
    command::{file, meterd, run},
    process::{MeterdProcess, serve_command},
};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn make(path: &Path, mode: u32) {
    fs::create_dir(path).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn assert_private(directory: &Path) {
    assert_eq!(mode(directory), 0o700);
    let mut files = 0;
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            files += 1;
            assert_eq!(mode(&path), 0o600, "{}", path.display());
        }
    }
    assert!(files >= 3, "{files} files");
}

#[test]
fn open_directory_is_closed_to_others_and_so_are_its_files() {
    let directory = tempfile::tempdir().unwrap();
    for (name, before) in [("open", 0o755), ("group", 0o2770), ("closed", 0o700)] {
        let data = directory.path().join(name);
        make(&data, before);
        let server = MeterdProcess::start(serve_command(&[], &data));
        let log = server.kill();
        assert_private(&data);
        assert_eq!(log.contains("closed the data directory to others"), before != 0o700, "{log}");
        assert_eq!(log.contains(&format!("its mode was {before:04o}")), before != 0o700, "{log}");
    }
    // A store that an earlier process left open to others.
    let data = directory.path().join("closed");
    fs::set_permissions(&data, fs::Permissions::from_mode(0o755)).unwrap();
    run(meterd(&["verify", "--data-dir", data.to_str().unwrap()])).ok();
    assert_eq!(mode(&data), 0o700);
}

#[test]
fn restored_store_is_private() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (data, backups, restored) = (path("data"), path("backups"), path("restored"));
    MeterdProcess::start(serve_command(&[], Path::new(&data))).kill();
    run(meterd(&["backup", "--to", &backups, "--data-dir", &data])).ok();
    make(Path::new(&restored), 0o755);
    run(meterd(&["restore", "--from", &backups, "--data-dir", &restored])).ok();
    assert_private(Path::new(&restored));
}

#[test]
fn directory_of_something_else_is_left_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("shared");
    for (before, has_files) in [(0o1777, false), (0o755, true)] {
        make(&data, before);
        if has_files {
            file(&data, "thesis.txt", "years of work");
        }
        let arguments =
            ["serve", "--dev", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
        let arguments = [&arguments[..], &["--data-dir", data.to_str().unwrap()]].concat();
        let mode_text = format!("mode {before:04o}");
        run(meterd(&arguments)).fails(1, &["is open to others", &mode_text, "for the store alone"]);
        assert_eq!(mode(&data), before);
        fs::remove_dir_all(&data).unwrap();
    }
}

#[test]
fn directory_of_another_user_is_refused() {
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        eprintln!("SKIPPED: needs root, to run as another user than the owner of a directory");
        return;
    }
    const NOBODY: u32 = 65_534;
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let data = directory.path().join("data");
    make(&data, 0o777);
    // Where the build is may be closed to others.
    let binary = directory.path().join("meterd");
    fs::copy(env!("CARGO_BIN_EXE_meterd"), &binary).unwrap();
    let output = std::process::Command::new(&binary)
        .args(["verify", "--data-dir"])
        .arg(&data)
        .env_clear()
        .uid(NOBODY)
        .gid(NOBODY)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(said.contains("cannot be closed to them") && said.contains("chmod 700"), "{said}");
    assert_eq!(mode(&data), 0o777);
}
