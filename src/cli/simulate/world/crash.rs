//! What a killed process leaves: its files as they are at that moment.
//!
//! The process that simulates lives on, and would write more when it closes the store. So the files are copied before, and
//! the copy takes their place. What the store had staged and not flushed is in no file, and lost.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;

/// Copies the files of a store that nobody writes to.
pub(super) fn image_of(data_dir: &Path) -> anyhow::Result<PathBuf> {
    let mut name = OsString::from(data_dir);
    name.push(".crashed");
    let image = PathBuf::from(name);
    copy_directory(data_dir, &image)?;
    Ok(image)
}

/// Makes the copy the store.
pub(super) fn put_in_place(image: &Path, data_dir: &Path) -> anyhow::Result<()> {
    fs::remove_dir_all(data_dir)
        .and_then(|()| fs::rename(image, data_dir))
        .with_context(|| format!("cannot put the image of a crash at {}", data_dir.display()))
}

fn copy_directory(from: &Path, to: &Path) -> anyhow::Result<()> {
    let failed = || format!("cannot copy {} to {}", from.display(), to.display());
    fs::create_dir(to).with_context(failed)?;
    for entry in fs::read_dir(from).with_context(failed)? {
        let entry = entry.with_context(failed)?;
        let target = to.join(entry.file_name());
        if entry.file_type().with_context(failed)?.is_dir() {
            copy_directory(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target).with_context(failed)?;
        }
    }
    Ok(())
}
