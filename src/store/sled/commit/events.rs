//! API usage of a group: deciding, and packing what is new.

// Seeded for this process as the standard one, with a faster hasher: that one took a fifth of a commit.
use hashbrown::HashMap;
use jiff::Timestamp;

use super::{
    NewEntries,
    dimensions::{Dimensions, Duplicates, Numbered},
};
use crate::{
    domain::{
        api_usage::{ApiEvent, ApiReport, ApiSeries, NewSeries, StatusClass},
        asset_usage::UsageDay,
        quantity::Total,
        series_limits::TooManySeries,
        usage::LogSequence,
        verdict::{Decision, Original},
    },
    store::{
        ReportDecision, StoreError,
        sled::{
            index::{
                key::{UuidKey, UuidKind},
                memtable::Memtable,
            },
            log::{
                api_events::{ApiDimension, ApiEventsWriter},
                log_nanos,
            },
            organizations::OrganizationNumber,
            rollup::{
                row::{RowKey, api_series_prefix, api_slot, month_and_slot},
                series::LockedSeries,
            },
        },
    },
};

/// What a group puts into the log and adds to the totals.
pub(super) struct Writing {
    values: ApiEventsWriter,
    dimensions: Dimensions<ApiDimension>,
    gained: HashMap<(usize, UsageDay, StatusClass), Total>,
}

impl Writing {
    /// Begins with the value of sequence `first`.
    pub(super) fn new(first: LogSequence, stored_time: Timestamp) -> Result<Self, StoreError> {
        Ok(Self {
            values: ApiEventsWriter::new(first, stored_time)?,
            dimensions: Dimensions::new(),
            gained: HashMap::new(),
        })
    }

    /// Decides the events of one report. Takes nothing of it in if it is refused.
    pub(super) fn decide(
        &mut self,
        live: &mut Memtable,
        series: &mut LockedSeries<'_>,
        report: &ApiReport,
        known: &[Option<LogSequence>],
        organization: OrganizationNumber,
    ) -> ReportDecision {
        let mut dimensions: Vec<Option<usize>> = Vec::with_capacity(report.events.len());
        for (at, event) in report.events.iter().enumerate() {
            let is_known = known.get(at).copied().flatten().is_some();
            let dimension = || self.dimension(series, organization, &event.series);
            dimensions.push((!is_known).then(dimension));
        }
        if dimensions.iter().flatten().any(|dimension| !self.dimensions.is_counted(*dimension)) {
            self.admit(live, series, report, known, organization, &mut dimensions)
                .inspect_err(|_| series.count_refused())?;
        }
        let decided =
            report.events.iter().zip(dimensions).enumerate().map(|(at, (event, dimension))| {
                let first = known.get(at).copied().flatten().or_else(|| {
                    live.insert_new(
                        live.hashed(key(organization, event)),
                        self.values.next_sequence(),
                    )
                });
                if let Some(first) = first {
                    return Decision::Duplicate(Original::Stored(first));
                }
                if let Some(dimension) = dimension {
                    self.accept(dimension, event);
                }
                Decision::Accepted
            });
        Ok(decided.collect())
    }

    /// Adds the series that a report begins. If there would be too many, nothing of it is stored, or its events get dimensions
    /// that say less, as the report wants it.
    fn admit(
        &mut self,
        live: &Memtable,
        series: &mut LockedSeries<'_>,
        report: &ApiReport,
        known: &[Option<LogSequence>],
        organization: OrganizationNumber,
        dimensions: &mut [Option<usize>],
    ) -> Result<(), TooManySeries> {
        let mut duplicates = Duplicates::new(live, known);
        let mut new = Vec::new();
        for ((at, event), dimension) in report.events.iter().enumerate().zip(dimensions) {
            let Some(number) = *dimension else { continue };
            let hashed = live.hashed(key(organization, event));
            if duplicates.contain(at, event.uuid, Some(hashed))
                || self.dimensions.is_counted(number)
            {
                continue;
            }
            match report.new_series {
                NewSeries::Refused => new.push(number),
                NewSeries::Coarsened => {
                    if self.dimensions.admit(series, organization, &[number]).is_err() {
                        *dimension = Some(self.coarsened(series, organization, &event.series));
                        series.count_coarsened();
                    }
                }
            }
        }
        new.sort_unstable();
        new.dedup();
        self.dimensions.admit(series, organization, &new)
    }

    /// The dimension of calls whose own series would be one too many: the one that says most of those that are there, or else
    /// the one that says least.
    fn coarsened(
        &mut self,
        series: &mut LockedSeries<'_>,
        organization: OrganizationNumber,
        of: &ApiSeries,
    ) -> usize {
        let [of_any_user, of_client, of_method] = of.coarser();
        for coarser in [of_any_user, of_client] {
            let number = self.dimension(series, organization, &coarser);
            if self.dimensions.is_counted(number) {
                return number;
            }
        }
        let number = self.dimension(series, organization, &of_method);
        self.dimensions.count(series, organization, number);
        number
    }

    fn dimension(
        &mut self,
        series: &LockedSeries<'_>,
        organization: OrganizationNumber,
        of: &ApiSeries,
    ) -> usize {
        self.dimensions.number_of(
            (organization, of),
            |known| known.organization == organization && known.series == *of,
            series,
            organization,
            || {
                (
                    ApiDimension { organization, series: of.clone() },
                    api_series_prefix(organization, of),
                )
            },
        )
    }

    fn accept(&mut self, number: usize, event: &ApiEvent) {
        let Some(Numbered { dimension, .. }) = self.dimensions.get(number) else { return };
        let nanos = log_nanos(event.time).expect("settle_all represented it before");
        self.values.push(number, dimension, event, nanos);
        let slot = (number, UsageDay::of_instant(event.time), event.status.class());
        let total = self.gained.entry(slot).or_default();
        total.add(Total::of(event.count)).expect("a group is far too small to overflow a total");
    }

    /// What is to be written, and the sequence after it.
    pub(super) fn finish(self) -> Result<(NewEntries, LogSequence), StoreError> {
        let Self { values, dimensions, gained } = self;
        let (values, next) = values.finish();
        let mut new = NewEntries { values, ..NewEntries::default() };
        for ((number, day, class), total) in gained {
            let Some(Numbered { series, .. }) = dimensions.get(number) else { continue };
            let row = RowKey::in_period(&series.prefix, month_and_slot(day).0)?;
            new.deltas.push((row, api_slot(day, class), total));
        }
        Ok((new, next))
    }
}

fn key(organization: OrganizationNumber, event: &ApiEvent) -> UuidKey {
    UuidKey::new(event.uuid, organization, UuidKind::ApiUsage)
}
