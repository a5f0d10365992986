//! The keys that mean something.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

/// A key that was pressed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Key {
    BackTab,
    Backspace,
    Char(char),
    Down,
    End,
    Enter,
    Escape,
    Home,
    /// Ctrl-C: where every key is read as it is, it is no signal.
    Interrupt,
    PageDown,
    PageUp,
    Tab,
    Up,
}

impl Key {
    /// What a terminal says of a key, if it means something here.
    pub(crate) fn of(event: KeyEvent) -> Option<Self> {
        if event.kind == KeyEventKind::Release {
            return None;
        }
        let control = event.modifiers.contains(KeyModifiers::CONTROL);
        Some(match event.code {
            KeyCode::Char('c' | 'd') if control => Self::Interrupt,
            KeyCode::Char(_) if control || event.modifiers.contains(KeyModifiers::ALT) => return None,
            KeyCode::Char(c) => Self::Char(c),
            KeyCode::BackTab => Self::BackTab,
            KeyCode::Backspace => Self::Backspace,
            KeyCode::Down => Self::Down,
            KeyCode::End => Self::End,
            KeyCode::Enter => Self::Enter,
            KeyCode::Esc => Self::Escape,
            KeyCode::Home => Self::Home,
            KeyCode::PageDown => Self::PageDown,
            KeyCode::PageUp => Self::PageUp,
            KeyCode::Tab => Self::Tab,
            KeyCode::Up => Self::Up,
            _ => return None,
        })
    }
}
