//! The parts of an open store, shared by the committer, the readers and the background threads.

use super::{
    engine::Engine,
    head::Head,
    identity::Identity,
    index::background::Index,
    options::StoreOptions,
    organizations::Organizations,
    retention::Retention,
    rollup::{layer::Rollups, series::SeriesSet},
    state::State,
};
use crate::domain::usage::LogSequence;

pub(super) struct Core {
    pub(super) engine: Engine,
    pub(super) options: StoreOptions,
    pub(super) identity: Identity,
    pub(super) head: Head,
    pub(super) organizations: Organizations,
    pub(super) index: Index,
    pub(super) rollups: Rollups,
    pub(super) series: SeriesSet,
    /// The chunk index knows every chunk after this sequence, and none up to it.
    pub(super) chunks_indexed_after: LogSequence,
    pub(super) state: State,
    pub(super) retention: Retention,
}
