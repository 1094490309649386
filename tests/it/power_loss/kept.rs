//! What failed is kept, to be looked at and judged again: what the disk held, whose deeds they were, and how far they had come.
//! Recordings of one seed differ in their details, what is kept does not.

use std::{fs, io, path::Path};

use super::recording::{LANES, Progress, Recording};
use crate::support::disk::Tree;

const DISK: &str = "disk";
const POINT: &str = "point";

/// Writes what failed into an empty directory.
pub fn write(
    directory: &Path,
    recording: &Recording,
    progress: Progress,
    image: &Tree,
) -> io::Result<()> {
    let disk = directory.join(DISK);
    fs::create_dir(&disk)?;
    image.write_to(&disk)?;
    let deeds = [recording.deeds[0].len(), recording.deeds[1].len()];
    let numbers = [deeds, progress.begun, progress.done].concat();
    let numbers: Vec<String> = numbers.iter().map(ToString::to_string).collect();
    fs::write(directory.join(POINT), format!("{} {}\n", recording.seed, numbers.join(" ")))
}

/// Reads what failed.
pub fn read(directory: &Path) -> io::Result<(Recording, Progress, Tree)> {
    let image = Tree::read_from(&directory.join(DISK))?;
    let point = fs::read_to_string(directory.join(POINT))?;
    let numbers: Option<Vec<u64>> =
        point.split_whitespace().map(|text| text.parse().ok()).collect();
    let [seed, numbers @ ..] = &numbers.unwrap_or_default()[..] else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    let [deeds, begun, done] = numbers
        .chunks_exact(LANES)
        .map(|pair| [pair[0] as usize, pair[1] as usize])
        .collect::<Vec<_>>()
        .try_into()
        .map_err(|_| io::ErrorKind::InvalidData)?;
    Ok((Recording::planned(*seed, deeds), Progress { begun, done }, image))
}
