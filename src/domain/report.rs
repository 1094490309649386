//! Reports: totals added up by calendar bucket and group, in order.

use std::collections::BTreeMap;

use super::{
    asset_usage::AssetSeries,
    calendar::{Buckets, QuarterHour},
    id::{AssetId, ClientId, ProductId, ProductInstanceId, SkuId},
    limits::QUERY_ROWS_MAX,
    quantity::{Total, TotalOverflow},
    totals::Series,
};

/// Which dimensions a report keeps apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Grouping {
    /// By product.
    pub product: bool,
    /// By product instance.
    pub instance: bool,
    /// By SKU.
    pub sku: bool,
    /// By reporting client.
    pub client: bool,
}

/// The values of the dimensions that a row stands for; `None` where not grouped by (and for
/// `instance` also where the usage has none).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Group {
    /// The product.
    pub product: Option<ProductId>,
    /// The product instance.
    pub instance: Option<ProductInstanceId>,
    /// The SKU.
    pub sku: Option<SkuId>,
    /// The reporting client.
    pub client: Option<ClientId>,
}

impl Grouping {
    /// The group that usage of a series belongs to.
    #[must_use]
    pub fn group_of(self, series: &Series) -> Group {
        Group {
            product: self.product.then(|| series.target.product.clone()),
            instance: self.instance.then(|| series.target.instance.clone()).flatten(),
            sku: self.sku.then(|| series.sku.clone()),
            client: self.client.then(|| series.client.clone()),
        }
    }
}

/// Which dimensions a report of asset usage keeps apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct AssetGrouping {
    /// By asset.
    pub asset: bool,
    /// By reporting client.
    pub client: bool,
}

/// The values of the dimensions that a row of a report of asset usage stands for; `None` where not grouped by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct AssetGroup {
    /// The asset.
    pub asset: Option<AssetId>,
    /// The reporting client.
    pub client: Option<ClientId>,
}

impl AssetGrouping {
    /// The group that usage of a series belongs to.
    #[must_use]
    pub fn group_of(self, series: &AssetSeries) -> AssetGroup {
        AssetGroup {
            asset: self.asset.then(|| series.asset.clone()),
            client: self.client.then(|| series.client.clone()),
        }
    }
}

/// Order of the rows. Ties are broken by bucket and then by group, so every order is total.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum RowOrder {
    /// Earliest bucket first.
    #[default]
    TimeAscending,
    /// Latest bucket first.
    TimeDescending,
    /// Largest quantity first.
    QuantityDescending,
    /// Smallest quantity first.
    QuantityAscending,
}

/// One row of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportRow<G> {
    /// Index of the bucket in [`Buckets`].
    pub bucket: usize,
    /// What the row stands for.
    pub group: G,
    /// The sums.
    pub total: Total,
}

/// Why a report cannot be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReportError {
    /// The report would have more than [`QUERY_ROWS_MAX`] rows.
    #[error(
        "the report has more than {QUERY_ROWS_MAX} rows; narrow the interval, the filter or the grouping"
    )]
    TooManyRows,
    /// A sum overflowed.
    #[error(transparent)]
    Overflow(#[from] TotalOverflow),
}

/// Adds totals up into rows.
#[derive(Debug)]
pub struct ReportBuilder<G> {
    buckets: Buckets,
    rows: BTreeMap<(usize, G), Total>,
    sum: Total,
}

impl<G: Ord> ReportBuilder<G> {
    /// Starts an empty report.
    #[must_use]
    pub fn new(buckets: Buckets) -> Self {
        Self { buckets, rows: BTreeMap::new(), sum: Total::default() }
    }

    /// Adds the total of one quarter hour to a group; ignored outside the report's range.
    ///
    /// # Errors
    /// [`ReportError`] if the report grows too large or a sum overflows.
    pub fn add(&mut self, group: G, quarter: QuarterHour, total: Total) -> Result<(), ReportError> {
        let Some(bucket) = self.buckets.index_of(quarter) else { return Ok(()) };
        self.rows.entry((bucket, group)).or_default().add(total)?;
        if self.rows.len() > QUERY_ROWS_MAX {
            return Err(ReportError::TooManyRows);
        }
        self.sum.add(total)?;
        Ok(())
    }

    /// The rows in order, and the sum over all of them.
    #[must_use]
    pub fn finish(self, order: RowOrder) -> (Vec<ReportRow<G>>, Total) {
        let mut rows: Vec<ReportRow<G>> = self
            .rows
            .into_iter()
            .map(|((bucket, group), total)| ReportRow { bucket, group, total })
            .collect();
        // The map yields (bucket, group) order and every sort is stable, so ties keep it.
        match order {
            RowOrder::TimeAscending => {}
            RowOrder::TimeDescending => rows.sort_by_key(|row| std::cmp::Reverse(row.bucket)),
            RowOrder::QuantityDescending => {
                rows.sort_by_key(|row| std::cmp::Reverse(row.total.quantity));
            }
            RowOrder::QuantityAscending => rows.sort_by_key(|row| row.total.quantity),
        }
        (rows, self.sum)
    }

    /// The buckets of the report.
    #[must_use]
    pub fn buckets(&self) -> &Buckets {
        &self.buckets
    }
}
