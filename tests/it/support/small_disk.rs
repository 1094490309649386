//! A small filesystem of its own, unmounted at the end.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

pub struct SmallDisk {
    pub mount_point: PathBuf,
}

impl SmallDisk {
    /// Mounts one of so many bytes beneath `directory`; `None`, and a word about it, where nothing may be mounted.
    pub fn mount(directory: &Path, bytes: u64) -> Option<Self> {
        let image = directory.join("image");
        let mount_point = directory.join("disk");
        std::fs::create_dir(&mount_point).unwrap();
        std::fs::File::create(&image).unwrap().set_len(bytes).unwrap();
        let run = |program: &str, arguments: &[&str]| {
            Command::new(program)
                .args(arguments)
                .output()
                .is_ok_and(|output| output.status.success())
        };
        let mounted = run("mkfs.ext4", &["-q", "-F", image.to_str().unwrap()])
            && run(
                "mount",
                &["-o", "loop", image.to_str().unwrap(), mount_point.to_str().unwrap()],
            );
        if !mounted {
            eprintln!(
                "SKIPPED: no loop device may be mounted here; ARCHITECTURE.md has the manual procedure"
            );
        }
        mounted.then_some(Self { mount_point })
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.mount_point).status();
    }
}
