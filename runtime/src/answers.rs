//! What a plan reveals of each position: its labels, and the file that accepted answers are written to and read from.

use std::fmt::Write;
use std::path::Path;

use fusion_ir::op::Reveal;
use fusion_ir::{Function, TensorType, interp};

use crate::Error;
use crate::input::refuse;
use crate::session::handshake::revealed;

/// Reads what a function reveals about one position.
///
/// The file is `index,label`, or `index,label_1,..,label_K` where the plan reveals `K` labels, or
/// `index,label,logit_0,..` where it reveals logits: what `fusionc eval` writes, with `--logits` for the last.
#[derive(Clone, Copy, Debug)]
pub struct Answers<'a> {
    function: &'a Function,
    reveal: Reveal,
}

impl<'a> Answers<'a> {
    /// The answers of `function`.
    pub fn new(function: &'a Function) -> Answers<'a> {
        Answers { function, reveal: revealed(function).unwrap_or(Reveal::Label) }
    }

    /// What is revealed.
    pub fn reveal(&self) -> Reveal {
        self.reveal
    }

    /// Labels that are revealed of each position; of logits, the best.
    pub fn ranks(&self) -> usize {
        match self.reveal {
            Reveal::TopK(k) => usize::from(k),
            Reveal::Label | Reveal::Logits => 1,
        }
    }

    /// Classes that a label can name.
    pub fn classes(&self) -> usize {
        interp::logits_of(self.function).map_or(0, |logits| self.function.value(logits).ty.len())
    }

    /// The labels of an answer, best first; none if it is nothing that could be revealed.
    pub fn labels(&self, answer: &[i64]) -> Vec<i64> {
        interp::labels(self.function, answer)
    }

    /// The type of revealed logits.
    fn logits(&self) -> Option<&'a TensorType> {
        let logits = interp::logits_of(self.function).filter(|_| self.reveal == Reveal::Logits)?;
        Some(&self.function.value(logits).ty)
    }

    /// The logits of an answer as numbers; empty if they are not revealed.
    pub fn reals(&self, answer: &[i64]) -> Vec<f64> {
        self.logits().map_or(Vec::new(), |ty| answer.iter().map(|element| ty.dequantize(*element)).collect())
    }

    fn header(&self) -> String {
        let mut header = match self.reveal {
            Reveal::TopK(k) if k > 1 => {
                (1..=k).fold(String::from("index"), |all, rank| all + &format!(",label_{rank}"))
            }
            _ => String::from("index,label"),
        };
        (0..self.logits().map_or(0, TensorType::len)).for_each(|class| header += &format!(",logit_{class}"));
        header
    }

    /// The file of accepted answers, one row per query in input order.
    pub fn csv(&self, answers: &[Vec<i64>]) -> String {
        let mut text = self.header() + "\n";
        for (index, answer) in answers.iter().enumerate() {
            let _ = write!(text, "{index}");
            self.labels(answer).iter().for_each(|label| text += &format!(",{label}"));
            self.reals(answer).iter().for_each(|real| text += &format!(",{real}"));
            text.push('\n');
        }
        text
    }

    /// Reads complete answers to `samples` samples, as [`Answers::csv`] writes them or, where one label is revealed,
    /// as int64 `.npy`: everything that the plan reveals, so that it can be compared in full.
    ///
    /// # Errors
    /// [`Error::Usage`] names the file and what is wrong with it.
    pub fn read(&self, path: &Path, samples: usize, of: &str) -> Result<Vec<Vec<i64>>, Error> {
        if path.extension().is_none_or(|extension| extension != "csv") {
            if self.reveal != Reveal::Label {
                let why = format!("the plan reveals {}: the answers to compare with are a .csv file", self.reveal);
                return Err(refuse(path, why));
            }
            return crate::input::labels(path, samples, of, self.classes(), 1);
        }
        let text = std::fs::read_to_string(path).map_err(|error| refuse(path, format!("cannot be read: {error}")))?;
        let mut lines = text.lines();
        let header = self.header();
        if lines.next() != Some(header.as_str()) {
            let why =
                format!("its first line is not {header}: the plan reveals {}, all of which is compared", self.reveal);
            return Err(refuse(path, why));
        }
        let answers: Vec<Vec<i64>> = lines
            .enumerate()
            .map(|(row, line)| {
                let why = || refuse(path, format!("line {} is no answer that the plan gives for index {row}", row + 2));
                self.answer(row, line).ok_or_else(why)
            })
            .collect::<Result<_, Error>>()?;
        if answers.len() != samples {
            return Err(refuse(path, format!("it has {} rows, but there are {samples} {of}", answers.len())));
        }
        Ok(answers)
    }

    /// The answer in a line of the file.
    fn answer(&self, row: usize, line: &str) -> Option<Vec<i64>> {
        let cells: Vec<&str> = line.split(',').collect();
        let (labels, logits) = cells.get(1..)?.split_at_checked(self.ranks())?;
        let labels: Vec<i64> = labels.iter().map(|cell| cell.parse().ok()).collect::<Option<_>>()?;
        let answer = match self.logits() {
            Some(ty) => logits.iter().map(|cell| exactly(cell.parse().ok()?, ty)).collect::<Option<_>>()?,
            None => labels.clone(),
        };
        let complete = self.logits().map_or(logits.is_empty(), |ty| logits.len() == ty.len());
        (cells[0] == row.to_string() && complete && self.labels(&answer) == labels).then_some(answer)
    }
}

/// The integer of which `real` is the value; none if it is between two, or beyond the type.
fn exactly(real: f64, ty: &TensorType) -> Option<i64> {
    let element = real * f64::from(ty.frac).exp2();
    let exact = element.fract() == 0.0 && element.abs() < f64::from(ty.bits - 1).exp2();
    exact.then_some(element as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::tiny_plan;

    fn read(answers: &Answers<'_>, text: &str) -> Result<Vec<Vec<i64>>, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("labels.csv");
        std::fs::write(&path, text).unwrap();
        answers.read(&path, 2, "probes").map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_written_is_read_again() {
        let function = tiny_plan().function;
        let answers = Answers::new(&function);
        let csv = answers.csv(&[vec![1], vec![0]]);
        assert_eq!(csv, "index,label\n0,1\n1,0\n");
        assert_eq!(read(&answers, &csv).unwrap(), [[1], [0]]);
        for (text, why) in [
            ("", "first line is not index,label"),
            ("index,label_1,label_2\n0,1,0\n1,0,1\n", "all of which is compared"),
            ("index,label\n0,1\n", "it has 1 rows, but there are 2 probes"),
            ("index,label\n0,1\n2,0\n", "line 3 is no answer"),
            ("index,label\n0,1\n1,zero\n", "line 3 is no answer"),
            ("index,label\n0,1\n1,0,1\n", "line 3 is no answer"),
            ("index,label\n0,1\n1,99\n", "line 3 is no answer"),
        ] {
            let error = read(&answers, text).unwrap_err();
            assert!(error.contains(why), "{text:?}: {error}");
        }
    }
}
