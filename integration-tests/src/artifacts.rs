//! The files that a failed test leaves behind, below `failed-tests` of the target directory: a directory per test with the whole logs
//! of its servers and programs, and its seed. What it printed shows the ends of them only.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::thread;

use crate::checkout::target_directory;

/// Writes down `text` as `file` of the test that runs on this thread, in place of what its last failure left.
///
/// It is for drops while a test fails: an error is printed, as a second panic would abort the whole run.
pub fn keep(file: &str, text: &str) {
    let directory = target_directory().join("failed-tests").join(test());
    match write(&directory, file, text) {
        Ok(()) => eprintln!("kept: {}", directory.join(file).display()),
        Err(error) => eprintln!("{file} could not be kept in {}: {error}", directory.display()),
    }
}

/// The test runner names each test's thread after it.
fn test() -> String {
    thread::current().name().unwrap_or("nameless").replace("::", ".")
}

fn write(directory: &Path, file: &str, text: &str) -> io::Result<()> {
    static BEGUN: LazyLock<Mutex<HashSet<PathBuf>>> = LazyLock::new(Mutex::default);
    if BEGUN.lock().unwrap_or_else(PoisonError::into_inner).insert(directory.to_owned())
        && let Err(error) = fs::remove_dir_all(directory)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    fs::create_dir_all(directory)?;
    fs::write(directory.join(file), text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_found_by_the_name_of_its_test() {
        keep("first", "1");
        keep("second", "2");
        let directory = target_directory()
            .join("failed-tests/artifacts.tests.what_is_kept_is_found_by_the_name_of_its_test");
        assert_eq!(fs::read_to_string(directory.join("first")).unwrap(), "1");
        assert_eq!(fs::read_to_string(directory.join("second")).unwrap(), "2");
        fs::remove_dir_all(directory).unwrap();
    }
}
