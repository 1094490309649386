//! Backups: read by one thread at the pace of whoever takes them.

use std::{sync::Arc, time::Duration};

use tokio::{
    runtime::Handle,
    sync::{
        Semaphore,
        mpsc::{self, Receiver, Sender},
        watch,
    },
};

use super::{
    ServiceError,
    access::require_operator,
    audit::{AuditTrail, PendingEvent},
};
use crate::{
    domain::audit::{Actor, AuditAction},
    store::{
        LogHead, StoreError, UsageStore,
        backup::{BackupEnd, BackupRefusal, BackupRequest, BackupSection, put_entry},
    },
};

/// Bytes of entries at which a message is sent; one entry may go beyond.
const MESSAGE_BYTES: usize = 512 << 10;
/// Messages that wait for the reader.
const MESSAGES_WAITING_MAX: usize = 4;

/// How long is waited, and for whom.
#[derive(Debug, Clone, Copy)]
pub struct BackupLimits {
    /// How long a backup waits for the one before it to end: one whose reader has gone notices it a moment later. Default 5 s.
    pub slot_patience: Duration,
    /// How long a reader may take nothing: for as long, dead parts of the index stay on the disk. Default 60 s.
    pub reader_patience: Duration,
}

impl Default for BackupLimits {
    fn default() -> Self {
        Self { slot_patience: Duration::from_secs(5), reader_patience: Duration::from_mins(1) }
    }
}

/// A piece of a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BackupMessage {
    /// Whole entries of one section.
    Entries(BackupSection, Vec<u8>),
    /// There is nothing more.
    End(BackupEnd),
}

/// Makes backups, one at a time.
pub struct Backups {
    store: Arc<dyn UsageStore>,
    audit: Arc<AuditTrail>,
    slot: Arc<Semaphore>,
    limits: BackupLimits,
    stopping: watch::Receiver<bool>,
}

impl std::fmt::Debug for Backups {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Backups").finish_non_exhaustive()
    }
}

impl Backups {
    /// Backups of a store, until `stopping` says true.
    #[must_use]
    pub fn new(
        store: Arc<dyn UsageStore>,
        audit: Arc<AuditTrail>,
        limits: BackupLimits,
        stopping: watch::Receiver<bool>,
    ) -> Self {
        Self { store, audit, slot: Arc::new(Semaphore::new(1)), limits, stopping }
    }

    /// Where the log ends.
    ///
    /// # Errors
    /// [`ServiceError::PermissionDenied`] for anybody but the operator, [`ServiceError::FailedPrecondition`] if the store
    /// has no log.
    pub async fn log_head(&self, actor: &Actor) -> Result<LogHead, ServiceError> {
        require_operator(actor)?;
        let store = Arc::clone(&self.store);
        // It waits for the commit that is under way.
        let head = tokio::task::spawn_blocking(move || store.log_head()).await;
        head.map_err(|error| ServiceError::Internal(error.to_string().into()))?
            .ok_or_else(|| ServiceError::FailedPrecondition("this store has no log".into()))
    }

    /// Begins a backup. It ends with [`BackupMessage::End`] or with an error, and is given up if the receiver is dropped.
    ///
    /// # Errors
    /// [`ServiceError::PermissionDenied`] for anybody but the operator, [`ServiceError::FailedPrecondition`] if another
    /// one is under way.
    pub async fn start(
        &self,
        actor: &Actor,
        request: BackupRequest,
    ) -> Result<Receiver<Result<BackupMessage, ServiceError>>, ServiceError> {
        require_operator(actor)?;
        let under_way = || ServiceError::FailedPrecondition(BackupRefusal::UnderWay.to_string());
        let free = Arc::clone(&self.slot).acquire_owned();
        let slot = tokio::time::timeout(self.limits.slot_patience, free).await;
        let slot = slot.map_err(|_| under_way())?;
        let slot = slot.map_err(|_| under_way())?;
        let detail = if request.after.is_some() { "increment" } else { "full" };
        let (sender, receiver) = mpsc::channel(MESSAGES_WAITING_MAX);
        let mut reader = Reader {
            sender,
            patience: self.limits.reader_patience,
            runtime: Handle::current(),
            stopping: self.stopping.clone(),
            record: Some(Record { audit: Arc::clone(&self.audit), actor: actor.clone(), detail }),
            section: BackupSection::Index,
            entries: Vec::new(),
        };
        let store = Arc::clone(&self.store);
        tokio::task::spawn_blocking(move || {
            let _slot = slot;
            let backed_up = store
                .back_up(&request, &mut |section, key, value| reader.entry(section, key, value));
            reader.finish(backed_up);
        });
        Ok(receiver)
    }
}

/// That somebody takes a backup, before it is put on record.
struct Record {
    audit: Arc<AuditTrail>,
    actor: Actor,
    detail: &'static str,
}

/// Whoever takes a backup.
struct Reader {
    sender: Sender<Result<BackupMessage, ServiceError>>,
    patience: Duration,
    runtime: Handle,
    stopping: watch::Receiver<bool>,
    /// `None` once it is on record.
    record: Option<Record>,
    section: BackupSection,
    entries: Vec<u8>,
}

impl Reader {
    fn entry(
        &mut self,
        section: BackupSection,
        key: &[u8],
        value: Option<&[u8]>,
    ) -> Result<(), StoreError> {
        // Looked at here as well: at a low rate messages are rare.
        if self.sender.is_closed() {
            return Err(StoreError::GivenUp);
        }
        if *self.stopping.borrow() {
            return Err(StoreError::Closed);
        }
        if section != self.section || self.entries.len() >= MESSAGE_BYTES {
            self.flush()?;
            self.section = section;
        }
        put_entry(&mut self.entries, key, value);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        if self.entries.is_empty() {
            return Ok(());
        }
        let entries = std::mem::take(&mut self.entries);
        self.send(Ok(BackupMessage::Entries(self.section, entries)))
    }

    /// Fails with [`StoreError::GivenUp`] if nobody takes it, and with [`StoreError::Closed`] if the server stops. What was
    /// refused before leaves no event, and nothing leaves without one.
    fn send(&mut self, message: Result<BackupMessage, ServiceError>) -> Result<(), StoreError> {
        if let Some(Record { audit, actor, detail }) = self.record.take() {
            let event = audit.prepare(&actor, AuditAction::StoreBackedUp, "store", detail);
            if let Err(error) = event.and_then(PendingEvent::write) {
                // Without waiting: it is the first message.
                let _ = self.sender.try_send(Err(error));
                return Err(StoreError::GivenUp);
            }
        }
        let Self { sender, stopping, patience, .. } = self;
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                // The sender is gone only if the server is.
                _ = stopping.wait_for(|stopping| *stopping) => Err(StoreError::Closed),
                sent = sender.send(message) => sent.map_err(|_| StoreError::GivenUp),
                () = tokio::time::sleep(*patience) => {
                    tracing::warn!(?patience, "a backup is given up: its reader has taken nothing");
                    Err(StoreError::GivenUp)
                }
            }
        })
    }

    fn finish(mut self, backed_up: Result<BackupEnd, StoreError>) {
        let sent = backed_up.and_then(|end| {
            self.flush()?;
            self.send(Ok(BackupMessage::End(end)))
        });
        let Err(error) = sent else { return };
        if matches!(error, StoreError::GivenUp) {
            tracing::info!("a backup was not taken to its end");
        }
        // Without waiting: nobody may be there. What ends without an end is no backup either.
        let _ = self.sender.try_send(Err(match error {
            StoreError::GivenUp => ServiceError::Unavailable("the reader took nothing".into()),
            error => error.into(),
        }));
    }
}
