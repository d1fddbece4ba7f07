//! Rows with aligned columns.

use unicode_width::UnicodeWidthStr;

use crate::screen::painted;

/// Alignment of a column.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Align {
    Left,
    Right,
}

/// A table of which one column can have colours. Its writer sanitizes the cells.
pub(super) struct Table {
    head: Vec<(String, Align)>,
    rows: Vec<(Vec<String>, &'static str)>,
    painted: usize,
}

impl Table {
    /// A table without rows. `painted` is the column with colours.
    pub(super) fn new(head: &[(&str, Align)], painted: usize) -> Self {
        let head = head.iter().map(|(cell, align)| ((*cell).to_owned(), *align)).collect();
        Self { head, rows: Vec::new(), painted }
    }

    /// Adds a row, with the SGR code of its painted cell.
    pub(super) fn row(&mut self, cells: Vec<String>, code: &'static str) {
        self.rows.push((cells, code));
    }

    pub(super) fn drop_last_column(&mut self) {
        self.head.pop();
        self.rows.iter_mut().for_each(|(cells, _)| cells.truncate(self.head.len()));
    }

    /// The heading and the rows, without spaces at the end.
    pub(super) fn lines(&self, colour: bool) -> Vec<String> {
        let width = |(column, (head, _)): (usize, &(String, Align))| {
            let cells = self.rows.iter().filter_map(|(cells, _)| cells.get(column));
            cells.map(|cell| cell.width()).fold(head.width(), usize::max)
        };
        let widths: Vec<usize> = self.head.iter().enumerate().map(width).collect();
        let head = self.head.iter().map(|(cell, _)| cell.as_str());
        let mut lines = vec![self.line(head, None, &widths)];
        for (cells, code) in &self.rows {
            let code = colour.then_some(*code);
            lines.push(self.line(cells.iter().map(String::as_str), code, &widths));
        }
        lines
    }

    fn line<'a>(
        &self,
        cells: impl Iterator<Item = &'a str>,
        code: Option<&'static str>,
        widths: &[usize],
    ) -> String {
        let mut line = String::new();
        for (column, ((cell, (_, align)), width)) in cells.zip(&self.head).zip(widths).enumerate() {
            let pad = " ".repeat(width.saturating_sub(cell.width()));
            let cell = match code.filter(|_| column == self.painted) {
                Some(code) => painted(cell, code, true),
                None => cell.to_owned(),
            };
            let (before, after) =
                if *align == Align::Right { (pad.as_str(), "") } else { ("", pad.as_str()) };
            if column > 0 {
                line.push_str("  ");
            }
            line.extend([before, &cell, after]);
        }
        line.truncate(line.trim_end().len());
        line
    }
}
