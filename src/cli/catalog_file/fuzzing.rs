//! Catalog files: whatever was read, and catalogs with any names, written and read again.

use super::{CatalogFile, Fault, InstanceEntry, ProductEntry, SkuEntry, unplaced};
use crate::domain::{
    fuzzing::{Choices, made_up, text},
    id::{ProductId, ProductInstanceId, SkuId},
    limits::ID_CHARS_MAX,
};

pub(in crate::cli) fn catalog_file(input: &[u8]) {
    let mut choices = Choices::new(input);
    if choices.once_in(2) {
        return is_read_again(&made_up_file(&mut choices));
    }
    let Some(text) = text(choices.rest()) else { return };
    match CatalogFile::parse(text) {
        Ok(file) => {
            if let Err(faults) = file.desired() {
                assert!(!faults.is_empty());
                faults.iter().for_each(|fault| is_in(text, fault));
            }
            is_read_again(&file);
        }
        Err(fault) => is_in(text, &fault),
    }
}

/// A fault is told in one line, and its place is in the file.
fn is_in(text: &str, fault: &Fault) {
    let lines = text.split(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']).count() as u64;
    assert!(!fault.reason.contains('\n'), "{fault:?}");
    assert!(fault.line.is_none_or(|line| (1..=lines + 1).contains(&line)), "{fault:?}");
}

/// In both forms that are exported.
fn is_read_again(file: &CatalogFile) {
    // Without the places, which are others then.
    let plain = |file: &CatalogFile| serde_json::to_value(file).expect("texts and words");
    let yaml = serde_saphyr::to_string(file).expect("texts and words");
    let read = CatalogFile::parse(&yaml);
    assert_eq!(read.as_ref().map(plain), Ok(plain(file)), "{yaml}");
    let json = file.to_json().expect("texts and words");
    let read = CatalogFile::parse(&json);
    assert_eq!(read.as_ref().map(plain), Ok(plain(file)), "{json}");
}

fn made_up_file(choices: &mut Choices<'_>) -> CatalogFile {
    let sku = |choices: &mut Choices<'_>| SkuEntry {
        id: unplaced(made_up::id(choices, ID_CHARS_MAX, SkuId::new).as_str()),
        name: made_up::name(choices),
        usage_unit: made_up::name(choices),
        state: made_up::state(choices),
    };
    let product = |choices: &mut Choices<'_>| ProductEntry {
        id: unplaced(made_up::id(choices, ID_CHARS_MAX, ProductId::new).as_str()),
        name: made_up::name(choices),
        state: made_up::state(choices),
        skus: (0..choices.pick(4)).map(|_| sku(choices)).collect(),
    };
    let instance = |choices: &mut Choices<'_>| InstanceEntry {
        id: unplaced(made_up::id(choices, ID_CHARS_MAX, ProductInstanceId::new).as_str()),
        product_id: unplaced(made_up::name(choices)),
        name: made_up::name(choices),
        state: made_up::state(choices),
    };
    CatalogFile {
        products: (0..choices.pick(4)).map(|_| product(choices)).collect(),
        product_instances: (0..choices.pick(4)).map(|_| instance(choices)).collect(),
        prune: choices.once_in(2),
    }
}
