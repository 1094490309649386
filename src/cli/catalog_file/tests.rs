use super::*;
use crate::domain::catalog::{Catalog, CatalogLimits};

fn faults(text: &str) -> Vec<(Option<u64>, String)> {
    let faults = match CatalogFile::parse(text) {
        Ok(file) => file.desired().unwrap_err(),
        Err(fault) => vec![fault],
    };
    faults.into_iter().map(|fault| (fault.line, fault.reason)).collect()
}

#[test]
fn the_sample_is_a_catalog() {
    let desired = CatalogFile::sample().desired().unwrap();
    assert_eq!((desired.products.len(), desired.instances.len()), (3, 2));
    assert!(Catalog::default().apply(desired, &CatalogLimits::default()).is_ok());
}

#[test]
fn json_is_read_too_tabs_and_all() {
    let text = "{\n\t\"products\": [\n\t\t{\"id\": \"a\", \"state\": \"retired\"}\n\t]\n}\n";
    let file = CatalogFile::parse(text).unwrap();
    assert_eq!(file.products[0].state, State::Retired);
    assert_eq!(file.desired().unwrap().products.len(), 1);
}

#[test]
fn every_fault_has_its_line() {
    let one = |text: &str| faults(text).remove(0);
    assert_eq!(
        faults("products:\n  - id: a\n    skus:\n      - id: s\n      - id: s\n  - id: ' b'\n"),
        [
            (Some(5), "SKU \"s\" of product \"a\" stands here twice".to_owned()),
            (Some(6), "product id \" b\" must not begin or end with white space".to_owned()),
        ]
    );
    let long = "x".repeat(51);
    assert_eq!(
        one(&format!("product_instances:\n- product_id: a\n  id: {long}\n")),
        (
            Some(3),
            format!("product instance id \"{long}\" has 51 characters, at most 50 are allowed")
        )
    );
    for (text, line, part) in [
        ("products:\n  - id: a\n    nmae: b\n", 3, "unknown field `nmae`"),
        ("products:\n  - id: a\n    id: b\n", 3, "duplicate"),
        ("products: []\nproducts: []\n", 2, "duplicate"),
        ("products:\n  - name: a\n", 2, "missing field `id`"),
        ("products:\n  - id: a\n    state: closed\n", 3, "closed"),
        ("products:\n  - id: [a]\n", 2, ""),
        // An open quote is noticed where the text cannot go on.
        ("products:\n  - id: 'a\n", 3, ""),
    ] {
        let (found, reason) = one(text);
        assert_eq!(found, Some(line), "{text}: {reason}");
        assert!(reason.contains(part) && !reason.contains('\n'), "{text}: {reason}");
    }
}

#[test]
fn violations_are_told_by_entry() {
    let file = CatalogFile::parse(
        "products:\n  - id: a\n    skus:\n      - id: s\nproduct_instances:\n  - id: i\n    product_id: b\n",
    )
    .unwrap();
    let located = |field| {
        let fault = file.locate(field, "is wrong");
        (fault.line, fault.reason)
    };
    assert_eq!(located("products[0].name"), (Some(2), "product \"a\": name: is wrong".into()));
    for field in ["products[0].skus[s].name", "products[0].skus[0].name"] {
        assert_eq!(located(field), (Some(4), "SKU \"s\": name: is wrong".into()));
    }
    assert_eq!(
        located("product_instances[0].product_id"),
        (Some(6), "product instance \"i\": product_id: is wrong".into())
    );
    assert_eq!(located("products[9].name"), (None, "products[9].name: is wrong".into()));
    assert_eq!(located("products"), (None, "products: is wrong".into()));
}

#[test]
fn what_is_written_reads_back() {
    let odd = ["yes", "1", "~", "null", "a: b", "#c", "-", "0x1", "é\n second line", "'\"", ""];
    let file = CatalogFile {
        products: odd
            .iter()
            .map(|name| ProductEntry {
                id: unplaced(format!("id {name}")),
                name: (*name).to_owned(),
                state: State::Retired,
                skus: vec![SkuEntry {
                    id: unplaced(*name),
                    name: String::new(),
                    usage_unit: (*name).to_owned(),
                    state: State::Active,
                }],
            })
            .collect(),
        product_instances: Vec::new(),
        prune: false,
    };
    let plain = |file: &CatalogFile| serde_json::to_value(file).unwrap();
    let yaml = serde_saphyr::to_string(&file).unwrap();
    assert_eq!(plain(&CatalogFile::parse(&yaml).unwrap()), plain(&file), "{yaml}");
    let json = serde_json::to_string_pretty(&file).unwrap();
    assert_eq!(plain(&CatalogFile::parse(&json).unwrap()), plain(&file), "{json}");
}

#[test]
fn names_with_any_character_are_exported_and_read_again() {
    let awkward =
        ('\0'..='\u{a0}').chain(['\u{2028}', '\u{feff}', '\u{fffd}', '\u{fffe}', '\u{ffff}', '🦀']);
    for character in awkward {
        let product = ProductEntry {
            id: unplaced("p"),
            name: format!("a{character}b"),
            state: State::Active,
            skus: Vec::new(),
        };
        let file = CatalogFile { products: vec![product], ..CatalogFile::default() };
        for text in [file.to_json().unwrap(), serde_saphyr::to_string(&file).unwrap()] {
            let read = CatalogFile::parse(&text).map(|read| read.products[0].name.clone());
            assert_eq!(read, Ok(file.products[0].name.clone()), "{text}");
        }
    }
}
