//! What is kept elsewhere, made up and damaged: the name of a backup, its manifest and its entries, and signed checkpoints.

use super::{
    directory::parse_name,
    manifest::{DataFile, FORMAT, Kind, Manifest, Place, directory_name},
};
use crate::{
    cli::{checkpoint::fuzzing::checkpoint, hexadecimal::hexadecimal},
    domain::{
        fuzzing::{Choices, damaged, made_up, text},
        usage::LogSequence,
    },
    store::{
        LINK_BYTES, LogPosition,
        backup::{BackupSection, ENTRY_VALUE_BYTES_MAX, EntryReader, put_entry},
    },
};

/// A key, and its value unless the key is gone.
type Entry = (Vec<u8>, Option<Vec<u8>>);

pub(in crate::cli) fn backup(input: &[u8]) {
    let mut choices = Choices::new(input);
    match choices.pick(6) {
        0 => made_up_manifest(&mut choices),
        1 => manifest_text(choices.rest()),
        2 => made_up_entries(&mut choices),
        3 => any_entries(choices.rest()),
        4 => name(&mut choices),
        _ => checkpoint(&mut choices),
    }
}

fn name(choices: &mut Choices<'_>) {
    let number = choices.number() as u32;
    let kind = choices.of(&[Kind::Full, Kind::Increment]);
    let name = directory_name(number, kind);
    assert_eq!(parse_name(&name), Some((number, name.clone())));
    let other = damaged(name.into_bytes(), choices);
    for bytes in [&other, choices.rest()] {
        if let Some(read) = text(bytes).and_then(parse_name) {
            let is_name = |kind| read == (read.0, directory_name(read.0, kind));
            assert!(is_name(Kind::Full) || is_name(Kind::Increment), "{read:?}");
        }
    }
}

fn made_up_manifest(choices: &mut Choices<'_>) {
    let mut sequences = [choices.number(), choices.number()].map(|number| number >> 1);
    sequences.sort_unstable();
    let link = [choices.byte(); LINK_BYTES];
    let [after, through] =
        sequences.map(|sequence| Place::of(&LogPosition { sequence: LogSequence(sequence), link }));
    let manifest = Manifest {
        format: FORMAT,
        number: choices.number() as u32,
        kind: choices.of(&[Kind::Full, Kind::Increment]),
        previous_manifest_sha256: choices.once_in(2).then(|| hexadecimal(&link)),
        store_id: made_up::uuid(choices).to_string(),
        began: made_up::instant(choices).to_string(),
        completed: made_up::instant(choices).to_string(),
        after,
        through,
        files: (0..choices.pick(4)).map(|_| data_file(choices)).collect(),
    };
    let text = manifest.to_text().expect("texts and numbers");
    let read = Manifest::parse(&text).expect("a manifest");
    assert_eq!(read, manifest);
    let links = [&read.after, &read.through].map(|place| place.position().map(|at| at.link).ok());
    assert_eq!(links, [Some(link); 2]);
    manifest_text(&damaged(text, choices));
}

fn data_file(choices: &mut Choices<'_>) -> DataFile {
    DataFile {
        name: made_up::name(choices),
        bytes: choices.number() >> 8,
        entries: choices.number(),
        sha256: hexadecimal(&[choices.byte(); 32]),
    }
}

/// Whatever can be read says the same when it is written again, and can be counted with.
fn manifest_text(text: &[u8]) {
    let Ok(manifest) = Manifest::parse(text) else { return };
    let again = manifest.to_text().expect("texts and numbers");
    assert_eq!(Manifest::parse(&again).ok().as_ref(), Some(&manifest));
    let each =
        BackupSection::ALL.map(|section| manifest.file(section).map_or(0, |file| file.bytes));
    assert!(each.iter().all(|bytes| *bytes <= manifest.bytes()));
    let Manifest { after, through, .. } = &manifest;
    assert!(after.sequence <= through.sequence && through.sequence.checked_add(1).is_some());
    for place in [after, through] {
        if let Ok(position) = place.position() {
            assert_eq!(Place::of(&position), *place);
        }
    }
}

fn made_up_entries(choices: &mut Choices<'_>) {
    let entries: Vec<Entry> = (0..choices.pick(4))
        .map(|_| {
            let key = vec![choices.byte(); choices.pick(64)];
            let bytes = if choices.once_in(8) { ENTRY_VALUE_BYTES_MAX } else { choices.pick(64) };
            let value = vec![choices.byte(); bytes];
            (key, choices.once_in(2).then_some(value))
        })
        .collect();
    let bytes = encoded(&entries);
    assert_eq!(read(&bytes), (entries.clone(), true));
    // One byte changed: what comes before it is read, and nothing from there on.
    let mut changed = bytes.clone();
    let place = choices.place(bytes.len().saturating_sub(1));
    if let Some(byte) = changed.get_mut(place) {
        *byte ^= choices.byte().max(1);
        let (whole, is_end) = read(&changed);
        assert!(!is_end && entries.starts_with(&whole), "{changed:02x?}");
        assert!(encoded(&whole).len() <= place);
    }
    any_entries(&damaged(bytes, choices));
}

/// What can be read of any bytes is what they begin with, and all of them if it comes to its end.
fn any_entries(bytes: &[u8]) {
    let (entries, is_end) = read(bytes);
    let again = encoded(&entries);
    assert!(bytes.starts_with(&again));
    assert_eq!(is_end, again.len() == bytes.len());
}

fn encoded(entries: &[Entry]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (key, value) in entries {
        put_entry(&mut bytes, key, value.as_deref());
    }
    bytes
}

/// The entries up to the end, or up to what is none.
fn read(bytes: &[u8]) -> (Vec<Entry>, bool) {
    let (mut reader, mut found) = (EntryReader::new(bytes), Vec::new());
    loop {
        match reader.next_entry() {
            Ok(Some((key, value))) => found.push((key.to_vec(), value.map(<[u8]>::to_vec))),
            Ok(None) => return (found, true),
            Err(_) => return (found, false),
        }
    }
}
