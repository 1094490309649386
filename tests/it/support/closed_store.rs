//! What a store leaves on the disk, looked at behind its back.

use std::{
    path::Path,
    time::{Duration, Instant},
};

/// Opens the tree of a store that was just closed, which may hold its lock for a moment.
pub fn open_tree(directory: &Path) -> sled::Db {
    let began = Instant::now();
    loop {
        match sled::open(directory) {
            Ok(tree) => return tree,
            Err(error) if began.elapsed() > Duration::from_secs(30) => panic!("{error}"),
            Err(_) => std::thread::yield_now(),
        }
    }
}
