//! Opening files of a directory that others may have written to.

use std::{
    fs::{File, OpenOptions},
    io::{self, ErrorKind},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

/// Opens a file for reading, and says how many bytes it has. A link would lead out of the directory; a pipe or a device might
/// never come to an end, or not even open.
pub(super) fn open(path: &Path) -> io::Result<(File, u64)> {
    open_with(path, OpenOptions::new().read(true))
}

/// The same with other options.
pub(super) fn open_with(path: &Path, options: &mut OpenOptions) -> io::Result<(File, u64)> {
    let not_regular = || io::Error::new(ErrorKind::InvalidInput, "it is no regular file");
    // Opening a pipe would wait for its other end. Regular files have none.
    let opened = options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path);
    let file = opened.map_err(|error| match error.raw_os_error() {
        Some(libc::ELOOP | libc::ENXIO) => not_regular(),
        _ => error,
    })?;
    let about = file.metadata()?;
    if about.is_file() { Ok((file, about.len())) } else { Err(not_regular()) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn regular_file_opens_and_nothing_else_does() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        std::fs::write(path("file"), "12345").unwrap();
        assert_eq!(open(&path("file")).unwrap().1, 5);
        std::os::unix::fs::symlink(path("file"), path("link")).unwrap();
        std::os::unix::fs::symlink("/dev/zero", path("zero")).unwrap();
        let fifo = std::ffi::CString::new(path("fifo").to_str().unwrap()).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &*fifo,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .unwrap();
        let _socket = UnixListener::bind(path("socket")).unwrap();
        std::fs::create_dir(path("directory")).unwrap();
        for name in ["link", "zero", "fifo", "socket", "directory"] {
            let error = open(&path(name)).unwrap_err();
            assert_eq!(error.to_string(), "it is no regular file", "{name}");
        }
        assert_eq!(open(&path("none")).unwrap_err().kind(), ErrorKind::NotFound);
        let error = open_with(&path("fifo"), OpenOptions::new().write(true)).unwrap_err();
        assert_eq!(error.to_string(), "it is no regular file");
    }
}
