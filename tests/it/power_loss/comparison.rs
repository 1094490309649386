//! In what a store differs from the reference model.

use meterd::{
    domain::{
        api_usage::{ApiFilter, ApiTotalsQuery},
        asset_usage::{AssetFilter, AssetTotalsQuery, DayRange, UsageDay},
        verdict::{Decision, Original},
    },
    store::{
        ReportDecision, UsageStore, document::Collection, memory::MemoryStore, sled::SledStore,
    },
};

use super::deeds::{BOOKS, ORGANIZATIONS, OWNER, Usage};
use crate::support::usage::{all_records, all_totals, api_totals, asset_totals, organization};

pub fn compare_decisions(
    usage: &Usage,
    store: &SledStore,
    memory: &MemoryStore,
) -> Result<(), String> {
    let ours = usage.commit(store).map_err(|error| error.to_string())?;
    let theirs = usage.commit(memory).map_err(|error| error.to_string())?;
    if ours.batches != theirs.batches {
        return Err(format!("batches: {:?}, the model says {:?}", ours.batches, theirs.batches));
    }
    for batch in &usage.batches {
        let strip = |store: &dyn UsageStore| {
            let found = store.find_batch(&batch.caller.organization, &batch.id).unwrap();
            found.map(|stored| (stored.client, stored.usages, stored.stored_time))
        };
        if strip(store) != strip(memory) {
            return Err(format!("batch {:?} is another one", batch.id));
        }
    }
    let is_new = |decision: &Decision| *decision == Decision::Accepted;
    let new = |decisions: &[ReportDecision]| -> Vec<bool> {
        decisions.iter().flatten().flatten().map(is_new).collect()
    };
    if new(&ours.api_reports) != new(&theirs.api_reports) {
        return Err("events: new ones are known, or known ones new".into());
    }
    let decisions = |all: &[ReportDecision]| -> Vec<Decision> {
        all.iter().flatten().flatten().copied().collect()
    };
    let decisions = decisions(&ours.submissions).into_iter().zip(decisions(&theirs.submissions));
    for ((submission, record), (ours, theirs)) in usage.records().zip(decisions) {
        let name = &submission.caller.organization;
        match (ours, theirs) {
            (Decision::Accepted, Decision::Accepted) => {}
            (
                Decision::Duplicate(Original::Stored(ours)),
                Decision::Duplicate(Original::Stored(theirs)),
            ) => {
                let ours = store.original(name, record.uuid, ours).unwrap();
                let theirs = memory.original(name, record.uuid, theirs).unwrap();
                if (&ours.record, &ours.target, &ours.client, ours.stored_time)
                    != (&theirs.record, &theirs.target, &theirs.client, theirs.stored_time)
                {
                    return Err(format!("{}: the original is another one", record.uuid));
                }
            }
            _ => return Err(format!("{}: {ours:?}, the model says {theirs:?}", record.uuid)),
        }
    }
    Ok(())
}

/// The first entry in which two lists differ.
fn first_difference<T: PartialEq + std::fmt::Debug>(
    what: &str,
    ours: &[T],
    theirs: &[T],
) -> Option<String> {
    let at = (0..ours.len().max(theirs.len())).find(|at| ours.get(*at) != theirs.get(*at))?;
    let counts = format!("{} instead of {}", ours.len(), theirs.len());
    Some(format!(
        "{what}: {counts}, at {at}: {:?}, the model says {:?}",
        ours.get(at),
        theirs.get(at)
    ))
}

fn all_days() -> DayRange {
    let day = |number| UsageDay::from_number(number).unwrap();
    DayRange { start: day(-10_000), end: day(30_000) }
}

pub fn usage_difference(store: &SledStore, memory: &MemoryStore) -> Option<String> {
    ORGANIZATIONS.into_iter().find_map(|name| {
        let records = |store: &dyn UsageStore| -> Vec<_> {
            all_records(store, name, 1000)
                .into_iter()
                .map(|stored| (stored.record, stored.target, stored.client, stored.stored_time))
                .collect()
        };
        let assets = AssetTotalsQuery {
            organization: organization(name),
            days: all_days(),
            filter: AssetFilter::default(),
        };
        let api = ApiTotalsQuery {
            organization: organization(name),
            days: all_days(),
            filter: ApiFilter::default(),
        };
        first_difference(&format!("records of {name}"), &records(store), &records(memory))
            .or_else(|| {
                let (ours, theirs) = (all_totals(store, name), all_totals(memory, name));
                first_difference(&format!("totals of {name}"), &ours, &theirs)
            })
            .or_else(|| {
                let (ours, theirs) = (asset_totals(store, &assets), asset_totals(memory, &assets));
                first_difference(&format!("totals of {name}'s assets"), &ours, &theirs)
            })
            .or_else(|| {
                let (ours, theirs) = (api_totals(store, &api), api_totals(memory, &api));
                first_difference(&format!("totals of {name}'s API"), &ours, &theirs)
            })
    })
}

pub fn side_difference(store: &SledStore, memory: &MemoryStore) -> Option<String> {
    let owner = organization(OWNER);
    let documents = [Collection::Clients, Collection::AuditEvents, Collection::Queries];
    let pages = |store: &dyn UsageStore, book: &str| -> Vec<_> {
        (0..10).map(|page| store.page_at(&owner, book, page * 10 + 5).unwrap()).collect()
    };
    let catalog = |store: &dyn UsageStore| -> Vec<_> {
        let all = store.catalogs().unwrap().into_iter();
        // An organization without a catalog, and one with an empty one, are the same.
        all.filter(|(_, catalog)| *catalog != Default::default()).collect()
    };
    let assets = |store: &dyn UsageStore| store.assets_after(&owner, None, 1000).unwrap();
    documents
        .into_iter()
        .find_map(|collection| {
            let ours = store.documents(collection).unwrap();
            let theirs = memory.documents(collection).unwrap();
            first_difference(&format!("{collection:?}"), &ours, &theirs)
        })
        .or_else(|| {
            BOOKS
                .into_iter()
                .find_map(|book| first_difference(book, &pages(store, book), &pages(memory, book)))
        })
        .or_else(|| first_difference("catalogs", &catalog(store), &catalog(memory)))
        .or_else(|| first_difference("assets", &assets(store), &assets(memory)))
}
