//! How things look, with colours and without.

use std::env;

use ratatui::style::{Color, Modifier, Style};
use ratatui::symbols::bar;
use zk_registry::cli::wants_colours;

/// What the terminal can show.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Theme {
    pub(crate) colours: Colours,
    pub(crate) glyphs: Glyphs,
}

/// Whether there are colours.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Colours {
    None,
    Ansi,
}

/// The characters that bars are made of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Glyphs {
    Ascii,
    Unicode,
}

/// What a piece of text is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Role {
    Bad,
    Faint,
    Good,
    Head,
    Marked,
    Plain,
    Warn,
}

impl Theme {
    /// What the environment says of the terminal on standard output.
    pub(crate) fn of_this_terminal() -> Self {
        let term = env::var("TERM").unwrap_or_default();
        let colours = if wants_colours(&std::io::stdout()) && !is_monochrome(&term) {
            Colours::Ansi
        } else {
            Colours::None
        };
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
            .into_iter()
            .find_map(|name| env::var(name).ok().filter(|set| !set.is_empty()));
        Self {
            colours,
            glyphs: if locale.is_some_and(|locale| is_utf8(&locale)) {
                Glyphs::Unicode
            } else {
                Glyphs::Ascii
            },
        }
    }

    pub(crate) fn style(self, role: Role) -> Style {
        let plain = Style::new();
        match (self.colours, role) {
            (_, Role::Plain) => plain,
            (_, Role::Marked) => plain.add_modifier(Modifier::REVERSED),
            (_, Role::Head) => plain.add_modifier(Modifier::BOLD),
            (Colours::Ansi, Role::Bad) => plain.fg(Color::Red),
            (Colours::Ansi, Role::Faint) => plain.add_modifier(Modifier::DIM),
            (Colours::Ansi, Role::Good) => plain.fg(Color::Green),
            (Colours::Ansi, Role::Warn) => plain.fg(Color::Yellow),
            (Colours::None, Role::Bad | Role::Good | Role::Warn) => plain.add_modifier(Modifier::BOLD),
            (Colours::None, Role::Faint) => plain,
        }
    }

    pub(crate) fn bars(self) -> bar::Set<'static> {
        match self.glyphs {
            Glyphs::Ascii => ASCII_BARS,
            Glyphs::Unicode => bar::NINE_LEVELS,
        }
    }
}

const ASCII_BARS: bar::Set<'static> = bar::Set {
    full: "#",
    seven_eighths: "*",
    three_quarters: "*",
    five_eighths: "+",
    half: "=",
    three_eighths: "-",
    one_quarter: ".",
    one_eighth: "_",
    empty: " ",
};

/// Whether a terminal of this name has no colours: those of DEC, and whatever ends in the word that terminfo has for it.
fn is_monochrome(term: &str) -> bool {
    ["vt1", "vt2", "vt3", "vt4"].iter().any(|dec| term.starts_with(dec))
        || term.ends_with("-m")
        || term.ends_with("-mono")
}

fn is_utf8(locale: &str) -> bool {
    let locale = locale.to_ascii_lowercase();
    locale.contains("utf-8") || locale.contains("utf8")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_colours_nothing_is_coloured_and_what_is_marked_can_be_told() {
        let plain = Theme { colours: Colours::None, glyphs: Glyphs::Ascii };
        for role in [Role::Bad, Role::Faint, Role::Good, Role::Head, Role::Marked, Role::Plain, Role::Warn] {
            assert_eq!((plain.style(role).fg, plain.style(role).bg), (None, None));
        }
        assert_ne!(plain.style(Role::Marked), plain.style(Role::Plain));
        assert!(is_monochrome("vt220") && is_monochrome("xterm-mono") && !is_monochrome("xterm-256color"));
        assert!(is_utf8("en_US.UTF-8") && is_utf8("C.utf8") && !is_utf8("C"));
    }
}
