//! Decisions that somebody else has made beforehand.

/// Bytes that are read as decisions, one after the other. When there are none left, everything is plain.
#[derive(Debug, Clone)]
pub struct Choices<'a>(&'a [u8]);

impl<'a> Choices<'a> {
    /// Decides as these bytes say.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Any byte.
    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    /// One of so many: 1 to 256.
    pub fn pick(&mut self, count: usize) -> usize {
        usize::from(self.byte()) % count.max(1)
    }

    /// One of a list that is not empty.
    pub fn of<T: Copy>(&mut self, all: &[T]) -> T {
        *all.get(self.pick(all.len())).expect("picked from a list that is not empty")
    }

    /// Whether something happens that happens once in so many times.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.pick(times) == times - 1
    }

    /// A place in something that long, its end included.
    pub fn place(&mut self, length: usize) -> usize {
        (self.pick(256) << 8 | self.pick(256)) % (length + 1)
    }

    /// A number of any size: one where carries and signs change, a small one, or any.
    pub fn number(&mut self) -> u64 {
        match self.pick(4) {
            0 => u64::from(self.byte()),
            1 => (1_u64 << self.pick(64)).wrapping_sub(u64::from(self.byte() & 1)),
            2 => u64::MAX >> self.pick(64),
            _ => (0..8).fold(0, |number, _| number << 8 | u64::from(self.byte())),
        }
    }

    /// What is not decided yet.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.0
    }
}

/// Bytes that may no longer be what they were: cut, changed, longer, or in another order.
#[must_use]
pub fn damaged(mut bytes: Vec<u8>, choices: &mut Choices<'_>) -> Vec<u8> {
    let place = choices.place(bytes.len());
    match choices.pick(8) {
        0 => bytes.truncate(place),
        1 | 2 => {
            let bit = choices.pick(8);
            if let Some(byte) = bytes.get_mut(place) {
                *byte ^= 1 << bit;
            }
        }
        3 => bytes.insert(place, choices.byte()),
        4 if place < bytes.len() => drop(bytes.remove(place)),
        // Everything twice.
        5 => bytes.extend_from_within(..),
        // Out of order.
        6 => bytes.rotate_left(place),
        _ => bytes.extend_from_within(place..),
    }
    bytes
}
