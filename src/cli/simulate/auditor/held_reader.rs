//! A query that takes its time: it stands still in the middle of its rows while clients go on calling, and while what they
//! report is written out. It must hold nothing up, and must read what there was when it began.

use std::{
    collections::BTreeMap,
    sync::{Arc, mpsc},
    thread::JoinHandle,
};

use anyhow::Context as _;
use jiff::civil::Date;

use super::{Auditor, Books, Invariant};
use crate::{
    domain::{
        api_usage::{ApiEvent, ApiFilter, ApiSeries, ApiTotalsQuery, StatusClass},
        asset_usage::{DayRange, UsageDay},
        id::OrganizationId,
        quantity::Total,
    },
    store::StoreError,
};

type Sums = BTreeMap<(ApiSeries, UsageDay, StatusClass), Total>;

/// A query that is held at its first row.
pub(in crate::cli::simulate) struct HeldReader {
    organization: OrganizationId,
    expected: Sums,
    go_on: mpsc::SyncSender<()>,
    reading: JoinHandle<Result<Sums, StoreError>>,
}

impl HeldReader {
    /// Begins to read all API usage of an organization; `None` while nobody knows what there is.
    pub(in crate::cli::simulate) fn begin(
        books: Books<'_>,
        organization: &OrganizationId,
    ) -> anyhow::Result<Option<Self>> {
        if books.model.doubts() > 0 {
            return Ok(None);
        }
        let mut expected = Sums::new();
        for event in books.model.api.of_days(organization, Date::MIN, Date::MAX) {
            expected.entry(key(event)).or_default().add(Total::of(event.count))?;
        }
        let days = DayRange { start: UsageDay::of(Date::MIN), end: UsageDay::of(Date::MAX) };
        let query = ApiTotalsQuery {
            organization: organization.clone(),
            days,
            filter: ApiFilter::default(),
        };
        let store = Arc::clone(&books.world.engine()?.store);
        let (go_on, held) = mpsc::sync_channel(1);
        let (began, begins) = mpsc::sync_channel(1);
        let reading = std::thread::Builder::new().name("held-reader".into()).spawn(move || {
            let mut found = Sums::new();
            store.api_totals(&query, &mut |series, day, class, total| {
                if found.is_empty() {
                    // Nobody listens, or will let it go on, once the simulation was given up.
                    let _ = began.send(());
                    let _ = held.recv();
                }
                found.entry((series.clone(), day, class)).or_default().add(total)?;
                Ok(())
            })?;
            Ok(found)
        });
        let reading = reading.context("cannot start a reader")?;
        // Fails if there was no row at all.
        let _ = begins.recv();
        Ok(Some(Self { organization: organization.clone(), expected, go_on, reading }))
    }

    /// Reads the rest; answers what there should have been and what there was.
    fn end(self) -> anyhow::Result<(OrganizationId, Sums, Sums)> {
        drop(self.go_on);
        let found = self.reading.join().map_err(|_| anyhow::anyhow!("a reader panicked"))?;
        Ok((self.organization, self.expected, found.context("a held query failed")?))
    }
}

fn key(event: &ApiEvent) -> (ApiSeries, UsageDay, StatusClass) {
    (event.series.clone(), UsageDay::of_instant(event.time), event.status.class())
}

impl Auditor {
    /// What a held query reads is what there was when it began.
    pub(in crate::cli::simulate) fn held_reader(&mut self, held: HeldReader) -> anyhow::Result<()> {
        let (organization, expected, found) = held.end()?;
        let what = format!("API usage of {organization}, read while it grew,");
        self.compare(Invariant::ApiUsage, &what, &expected, &found);
        Ok(())
    }
}
