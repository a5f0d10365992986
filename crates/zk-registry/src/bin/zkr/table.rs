//! Columns of text, each as wide as its widest cell, of which none makes the others move far.

use zk_registry::printable::Printable;

/// Rows of cells.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these words above its columns.
    pub(crate) fn new<const N: usize>(head: [&str; N]) -> Self {
        Self { rows: vec![head.map(str::to_owned).into()] }
    }

    /// Adds a row. Cells are foreign text: what is not printable is shown as an escape.
    pub(crate) fn row<const N: usize>(&mut self, cells: [&dyn std::fmt::Display; N]) {
        self.rows.push(cells.map(|cell| Printable(cell).to_string()).into());
    }

    /// The lines, without blanks at their ends.
    pub(crate) fn lines(&self) -> impl Iterator<Item = String> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let widths = self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
            widths.filter(|width| *width <= WIDEST).max().unwrap_or(0)
        };
        let widths: Vec<_> = (0..columns).map(width).collect();
        self.rows.iter().map(move |row| {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        })
    }
}

/// The widest cell that others are aligned with.
const WIDEST: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_but_not_with_a_monster() {
        let mut table = Table::new(["A", "B"]);
        table.row([&"x\u{1b}[2J", &1]);
        table.row([&"y".repeat(100), &2]);
        let lines: Vec<_> = table.lines().collect();
        assert_eq!(lines[0], format!("{:10}  B", "A"));
        assert_eq!(lines[1], "x\\u{1b}[2J  1");
        assert!(lines[2].ends_with("y  2"));
    }
}
