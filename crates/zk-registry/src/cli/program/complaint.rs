//! The one way in which a program complains: a line on standard error.

use std::fmt::Display;
use std::io::{self, Write as _};

use crate::printable::Printable;

/// Writes one line on standard error, behind the program's name. A line that cannot be written is dropped: the exit code still
/// says it.
pub fn complain(program: &str, what: &dyn Display) {
    let _ = writeln!(io::stderr(), "{program}: {}", Printable(what));
}
