//! Which row of a program reads which, drawn as wires beside its rows.

use std::fmt::Write;

/// Most wires side by side that are drawn.
const MOST: usize = 12;
/// From wire to wire, in pixels.
const APART: usize = 12;

/// The wires of a program whose rows read earlier ones: for each row, the wires that pass it, end
/// in it or begin with it. A value keeps its wire for as long as somebody will read it.
#[derive(Clone, Debug)]
pub struct Wires {
    rows: Vec<Row>,
    width: usize,
}

/// What is drawn in one row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Row {
    /// Where the row's own value begins.
    dot: usize,
    /// Wires of others that pass by.
    passing: Vec<usize>,
    /// Wires that come from above to the dot.
    read: Vec<usize>,
    /// Whether somebody reads the row's value.
    goes_on: bool,
}

impl Wires {
    /// The wires of rows that read `operands`, earlier rows each. None if more of them lie side by
    /// side than can be told apart.
    pub fn new(operands: &[Vec<usize>]) -> Option<Wires> {
        let mut last = vec![None; operands.len()];
        for (row, read) in operands.iter().enumerate() {
            read.iter().for_each(|operand| last[*operand] = Some(row));
        }
        let mut held: Vec<Option<usize>> = Vec::new();
        let mut rows = Vec::with_capacity(operands.len());
        for (row, operands) in operands.iter().enumerate() {
            let at = |held: &[Option<usize>], value: usize| held.iter().position(|found| *found == Some(value));
            let mut read: Vec<usize> = operands.iter().filter_map(|operand| at(&held, *operand)).collect();
            read.sort_unstable();
            read.dedup();
            for wire in &mut held {
                if wire.is_some_and(|value| last[value] == Some(row)) {
                    *wire = None;
                }
            }
            // On the wire of what it reads, if that ends here.
            let own = read.iter().copied().find(|wire| held[*wire].is_none());
            let dot = own.or_else(|| held.iter().position(Option::is_none)).unwrap_or(held.len());
            let passing = (0..held.len()).filter(|wire| held[*wire].is_some()).collect();
            let goes_on = last[row].is_some();
            if dot == held.len() {
                held.push(None);
            }
            held[dot] = goes_on.then_some(row);
            rows.push(Row { dot, passing, read, goes_on });
        }
        (held.len() <= MOST).then_some(Wires { rows, width: held.len() })
    }

    /// The picture of a row, as high as its row is.
    pub fn row(&self, row: usize) -> String {
        let Row { dot, passing, read, goes_on } = &self.rows[row];
        let x = |wire: usize| wire * APART + APART / 2;
        let mut path = String::new();
        for wire in passing {
            let _ = write!(path, "M{} 0V100", x(*wire));
        }
        for wire in read {
            let _ = write!(path, "M{} 0L{} 50", x(*wire), x(*dot));
        }
        if *goes_on {
            let _ = write!(path, "M{} 50V100", x(*dot));
        }
        let width = self.width * APART;
        // A line of no length with round ends is a dot, whatever the row's height.
        format!(
            "<svg width=\"{width}\" viewBox=\"0 0 {width} 100\" preserveAspectRatio=\"none\" aria-hidden=\"true\">\
             <path d=\"{path}\"/><path class=\"dot\" d=\"M{0} 50h0\"/></svg>\
             <i style=\"width:{width}px\"></i>",
            x(*dot)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(dot: usize, passing: &[usize], read: &[usize], goes_on: bool) -> Row {
        Row { dot, passing: passing.into(), read: read.into(), goes_on }
    }

    #[test]
    fn a_residual_sum_has_a_second_wire() {
        // 0 is read by 1 and by the sum 3; 2 reads 1.
        let wires = Wires::new(&[vec![], vec![0], vec![1], vec![2, 0]]).unwrap();
        let expected =
            [row(0, &[], &[], true), row(1, &[0], &[0], true), row(1, &[0], &[1], true), row(0, &[], &[0, 1], false)];
        assert_eq!(wires.rows, expected);
        assert_eq!(wires.width, 2);
    }

    #[test]
    fn a_value_that_is_read_twice_by_one_row_is_one_wire() {
        let wires = Wires::new(&[vec![], vec![0, 0]]).unwrap();
        assert_eq!(wires.rows[1], row(0, &[], &[0], false));
    }

    #[test]
    fn what_cannot_be_told_apart_is_not_drawn() {
        let rows = |count: usize| {
            let mut operands = vec![vec![]; count];
            operands.push((0..count).collect());
            operands
        };
        assert!(Wires::new(&rows(MOST)).is_some());
        assert!(Wires::new(&rows(MOST + 1)).is_none());
    }

    #[test]
    fn a_picture_has_its_wires_and_one_dot() {
        let wires = Wires::new(&[vec![], vec![0], vec![0, 1]]).unwrap();
        let picture = wires.row(1);
        assert!(picture.contains("M6 0V100M6 0L18 50M18 50V100") && picture.contains("d=\"M18 50h0\""), "{picture}");
        assert_eq!(picture.matches("class=\"dot\"").count(), 1);
    }
}
