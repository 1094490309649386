//! What became of entries, in numbers.

use std::collections::BTreeMap;

/// Why an entry that stands for something was not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DropReason {
    /// The method is none that usage is counted by.
    UnknownMethod,
    /// The status is not between 100 and 599.
    InvalidStatus,
    /// It is no entry on HTTP.
    NotHttp,
    /// Nobody knows what it stands for: the proxy is newer than this server.
    UnknownKind,
    /// The store did not take it.
    NotStored,
    /// The proxy hung up while it had to wait, since its client had reported faster than it may.
    RateLimited,
}

impl DropReason {
    /// Its name in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UnknownMethod => "unknown_method",
            Self::InvalidStatus => "invalid_status",
            Self::NotHttp => "not_http",
            Self::UnknownKind => "unknown_kind",
            Self::NotStored => "not_stored",
            Self::RateLimited => "rate_limited",
        }
    }
}

/// What an entry said that could not be used. It was counted without.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum IgnoredValue {
    /// The route's name is no template.
    RouteName,
    /// The client is no identifier: counted for the client that reports.
    Client,
    /// The user is no identifier: counted for none.
    User,
    /// The platform is no identifier: counted for none.
    Platform,
    /// The time is not one at which usage is accepted: counted as of now.
    Time,
}

impl IgnoredValue {
    /// Its name in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RouteName => "route_name",
            Self::Client => "client",
            Self::User => "user",
            Self::Platform => "platform",
            Self::Time => "time",
        }
    }
}

/// What became of some entries. Those that stand for the end of no call are in none of the numbers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tally {
    /// Calls that are stored.
    pub calls: u64,
    /// Entries that are not, by reason.
    pub dropped: BTreeMap<DropReason, u64>,
    /// Values that were passed over in entries that count.
    pub ignored: BTreeMap<IgnoredValue, u64>,
}

impl Tally {
    pub(super) fn drop(&mut self, reason: DropReason, entries: u64) {
        if entries > 0 {
            *self.dropped.entry(reason).or_default() += entries;
        }
    }

    pub(super) fn ignore(&mut self, value: IgnoredValue) {
        *self.ignored.entry(value).or_default() += 1;
    }

    /// Adds the losses of another.
    pub(super) fn add_losses(&mut self, other: &Self) {
        for (reason, entries) in &other.dropped {
            *self.dropped.entry(*reason).or_default() += entries;
        }
        for (value, times) in &other.ignored {
            *self.ignored.entry(*value).or_default() += times;
        }
    }

    pub(super) fn has_losses(&self) -> bool {
        !self.dropped.is_empty() || !self.ignored.is_empty()
    }
}
