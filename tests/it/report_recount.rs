//! A hundred thousand random records over 400 days, every granularity in a dozen time zones, filtered and grouped: equal
//! to a naive recount, to the last unit.
//!
//! `METERD_RECOUNT_SEED` repeats a run, `METERD_RECOUNT_RECORDS` sets how many records (default 100,000).

use std::{collections::BTreeMap, sync::Arc};

use jiff::{Timestamp, ToSpan as _, Zoned, tz::TimeZone};
use meterd::{
    domain::{
        asset_usage::{AssetBatch, AssetFilter, AssetTotalsQuery, AssetUsage, DayRange, UsageDay},
        calendar::{Buckets, Granularity},
        id::{AssetId, BatchId},
        interval::HalfOpenInterval,
        quantity::{Quantity, Total},
        report::{AssetGrouping, Group, Grouping, ReportBuilder, RowOrder},
        totals::{Series, TotalsQuery, UsageFilter},
        usage::{Submission, UsageRecord},
    },
    store::{
        UsageStore,
        sled::{SledStore, StoreOptions},
    },
};

use crate::support::{
    random::Random,
    usage::{caller, organization, probed, record, target},
};

const ZONES: [&str; 12] = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    // Offsets of quarters and halves of an hour, and a daylight saving of half an hour.
    "Asia/Kathmandu",
    "Asia/Kolkata",
    "Pacific/Chatham",
    "America/St_Johns",
    "Australia/Lord_Howe",
    // Daylight saving that ends at midnight, and that is standard time in summer.
    "America/Havana",
    "Africa/Casablanca",
    "Pacific/Apia",
    "Pacific/Marquesas",
];
const GRANULARITIES: [Granularity; 5] = [
    Granularity::Hour,
    Granularity::Day,
    Granularity::Week,
    Granularity::Month,
    Granularity::Total,
];
/// Over both changes of daylight saving, in both hemispheres, twice.
const FIRST: &str = "2025-10-01T00:00:00Z";
const DAYS: usize = 400;

/// Where the bucket of an instant begins, by looking at that instant alone.
fn naive_start(instant: Timestamp, granularity: Granularity, zone: &TimeZone) -> Timestamp {
    let local: Zoned = instant.to_zoned(zone.clone());
    let midnight = |date: jiff::civil::Date| date.to_zoned(zone.clone()).unwrap().timestamp();
    match granularity {
        Granularity::Hour => {
            let offset = i64::from(local.offset().seconds());
            let hour = (instant.as_second() + offset).div_euclid(3600) * 3600 - offset;
            let hour = Timestamp::from_second(hour).unwrap();
            // A clock that was set forward or back within the hour began it anew.
            let set = zone.preceding(instant.checked_add(1.nanosecond()).unwrap()).next();
            set.map_or(hour, |set| hour.max(set.timestamp()))
        }
        Granularity::Day => midnight(local.date()),
        Granularity::Week => {
            let into_week = local.date().weekday().to_monday_zero_offset();
            midnight(local.date().checked_sub(i64::from(into_week).days()).unwrap())
        }
        Granularity::Month => midnight(local.date().first_of_month()),
        Granularity::Total => Timestamp::MIN,
    }
}

struct Reported {
    series: Series,
    time: Timestamp,
    quantity: i64,
}

fn reported(random: &mut Random, count: usize) -> Vec<Reported> {
    let first: Timestamp = FIRST.parse().unwrap();
    (0..count)
        .map(|_| {
            let instance = (random.below(3) == 0).then(|| format!("instance-{}", random.below(2)));
            let product = format!("product-{}", random.below(3));
            let seconds = random.below(DAYS * 86_400) as i64;
            let nanos = [0, 1, 999_999_999][random.below(3)];
            // One in eight so large that a few of them pass 64 bits.
            let large = random.below(8) == 0;
            Reported {
                series: Series {
                    target: target(&product, instance.as_deref()),
                    sku: record(0, &format!("sku-{}", random.below(4)), 1, first).sku,
                    client: caller("acme", &format!("client-{}", random.below(3))).client,
                },
                time: first + seconds.seconds() + i64::from(nanos).nanoseconds(),
                quantity: if large { i64::MAX } else { 1 + random.below(1000) as i64 },
            }
        })
        .collect()
}

