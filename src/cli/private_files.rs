//! Files that only their owner may read.

use rustix::{fs::Mode, process::umask};

/// Keeps others out of every file that this process makes from now on. The store makes some of its files itself, and does not
/// ask for a mode.
pub(super) fn make_files_private() {
    umask(Mode::RWXG | Mode::RWXO);
}
