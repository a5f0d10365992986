//! Holds `docs/CLIENT-JSON.md` and the program together: each kind of line must stand in the page exactly as it is written.

use std::fs;
use std::path::Path;

use serde::Serialize;

/// Asserts that the page shows this line.
pub(crate) fn line(line: &impl Serialize) {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/CLIENT-JSON.md");
    let page = fs::read_to_string(page).unwrap();
    let line = serde_json::to_string(line).unwrap();
    assert!(page.lines().any(|shown| shown == line), "docs/CLIENT-JSON.md does not show\n{line}");
}
