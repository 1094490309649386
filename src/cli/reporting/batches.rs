//! Puts records of one target together, since a message is of one target.

use std::{collections::BTreeMap, time::Duration};

use tokio::{sync::mpsc, time::timeout};

use super::reading::{InputRecord, UsageKind};
use crate::domain::limits::{API_EVENTS_MAX, STREAM_RECORDS_MAX};

/// Records of one message.
const BATCH_RECORDS_MAX: usize = STREAM_RECORDS_MAX;
const _: () = assert!(BATCH_RECORDS_MAX <= API_EVENTS_MAX, "every kind of message takes as many");

/// Records that may wait for company, over all targets.
const WAITING_RECORDS_MAX: usize = 16 * BATCH_RECORDS_MAX;

/// How long a record waits for company when no more arrive: a pipe may be slow.
const IDLE_FLUSH: Duration = Duration::from_millis(200);

/// Batches that may wait for a free place on the wire.
const READY_BATCHES_MAX: usize = 4;

/// Records of one target, in the order of the input.
pub(in crate::cli) struct Batch<U: UsageKind> {
    pub(in crate::cli) target: U::Target,
    pub(in crate::cli) records: Vec<U::Record>,
    /// The line of each.
    pub(in crate::cli) lines: Vec<u64>,
}

/// Turns records into batches; ends when the records do.
pub(super) fn of<U: UsageKind>(
    mut records: mpsc::Receiver<InputRecord<U>>,
) -> mpsc::Receiver<Batch<U>> {
    let (ready, batches) = mpsc::channel(READY_BATCHES_MAX);
    tokio::spawn(async move {
        let mut waiting = Waiting::<U>::new();
        let mut arrived = Vec::with_capacity(BATCH_RECORDS_MAX);
        loop {
            let full = match timeout(IDLE_FLUSH, records.recv_many(&mut arrived, BATCH_RECORDS_MAX))
                .await
            {
                Ok(0) => break,
                Ok(_) => arrived.drain(..).flat_map(|record| waiting.add(record)).collect(),
                Err(_) => waiting.take_all(),
            };
            for batch in full {
                if ready.send(batch).await.is_err() {
                    return;
                }
            }
        }
        for batch in waiting.take_all() {
            if ready.send(batch).await.is_err() {
                return;
            }
        }
    });
    batches
}

struct Waiting<U: UsageKind> {
    by_target: BTreeMap<U::Target, Batch<U>>,
    records: usize,
}

impl<U: UsageKind> Waiting<U> {
    fn new() -> Self {
        Self { by_target: BTreeMap::new(), records: 0 }
    }

    /// Adds a record, and answers what must go out now.
    fn add(&mut self, record: InputRecord<U>) -> Vec<Batch<U>> {
        let batch = self.by_target.entry(record.target.clone()).or_insert_with(|| Batch {
            target: record.target,
            records: Vec::new(),
            lines: Vec::new(),
        });
        batch.records.push(record.record);
        batch.lines.push(record.line);
        self.records += 1;
        if batch.records.len() == BATCH_RECORDS_MAX {
            let target = batch.target.clone();
            self.records -= BATCH_RECORDS_MAX;
            return self.by_target.remove(&target).into_iter().collect();
        }
        if self.records >= WAITING_RECORDS_MAX {
            return self.take_all();
        }
        Vec::new()
    }

    fn take_all(&mut self) -> Vec<Batch<U>> {
        self.records = 0;
        std::mem::take(&mut self.by_target).into_values().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Invented;

    impl UsageKind for Invented {
        type Line = ();
        type Target = String;
        type Record = ();
        const NOUN: &'static str = "inventions";

        fn record(&self, (): ()) -> Result<(String, ()), String> {
            Ok((String::new(), ()))
        }

        fn uuid((): &()) -> &str {
            ""
        }

        fn printed<'a>(target: &'a String, (): &'a ()) -> impl serde::Serialize + use<'a> {
            target
        }
    }

    fn record(line: u64, target: &str) -> InputRecord<Invented> {
        InputRecord { line, target: target.to_owned(), record: () }
    }

    #[test]
    fn a_batch_is_of_one_target_and_never_too_large() {
        let mut waiting = Waiting::new();
        let mut sent = Vec::new();
        for line in 1..=2500 {
            sent.extend(waiting.add(record(line, if line % 5 == 0 { "rare" } else { "common" })));
        }
        sent.extend(waiting.take_all());
        let sizes: Vec<usize> = sent.iter().map(|batch| batch.records.len()).collect();
        assert_eq!(sizes, [1000, 1000, 500]);
        assert_eq!(sent[2].lines.first(), Some(&5));
        assert!(sent.iter().all(|batch| batch.lines.is_sorted()));
    }

    #[test]
    fn many_targets_do_not_wait_without_end() {
        let mut waiting = Waiting::new();
        let sent: usize = (1..=WAITING_RECORDS_MAX as u64)
            .flat_map(|line| waiting.add(record(line, &format!("product-{line}"))))
            .map(|batch| batch.records.len())
            .sum();
        assert_eq!((sent, waiting.records), (WAITING_RECORDS_MAX, 0));
    }
}
