//! What clients report, and what identifies it.

use std::fmt;

use jiff::Timestamp;
use uuid::Uuid;

/// The identity of what counts once.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Identity {
    Record(Uuid),
    Event(Uuid),
    Batch(String),
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Record(uuid) => write!(f, "record {uuid}"),
            Self::Event(uuid) => write!(f, "event {uuid}"),
            Self::Batch(id) => write!(f, "batch {id}"),
        }
    }
}

/// What product usage is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    Product(&'static str),
    Instance(&'static str),
}

/// One record of product usage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub uuid: Uuid,
    pub sku: &'static str,
    pub quantity: i64,
    pub time: Timestamp,
}

/// One event of API usage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub uuid: Uuid,
    pub template: &'static str,
    pub status: u16,
    pub count: i64,
    pub time: Timestamp,
}

/// One line of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub asset: String,
    pub quantity: i32,
    pub date: &'static str,
}

/// Records of one target that travel together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub target: Target,
    pub records: Vec<Record>,
}

/// What one call carries, or one stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// A vendor's write method.
    Write(Message),
    /// The same over REST, of a product.
    Rest(Message),
    /// The messages of a usage stream.
    Stream(Vec<Message>),
    Events(Vec<Event>),
    Batch {
        id: String,
        lines: Vec<Line>,
    },
}

impl Report {
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Write(_) => "write",
            Self::Rest(_) => "rest",
            Self::Stream(_) => "stream",
            Self::Events(_) => "events",
            Self::Batch { .. } => "batch",
        }
    }

    pub fn messages(&self) -> &[Message] {
        match self {
            Self::Write(message) | Self::Rest(message) => std::slice::from_ref(message),
            Self::Stream(messages) => messages,
            Self::Events(_) | Self::Batch { .. } => &[],
        }
    }

    pub fn identities(&self) -> Vec<Identity> {
        match self {
            Self::Events(events) => {
                events.iter().map(|event| Identity::Event(event.uuid)).collect()
            }
            Self::Batch { id, .. } => vec![Identity::Batch(id.clone())],
            _ => self.messages().iter().flat_map(Message::identities).collect(),
        }
    }
}

impl Message {
    pub fn identities(&self) -> Vec<Identity> {
        self.records.iter().map(|record| Identity::Record(record.uuid)).collect()
    }
}

/// What became of one identity in an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It counts because of this call.
    Accepted,
    /// It counted before, and said the same.
    Duplicate,
}
