//! What must hold of the files that people write.

/// Catalog files.
///
/// # Panics
/// If an export could not be applied again as it is, or a fault has no place in its file.
pub fn catalog_file(input: &[u8]) {
    super::catalog_file::fuzzing::catalog_file(input);
}