fn fill(store: &SledStore, reported: &[Reported]) {
    let mut calls: BTreeMap<_, Vec<(usize, &Reported)>> = BTreeMap::new();
    for (at, one) in reported.iter().enumerate() {
        // Records of a time are spread over many calls, so that rows are written again and again.
        let key = (at / 5000, &one.series.target, &one.series.client);
        calls.entry(key).or_default().push((at, one));
    }
    let now: Timestamp = "2026-11-20T12:00:00Z".parse().unwrap();
    for ((_, target, client), records) in calls {
        let mut submission = Submission {
            caller: caller("acme", client.as_str()),
            target: target.clone(),
            records: Vec::new(),
            validate_only: false,
        };
        for (at, one) in records {
            submission.records.push(UsageRecord {
                sku: one.series.sku.clone(),
                ..record(at as u128, "sku", one.quantity, one.time)
            });
        }
        store.commit(&vec![probed(store, Arc::new(submission))].into(), now).unwrap();
    }
}

fn random_filter(random: &mut Random, reported: &[Reported]) -> UsageFilter {
    let mut filter = UsageFilter::default();
    let mut one = || &reported[random.below(reported.len())].series;
    let series = [one().clone(), one().clone()];
    if random.below(2) == 0 {
        filter.products = series.iter().map(|one| one.target.product.clone()).collect();
    }
    if random.below(4) == 0 {
        filter.instances = series.iter().filter_map(|one| one.target.instance.clone()).collect();
    }
    if random.below(3) == 0 {
        filter.skus = series.iter().map(|one| one.sku.clone()).collect();
    }
    if random.below(3) == 0 {
        filter.clients = vec![series[0].client.clone()];
    }
    filter
}

