//! Whether a program may colour what it writes.

use std::env;
use std::ffi::OsStr;
use std::io::IsTerminal;

/// Whether `stream` is a terminal that takes colours and whose user wants them: not where `NO_COLOR` is set to something
/// (<https://no-color.org>) or `TERM` is `dumb`.
pub fn wants_colours(stream: &impl IsTerminal) -> bool {
    let (no_color, term) = (env::var_os("NO_COLOR"), env::var_os("TERM"));
    stream.is_terminal() && !refuses(no_color.as_deref(), term.as_deref())
}

fn refuses(no_color: Option<&OsStr>, term: Option<&OsStr>) -> bool {
    no_color.is_some_and(|value| !value.is_empty()) || term.is_some_and(|term| term == "dumb")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_for_terminals_and_for_who_wants_them() {
        assert!(!refuses(None, Some(OsStr::new("xterm"))));
        assert!(!refuses(Some(OsStr::new("")), None));
        assert!(refuses(Some(OsStr::new("1")), None));
        assert!(refuses(None, Some(OsStr::new("dumb"))));
        assert!(!wants_colours(&std::fs::File::open("/dev/null").unwrap()));
    }
}
