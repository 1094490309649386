//! API usage of a group: deciding, and packing what is new.

// Seeded for this process as the standard one, with a faster hasher: that one took a fifth of a commit.
use hashbrown::HashMap;
use jiff::Timestamp;

use super::{NewEntries, Numbered};
use crate::{
    domain::{
        api_usage::{ApiEvent, ApiReport, StatusClass},
        asset_usage::UsageDay,
        quantity::Total,
        usage::LogSequence,
        verdict::{Decision, Original},
    },
    store::{
        StoreError,
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
            rollup::row::{RowKey, api_slot},
        },
    },
};

/// What a group puts into the log and adds to the totals.
pub(super) struct Writing {
    values: ApiEventsWriter,
    dimensions: Numbered<ApiDimension>,
    gained: HashMap<(usize, UsageDay, StatusClass), Total>,
}

impl Writing {
    /// Begins with the value of sequence `first`.
    pub(super) fn new(first: LogSequence, stored_time: Timestamp) -> Result<Self, StoreError> {
        Ok(Self {
            values: ApiEventsWriter::new(first, stored_time)?,
            dimensions: Numbered::new(),
            gained: HashMap::new(),
        })
    }

    /// Decides the events of one report. Cannot fail.
    pub(super) fn decide(
        &mut self,
        live: &mut Memtable,
        report: &ApiReport,
        known: &[Option<LogSequence>],
        organization: OrganizationNumber,
    ) -> Vec<Decision> {
        let decided = report.events.iter().enumerate().map(|(at, event)| {
            let first = known.get(at).copied().flatten().or_else(|| {
                let key = UuidKey::new(event.uuid, organization, UuidKind::ApiUsage);
                live.insert_new(live.hashed(key), self.values.next_sequence())
            });
            if let Some(first) = first {
                return Decision::Duplicate(Original::Stored(first));
            }
            self.accept(organization, event);
            Decision::Accepted
        });
        decided.collect()
    }

    fn accept(&mut self, organization: OrganizationNumber, event: &ApiEvent) {
        let series = &event.series;
        let number = self.dimensions.number_of(
            (organization, series),
            |known| known.organization == organization && known.series == *series,
            || ApiDimension { organization, series: series.clone() },
        );
        let Some(dimension) = self.dimensions.list.get(number) else { return };
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
            let Some(dimension) = dimensions.list.get(number) else { continue };
            let row = RowKey::of_api_usage(dimension.organization, &dimension.series, day)?;
            new.deltas.push((row, api_slot(day, class), total));
        }
        Ok((new, next))
    }
}
