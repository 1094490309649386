//! Catalog files: at start, over the wire, and there and back.

use crate::support::{
    command::{client, file, meterd, run},
    process::{MeterdProcess, serve_command},
    server::TestServer,
};

#[test]
fn a_bad_file_stops_the_start_with_its_line() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let data = data.to_str().unwrap();
    let long = "x".repeat(257);
    for (text, parts) in [
        ("products:\n  - id: a\n    colour: red\n", &["bad.yaml:3: unknown field `colour`"][..]),
        ("products:\n  - id: a\n    id: b\n", &["bad.yaml:3: ", "duplicate"]),
        (
            "products:\n  - id: a\n  - id: b\n  - id: a\n",
            &["bad.yaml:4: product \"a\": id: a stands already at products[0]"],
        ),
        (
            &format!("products:\n  - id: a\n    skus:\n      - id: s\n        name: {long}\n"),
            &["bad.yaml:4: SKU \"s\": name: has 257 characters, at most 256 are allowed"],
        ),
        (
            "product_instances:\n  - id: i\n    product_id: nowhere\n",
            &["bad.yaml:2: product instance \"i\": product_id: nowhere is not a product"],
        ),
    ] {
        let catalog = file(directory.path(), "bad.yaml", text);
        let ran = run(meterd(&[
            "serve",
            "--dev",
            "--listen",
            "127.0.0.1:0",
            "--admin-listen",
            "127.0.0.1:0",
            "--data-dir",
            data,
            "--catalog",
            &catalog,
        ]));
        ran.fails(1, parts);
        assert!(!ran.stderr.contains("listening"), "{}", ran.stderr);
    }
    let missing =
        run(meterd(&["serve", "--dev", "--data-dir", data, "--catalog", "/no/such.yaml"]));
    missing.fails(1, &["/no/such.yaml"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_that_the_server_finds_are_told_by_line_too() {
    let server = TestServer::start().await;
    let directory = tempfile::tempdir().unwrap();
    let name = "n".repeat(300);
    let text =
        format!("products:\n  - id: storage\n    skus: []\n  - id: other\n    name: {name}\n");
    let catalog = file(directory.path(), "c.yaml", &text);
    run(client(server.api, &["catalog", "apply", &catalog])).fails(
        1,
        &["c.yaml:4: product \"other\": name: has 300 characters, at most 256 are allowed"],
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn apply_says_what_changes_and_an_export_applies_without_change() {
    let server = TestServer::start().await;
    let directory = tempfile::tempdir().unwrap();
    let catalog = file(
        directory.path(),
        "c.yaml",
        "products:\n  - id: saas\n    name: Product saas\n    skus: [{id: seat, usage_unit: unit}, {id: gb}]\n",
    );
    let apply = |more: &[&str]| {
        let mut arguments = vec!["catalog", "apply", &catalog];
        arguments.extend(more);
        run(client(server.api, &arguments))
    };

    let checked = apply(&["--validate-only"]);
    assert!(checked.stderr.contains("not made"), "{}", checked.stderr);
    assert_eq!(checked.ok(), "created sku saas/gb\n");
    assert_eq!(apply(&[]).ok(), "created sku saas/gb\n");
    let again = apply(&[]);
    assert!(again.stderr.contains("nothing to change"), "{}", again.stderr);
    assert_eq!(again.ok(), "");

    for form in ["yaml", "json"] {
        let exported = run(client(server.api, &["catalog", "export", "--output", form])).ok();
        let exported = file(directory.path(), format!("exported.{form}"), &exported);
        let ran = run(client(server.api, &["catalog", "apply", "--prune", &exported]));
        assert!(ran.stderr.contains("nothing to change"), "{}{}", ran.stdout, ran.stderr);
        assert_eq!(ran.ok(), "");
    }

    let pruned = apply(&["--prune"]).ok();
    assert!(pruned.contains("retired product storage\n"), "{pruned}");
    assert!(pruned.contains("retired product instance saas-1\n"), "{pruned}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_fills_an_empty_server() {
    let full = TestServer::start().await;
    let exported = run(client(full.api, &["catalog", "export"])).ok();
    full.stop().await;

    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let mut command = serve_command(&[], &data);
    // The catalog that every such server starts with, replaced by what was exported.
    std::fs::write(data.with_extension("catalog.yaml"), &exported).unwrap();
    command.env("METERD_LOG", "warn");
    let process = MeterdProcess::start(command);
    assert_eq!(run(client(process.api, &["catalog", "export"])).ok(), exported);
}
