//! Which chunks of the log hold records of an organization, so that whoever reads its records passes over all others.
//!
//! The index is kept as totals are, and so is derived from the log, complete up to a sequence, and checked by the same
//! means. A row covers 16,384 sequences, each of its slots 128 of them. What a chunk adds to its slot is the number of the
//! organization's records in it and, as the quantity, the power of two of its place in the slot. Every chunk is added once, so
//! that the quantity of a slot is a set of chunks, one bit each.

use super::{
    layer::{Rollups, combine},
    row::{Row, RowKey, Slots, period_bytes},
};
use crate::{
    domain::{quantity::Total, usage::LogSequence},
    store::{
        StoreError,
        sled::{engine::Engine, keyspace::KeySpace, organizations::OrganizationNumber},
    },
};

/// Bits of a quantity.
const CHUNKS_PER_SLOT: u64 = u128::BITS as u64;
const SLOTS_PER_ROW: u64 = 128;
const CHUNKS_PER_ROW: u64 = SLOTS_PER_ROW * CHUNKS_PER_SLOT;

/// What a chunk that holds so many records of an organization adds: row, slot, and how much.
pub(in crate::store::sled) fn addition(
    organization: OrganizationNumber,
    sequence: LogSequence,
    records: u64,
) -> Result<(RowKey, u8, Total), StoreError> {
    let (block, slot, place) = place_of(sequence);
    Ok((row_key(organization, block)?, slot, Total { records, quantity: 1 << place }))
}

/// The chunks that a slot of the row of a block stands for, as a text.
pub(super) fn describe(organization: &[u8], block: i64, slot: u8) -> String {
    let organization: [u8; 4] = organization.try_into().unwrap_or_default();
    let first = sequence_at(u64::try_from(block).unwrap_or_default(), slot, 0);
    format!(
        "the chunks {} to {} with records of organization {}",
        first,
        first + CHUNKS_PER_SLOT - 1,
        u32::from_be_bytes(organization)
    )
}

/// The block, the slot of its row, and the bit of the slot that stand for a chunk.
fn place_of(sequence: LogSequence) -> (u64, u8, u32) {
    let in_row = sequence.0 % CHUNKS_PER_ROW;
    // Both are below 128.
    let (slot, place) = (in_row / CHUNKS_PER_SLOT, in_row % CHUNKS_PER_SLOT);
    (sequence.0 / CHUNKS_PER_ROW, slot as u8, place as u32)
}

fn sequence_at(block: u64, slot: u8, place: u32) -> u64 {
    block * CHUNKS_PER_ROW + u64::from(slot) * CHUNKS_PER_SLOT + u64::from(place)
}

fn row_key(organization: OrganizationNumber, block: u64) -> Result<RowKey, StoreError> {
    let block = i64::try_from(block).map_err(|_| StoreError::Unrepresentable("a sequence"))?;
    let mut key = KeySpace::ChunkIndex.of_organization(organization);
    key.extend_from_slice(&period_bytes(block)?);
    Ok(RowKey::from_bytes(&key))
}

/// Goes along the chunks that hold records of one organization.
pub(in crate::store::sled) struct ChunkCursor<'a> {
    engine: &'a Engine,
    rollups: &'a Rollups,
    organization: OrganizationNumber,
    row: Option<IndexRow>,
}

/// A row of the index with what is in memory of it.
struct IndexRow {
    block: u64,
    slots: Slots,
}

impl<'a> ChunkCursor<'a> {
    /// Begins anywhere.
    pub(in crate::store::sled) fn new(
        engine: &'a Engine,
        rollups: &'a Rollups,
        organization: OrganizationNumber,
    ) -> Self {
        Self { engine, rollups, organization, row: None }
    }

    /// The first chunk from `from` on that holds records of the organization. `from` never decreases from call to call.
    ///
    /// Knows all chunks that were durable when the row was read, and perhaps later ones.
    pub(in crate::store::sled) fn first_from(
        &mut self,
        from: LogSequence,
    ) -> Result<Option<LogSequence>, StoreError> {
        let mut from = from;
        loop {
            let block = place_of(from).0;
            if self.row.as_ref().is_none_or(|row| row.block < block) {
                self.row = self.read(block)?;
            }
            let Some(row) = &self.row else { return Ok(None) };
            if let Some(found) = row.first_from(from) {
                return Ok(Some(found));
            }
            from = LogSequence((row.block + 1) * CHUNKS_PER_ROW);
        }
    }

