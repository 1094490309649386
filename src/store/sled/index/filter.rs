//! A blocked Bloom filter: eight bits of one 64-byte block per key, so a lookup touches one line of
//! cache. At 16 bits per key about one absent key in a thousand is answered "maybe", at 20 one in three thousand.

/// Bytes of a block.
pub(in crate::store::sled) const BLOCK_BYTES: usize = 64;
const BLOCK_BITS: u64 = 512;

/// One bit is set in each of the eight words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(align(64))]
struct Block([u64; 8]);

/// Says of a hash: certainly not here, or maybe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store::sled) struct Filter {
    blocks: Vec<Block>,
}

impl Filter {
    /// An empty filter for `keys` keys.
    pub(in crate::store::sled) fn for_keys(keys: u64, bits_per_key: u32) -> Self {
        let blocks = (keys.saturating_mul(u64::from(bits_per_key)) / BLOCK_BITS).max(1);
        Self::with_blocks(usize::try_from(blocks).unwrap_or(usize::MAX))
    }

    fn with_blocks(count: usize) -> Self {
        Self { blocks: vec![Block([0; 8]); count] }
    }

    /// Adds a key by its hash.
    pub(in crate::store::sled) fn insert(&mut self, hash: u64) {
        let index = self.block_of(hash);
        if let Some(block) = self.blocks.get_mut(index) {
            for (word, bit) in block.0.iter_mut().zip(bits_of(hash)) {
                *word |= 1 << bit;
            }
        }
    }

    /// Whether a key of this hash may have been added.
    #[inline]
    pub(in crate::store::sled) fn may_contain(&self, hash: u64) -> bool {
        let Some(block) = self.blocks.get(self.block_of(hash)) else { return true };
        // No early exit: the eight words are in one line, a branch costs more than they do.
        block.0.iter().zip(bits_of(hash)).fold(1, |all, (word, bit)| all & (word >> bit)) & 1 == 1
    }

    /// Those of up to 64 hashes that may have been added, as the bits of a word: the first hash is the lowest bit.
    #[inline]
    pub(in crate::store::sled) fn may_contain_each(
        &self,
        hashes: impl Iterator<Item = u64> + Clone,
    ) -> u64 {
        // Only the first word of every block to begin with: that excludes most, and what there is to do for each is so
        // little that the processor fetches a dozen blocks at a time. One after the other, waiting for memory is a tenth
        // of all that a write costs.
        let first_words = hashes.clone().zip(0_u32..).fold(0, |found, (hash, at)| {
            let word = self.blocks.get(self.block_of(hash)).map_or(u64::MAX, |block| block.0[0]);
            let bit = bits_of(hash).next().unwrap_or_default();
            found | ((word >> bit) & 1) << at
        });
        let mut found = first_words;
        for (hash, at) in hashes.zip(0_u32..) {
            if first_words >> at & 1 == 1 && !self.may_contain(hash) {
                found &= !(1 << at);
            }
        }
        found
    }

    #[inline]
    fn block_of(&self, hash: u64) -> usize {
        // The high bits choose the block, the mixed low ones the bits in it.
        let scaled = (u128::from(hash) * self.blocks.len() as u128) >> 64;
        usize::try_from(scaled).unwrap_or_default()
    }

    /// Number of blocks.
    pub(in crate::store::sled) fn block_count(&self) -> usize {
        self.blocks.len()
    }

    /// The blocks as bytes, `blocks_per_part` at a time.
    pub(in crate::store::sled) fn parts(
        &self,
        blocks_per_part: usize,
    ) -> impl Iterator<Item = Vec<u8>> + '_ {
        self.blocks.chunks(blocks_per_part).map(|blocks| {
            blocks.iter().flat_map(|block| block.0).flat_map(u64::to_le_bytes).collect()
        })
    }

    /// A filter from its bytes; `None` if they are not whole blocks.
    pub(in crate::store::sled) fn from_parts<'a>(
        block_count: usize,
        parts: impl Iterator<Item = &'a [u8]> + Clone,
    ) -> Option<Self> {
        let bytes: usize = parts.clone().map(<[u8]>::len).sum();
        let mut blocks = Vec::with_capacity(bytes / BLOCK_BYTES);
        for part in parts {
            let (whole, rest) = part.as_chunks::<BLOCK_BYTES>();
            if !rest.is_empty() {
                return None;
            }
            for bytes in whole {
                let mut block = Block([0; 8]);
                let (words, _) = bytes.as_chunks::<8>();
                for (slot, word) in block.0.iter_mut().zip(words) {
                    *slot = u64::from_le_bytes(*word);
                }
                blocks.push(block);
            }
        }
        (blocks.len() == block_count && block_count > 0).then_some(Self { blocks })
    }
}

/// Eight numbers below 64, from bits that do not decide the block.
#[inline]
fn bits_of(hash: u64) -> impl Iterator<Item = u64> {
    let mixed = (hash ^ (hash >> 32)).wrapping_mul(0xD6E8_FEB8_6659_FD93) >> 16;
    (0..8).map(move |word| (mixed >> (6 * word)) & 63)
}

#[cfg(test)]
mod tests {
    use std::hash::Hasher as _;

    use siphasher::sip::SipHasher13;

    use super::*;

    fn hash(number: u64) -> u64 {
        let mut hasher = SipHasher13::new_with_keys(1, 2);
        hasher.write_u64(number);
        hasher.finish()
    }

    #[test]
    fn what_was_added_is_always_maybe_and_the_rest_rarely() {
        let mut filter = Filter::for_keys(100_000, 16);
        (0..100_000).for_each(|number| filter.insert(hash(number)));
        assert!((0..100_000).all(|number| filter.may_contain(hash(number))));
        let wrong = (100_000..300_000).filter(|number| filter.may_contain(hash(*number))).count();
        assert!(wrong < 400, "{wrong} of 200,000 absent keys are answered maybe");
    }

    #[test]
    fn many_are_answered_as_each() {
        let mut filter = Filter::for_keys(1000, 2);
        (0..1000).for_each(|number| filter.insert(hash(number)));
        for from in (0..10_000_u64).step_by(7) {
            let hashes = || (from..from + from % 65).map(hash);
            let each =
                hashes().zip(0..).map(|(hash, at)| u64::from(filter.may_contain(hash)) << at);
            assert_eq!(filter.may_contain_each(hashes()), each.sum::<u64>());
        }
    }

    #[test]
    fn bytes_read_back() {
        let mut filter = Filter::for_keys(1000, 16);
        (0..1000).for_each(|number| filter.insert(hash(number)));
        let parts: Vec<Vec<u8>> = filter.parts(7).collect();
        let bytes = || parts.iter().map(Vec::as_slice);
        assert_eq!(Filter::from_parts(filter.block_count(), bytes()), Some(filter.clone()));
        assert_eq!(Filter::from_parts(filter.block_count() + 1, bytes()), None);
        assert_eq!(Filter::from_parts(1, std::iter::once(&[0_u8; 63][..])), None);
    }

    #[test]
    fn an_empty_filter_still_has_a_block() {
        assert_eq!(Filter::for_keys(0, 16).block_count(), 1);
    }
}
