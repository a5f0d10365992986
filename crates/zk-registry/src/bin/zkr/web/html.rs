//! Foreign text in HTML: it is text there, whatever it looks like.

use std::fmt::{self, Display, Write};

use zk_registry::printable::Printable;

/// A text that is shown as it is, in an element or in an attribute with quotes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Text<T>(pub(super) T);

impl<T: Display> Display for Text<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escape(f), "{}", Printable(&self.0))
    }
}

struct Escape<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl Write for Escape<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for piece in text.split_inclusive(['&', '<', '>', '"', '\'']) {
            let end = piece.char_indices().next_back();
            let (plain, escape) = match end {
                Some((at, '&')) => (&piece[..at], "&amp;"),
                Some((at, '<')) => (&piece[..at], "&lt;"),
                Some((at, '>')) => (&piece[..at], "&gt;"),
                Some((at, '"')) => (&piece[..at], "&quot;"),
                Some((at, '\'')) => (&piece[..at], "&#39;"),
                _ => (piece, ""),
            };
            self.0.write_str(plain)?;
            self.0.write_str(escape)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_others_wrote_is_markup() {
        let hostile = "<script>alert(1)</script>\" onclick='x'&amp;\u{202e}\n";
        let shown = Text(hostile).to_string();
        assert_eq!(
            shown,
            r"&lt;script&gt;alert(1)&lt;/script&gt;&quot; onclick=&#39;x&#39;&amp;amp;\u{202e}\u{a}"
        );
    }
}
