//! Text in its place: never beyond it, and nothing that a terminal would obey.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use zk_registry::printable::Printable;

use crate::top::theme::{Role, Theme};

/// Writes text into a buffer.
pub(super) struct Pen<'a> {
    pub(super) buffer: &'a mut Buffer,
    pub(super) theme: Theme,
}

impl Pen<'_> {
    /// Writes text into `width` columns from the left of `area`, in its row `y`; the column after it.
    pub(super) fn write(&mut self, area: Rect, x: u16, y: u16, width: u16, text: &str, role: Role) -> u16 {
        if x >= area.width || y >= area.height {
            return x;
        }
        let width = width.min(area.width - x);
        let style = self.theme.style(role);
        let (end, _) = self.buffer.set_stringn(
            area.x + x,
            area.y + y,
            Printable(text).to_string(),
            usize::from(width),
            style,
        );
        end - area.x
    }

    /// Marks a whole row.
    pub(super) fn mark(&mut self, area: Rect, y: u16) {
        let row = Rect { y: area.y + y, height: 1, ..area }.intersection(area);
        self.buffer.set_style(row, self.theme.style(Role::Marked));
    }
}
