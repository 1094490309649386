//! Clients, organizations and the audit trail from the command line, and the first start of a new store.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;

use crate::support::{
    command::{client, meterd, run},
    process::{MeterdProcess, serve_command},
    server::TestServer,
    tokens::rsa_key_pair,
};

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_created_used_rotated_and_deleted() {
    let server = TestServer::start().await;
    let ran = run(client(
        server.api,
        &[
            "client",
            "create",
            "agent",
            "--name",
            "Reports usage",
            "--permission",
            "usage:product:write,usage:product:view",
            "--output",
            "json",
        ],
    ));
    assert!(ran.stderr.contains("note them now"), "{}", ran.stderr);
    let created = json(&ran.ok());
    assert_eq!(
        (&created["organization_id"], &created["client_id"]),
        (&"default".into(), &"agent".into())
    );
    let with_key = |key: &str, arguments: &[&str]| {
        let mut command = meterd(arguments);
        command.env("METERD_SERVER", format!("http://{}", server.api)).env("METERD_API_KEY", key);
        run(command)
    };
    let key = created["api_key"].as_str().unwrap();
    with_key(key, &["records"]).ok();
    with_key(key, &["client", "list"]).fails(1, &["access:admin"]);
    with_key("mtrk_wrong", &["records"]).fails(1, &["API key"]);

    let rotated = run(client(
        server.api,
        &["client", "rotate", "agent", "--kind", "api-key", "--overlap", "0s"],
    ))
    .ok();
    with_key(key, &["records"]).fails(1, &["API key"]);
    with_key(rotated.trim(), &["records"]).ok();

    let listed = run(client(server.api, &["client", "list"])).ok();
    assert!(listed.contains("agent") && listed.contains("usage:product:write"), "{listed}");
    let updated = run(client(
        server.api,
        &["client", "update", "agent", "--permission", "catalog:view", "--output", "json"],
    ));
    assert_eq!(json(&updated.ok())[0]["permissions"], serde_json::json!(["catalog:view"]));
    with_key(rotated.trim(), &["records"]).fails(1, &["usage:product:view"]);
    run(client(server.api, &["client", "rotate", "agent", "--overlap", "91 days"]))
        .fails(1, &["overlap", "90 days"]);
    run(client(server.api, &["client", "create", "agent"])).fails(1, &["already"]);
    run(client(server.api, &["client", "create", "b", "--permission", "all"]))
        .fails(1, &["permissions[0]", "usage:product:write"]);
    run(client(server.api, &["client", "delete", "agent"])).ok();
    run(client(server.api, &["client", "get", "agent"])).fails(1, &["no client \"agent\""]);
    with_key(rotated.trim(), &["records"]).fails(1, &["API key"]);

    run(client(server.api, &["organization", "create", "acme", "--name", "Acme"])).ok();
    run(client(server.api, &["client", "create", "agent", "--organization", "acme"])).ok();
    assert!(run(client(server.api, &["organization", "list"])).ok().contains("Acme"));
    let audit = run(client(server.api, &["audit", "--output", "json"])).ok();
    let actions: Vec<String> =
        audit.lines().map(|line| json(line)["action"].as_str().unwrap().to_owned()).collect();
    assert_eq!(
        actions,
        [
            // In the organization acme.
            "access.client.create",
            "access.organization.create",
            "access.client.delete",
            "access.client.update",
            "access.client.rotateApiKey",
            "access.client.create",
            "catalog.apply",
        ]
    );
    let first = json(audit.lines().next().unwrap());
    assert_eq!(
        (&first["actor_client_id"], &first["actor_address"]),
        (&"admin".into(), &"127.0.0.1".into())
    );
    let theirs = run(client(server.api, &["audit", "--organization", "acme"])).ok();
    assert!(
        theirs.contains("access.organization.create") && !theirs.contains("catalog"),
        "{theirs}"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rotated_secret_revokes_tokens_as_asked() {
    let server = TestServer::start().await;
    // The process' clock is the system's; the server's stands still.
    server.clock.set(jiff::Timestamp::now());
    let url = format!("http://{}", server.api);
    let arguments =
        ["client", "create", "agent", "--permission", "usage:product:view", "--output", "json"];
    let created = json(&run(client(server.api, &arguments)).ok());
    let mut secret = created["secret"].as_str().unwrap().to_owned();
    let rotate = |arguments: &[&str]| {
        run(client(server.api, &[&["client", "rotate", "agent"], arguments].concat()))
    };
    for (arguments, revokes) in [
        (&["--overlap", "0s"][..], true),
        (&["--overlap", "0s", "--revoke-tokens=false"], false),
        (&[], false),
        (&["--revoke-tokens"], true),
    ] {
        let mut get = meterd(&["token", "--client-id", "agent", "--client-secret", &secret]);
        get.env("METERD_SERVER", &url).env_remove("METERD_TOKEN");
        let token = run(get).ok();
        secret = rotate(arguments).ok().trim().to_owned();
        let mut uses = meterd(&["records"]);
        uses.env("METERD_SERVER", &url).env("METERD_TOKEN", token.trim());
        let used = run(uses);
        if revokes { used.fails(1, &["not valid"]) } else { drop(used.ok()) }
    }
    rotate(&["--kind", "api-key", "--revoke-tokens"]).fails(2, &["--kind secret"]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_for_a_secret_and_for_a_key_file() {
    let server = TestServer::start().await;
    let url = format!("http://{}", server.api);
    let directory = tempfile::tempdir().unwrap();
    let arguments =
        ["client", "create", "agent", "--permission", "usage:product:view", "--output", "json"];
    let created = json(&run(client(server.api, &arguments)).ok());
    let secret = created["secret"].as_str().unwrap();
    // The process' clock is the system's; the server's stands still.
    server.clock.set(jiff::Timestamp::now());
    let token = |arguments: &[&str]| {
        let mut command = meterd(&[&["token"], arguments].concat());
        command.env("METERD_SERVER", &url).env_remove("METERD_TOKEN");
        run(command)
    };
    let uses = |token: &str| {
        let mut command = meterd(&["records"]);
        command.env("METERD_SERVER", &url).env("METERD_TOKEN", token.trim());
        run(command)
    };
    let by_secret = token(&["--client-id", "agent", "--client-secret", secret]).ok();
    uses(&by_secret).ok();
    let whole = token(&["--client-id", "agent", "--client-secret", secret, "--json"]).ok();
    assert_eq!(json(&whole)["expires_in"], 3600);
    token(&["--client-id", "agent", "--client-secret", "wrong"]).fails(1, &["invalid_client"]);
    token(&["--client-id", "agent"]).fails(2, &["--client-secret"]);

    let (public, private) = rsa_key_pair();
    let pem = directory.path().join("public.pem");
    std::fs::write(&pem, public).unwrap();
    let key_id =
        run(client(server.api, &["client", "add-key", "agent", pem.to_str().unwrap()])).ok();
    let key_file = directory.path().join("key.json");
    let key = serde_json::json!({
        "id": key_id.trim(),
        "service_account_id": "agent",
        "private_key": format!("PLEASE DO NOT REMOVE THIS LINE! Yandex.Cloud SA Key ID\n{private}"),
    });
    std::fs::write(&key_file, key.to_string()).unwrap();
    let by_key = token(&["--key-file", key_file.to_str().unwrap()]).ok();
    uses(&by_key).ok();
    std::fs::write(&key_file, key.to_string().replace("agent", "other")).unwrap();
    token(&["--key-file", key_file.to_str().unwrap()]).fails(1, &["invalid_grant"]);
    std::fs::write(&key_file, "{}").unwrap();
    token(&["--key-file", key_file.to_str().unwrap()]).fails(1, &["key.json", "missing field"]);

    // Another key signs; and then the keys before are revoked.
    let rotated = run(client(server.api, &["signing-key", "rotate"]));
    assert!(rotated.stderr.contains("1 keys before"), "{}", rotated.stderr);
    uses(&by_secret).ok();
    let revoked = run(client(server.api, &["signing-key", "rotate", "--revoke", "-o", "json"]));
    assert_eq!(json(&revoked.ok())["previous_key_ids"], serde_json::json!([]));
    uses(&by_secret).fails(1, &["not valid"]);
    uses(&by_key).fails(1, &["not valid"]);
    let mut not_an_operator = meterd(&["signing-key", "rotate"]);
    not_an_operator
        .env("METERD_SERVER", &url)
        .env("METERD_API_KEY", created["api_key"].as_str().unwrap());
    run(not_an_operator).fails(1, &["access:admin"]);
    let audit = run(client(server.api, &["audit", "--output", "json"])).ok();
    let rotations = audit.lines().filter(|line| line.contains("access.signingKey.rotate")).count();
    assert_eq!(rotations, 2);
    server.stop().await;
}

#[test]
fn the_first_start_makes_an_administrator_and_later_ones_do_not() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let start = || {
        let mut command = serve_command(&[], &data);
        command.env_remove("METERD_ADMIN_TOKEN");
        MeterdProcess::start(command)
    };
    let server = start();
    let file = data.join("administrator.json");
    assert!(server.log().contains(file.to_str().unwrap()), "{}", server.log());
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let credentials = json(&std::fs::read_to_string(&file).unwrap());
    let key = credentials["api_key"].as_str().unwrap();
    assert!(!server.log().contains(key));
    let as_administrator = |server: &MeterdProcess, arguments: &[&str]| {
        let mut command = meterd(arguments);
        command.env("METERD_SERVER", format!("http://{}", server.api)).env("METERD_API_KEY", key);
        run(command)
    };
    as_administrator(&server, &["client", "create", "second"]).ok();
    let nobody = {
        let mut command = meterd(&["client", "list"]);
        command.env("METERD_SERVER", format!("http://{}", server.api));
        run(command)
    };
    nobody.fails(1, &["credentials"]);
    let process = server.id();
    assert!(server.terminate(process));
    std::fs::remove_file(&file).unwrap();
    let server = start();
    assert!(!file.exists() && !server.log().contains("administrator"), "{}", server.log());
    let listed = as_administrator(&server, &["client", "list"]).ok();
    assert!(listed.contains("administrator") && listed.contains("second"), "{listed}");
    let process = server.id();
    assert!(server.terminate(process));
}
