//! The uuid index: which uuids were accepted, and where their records stand in the log. Exact at any
//! size.
//!
//! New keys go into a memtable. A full memtable is frozen and written in the background as a run:
//! sorted, immutable pages with the first key of every page and a Bloom filter in memory. Runs of one
//! level are merged into one of the next. A filter only ever says "certainly new"; "maybe" is
//! settled on the one page that could hold the key, so no fingerprint is ever trusted.
//!
//! **Why a lookup misses nothing.** Every key is in exactly one of: the live memtable, a frozen
//! memtable, a published run. Callers look into a [`snapshot::IndexSnapshot`] (frozen and runs) before
//! they queue; the committer looks into the live memtable. Keys leave the live memtable only when it
//! is frozen, which moves the snapshot's generation, and the committer looks again where it moved.
//! Flushing and merging move keys inside the snapshot, from one immutable holder to another in one
//! swap, and leave the generation alone.

pub(super) mod background;
pub(super) mod filter;
pub(super) mod flusher;
#[cfg(any(test, feature = "fuzzing"))]
pub(super) mod fuzzing;
pub(super) mod key;
pub(super) mod manifest;
pub(super) mod memtable;
pub(super) mod merger;
pub(super) mod pacer;
pub(super) mod run;
pub(super) mod run_writer;
pub(super) mod snapshot;