#[test]
fn every_report_equals_a_naive_recount() {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let seed = number("METERD_RECOUNT_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    let count = number("METERD_RECOUNT_RECORDS").unwrap_or(100_000) as usize;
    eprintln!("report_recount: METERD_RECOUNT_SEED={seed} METERD_RECOUNT_RECORDS={count}");
    let mut random = Random::new(seed);
    let directory = tempfile::tempdir().unwrap();
    let mut options = StoreOptions::new(directory.path());
    // Rows are stored, in layers on their way, and live.
    options.memtable_keys_max = 15_000;
    let store = SledStore::open(options).unwrap();
    let reported = reported(&mut random, count);
    fill(&store, &reported);
    let (mut rows_compared, mut past_64_bits) = (0, 0);
    for name in ZONES {
        let zone = TimeZone::get(name).unwrap();
        for granularity in GRANULARITIES {
            let filter = random_filter(&mut random, &reported);
            let mut coin = || random.below(2) == 0;
            let grouping =
                Grouping { product: coin(), instance: coin(), sku: coin(), client: coin() };
            // Hours over a year in all groups would be too many rows; ends anywhere on a quarter of an hour.
            let days = if granularity == Granularity::Hour { 20 } else { DAYS };
            let first: Timestamp = FIRST.parse().unwrap();
            let quarters = random.below((DAYS - days + 1) * 96) as i64;
            let start = first + (15 * quarters).minutes();
            let end = start + (24 * 60 * days as i64 - 15 * random.below(96) as i64).minutes();
            let interval = HalfOpenInterval::new(start, end).unwrap();
            let buckets = Buckets::divide(&interval, granularity, &zone).unwrap();

            let mut report = ReportBuilder::new(buckets.clone());
            let query = TotalsQuery {
                organization: organization("acme"),
                range: buckets.range(),
                filter: filter.clone(),
            };
            store
                .totals(&query, &mut |series, quarter, total| {
                    Ok(report.add(grouping.group_of(series), quarter, total)?)
                })
                .unwrap();
            let (rows, sum) = report.finish(RowOrder::TimeAscending);
            let ours: Vec<(Timestamp, Group, Total)> = rows
                .into_iter()
                .map(|row| (buckets.bounds(row.bucket).unwrap().0, row.group, row.total))
                .collect();

            let mut theirs: BTreeMap<(Timestamp, Group), Total> = BTreeMap::new();
            let mut naive_sum = Total::default();
            for one in &reported {
                let Series { target, sku, client } = &one.series;
                if interval.contains(one.time) && filter.matches(target, sku, client) {
                    let start = naive_start(one.time, granularity, &zone).max(interval.start());
                    let total = Total::of(Quantity::new(one.quantity).unwrap());
                    let group = grouping.group_of(&one.series);
                    theirs.entry((start, group)).or_default().add(total).unwrap();
                    naive_sum.add(total).unwrap();
                }
            }
            let theirs: Vec<(Timestamp, Group, Total)> =
                theirs.into_iter().map(|((start, group), total)| (start, group, total)).collect();
            let differs = ours.iter().zip(&theirs).position(|(ours, theirs)| ours != theirs);
            assert_eq!(
                differs.map(|at| (&ours[at], &theirs[at])),
                None,
                "{name} {granularity:?} {interval} {grouping:?} {filter:?}"
            );
            assert_eq!((ours.len(), sum), (theirs.len(), naive_sum), "{name} {granularity:?}");
            rows_compared += ours.len();
            past_64_bits +=
                ours.iter().filter(|(.., total)| total.quantity > u128::from(u64::MAX)).count();
        }
    }
    eprintln!("{rows_compared} rows compared, {past_64_bits} of them past 64 bits");
    assert!(rows_compared > 1000 && past_64_bits > 100, "{rows_compared} {past_64_bits}");
}

#[test]
fn every_report_of_asset_usage_equals_a_naive_recount() {
    let seed = u64::from(std::process::id());
    eprintln!("report_recount of assets: seed {seed}");
    let mut random = Random::new(seed);
    let directory = tempfile::tempdir().unwrap();
    let mut options = StoreOptions::new(directory.path());
    options.memtable_keys_max = 3000;
    let store = SledStore::open(options).unwrap();
    let first = UsageDay::of("2025-10-01".parse().unwrap());
    let day = |number: i64| UsageDay::from_number(first.number() + number).unwrap();
    let mut all = Vec::new();
    for number in 0..40 {
        let usage = |_| AssetUsage {
            asset: AssetId::new(&format!("asset-{}", random.below(30))).unwrap(),
            quantity: Quantity::new(1 + random.below(i32::MAX as usize) as i64).unwrap(),
            day: day(random.below(DAYS) as i64),
        };
        let usages: Vec<AssetUsage> = (0..500).map(usage).collect();
        let caller = caller("acme", &format!("client-{}", number % 3));
        all.extend(usages.iter().map(|usage| (caller.client.clone(), usage.clone())));
        let id = BatchId::new(&format!("batch-{number}")).unwrap();
        store
            .commit(&vec![AssetBatch { caller, id, usages }].into(), Timestamp::UNIX_EPOCH)
            .unwrap();
    }
    for granularity in &GRANULARITIES[1..] {
        for _ in 0..12 {
            let (start, end) = (random.below(200) as i64, 200 + random.below(200) as i64);
            let days = DayRange { start: day(start), end: day(end) };
            let at = |day: UsageDay| day.date().to_zoned(TimeZone::UTC).unwrap().timestamp();
            let interval = HalfOpenInterval::new(at(days.start), at(days.end)).unwrap();
            let buckets = Buckets::divide(&interval, *granularity, &TimeZone::UTC).unwrap();
            let mut some = || all[random.below(all.len())].clone();
            let (one, other) = (some(), some());
            let mut filter = AssetFilter::default();
            if random.below(2) == 0 {
                filter.assets = vec![one.1.asset, other.1.asset];
            }
            if random.below(2) == 0 {
                filter.clients = vec![one.0];
            }
            let grouping =
                AssetGrouping { asset: random.below(2) == 0, client: random.below(2) == 0 };
            let mut report = ReportBuilder::new(buckets.clone());
            let query = AssetTotalsQuery {
                organization: organization("acme"),
                days,
                filter: filter.clone(),
            };
            store
                .asset_totals(&query, &mut |series, day, total| {
                    Ok(report.add(grouping.group_of(series), day.first_quarter(), total)?)
                })
                .unwrap();
            let (rows, _) = report.finish(RowOrder::TimeAscending);
            let ours: BTreeMap<_, Total> = rows
                .into_iter()
                .map(|row| ((buckets.bounds(row.bucket).unwrap().0, row.group), row.total))
                .collect();
            let mut theirs: BTreeMap<_, Total> = BTreeMap::new();
            for (client, usage) in &all {
                let series = meterd::domain::asset_usage::AssetSeries {
                    asset: usage.asset.clone(),
                    client: client.clone(),
                };
                if days.contains(usage.day) && filter.matches(&series) {
                    let start = naive_start(at(usage.day), *granularity, &TimeZone::UTC);
                    let key = (start.max(interval.start()), grouping.group_of(&series));
                    theirs.entry(key).or_default().add(Total::of(usage.quantity)).unwrap();
                }
            }
            assert_eq!(ours, theirs, "{granularity:?} {interval} {grouping:?} {filter:?}");
        }
    }
}
