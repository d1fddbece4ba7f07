//! A canvas of terminal cells: box-drawing lines that join, and text on top.

use unicode_width::UnicodeWidthChar;

/// Directions of a line from the centre of a cell.
pub(super) const UP: u8 = 1;
pub(super) const DOWN: u8 = 2;
pub(super) const LEFT: u8 = 4;
pub(super) const RIGHT: u8 = 8;

#[derive(Clone, Copy, Debug, Default)]
struct Cell {
    lines: u8,
    has_solid: bool,
    letter: Option<char>,
    /// Covered by the second half of a wide character.
    is_covered: bool,
}

/// A canvas of cells.
pub(super) struct Canvas {
    width: usize,
    cells: Vec<Cell>,
}

impl Canvas {
    pub(super) fn new(width: usize, height: usize) -> Self {
        Self { width, cells: vec![Cell::default(); width * height] }
    }

    fn cell(&mut self, x: i32, y: i32) -> Option<&mut Cell> {
        let (x, y) = (usize::try_from(x).ok()?, usize::try_from(y).ok()?);
        if x >= self.width {
            return None;
        }
        self.cells.get_mut(y * self.width + x)
    }

    fn line(&mut self, x: i32, y: i32, lines: u8, is_dashed: bool) {
        if let Some(cell) = self.cell(x, y) {
            cell.lines |= lines;
            cell.has_solid |= !is_dashed;
        }
    }

    /// A vertical line, both ends included; `above` and `below` extend it beyond its end cells.
    pub(super) fn vertical(
        &mut self,
        x: i32,
        (from, to): (i32, i32),
        (above, below): (bool, bool),
        is_dashed: bool,
    ) {
        for y in from..=to {
            let up = if y > from || above { UP } else { 0 };
            let down = if y < to || below { DOWN } else { 0 };
            self.line(x, y, up | down, is_dashed);
        }
    }

    /// A horizontal line, both ends included.
    pub(super) fn horizontal(&mut self, y: i32, (from, to): (i32, i32), is_dashed: bool) {
        for x in from..=to {
            let left = if x > from { LEFT } else { 0 };
            let right = if x < to { RIGHT } else { 0 };
            self.line(x, y, left | right, is_dashed);
        }
    }

    /// A character on top of lines.
    pub(super) fn letter(&mut self, x: i32, y: i32, letter: char) {
        if let Some(cell) = self.cell(x, y) {
            cell.letter = Some(letter);
        }
    }

    /// A text on top of lines.
    pub(super) fn text(&mut self, mut x: i32, y: i32, text: &str) {
        for letter in text.chars() {
            self.letter(x, y, letter);
            x += 1;
            if letter.width() == Some(2) {
                if let Some(cell) = self.cell(x, y) {
                    cell.is_covered = true;
                }
                x += 1;
            }
        }
    }

    /// The canvas as lines of text, without trailing spaces.
    pub(super) fn lines(&self) -> Vec<String> {
        self.cells
            .chunks(self.width.max(1))
            .map(|row| {
                let line: String = row
                    .iter()
                    .filter(|cell| !cell.is_covered)
                    .map(|cell| cell.letter.unwrap_or_else(|| glyph(cell.lines, cell.has_solid)))
                    .collect();
                line.trim_end().to_owned()
            })
            .collect()
    }
}

fn glyph(lines: u8, is_solid: bool) -> char {
    const UP_DOWN: u8 = UP | DOWN;
    const LEFT_RIGHT: u8 = LEFT | RIGHT;
    match (lines, is_solid) {
        (0, _) => ' ',
        (UP | DOWN | UP_DOWN, true) => '│',
        (UP | DOWN | UP_DOWN, false) => '┆',
        (LEFT | RIGHT | LEFT_RIGHT, true) => '─',
        (LEFT | RIGHT | LEFT_RIGHT, false) => '┄',
        (bits, _) => match bits {
            b if b == DOWN | RIGHT => '╭',
            b if b == DOWN | LEFT => '╮',
            b if b == UP | RIGHT => '╰',
            b if b == UP | LEFT => '╯',
            b if b == UP_DOWN | RIGHT => '├',
            b if b == UP_DOWN | LEFT => '┤',
            b if b == LEFT_RIGHT | DOWN => '┬',
            b if b == LEFT_RIGHT | UP => '┴',
            _ => '┼',
        },
    }
}
