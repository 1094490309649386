//! What the demo prints.

use std::{fmt::Write as _, time::Duration};

use super::{tally::Tally, workload::Verdict};
use crate::{
    api::pb::meterd::v1::ProductUsageRow,
    cli::{
        catalog_file::CatalogFile,
        output::{grouped, table},
        query::quantity,
    },
};

/// Verdicts: how many there were to be, and how many there are.
pub(super) fn verdicts(tally: &Tally) -> String {
    let mut rows = table::table(&["verdict", "sent", "answered"], &["sent", "answered"]);
    for (verdict, (planned, got)) in &tally.verdicts {
        let name = match verdict {
            Verdict::Accepted => "accepted".to_owned(),
            Verdict::Identical => "DUPLICATE (identical)".to_owned(),
            Verdict::Conflicting => "DUPLICATE (conflicting)".to_owned(),
            Verdict::Rejected(reason) => {
                reason.as_str_name().trim_start_matches("REJECTION_REASON_").to_owned()
            }
        };
        rows.add_row([name, grouped(*planned), grouped(*got)]);
    }
    table::render(&rows)
}

/// Totals by product and SKU, with the units of the catalog.
pub(super) fn totals(rows: &[ProductUsageRow], catalog: &CatalogFile) -> String {
    let header = ["product", "sku", "quantity", "unit", "records"];
    let mut table = table::table(&header, &["quantity", "records"]);
    for row in rows {
        let product = catalog.products.iter().find(|product| product.id.value == row.product_id);
        let sku =
            product.and_then(|product| product.skus.iter().find(|sku| sku.id.value == row.sku_id));
        table.add_row([
            row.product_id.clone(),
            row.sku_id.clone(),
            grouped(quantity(row)),
            sku.map(|sku| sku.usage_unit.clone()).unwrap_or_default(),
            grouped(row.record_count),
        ]);
    }
    table::render(&table)
}

/// How fast it went, and what that number is and is not.
pub(super) fn throughput(records: u64, elapsed: Duration, calls: &mut [Duration]) -> String {
    calls.sort_unstable();
    let at = |percent: usize| {
        let index = (calls.len() * percent / 100).min(calls.len().saturating_sub(1));
        calls.get(index).copied().unwrap_or_default().as_secs_f64() * 1000.0
    };
    let seconds = elapsed.as_secs_f64();
    let rate = records as f64 / seconds.max(0.001);
    let mut text = String::new();
    let _ = writeln!(
        text,
        "{} records in {seconds:.1} s: {} a second. The callers ran on this machine too and took their \
         share of it.",
        grouped(records),
        grouped(rate as u64)
    );
    let _ = writeln!(
        text,
        "{} unary calls of up to 25 records: half within {:.1} ms, 99 % within {:.1} ms, each \
         answered after its records were on the disk.",
        grouped(calls.len() as u64),
        at(50),
        at(99)
    );
    text
}