    /// The first row from that of `block` on.
    ///
    /// What is in memory is read first: a layer that is written meanwhile is then found twice rather than not at all, and
    /// the row says that it includes it.
    fn read(&self, block: u64) -> Result<Option<IndexRow>, StoreError> {
        let prefix = KeySpace::ChunkIndex.of_organization(self.organization);
        let from = row_key(self.organization, block)?;
        let in_memory = self.rollups.first_from(&from, &prefix);
        let stored = self.engine.range(from.as_bytes().to_vec()..).next().transpose()?;
        let stored = stored.filter(|(key, _)| key.starts_with(&prefix));
        let (key, slots) = match (stored, in_memory) {
            (None, None) => return Ok(None),
            (None, Some((key, deltas))) => (key, combine(Row::default(), &deltas)?),
            (Some((key, value)), in_memory) => {
                let stored = RowKey::from_bytes(&key);
                match in_memory {
                    Some((key, deltas)) if key < stored => (key, combine(Row::default(), &deltas)?),
                    in_memory => {
                        let deltas = in_memory.filter(|(key, _)| *key == stored);
                        let deltas = deltas.map(|(_, deltas)| deltas).unwrap_or_default();
                        let row = Row::decode(stored.as_bytes(), &value)?;
                        (stored, combine(row, &deltas)?)
                    }
                }
            }
        };
        let block = u64::try_from(key.period()).unwrap_or_default();
        Ok(Some(IndexRow { block, slots }))
    }
}

impl IndexRow {
    fn first_from(&self, from: LogSequence) -> Option<LogSequence> {
        let (block, first_slot, first_place) = match place_of(from) {
            place if place.0 == self.block => place,
            _ => (self.block, 0, 0),
        };
        self.slots.range(first_slot..).find_map(|(slot, total)| {
            let passed = if *slot == first_slot { first_place } else { 0 };
            let chunks = total.quantity & (u128::MAX << passed);
            let place = (chunks != 0).then(|| chunks.trailing_zeros())?;
            Some(LogSequence(sequence_at(block, *slot, place)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sled::{options::StoreOptions, rollup::checkpoint};

    const ORGANIZATION: OrganizationNumber = OrganizationNumber(7);

    fn found(engine: &Engine, rollups: &Rollups, from: u64) -> Vec<u64> {
        let mut cursor = ChunkCursor::new(engine, rollups, ORGANIZATION);
        let mut from = LogSequence(from);
        let mut found = Vec::new();
        while let Some(chunk) = cursor.first_from(from).unwrap() {
            found.push(chunk.0);
            from = LogSequence(chunk.0 + 1);
        }
        found
    }

    fn publish(rollups: &Rollups, organization: OrganizationNumber, sequence: u64) {
        let sequence = LogSequence(sequence);
        let added = addition(organization, sequence, 3).unwrap();
        rollups.publish(vec![added], sequence).unwrap();
    }

    #[test]
    fn chunks_are_found_in_memory_on_disk_and_in_both() {
        let directory = tempfile::tempdir().unwrap();
        let options = StoreOptions::new(directory.path());
        let engine = Engine::open(&options).unwrap();
        let rollups = Rollups::new(&options);
        // Edges of slots and rows, and a row in between that is empty.
        let chunks = [1, 127, 128, 129, 16_383, 16_384, 16_511, 70_000, 70_001];
        assert!(found(&engine, &rollups, 0).is_empty());
        for (at, chunk) in chunks.into_iter().enumerate() {
            publish(&rollups, ORGANIZATION, chunk);
            // Numbers before and after it belong to others.
            publish(&rollups, OrganizationNumber(6), chunk);
            publish(&rollups, OrganizationNumber(8), chunk);
            let frozen = (at % 3 == 1).then(|| rollups.freeze());
            assert_eq!(found(&engine, &rollups, 0), chunks[..=at], "frozen");
            if let Some(frozen) = frozen {
                checkpoint::write_layers(&engine, &rollups, &frozen).unwrap();
                assert_eq!(found(&engine, &rollups, 0), chunks[..=at], "written");
                rollups.forget(&frozen);
            }
            assert_eq!(found(&engine, &rollups, 0), chunks[..=at], "forgotten");
        }
        for from in [0, 1, 2, 127, 128, 130, 16_384, 16_385, 20_000, 70_001, 70_002, 1 << 39] {
            let expected: Vec<u64> = chunks.into_iter().filter(|chunk| *chunk >= from).collect();
            assert_eq!(found(&engine, &rollups, from), expected, "from {from}");
        }
    }

    #[test]
    fn largest_sequence_of_the_index_has_a_row() {
        let last = LogSequence((1 << 40) - 1);
        let (key, slot, total) = addition(ORGANIZATION, last, 1).unwrap();
        assert_eq!((slot, total.quantity), (127, 1 << 127));
        assert!(key.describe(slot).contains(&last.0.to_string()), "{}", key.describe(slot));
    }

    #[test]
    fn fullest_row_is_no_blob() {
        let full = Total { records: 128 * 400, quantity: u128::MAX };
        let row = Row {
            included_through: LogSequence(1),
            slots: (0..SLOTS_PER_ROW as u8).map(|slot| (slot, full)).collect(),
        };
        let value = row.encode(b"key");
        assert!(value.len() <= crate::store::sled::engine::VALUE_BYTES_MAX);
        assert_eq!(Row::decode(b"key", &value).unwrap(), row);
    }
}
