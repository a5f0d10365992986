//! Which directories and files are believed: only those that no other user can have written. What a snapshot file says is
//! dialled, so a planted one would lead every call astray.

use std::fmt;
use std::fs::{DirBuilder, File, Metadata};
use std::io;
use std::path::Path;

/// The error of a directory or a file that another user can write, or has written.
#[derive(Debug)]
pub(super) struct Untrusted(String);

impl fmt::Display for Untrusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Untrusted {}

/// Whether an error is [`Untrusted`].
pub(super) fn is_untrusted(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|error| error.is::<Untrusted>())
}

/// Creates a directory that no other user can read or write, with its parents; one that exists stays as it is.
pub(super) fn create_directory(directory: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory)
}

/// Creates a file that no other user can read or write.
pub(super) fn create_file(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Refuses a directory in which another user can create or replace files.
pub(super) fn check_directory(directory: &Path) -> io::Result<()> {
    check(&std::fs::metadata(directory)?, "the directory")
}

/// Refuses a file that another user owns or can write.
pub(super) fn check_file(file: &File) -> io::Result<()> {
    check(&file.metadata()?, "the file")
}

#[cfg(unix)]
fn check(metadata: &Metadata, what: &str) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt;

    let us = nix::unistd::geteuid().as_raw();
    refuse(metadata.uid(), metadata.mode(), us).map_or(Ok(()), |why| {
        Err(io::Error::new(io::ErrorKind::PermissionDenied, Untrusted(format!("{what} {why}"))))
    })
}

/// Access control of other systems is not looked at.
#[cfg(not(unix))]
fn check(_: &Metadata, _: &str) -> io::Result<()> {
    Ok(())
}

/// Why something of this owner and mode is not believed by the user `us`.
#[cfg(unix)]
fn refuse(owner: u32, mode: u32, us: u32) -> Option<String> {
    if owner != us && owner != 0 {
        return Some(format!("belongs to another user, {owner}; it must be ours, {us}, or root's"));
    }
    let writable = mode & 0o022 != 0;
    writable.then(|| format!("can be written by other users (mode {:04o}); use 0700 or 0755", mode & 0o7777))
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn only_what_no_other_user_can_write_is_believed() {
        for (owner, mode, believed) in [
            (7, 0o700, true),
            (7, 0o755, true),
            (7, 0o600, true),
            (0, 0o755, true),
            (7, 0o775, false),
            (7, 0o702, false),
            (7, 0o1777, false),
            (0, 0o1777, false),
            (8, 0o700, false),
            (8, 0o1777, false),
        ] {
            assert_eq!(refuse(owner, mode, 7).is_none(), believed, "{owner} {mode:o}");
        }
    }
}
