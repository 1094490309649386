//! Whether a store that a power cut left still keeps every promise.
//!
//! Everything acknowledged goes into the reference model. The store must then answer just as the model does, or as it does
//! when what was in flight is added whole. After that everything is sent once more, the totals are compared again, and
//! `verify` recounts them from the log.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

use meterd::store::{
    UsageStore,
    memory::MemoryStore,
    sled::{SledStore, verify},
};
use tempfile::TempDir;

use super::{
    comparison::{compare_decisions, side_difference, usage_difference},
    deeds::Deed,
    kept,
    recording::{LANES, Progress, Recording, options},
};
use crate::support::disk::Tree;

/// What is wrong with a store, and the directory in which it is kept to be looked at.
#[derive(Debug)]
pub struct Failure {
    pub what: String,
    pub kept: std::path::PathBuf,
}

/// A directory in memory where there is one: images are written by the thousand.
fn scratch() -> TempDir {
    let memory = Path::new("/dev/shm");
    let mut builder = tempfile::Builder::new();
    builder.prefix("meterd-power-");
    if memory.is_dir() { builder.tempdir_in(memory) } else { builder.tempdir() }.unwrap()
}

/// Opens the store of an image and looks whether it has what `progress` says, once.
pub fn judge(recording: &Recording, progress: Progress, image: &Tree) -> Result<(), Failure> {
    let directory = scratch();
    image.write_to(directory.path()).unwrap();
    let data_dir = directory.path().join(recording.data_dir);
    let judged = catch_unwind(AssertUnwindSafe(|| examine(recording, progress, image, &data_dir)));
    let what = match judged {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(what)) => what,
        Err(panic) => match panic.downcast_ref::<String>() {
            Some(text) => format!("panicked: {text}"),
            None => "panicked".into(),
        },
    };
    // What failed is changed by now; what is kept is what it was.
    let kept = scratch();
    kept::write(kept.path(), recording, progress, image).unwrap();
    Err(Failure { what, kept: kept.keep() })
}

fn examine(
    recording: &Recording,
    progress: Progress,
    image: &Tree,
    data_dir: &Path,
) -> Result<(), String> {
    // A store opens without its head, and would then no longer notice when the end of its log is cut off.
    let head = image.find(&format!("{}/head", recording.data_dir));
    let head = head.and_then(|inode| image.file(inode)).map_or(&[][..], Vec::as_slice);
    if progress.done != [0; LANES] && head.iter().all(|byte| *byte == 0) {
        return Err("the head file is gone, or says nothing".into());
    }
    let store = SledStore::open(options(data_dir)).map_err(|error| {
        let source = std::error::Error::source(&error).map(ToString::to_string);
        format!("does not open: {error} {}", source.unwrap_or_default())
    })?;
    let memory = MemoryStore::new();
    for (deeds, done) in recording.deeds.iter().zip(progress.done) {
        for deed in &deeds[..done] {
            deed.perform(&memory).map_err(|error| error.to_string())?;
        }
    }
    let differences = [usage_difference, side_difference];
    for (lane, difference) in differences.into_iter().enumerate() {
        let in_flight = recording.deeds[lane][progress.done[lane]..progress.begun[lane]].first();
        settle(&store, &memory, in_flight, difference)?;
    }
    send_again(recording, progress, &store, &memory)?;
    for difference in differences {
        difference(&store, &memory).map_or(Ok(()), |what| Err(format!("sent again: {what}")))?;
    }
    let stored = memory.statistics().records;
    if store.statistics().records != stored {
        let counted = store.statistics().records;
        return Err(format!("{counted} uuids are known, and {stored} were stored"));
    }
    drop(store);
    let report = verify(data_dir, &mut |_| {}).map_err(|error| error.to_string())?;
    if let Some(difference) = report.differences.first() {
        return Err(format!("verify: {difference}"));
    }
    if report.records + report.api_events != stored {
        return Err(format!("verify counts {report:?}, and {stored} were stored"));
    }
    Ok(())
}

type Difference = fn(&SledStore, &MemoryStore) -> Option<String>;

/// Brings the model to where the store is: nothing of what was in flight, or one more step of it.
fn settle(
    store: &SledStore,
    memory: &MemoryStore,
    in_flight: Option<&Deed>,
    difference: Difference,
) -> Result<(), String> {
    let Some(without) = difference(store, memory) else { return Ok(()) };
    let mut with = String::new();
    for (deed, step) in
        in_flight.into_iter().flat_map(|deed| (0..deed.steps()).map(move |step| (deed, step)))
    {
        deed.perform_step(memory, step).map_err(|error| error.to_string())?;
        match difference(store, memory) {
            None => return Ok(()),
            Some(what) => with = format!("; with step {step} of what was in flight: {what}"),
        }
    }
    Err(format!("{without}{with}"))
}

/// Every deed that ever began is done again, in order. What was acknowledged is a duplicate of the right original.
fn send_again(
    recording: &Recording,
    progress: Progress,
    store: &SledStore,
    memory: &MemoryStore,
) -> Result<(), String> {
    for (at, deed) in recording.deeds[0][..progress.begun[0]].iter().enumerate() {
        let Deed::Usage(usage) = deed else { continue };
        compare_decisions(usage, store, memory).map_err(|what| format!("commit {at}: {what}"))?;
    }
    if let Some(deed) = recording.deeds[1][progress.done[1]..progress.begun[1]].first() {
        for store in [store as &dyn UsageStore, memory] {
            deed.perform(store).map_err(|error| error.to_string())?;
        }
    }
    Ok(())
}
