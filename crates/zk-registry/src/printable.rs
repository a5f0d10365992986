//! Foreign text where it is printed: node names, records, messages of others.
//!
//! These texts are chosen by any client that may write to ZooKeeper. Printed as they are, they could move a terminal's cursor, set its
//! title or clipboard, fake lines, or reverse the direction of what follows. [`Printable`] shows such characters as escapes;
//! [`json`] does the same within JSON, where an escape means the same character.

use std::fmt::{self, Display, Write};
use std::io;

use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, Serializer};

/// A text of which only printable characters are shown; the others become `\u{1b}` and the like, so that one text is one
/// line. Width and alignment of the format are ignored: pad the string.
///
/// ```
/// use zk_registry::printable::Printable;
///
/// assert_eq!(Printable("a\u{1b}[2Jb\n").to_string(), r"a\u{1b}[2Jb\u{a}");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Printable<T>(pub T);

impl<T: Display> Display for Printable<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escape(f), "{}", self.0)
    }
}

/// `value` as one line of JSON; `None` for a value that JSON cannot hold, such as a map without string keys.
pub fn json(value: &(impl Serialize + ?Sized)) -> Option<String> {
    let mut line = Vec::new();
    value.serialize(&mut Serializer::with_formatter(&mut line, JsonEscape(CompactFormatter))).ok()?;
    String::from_utf8(line).ok()
}

struct Escape<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl Write for Escape<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut printed = 0;
        for (at, c) in text.char_indices().filter(|(_, c)| is_unprintable(*c)) {
            self.0.write_str(&text[printed..at])?;
            write!(self.0, "{}", c.escape_unicode())?;
            printed = at + c.len_utf8();
        }
        self.0.write_str(&text[printed..])
    }
}

struct JsonEscape(CompactFormatter);

impl Formatter for JsonEscape {
    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, text: &str) -> io::Result<()> {
        let mut printed = 0;
        for (at, c) in text.char_indices().filter(|(_, c)| is_unprintable(*c)) {
            self.0.write_string_fragment(writer, &text[printed..at])?;
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
            printed = at + c.len_utf8();
        }
        self.0.write_string_fragment(writer, &text[printed..])
    }
}

/// Whether a character is a control character, an end of line, invisible, or changes the direction of the text around it.
fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_reaches_a_terminal_but_what_can_be_seen() {
        let hostile = "\u{1b}]0;title\u{7}\r\n\u{9b}2J\u{202e}gnp\u{7f}\u{2028}\u{e0041}ü é 中";
        let shown = Printable(hostile).to_string();
        assert!(!shown.chars().any(is_unprintable), "{shown}");
        assert!(shown.ends_with("ü é 中") && shown.contains(r"\u{1b}]0;title\u{7}\u{d}\u{a}"), "{shown}");
    }

    proptest! {
        #[test]
        fn json_means_the_same_and_shows_nothing_unprintable(text: String) {
            let line = json(&text).unwrap();
            prop_assert!(!line.chars().any(is_unprintable));
            prop_assert_eq!(serde_json::from_str::<String>(&line).unwrap(), text);
        }
    }
}
