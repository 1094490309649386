//! What is done to a store in a power-loss test: everything that it can be asked to make durable, and how it is asked.

use std::sync::Arc;

use jiff::Timestamp;
use meterd::{
    domain::{
        api_usage::ApiReport,
        asset::Asset,
        asset_usage::AssetBatch,
        catalog::{Catalog, CatalogDifference},
        id::AssetId,
        usage::{Submission, UsageRecord},
    },
    store::{
        CommitDecisions, CommitGroup, StoreError, UsageStore,
        document::{DocumentChange, Page},
    },
};

use crate::support::usage::{organization, probed};

pub const ORGANIZATIONS: [&str; 3] = ["alpha", "beta", "gamma"];
pub const BOOKS: [&str; 3] = ["query/1/asked", "query/1/rows", "query/2/rows"];
/// Of an organization that a deed is about; documents, catalogs and assets are of one.
pub const OWNER: &str = "alpha";

/// Usage that is committed together, at a time of its own: done again, it is stored as it would have been.
#[derive(Debug, Clone)]
pub struct Usage {
    pub now: Timestamp,
    pub submissions: Vec<Arc<Submission>>,
    pub reports: Vec<ApiReport>,
    pub batches: Vec<AssetBatch>,
}

/// One thing that a store is asked to do. It may be done again after a crash, and then changes nothing if it was done.
#[derive(Debug, Clone)]
pub enum Deed {
    Usage(Usage),
    Documents(Vec<DocumentChange>),
    Pages {
        book: &'static str,
        pages: Vec<Page>,
        documents: Vec<DocumentChange>,
    },
    /// Durable with the document that is written after it.
    RemoveBook {
        book: &'static str,
        document: DocumentChange,
    },
    Catalog {
        after: Catalog,
        documents: Vec<DocumentChange>,
    },
    Assets {
        put: Vec<Asset>,
        remove: Vec<AssetId>,
        documents: Vec<DocumentChange>,
    },
}

impl Usage {
    pub fn commit(&self, store: &dyn UsageStore) -> Result<CommitDecisions, StoreError> {
        let submissions =
            self.submissions.iter().map(|submission| probed(store, Arc::clone(submission)));
        let group = CommitGroup {
            submissions: submissions.collect(),
            api_reports: self.reports.iter().map(|report| probed(store, report.clone())).collect(),
            batches: self.batches.clone(),
        };
        store.commit(&group, self.now)
    }

    /// Its records with whom they are of.
    pub fn records(&self) -> impl Iterator<Item = (&Submission, &UsageRecord)> {
        self.submissions.iter().flat_map(|submission| {
            submission.records.iter().map(move |record| (&**submission, record))
        })
    }
}

impl Deed {
    /// Steps in between which a crash may leave it half done.
    pub fn steps(&self) -> usize {
        match self {
            Self::RemoveBook { .. } => 2,
            _ => 1,
        }
    }

    pub fn perform(&self, store: &dyn UsageStore) -> Result<(), StoreError> {
        (0..self.steps()).try_for_each(|step| self.perform_step(store, step))
    }

    pub fn perform_step(&self, store: &dyn UsageStore, step: usize) -> Result<(), StoreError> {
        let owner = organization(OWNER);
        match self {
            Self::Usage(usage) => usage.commit(store).map(drop),
            Self::Documents(changes) => store.write_documents(changes),
            Self::Pages { book, pages, documents } => {
                store.write_pages(&owner, book, pages, documents)
            }
            Self::RemoveBook { book, .. } if step == 0 => store.remove_pages(&owner, book),
            Self::RemoveBook { document, .. } => {
                store.write_documents(std::slice::from_ref(document))
            }
            Self::Catalog { after, documents } => {
                let before = store.catalogs()?.into_iter().find(|(name, _)| *name == owner);
                let before = before.map(|(_, catalog)| catalog).unwrap_or_default();
                let difference = CatalogDifference::between(&before, after);
                store.change_catalog(&owner, &difference, documents)
            }
            Self::Assets { put, remove, documents } => {
                store.write_assets(&owner, put, remove, documents)
            }
        }
    }
}
