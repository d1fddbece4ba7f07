//! Routes lines between two layers of boxes in a terminal: each line runs down, along its row, and down again.

/// A line from a column above to a column below.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Line {
    pub(super) top: i32,
    pub(super) bottom: i32,
}

/// The row of each line, None for a straight line, and the number of rows.
///
/// Lines from one column share a row and form one branching line (a net). Two nets share a row only if they do not
/// overlap, and a line that ends in the column where another starts turns below it.
pub(super) fn rows(lines: &[Line]) -> (Vec<Option<usize>>, usize) {
    let mut nets: Vec<Net> = Vec::new();
    for (place, line) in lines.iter().enumerate() {
        match nets.iter_mut().find(|net| net.top == line.top) {
            Some(net) => net.add(place, line.bottom),
            None => nets.push(Net::new(place, *line)),
        }
    }
    nets.retain(|net| net.low < net.high);
    // Of nets to the right the rightmost turns first, of nets to the left the leftmost, so that they do not cross.
    nets.sort_by_key(|net| if net.leads_right() { (0, -net.top) } else { (1, net.top) });

    let mut rows: Vec<Vec<usize>> = Vec::new();
    let mut row_of: Vec<Option<usize>> = vec![None; nets.len()];
    for _ in 0..nets.len() {
        let Some(chosen) = next_free(&nets, &row_of) else { break };
        let net = &nets[chosen];
        let above = (0..nets.len()).filter(|other| nets[*other].must_turn_above(net) && *other != chosen);
        let mut row = above.filter_map(|other| row_of[other]).map(|row| row + 1).max().unwrap_or_default();
        while rows.get(row).is_some_and(|taken| taken.iter().any(|other| nets[*other].touches(net))) {
            row += 1;
        }
        rows.resize(rows.len().max(row + 1), Vec::new());
        rows[row].push(chosen);
        row_of[chosen] = Some(row);
    }
    let mut by_line = vec![None; lines.len()];
    for (net, row) in nets.iter().zip(row_of) {
        for place in &net.lines {
            by_line[*place] = row;
        }
    }
    (by_line, rows.len())
}

/// The first net without a row whose predecessors all have one; in a cycle the first.
fn next_free(nets: &[Net], row_of: &[Option<usize>]) -> Option<usize> {
    let open: Vec<usize> = (0..nets.len()).filter(|net| row_of[*net].is_none()).collect();
    let is_free =
        |net: &usize| !open.iter().any(|other| other != net && nets[*other].must_turn_above(&nets[*net]));
    open.iter().copied().find(is_free).or(open.first().copied())
}

/// Lines from one column.
struct Net {
    top: i32,
    bottoms: Vec<i32>,
    low: i32,
    high: i32,
    lines: Vec<usize>,
}

impl Net {
    fn new(place: usize, line: Line) -> Self {
        let (low, high) = (line.top.min(line.bottom), line.top.max(line.bottom));
        Self { top: line.top, bottoms: vec![line.bottom], low, high, lines: vec![place] }
    }

    fn add(&mut self, place: usize, bottom: i32) {
        self.low = self.low.min(bottom);
        self.high = self.high.max(bottom);
        self.bottoms.push(bottom);
        self.lines.push(place);
    }

    fn leads_right(&self) -> bool {
        self.high - self.top >= self.top - self.low
    }

    fn must_turn_above(&self, other: &Self) -> bool {
        other.bottoms.contains(&self.top)
    }

    fn touches(&self, other: &Self) -> bool {
        self.low <= other.high && other.low <= self.high
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(lines: &[(i32, i32)]) -> (Vec<Option<usize>>, usize) {
        let lines: Vec<_> = lines.iter().map(|&(top, bottom)| Line { top, bottom }).collect();
        rows(&lines)
    }

    #[test]
    fn straight_lines_need_no_row() {
        assert_eq!(of(&[(1, 1), (5, 5)]), (vec![None, None], 0));
    }

    #[test]
    fn branching_line_has_one_row() {
        assert_eq!(of(&[(5, 1), (5, 9)]), (vec![Some(0), Some(0)], 1));
    }

    #[test]
    fn parallel_lines_do_not_cross() {
        assert_eq!(of(&[(0, 10), (5, 15)]), (vec![Some(1), Some(0)], 2));
        assert_eq!(of(&[(10, 0), (15, 5)]), (vec![Some(0), Some(1)], 2));
    }

    #[test]
    fn line_turns_below_one_that_starts_in_its_column() {
        let (rows, _) = of(&[(5, 20), (0, 5)]);
        assert!(rows[0] < rows[1]);
        assert_eq!(of(&[(5, 20), (20, 5)]).1, 2);
    }
}
