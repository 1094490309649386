//! Pages of rows: where one ended, in any of the orders.

use serde::{Deserialize, Serialize};

use crate::{
    domain::{
        id::{AssetId, ClientId, ProductId, ProductInstanceId, SkuId},
        report::{AssetGroup, Group, ReportRow, RowOrder},
    },
    service::{PageRequest, ServiceError, page::PageTokens},
};

/// The group of a row, as texts in the order in which groups are compared.
pub(super) trait GroupTexts: Ord {
    fn texts(&self) -> Vec<Option<&str>>;
}

impl GroupTexts for Group {
    fn texts(&self) -> Vec<Option<&str>> {
        vec![
            self.product.as_ref().map(ProductId::as_str),
            self.instance.as_ref().map(ProductInstanceId::as_str),
            self.sku.as_ref().map(SkuId::as_str),
            self.client.as_ref().map(ClientId::as_str),
        ]
    }
}

impl GroupTexts for AssetGroup {
    fn texts(&self) -> Vec<Option<&str>> {
        vec![self.asset.as_ref().map(AssetId::as_str), self.client.as_ref().map(ClientId::as_str)]
    }
}

/// The rows of one page, and the token of the next.
pub(super) fn page<'a, G: GroupTexts>(
    rows: &'a [ReportRow<G>],
    order: RowOrder,
    tokens: &PageTokens,
    page: &PageRequest,
) -> Result<(&'a [ReportRow<G>], String), ServiceError> {
    let after: Option<RowPosition> = tokens.decode(&page.page_token)?;
    let start = after.map_or(0, |after| after.start_in(rows, order));
    let rest = rows.get(start..).unwrap_or_default();
    let (page, more) = rest.split_at(rest.len().min(page.size()?));
    let next = match page.last() {
        Some(last) if !more.is_empty() => tokens.encode(&RowPosition::of(last))?,
        _ => String::new(),
    };
    Ok((page, next))
}

/// Where a page of totals ended: the last row's place in any of the orders.
#[derive(Debug, Serialize, Deserialize)]
struct RowPosition {
    bucket: usize,
    // As text: JSON numbers end at 64 bits.
    quantity: String,
    group: Vec<Option<String>>,
}

impl RowPosition {
    fn of<G: GroupTexts>(row: &ReportRow<G>) -> Self {
        let texts = row.group.texts();
        Self {
            bucket: row.bucket,
            quantity: row.total.quantity.to_string(),
            group: texts.into_iter().map(|text| text.map(str::to_owned)).collect(),
        }
    }

    /// The first of `rows`, which are in `order`, that comes after this position.
    fn start_in<G: GroupTexts>(&self, rows: &[ReportRow<G>], order: RowOrder) -> usize {
        let quantity: u128 = self.quantity.parse().unwrap_or_default();
        let group: Vec<Option<&str>> = self.group.iter().map(Option::as_deref).collect();
        rows.partition_point(|row| {
            let first = match order {
                RowOrder::TimeAscending => std::cmp::Ordering::Equal,
                RowOrder::TimeDescending => self.bucket.cmp(&row.bucket),
                RowOrder::QuantityDescending => quantity.cmp(&row.total.quantity),
                RowOrder::QuantityAscending => row.total.quantity.cmp(&quantity),
            };
            first
                .then_with(|| row.bucket.cmp(&self.bucket))
                .then_with(|| row.group.texts().cmp(&group))
                .is_le()
        })
    }
}
