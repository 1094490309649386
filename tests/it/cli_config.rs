//! Settings of `serve`: which source wins, and what is refused before anything starts.

use crate::support::command::{file, meterd, run};

/// A duration that is refused, with its value in the message: that tells which source won.
fn refused(days: u32) -> String {
    format!("accept-past is {}years", days / 365)
}

#[test]
fn flags_win_over_variables_and_variables_over_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let config = file(directory.path(), "c.toml", "dev = true\naccept-past = \"7305 days\"\n");
    let serve = ["serve", "--config", &config];

    run(meterd(&serve)).fails(2, &[&refused(7305)]);

    let mut variable = meterd(&serve);
    variable.env("METERD_ACCEPT_PAST", "10958 days");
    run(variable).fails(2, &[&refused(10958)]);

    let mut flag = meterd(&["serve", "--config", &config, "--accept-past", "14610 days"]);
    flag.env("METERD_ACCEPT_PAST", "10958 days");
    run(flag).fails(2, &[&refused(14610)]);

    // The file itself may be named by a variable.
    let mut named = meterd(&["serve"]);
    named.env("METERD_CONFIG", &config);
    run(named).fails(2, &[&refused(7305)]);
}

#[test]
fn a_bad_file_is_refused_with_its_line() {
    let directory = tempfile::tempdir().unwrap();
    for (text, line, part) in [
        ("dev = true\nlissten = \"127.0.0.1:0\"\n", 2, "unknown field `lissten`"),
        ("\n\naccept-past = \"1 fortnight\"\n", 3, "\"1 fortnight\" is not a duration"),
        ("cache-size = \"1 MB\"\n", 1, "\"1 MB\" is not a size"),
        ("listen = \"localhost\"\n", 1, "invalid socket address"),
        ("dev = true\ndev = true\n", 2, "duplicate key"),
        ("log-format = \"xml\"\n", 1, "unknown variant `xml`"),
        ("dev = \n", 1, ""),
    ] {
        let config = file(directory.path(), "bad.toml", text);
        let ran = run(meterd(&["serve", "--config", &config]));
        ran.fails(2, &[&format!("bad.toml:{line}: "), part]);
    }
    let missing = directory.path().join("none.toml");
    run(meterd(&["serve", "--config", missing.to_str().unwrap()]))
        .fails(1, &["none.toml", "No such"]);
}

#[test]
fn development_mode_listens_on_loopback_only() {
    for flag in ["--listen", "--admin-listen"] {
        for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:8080"] {
            run(meterd(&["serve", "--dev", flag, address])).fails(2, &["loopback", flag, address]);
        }
    }
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let token = file(directory.path(), "token", "a token of the operator, for a test\n");
    let short = file(directory.path(), "short", &"x".repeat(31));
    for (arguments, code, part) in [
        (&["serve", "--dev", "--queued-records-max", "10"][..], 2, "at least 1000 is needed"),
        (&["serve", "--dev", "--cache-size", "1KiB"], 2, "cache-size"),
        (&["serve", "--dev", "--read-threads", "0"], 2, "read-threads is 0; at least 1 is needed"),
        (&["serve", "--dev", "--read-threads", "257"], 2, "at most 256 are allowed"),
        (&["serve", "--dev", "--queued-reads-max", "0"], 2, "queued-reads-max"),
        (&["serve", "--dev", "--calls-in-flight-max", "0"], 2, "at least 1 is needed"),
        (&["serve", "--dev", "--log", "=="], 2, "log filter"),
        (&["serve", "--dev", "--log-format", "xml"], 2, "xml"),
        (&["serve", "--admin-token-file", &short], 2, "at least 32 characters"),
        (&["serve", "--admin-token-file", &short], 2, "openssl rand -hex 32"),
        (&["serve", "--admin-token-file", "/no/such/file"], 1, "/no/such/file"),
        (&["serve", "--client-burst", "10"], 2, "client-records-per-second"),
        (&["serve", "--client-records-per-second", "0"], 2, "client-records-per-second"),
        (&["serve", "--oidc-issuer", "http://id.example.com"], 2, "must be an https URL"),
        (&["serve", "--oidc-issuer", "https://id.example.com"], 2, "oidc-audience"),
        (&["serve", "--oidc-audience", "meterd"], 2, "neither oidc-issuer nor jwks-file"),
        (&["serve", "--dev", "--access-log-template", "v1"], 2, "\"v1\" must begin with /"),
        (&["serve", "--dev", "--access-log-template", "/a/{x},/a/{y}"], 2, "access-log-template"),
        (&["serve", "--dev", "--access-log-user-header", "a b"], 2, "no name of a header"),
        (&["serve", "--no-such-flag"], 2, "--no-such-flag"),
        (&["no-such-command"], 2, "no-such-command"),
        (&[], 2, "Usage"),
    ] {
        run(meterd(arguments)).fails(code, &[part]);
    }
    let mut both = meterd(&["serve", "--admin-token-file", &token]);
    both.env("METERD_ADMIN_TOKEN", "another token");
    run(both).fails(2, &["set one of them"]);

    assert!(run(meterd(&["--help"])).ok().contains("serve"));
    assert!(run(meterd(&["--version"])).ok().starts_with("meterd "));
}

#[test]
fn the_readme_lists_every_option() {
    let readme = include_str!("../../README.md");
    let mut wide = meterd(&["serve", "--help"]);
    wide.env("COLUMNS", "100");
    let help = run(wide).ok();
    let mut flag = None;
    let mut seen = 0;
    for line in help.lines() {
        if let Some(name) = line.trim_start().strip_prefix("--") {
            flag = name.split([' ', '[', '=']).next();
        }
        let Some((_, after)) = line.split_once("[env: ") else { continue };
        let variable = after.split('=').next().unwrap();
        let flag = flag.take().unwrap();
        seen += 1;
        let row = format!("| `--{flag}` | `{variable}` |");
        let listed = readme.contains(&row) || (flag == "config" && readme.contains(variable));
        assert!(listed, "README.md has no row {row}");
    }
    assert!(seen > 15, "{help}");
}

#[test]
fn origins_of_pages_are_checked_wherever_they_come_from() {
    let directory = tempfile::tempdir().unwrap();
    let listed = "dev = true\ncors-origin = [\"https://app.example.com\", \"app.example.org\"]\n";
    let config = file(directory.path(), "cors.toml", listed);
    run(meterd(&["serve", "--config", &config])).fails(2, &["cors-origin", "\"app.example.org\""]);

    let mut variable = meterd(&["serve", "--dev"]);
    variable.env("METERD_CORS_ORIGIN", "https://a.example.com,https://b.example.com/path");
    run(variable).fails(2, &["cors-origin", "\"https://b.example.com/path\""]);
}
