//! Small values beside usage: who may call, and who changed what.
//!
//! A store knows nothing of what is in them. They are read whole at start, or newest first, a page at a time.

use crate::domain::id::OrganizationId;

/// Most bytes of the body of a document, or of a page.
pub const DOCUMENT_BYTES_MAX: usize = 6_144;

/// What kind of documents they are. Part of the file format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Collection {
    /// Organizations: one document each, with an empty name.
    Organizations,
    /// Clients, by their ids.
    Clients,
    /// Audit events, by their numbers in 20 digits.
    AuditEvents,
    /// Queries that were started, by their ids.
    Queries,
}

/// Part of something that is too large for a document: a *book*, which is a name within an organization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The number of the first thing on it. Pages are in this order.
    pub first: u64,
    /// What it says, in at most [`DOCUMENT_BYTES_MAX`] bytes.
    pub body: Vec<u8>,
}

/// A document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Whose it is.
    pub organization: OrganizationId,
    /// Its name within organization and collection: no control characters. Documents are in the order of the
    /// bytes of their names.
    pub name: String,
    /// What it says.
    pub body: Vec<u8>,
}

/// A document that is to be written, or removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentChange {
    /// What kind it is.
    pub collection: Collection,
    /// Whose it is.
    pub organization: OrganizationId,
    /// Its name.
    pub name: String,
    /// What it shall say, in at most [`DOCUMENT_BYTES_MAX`] bytes; `None` removes it.
    pub body: Option<Vec<u8>>,
}
