//! Holds `docs/CLIENT-JSON.md` and the program together: the page shows each kind of line exactly as it is written, and no
//! other. Each module names its own lines.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde::Serialize;

/// A line as it is written.
pub(crate) fn line(line: &impl Serialize) -> String {
    serde_json::to_string(line).unwrap()
}

/// Fails unless the page shows exactly these lines.
pub(crate) fn check(written: impl IntoIterator<Item = Vec<String>>) {
    let written: BTreeSet<String> = written.into_iter().flatten().collect();
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/CLIENT-JSON.md");
    let page = fs::read_to_string(page).unwrap();
    let shown: BTreeSet<String> =
        page.lines().filter(|line| line.starts_with('{')).map(str::to_owned).collect();
    let missing: Vec<_> = written.difference(&shown).collect();
    let foreign: Vec<_> = shown.difference(&written).collect();
    assert!(missing.is_empty() && foreign.is_empty(), "not shown: {missing:#?}, not written: {foreign:#?}");
}
