//! Whether everything can be read that sled is going to read when it opens.
//!
//! sled takes a part of its log that it cannot read for one that was never written: it opens without what stands there, and
//! writes over it. So all of that is read before sled does, and an error stops the start. What has been read is in the
//! system's page cache then, where sled finds it.
//!
//! sled's file is segments of equal size. Each begins with the place in the log that it was written for:
//! crc32:u32 (inverted) ‖ place:i64 ‖ stable:i64, both XORed with `i64::MAX`. The newest snapshot is named after the place from
//! which on the log is read whole; of the segments before it, only the headers are.

use std::{fs::File, io, os::unix::fs::FileExt as _, path::Path};

use rustix::fs::Advice;

use super::{directory::LOG, options::OpenError};

/// sled's default, which meterd leaves as it is.
const SEGMENT_BYTES: u64 = 512 << 10;
const HEADER_BYTES: usize = 20;

/// Reads what sled will read of the store in a directory, if there is one: from the disk itself unless the cache can be
/// trusted.
pub(super) fn check(directory: &Path, trusts_cache: bool) -> Result<(), OpenError> {
    let path = directory.join(LOG);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(OpenError::io("cannot open", &path)(error)),
    };
    if !trusts_cache {
        empty_cache(&file).map_err(OpenError::io("cannot empty the cache of", &path))?;
    }
    let replayed_from =
        newest_snapshot(directory).map_err(OpenError::io("cannot list", directory))?;
    read(&file, replayed_from).map_err(OpenError::io("cannot read", &path))
}

fn empty_cache(file: &File) -> io::Result<()> {
    // What was not tried yet is now. What cannot be written is not kept for writing either, so that it goes as well.
    if let Err(error) = file.sync_all() {
        tracing::warn!(%error, "the disk lost something that an earlier process wrote; nothing of it was acknowledged");
    }
    Ok(rustix::fs::fadvise(file, 0, None, Advice::DontNeed)?)
}

fn read(file: &File, replayed_from: u64) -> io::Result<()> {
    let length = file.metadata()?.len();
    let mut segment = vec![0; SEGMENT_BYTES as usize];
    for index in 0..length.div_ceil(SEGMENT_BYTES) {
        let offset = index * SEGMENT_BYTES;
        let mut header = [0; HEADER_BYTES];
        if file.read_at(&mut header, offset)? < HEADER_BYTES {
            continue;
        }
        if place(&header).is_some_and(|place| place + SEGMENT_BYTES > replayed_from) {
            read_to_end(file, &mut segment, offset)?;
        }
    }
    Ok(())
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
