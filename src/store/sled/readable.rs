//! Whether everything can be read that sled is going to read when it opens.
//!
//! sled takes a part of its log that it cannot read for one that was never written: it opens without what stands there, and
//! writes over it. So all of that is read before sled does, and an error stops the start. What has been read is in the
//! system's page cache then, where sled finds it.
//!
//! After a process that did not close its store, the cache may show what the disk never got. That can only be what was
//! written last: everything before it was synced, or the process would have written no more. So the newest part of the log
//! is read from the disk itself.
//!
//! sled's file is segments of equal size. Each begins with the place in the log that it was written for:
//! crc32:u32 (inverted) ‖ place:i64 ‖ stable:i64, both XORed with `i64::MAX`. The newest snapshot is named after the place from
//! which on the log is read whole; of the segments before it, only the headers are.

use std::{fs::File, io, num::NonZeroU64, os::unix::fs::FileExt as _, path::Path};

use rustix::fs::Advice;

use super::{directory::LOG, options::OpenError};

/// sled's default, which meterd leaves as it is.
const SEGMENT_BYTES: u64 = 512 << 10;
const HEADER_BYTES: usize = 20;
/// More than can have been written since the last successful sync: a commit is synced as it is made, and what else is
/// written waits for a sync every few MiB (`backlog`).
const UNSYNCED_BYTES_MAX: u64 = 256 << 20;

/// Reads what sled will read of the store in a directory, if there is one: what is newest from the disk itself, unless the
/// cache can be trusted.
pub(super) fn check(directory: &Path, trusts_cache: bool) -> Result<(), OpenError> {
    let path = directory.join(LOG);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(OpenError::io("cannot open", &path)(error)),
    };
    if !trusts_cache {
        forget_newest(&file).map_err(OpenError::io("cannot empty the cache of", &path))?;
    }
    let replayed_from =
        newest_snapshot(directory).map_err(OpenError::io("cannot list", directory))?;
    read(&file, replayed_from).map_err(OpenError::io("cannot read", &path))
}

/// Empties the cache of what may not be on the disk.
fn forget_newest(file: &File) -> io::Result<()> {
    // What was not tried yet is now. What cannot be written is not kept for writing either, so that it goes as well.
    if let Err(error) = file.sync_all() {
        tracing::warn!(%error, "the disk lost something that an earlier process wrote; nothing of it was acknowledged");
    }
    for segment in perhaps_unsynced(&segments(file)?) {
        let bytes = NonZeroU64::new(SEGMENT_BYTES);
        rustix::fs::fadvise(file, segment.offset, bytes, Advice::DontNeed)?;
    }
    Ok(())
}

/// A part of sled's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Segment {
    offset: u64,
    /// The place in the log that it was written for, if it is in use.
    place: Option<u64>,
}

/// The newest segments, and those that were perhaps about to become so.
fn perhaps_unsynced(segments: &[Segment]) -> impl Iterator<Item = &Segment> {
    let newest = segments.iter().filter_map(|segment| segment.place).max().unwrap_or(0);
    let synced_before = newest.saturating_sub(UNSYNCED_BYTES_MAX);
    segments.iter().filter(move |segment| segment.place.is_none_or(|place| place >= synced_before))
}

fn read(file: &File, replayed_from: u64) -> io::Result<()> {
    let mut segment = vec![0; SEGMENT_BYTES as usize];
    for Segment { offset, place } in segments(file)? {
        if place.is_some_and(|place| place + SEGMENT_BYTES > replayed_from) {
            read_to_end(file, &mut segment, offset)?;
        }
    }
    Ok(())
}

fn segments(file: &File) -> io::Result<Vec<Segment>> {
    let length = file.metadata()?.len();
    (0..length.div_ceil(SEGMENT_BYTES))
        .map(|index| {
            let offset = index * SEGMENT_BYTES;
            let mut header = [0; HEADER_BYTES];
            let is_whole = file.read_at(&mut header, offset)? == HEADER_BYTES;
            Ok(Segment { offset, place: is_whole.then(|| place(&header)).flatten() })
        })
        .collect()
}

fn read_to_end(file: &File, mut into: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !into.is_empty() {
        let bytes = file.read_at(into, offset)?;
        if bytes == 0 {
            break;
        }
        offset += bytes as u64;
        into = into.get_mut(bytes..).unwrap_or_default();
    }
    Ok(())
}

/// Which place of the log a segment was written for; `None` if it is not in use.
fn place(header: &[u8; HEADER_BYTES]) -> Option<u64> {
    let (checksum, body) = header.split_first_chunk()?;
    if !u32::from_le_bytes(*checksum) != crc32fast::hash(body) {
        return None;
    }
    let place = i64::from_le_bytes(*body.first_chunk()?) ^ i64::MAX;
    u64::try_from(place).ok()
}

/// Up to where the newest snapshot covers the log.
fn newest_snapshot(directory: &Path) -> io::Result<u64> {
    let mut newest = 0;
    for entry in std::fs::read_dir(directory)? {
        let name = entry?.file_name();
        let place = name.to_str().and_then(|name| name.strip_prefix("snap."));
        let place = place.and_then(|place| u64::from_str_radix(place, 16).ok());
        newest = newest.max(place.unwrap_or(0));
    }
    Ok(newest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(number: u64, place: Option<u64>) -> Segment {
        Segment { offset: number * SEGMENT_BYTES, place: place.map(|place| place * SEGMENT_BYTES) }
    }

    #[test]
    fn the_newest_part_of_the_log_may_not_be_on_the_disk() {
        let newest = 10_000;
        let unsynced = UNSYNCED_BYTES_MAX / SEGMENT_BYTES;
        // They stand in any order: what is free is used again.
        let old = segment(0, Some(newest - unsynced - 1));
        let first = segment(3, Some(newest - unsynced));
        let last = segment(1, Some(newest));
        let free = segment(2, None);
        let found: Vec<_> = perhaps_unsynced(&[old, last, free, first]).copied().collect();
        assert_eq!(found, [last, free, first]);
        assert_eq!(perhaps_unsynced(&[segment(0, Some(1))]).count(), 1);
        assert_eq!(perhaps_unsynced(&[]).count(), 0);
    }

    #[test]
    fn a_header_that_is_torn_names_no_place() {
        let mut header = [0; HEADER_BYTES];
        header[4..12].copy_from_slice(&(7_i64 ^ i64::MAX).to_le_bytes());
        let checksum = !crc32fast::hash(&header[4..]);
        header[..4].copy_from_slice(&checksum.to_le_bytes());
        assert_eq!(place(&header), Some(7));
        header[11] ^= 1;
        assert_eq!(place(&header), None);
    }
}
