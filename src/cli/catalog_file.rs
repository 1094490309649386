//! Catalog files: YAML, and so JSON too.
//!
//! One type is both read and written, so that an export can be applied again. Every entry remembers
//! its line; whoever finds fault with an entry later, even a server, can be answered with it.

#[cfg(any(test, feature = "fuzzing"))]
pub(super) mod fuzzing;

use std::{fmt, fs, path::Path};

use serde::{Deserialize, Serialize};
use serde_saphyr::{Location, Spanned};

use crate::domain::{
    catalog::{DesiredCatalog, Product, ProductInstance, Sku, State},
    id::{IdError, ProductId, ProductInstanceId, SkuId},
};

/// The catalog that `--dev` and the demo begin with, and `examples/catalog.yaml` for reading.
pub(super) const SAMPLE: &str = include_str!("../../examples/catalog.yaml");

/// A catalog as a file says it.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CatalogFile {
    /// Products, each with all of its SKUs.
    #[serde(default)]
    pub(super) products: Vec<ProductEntry>,
    /// Product instances.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) product_instances: Vec<InstanceEntry>,
    /// Retire what the file does not name.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) prune: bool,
}

/// A product.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ProductEntry {
    pub(super) id: Spanned<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) name: String,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) state: State,
    #[serde(default)]
    pub(super) skus: Vec<SkuEntry>,
}

/// A SKU.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SkuEntry {
    pub(super) id: Spanned<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) usage_unit: String,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) state: State,
}

/// A product instance.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct InstanceEntry {
    pub(super) id: Spanned<String>,
    pub(super) product_id: Spanned<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) name: String,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) state: State,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A text that stands in no file.
pub(super) fn unplaced(text: impl Into<String>) -> Spanned<String> {
    Spanned::new(text.into(), Location::UNKNOWN, Location::UNKNOWN)
}

/// One thing wrong with a catalog file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    /// The line, from 1, if it is known.
    pub(super) line: Option<u64>,
    /// What is wrong, beginning with the entry.
    pub(super) reason: String,
}

/// Why a catalog file cannot be used: everything that is wrong with it, a line each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CatalogFileError {
    /// The file, as the user named it.
    pub(super) file: String,
    /// At least one.
    pub(super) faults: Vec<Fault>,
}

impl fmt::Display for CatalogFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, fault) in self.faults.iter().enumerate() {
            if at > 0 {
                writeln!(f)?;
            }
            match fault.line {
                Some(line) => write!(f, "{}:{line}: {}", self.file, fault.reason)?,
                None => write!(f, "{}: {}", self.file, fault.reason)?,
            }
        }
        Ok(())
    }
}

impl std::error::Error for CatalogFileError {}

impl CatalogFile {
    /// Reads a file.
    pub(super) fn read(path: &Path) -> Result<Self, CatalogFileError> {
        let file = path.display().to_string();
        let text = fs::read_to_string(path).map_err(|error| CatalogFileError {
            file: file.clone(),
            faults: vec![Fault { line: None, reason: format!("cannot be read: {error}") }],
        })?;
        Self::parse(&text).map_err(|fault| CatalogFileError { file, faults: vec![fault] })
    }

    /// The sample catalog.
    pub(super) fn sample() -> Self {
        Self::parse(SAMPLE).expect("the sample is part of the program and read by a test")
    }

    fn parse(text: &str) -> Result<Self, Fault> {
        serde_saphyr::from_str(text).map_err(|error| Fault {
            line: error.location().map(|location| location.line()),
            reason: one_line(&error),
        })
    }

    /// JSON that is YAML as well, so that it can be read again.
    pub(super) fn to_json(&self) -> serde_json::Result<String> {
        let text = serde_json::to_string_pretty(self)?;
        let mut escaped = String::with_capacity(text.len() + 1);
        for character in text.chars() {
            // JSON may have these as they are, YAML may not. They stand in texts alone.
            if matches!(character, '\u{7f}'..='\u{9f}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}') {
                escaped.push_str(&format!("\\u{:04x}", u32::from(character)));
            } else {
                escaped.push(character);
            }
        }
        escaped.push('\n');
        Ok(escaped)
    }

