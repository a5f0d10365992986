//! The checkout that the tests belong to, and where this build of it lies.

use std::path::{Path, PathBuf};

/// The root of the checkout: this package is one level below it.
pub fn checkout() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package)
}

/// The target directory of this build.
///
/// # Panics
///
/// When the running program does not lie in one.
pub fn target_directory() -> PathBuf {
    layout().0
}

/// The target directory and the profile of the running test: it lies in `<target>/<profile>[/deps]`.
pub(crate) fn layout() -> (PathBuf, String) {
    let exe = std::env::current_exe().expect("a running program has a path");
    let mut directory = exe.parent().expect("a file is in a directory");
    if directory.ends_with("deps") || directory.ends_with("examples") {
        directory = directory.parent().expect("deps lies in the profile's directory");
    }
    let profile = directory.file_name().expect("the profile names it").to_string_lossy().into_owned();
    (directory.parent().expect("the profile lies in the target directory").to_owned(), profile)
}
