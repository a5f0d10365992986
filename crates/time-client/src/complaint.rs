//! The one way in which the program complains: a line on standard error.

use std::fmt::Display;
use std::io::{self, Write as _};

use zk_registry::printable::Printable;

/// Writes one line on standard error. A line that cannot be written is dropped: the exit code still says it.
pub(crate) fn complain(what: &dyn Display) {
    let _ = writeln!(io::stderr(), "time-client: {}", Printable(what));
}
