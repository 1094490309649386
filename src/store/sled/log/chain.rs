//! The chain through the log: each value holds the hash of the one before it, so that none can be altered, exchanged, left
//! out or put in between without the next one telling. Whoever can write to the disk can write all later values anew as
//! well; what tells then is a signed checkpoint that is kept elsewhere (`meterd checkpoint`).

use sha2::{Digest as _, Sha256};

use crate::{
    domain::usage::LogSequence,
    store::{LINK_BYTES, StoreError, sled::keyspace::log_key},
};

/// What stands for a value of the log in the value after it: SHA-256 of its key and all its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store::sled) struct Link(pub(in crate::store::sled) [u8; LINK_BYTES]);

impl Link {
    /// What the first value of a log follows.
    pub(in crate::store::sled) const START: Self = Self([0; LINK_BYTES]);

    /// The link of a value as it is stored.
    pub(in crate::store::sled) fn of(sequence: LogSequence, value: &[u8]) -> Self {
        let mut hash = Sha256::new();
        hash.update(log_key(sequence));
        hash.update(value);
        Self(hash.finalize().into())
    }
}

/// Goes along the log and sees that each value follows the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store::sled) struct Chain {
    last: LogSequence,
    link: Link,
    /// Whether the last value says what it follows. From then on all do.
    linked: bool,
}

impl Chain {
    /// Before the first value.
    pub(in crate::store::sled) fn start() -> Self {
        Self { last: LogSequence(0), link: Link::START, linked: false }
    }

    /// After a value of which only the link is known. Whether it says what it follows is not, so the next one need not.
    pub(in crate::store::sled) fn at(last: LogSequence, link: Link) -> Self {
        Self { last, link, linked: false }
    }

    /// After a value that says, or does not, what it follows.
    pub(in crate::store::sled) fn after(last: LogSequence, value: &[u8], linked: bool) -> Self {
        Self { last, link: Link::of(last, value), linked }
    }

    /// After a value that is no longer there.
    pub(in crate::store::sled) fn resumed(last: LogSequence, link: Link, linked: bool) -> Self {
        Self { last, link, linked }
    }

    /// Whether the last value says what it follows.
    pub(in crate::store::sled) fn is_linked(&self) -> bool {
        self.linked
    }

    /// The sequence of the last value.
    pub(in crate::store::sled) fn last(&self) -> LogSequence {
        self.last
    }

    /// The link of the last value.
    pub(in crate::store::sled) fn link(&self) -> Link {
        self.link
    }

    /// Passes a value by that cannot be read.
    pub(in crate::store::sled) fn pass(&mut self, sequence: LogSequence, value: &[u8]) {
        *self = Self::after(sequence, value, self.linked);
    }

    /// Goes on to the next value, which says what it follows: nothing, if it is of the format before there were links. It
    /// goes on even if that is not so. Where values are missing between the two there is nothing to compare.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] names the value that is not the one that was written.
    pub(in crate::store::sled) fn follow(
        &mut self,
        sequence: LogSequence,
        value: &[u8],
        previous: Option<Link>,
    ) -> Result<(), StoreError> {
        let linked = self.linked || previous.is_some();
        let before = std::mem::replace(self, Self::after(sequence, value, linked));
        if before.linked && previous.is_none() {
            // Otherwise whoever alters a value could write the next one in the older format.
            let what = format!("log chunk {}: says not which one it follows", sequence.0);
            return Err(StoreError::Damaged(what.into()));
        }
        let comparable = sequence.0 == before.last.0 + 1;
        if !comparable || previous.is_none_or(|previous| previous == before.link) {
            return Ok(());
        }
        let what = match before.last.0 {
            0 => "log chunk 1: is not the beginning of a log".to_owned(),
            last => format!(
                "log chunk {last}: is not the one that was written: chunk {} followed another",
                sequence.0
            ),
        };
        Err(StoreError::Damaged(what.into()))
    }
}
