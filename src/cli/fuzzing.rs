//! What must hold of the files that people write, of backups, and of signed checkpoints.

/// Catalog files.
///
/// # Panics
/// If an export could not be applied again as it is, or a fault has no place in its file.
pub fn catalog_file(input: &[u8]) {
    super::catalog_file::fuzzing::catalog_file(input);
}

/// Backups and signed checkpoints: what is kept elsewhere.
///
/// # Panics
/// If one does not read back as it was written, or can be read and makes no sense.
pub fn backup(input: &[u8]) {
    super::backup::fuzzing::backup(input);
}
