//! Where the parts of the screen are, whatever its size.

use ratatui::layout::Rect;

/// Where things are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    pub(super) header: Rect,
    pub(super) panes: Panes,
    pub(super) footer: Rect,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Panes {
    /// There is room for one: Tab goes through them.
    One(Rect),
    Three {
        services: Rect,
        instances: Rect,
        history: Rect,
    },
}

impl Layout {
    pub(super) fn of(area: Rect) -> Self {
        let line = |y: u16| Rect { y, height: 1, ..area }.intersection(area);
        let body = Rect { y: area.y + 1, height: area.height.saturating_sub(2), ..area }.intersection(area);
        let panes = if body.width < WIDE || body.height < TALL {
            Panes::One(body)
        } else {
            let history = (body.height / 4).max(6);
            let (left, above) = ((body.width / 4).min(40), body.height - history - 1);
            Panes::Three {
                services: Rect { width: left, height: above, ..body },
                instances: Rect { x: body.x + left + 2, width: body.width - left - 2, height: above, ..body },
                history: Rect { y: body.y + above + 1, height: history, ..body },
            }
        };
        Self { header: line(area.y), panes, footer: line(area.bottom().saturating_sub(1)) }
    }

    pub(super) fn body(self) -> Rect {
        match self.panes {
            Panes::One(area) => area,
            Panes::Three { services, history, .. } => services.union(history),
        }
    }
}

/// From how many columns and rows on all three panes are shown.
const WIDE: u16 = 100;
const TALL: u16 = 18;
/// The lines of a pane above its rows: its title, and the heads of its columns.
pub(super) const HEAD: u16 = 2;