    /// The catalog, with every entry checked on its own.
    pub(super) fn desired(&self) -> Result<DesiredCatalog, Vec<Fault>> {
        let mut faults = Vec::new();
        let mut products = Vec::with_capacity(self.products.len());
        for entry in &self.products {
            let Some(id) = checked(ProductId::new, &entry.id, "product", &mut faults) else {
                continue;
            };
            let mut skus = std::collections::BTreeMap::new();
            for sku in &entry.skus {
                let Some(sku_id) = checked(SkuId::new, &sku.id, "SKU", &mut faults) else {
                    continue;
                };
                let wanted = Sku {
                    id: sku_id.clone(),
                    name: sku.name.clone(),
                    usage_unit: sku.usage_unit.clone(),
                    state: sku.state,
                };
                if skus.insert(sku_id, wanted).is_some() {
                    faults.push(Fault {
                        line: line_of(&sku.id),
                        reason: format!(
                            "SKU {:?} of product {:?} stands here twice",
                            sku.id.value, entry.id.value
                        ),
                    });
                }
            }
            products.push(Product { id, name: entry.name.clone(), state: entry.state, skus });
        }
        let mut instances = Vec::with_capacity(self.product_instances.len());
        for entry in &self.product_instances {
            let id = checked(ProductInstanceId::new, &entry.id, "product instance", &mut faults);
            let product = checked(ProductId::new, &entry.product_id, "product", &mut faults);
            if let (Some(id), Some(product)) = (id, product) {
                let (name, state) = (entry.name.clone(), entry.state);
                instances.push(ProductInstance { id, product, name, state });
            }
        }
        if faults.is_empty() {
            Ok(DesiredCatalog { products, instances, prune: self.prune })
        } else {
            Err(faults)
        }
    }

    /// Says a violation that names a member by its path, such as `products[2].skus[0].name`, in terms
    /// of the file.
    pub(super) fn locate(&self, field: &str, description: &str) -> Fault {
        let (entry, member) = self.entry_at(field).unzip();
        let line = entry.as_ref().and_then(|(_, id)| line_of(id));
        let reason = match (&entry, member) {
            (Some((kind, id)), Some(member)) => {
                format!("{kind} {:?}: {member}: {description}", id.value)
            }
            _ => format!("{field}: {description}"),
        };
        Fault { line, reason }
    }

    /// The entry that a path leads to, and what of the path is left.
    fn entry_at<'a>(
        &'a self,
        field: &'a str,
    ) -> Option<((&'static str, &'a Spanned<String>), &'a str)> {
        let (list, rest) = field.split_once('[')?;
        let (key, member) = rest.split_once(']')?;
        let member = member.strip_prefix('.').unwrap_or("entry");
        match list {
            "product_instances" => {
                let entry = self.product_instances.get(key.parse::<usize>().ok()?)?;
                Some((("product instance", &entry.id), member))
            }
            "products" => {
                let product = self.products.get(key.parse::<usize>().ok()?)?;
                let sku = member.strip_prefix("skus[").and_then(|rest| rest.split_once(']'));
                let Some((sku_key, sku_member)) = sku else {
                    return Some((("product", &product.id), member));
                };
                // SKUs are named by place or by id, whichever the finder had at hand.
                let by_place = sku_key.parse().ok().and_then(|at: usize| product.skus.get(at));
                let sku =
                    by_place.or_else(|| product.skus.iter().find(|sku| sku.id.value == sku_key))?;
                Some((("SKU", &sku.id), sku_member.strip_prefix('.').unwrap_or("entry")))
            }
            _ => None,
        }
    }
}

fn line_of(text: &Spanned<String>) -> Option<u64> {
    (text.referenced != Location::UNKNOWN).then(|| text.referenced.line())
}

fn checked<T>(
    new: impl Fn(&str) -> Result<T, IdError>,
    id: &Spanned<String>,
    kind: &str,
    faults: &mut Vec<Fault>,
) -> Option<T> {
    new(&id.value)
        .map_err(|error| {
            let reason = format!("{kind} id {:?} {error}", id.value);
            faults.push(Fault { line: line_of(id), reason });
        })
        .ok()
}

/// The message alone: without the excerpt of the file, and without the location that stands in front
/// of it anyway.
fn one_line(error: &serde_saphyr::Error) -> String {
    let text = error.without_snippet().to_string();
    let text = text.split(" at line ").next().unwrap_or_default();
    text.lines().next().unwrap_or_default().trim_end_matches([',', '.']).to_owned()
}

#[cfg(test)]
mod tests;
