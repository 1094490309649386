//! The direction of imports: each layer uses only what stands to its right.
//! `cli → server → api → service → store → domain`, `api → auth → domain`; `config`, `telemetry` and
//! `https` are leaves. `fuzzing` sees all layers, and no layer sees it.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// Layer → what it may use.
fn allowed() -> BTreeMap<&'static str, &'static [&'static str]> {
    BTreeMap::from([
        ("domain", &[][..]),
        ("store", &["domain"]),
        ("service", &["store", "domain"]),
        ("auth", &["domain"]),
        ("api", &["auth", "service", "store", "domain"]),
        ("server", &["api", "auth", "service", "store", "domain", "https"]),
        ("https", &[]),
        ("config", &["telemetry"]),
        ("telemetry", &[]),
        ("fuzzing", &["cli", "config", "api", "auth", "service", "store", "domain"]),
        (
            "cli",
            &[
                "config",
                "telemetry",
                "https",
                "server",
                "api",
                "auth",
                "service",
                "store",
                "domain",
            ],
        ),
    ])
}

fn rust_files(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// The layers that a source text names, by `crate::layer` paths and `use crate::{ layer…, }` groups.
fn layers_named(source: &str) -> Vec<String> {
    let code: String =
        source.lines().map(|line| line.split("//").next().unwrap()).collect::<Vec<_>>().join(" ");
    let mut named = Vec::new();
    for after in code.split("crate::").skip(1) {
        let after = after.trim_start();
        if let Some(group) = after.strip_prefix('{') {
            let mut depth = 0;
            let mut member = String::new();
            for character in group.chars() {
                match character {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => {
                        named.push(std::mem::take(&mut member));
                        continue;
                    }
                    _ => {}
                }
                if depth == 0 {
                    member.push(character);
                }
            }
            named.push(member);
        } else {
            named.push(after.to_owned());
        }
    }
    let first_word = |text: String| -> String {
        text.trim_start()
            .chars()
            .take_while(|character| character.is_alphanumeric() || *character == '_')
            .collect()
    };
    named.into_iter().map(first_word).filter(|word| !word.is_empty()).collect()
}

#[test]
fn imports_go_one_way() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let allowed = allowed();
    let mut files = Vec::new();
    rust_files(&root, &mut files);
    let mut wrong = Vec::new();
    for file in files {
        let relative = file.strip_prefix(&root).unwrap();
        let layer = relative.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs");
        let Some(may_use) = allowed.get(layer) else {
            assert!(
                ["lib", "main"].contains(&layer),
                "{layer} is no layer: say in this test what it may use"
            );
            continue;
        };
        let source = fs::read_to_string(&file).unwrap();
        for named in layers_named(&source) {
            if named != layer
                && allowed.contains_key(named.as_str())
                && !may_use.contains(&named.as_str())
            {
                wrong.push(format!("{} uses {named}", relative.display()));
            }
        }
        let code = source
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
            .collect::<Vec<_>>()
            .join("\n");
        if code.contains("sled::")
            && !relative.starts_with("store/sled")
            && !["cli", "fuzzing", "main"].contains(&layer)
        {
            wrong.push(format!("{} names sled", relative.display()));
        }
        for word in ["tonic::", "prost::", "axum::", "hyper::"] {
            if code.contains(word) && ["domain", "store", "service", "auth"].contains(&layer) {
                wrong.push(format!("{} names {word}", relative.display()));
            }
        }
        if code.contains("pb::") && !["api", "cli"].contains(&layer) {
            wrong.push(format!("{} names generated types", relative.display()));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn the_scanner_sees_groups_and_paths() {
    let source = "use crate::{\n    domain::{a, b},\n    store::X, // crate::cli\n};\nfn f() { crate::api::g() }";
    assert_eq!(layers_named(source), ["domain", "store", "api"]);
}
