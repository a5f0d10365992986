//! The columns of the instances, as many as there is room for.

use std::time::SystemTime;

use ratatui::layout::Rect;
use zk_registry::Member;

use super::pen::Pen;
use crate::live::What;
use crate::shown::{age, pairs, session};
use crate::top::theme::Role;

/// A column of the instances.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Column {
    Age,
    Id,
    Metadata,
    Owner,
    Status,
    Weight,
    Zone,
}

/// The columns that there is room for, with where they begin and how wide they are.
#[derive(Debug)]
pub(super) struct Columns(Vec<(Column, u16, u16)>);

impl Columns {
    pub(super) fn of(width: u16) -> Self {
        // A mark of what became of it a moment ago stands before the id.
        let wanted =
            [Column::Status, Column::Age, Column::Weight, Column::Zone, Column::Owner, Column::Metadata];
        let mut left = width.saturating_sub(LEAST_ID + 2);
        let fit: Vec<_> = wanted
            .into_iter()
            .map_while(|column| {
                left = left.checked_sub(column.width() + 2)?;
                Some(column)
            })
            .collect();
        // What is left makes ids longer, and metadata where they are shown.
        let id = LEAST_ID + left.min(30);
        let mut x = id + 4;
        let mut columns = vec![(Column::Id, 2, id)];
        for column in fit {
            let wide = if column == Column::Metadata { width.saturating_sub(x) } else { column.width() };
            columns.push((column, x, wide));
            x += wide + 2;
        }
        Self(columns)
    }

    pub(super) fn write(
        &self,
        pen: &mut Pen<'_>,
        area: Rect,
        y: u16,
        role: Role,
        cell: impl Fn(Column) -> String,
    ) {
        for (column, x, width) in &self.0 {
            let text = cell(*column);
            let (x, text) = match text.strip_prefix(MARKS) {
                Some(_) if *column == Column::Id => (x - 2, text.as_str()),
                _ => (*x, text.as_str()),
            };
            pen.write(area, x, y, *width + 2 * u16::from(*column == Column::Id), text, role);
        }
    }
}

const LEAST_ID: u16 = 21;
const MARKS: [char; 3] = ['+', '~', ' '];

impl Column {
    fn width(self) -> u16 {
        match self {
            Self::Age => 5,
            Self::Id => LEAST_ID,
            Self::Metadata => 16,
            Self::Owner => 18,
            Self::Status => 8,
            Self::Weight => 6,
            Self::Zone => 10,
        }
    }

    pub(super) fn head(self) -> &'static str {
        match self {
            Self::Age => "  AGE",
            Self::Id => "ID",
            Self::Metadata => "METADATA",
            Self::Owner => "OWNER",
            Self::Status => "STATUS",
            Self::Weight => "WEIGHT",
            Self::Zone => "ZONE",
        }
    }

    pub(super) fn cell(self, member: &Member, flash: Option<What>, now: SystemTime) -> String {
        match self {
            Self::Age => {
                let since =
                    member.created_at().map(|since| now.duration_since(since).unwrap_or_default().as_secs());
                format!("{:>5}", since.map_or_else(|| "-".to_owned(), age))
            }
            Self::Id => {
                let mark = match flash {
                    Some(What::Up) => '+',
                    Some(_) => '~',
                    None => ' ',
                };
                format!("{mark} {}", member.id())
            }
            Self::Metadata => pairs(member.metadata()),
            Self::Owner if member.session() == 0 => "persistent".to_owned(),
            Self::Owner => session(member.session()),
            Self::Status => member.status().to_string(),
            Self::Weight => format!("{:>6}", member.weight()),
            Self::Zone => member.zone().unwrap_or("-").to_owned(),
        }
    }
}
