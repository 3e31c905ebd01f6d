//! What a plan reveals of each position: its labels, and the file that accepted answers are written
//! to and read from.

use std::path::Path;

use fusion_ir::op::Reveal;
use fusion_ir::{Function, Plan, TensorType, interp};
use fusion_table::{Cells, Classes, Column, File, LabelFile, Results, Table, Values};

use crate::Error;
use crate::input::{open, refuse};
use crate::session::hello::revealed;

/// Reads what a function reveals about one position.
///
/// The file has the columns `index,label`, or `index,label_1,..,label_K` where the plan reveals `K`
/// labels, or `index,label,logit_0,..` where it reveals logits: what `fusionc eval` writes, with
/// `--logits` for the last. Of values they are `index,value` or `index,value_1,..`. A column that
/// identifies the rows may take the place of `index`. Where the plan names classes, labels are
/// their names.
#[derive(Clone, Copy, Debug)]
pub struct Answers<'a> {
    function: &'a Function,
    reveal: Reveal,
    names: &'a [String],
}

impl<'a> Answers<'a> {
    /// The answers of `plan`.
    pub fn new(plan: &'a Plan) -> Answers<'a> {
        let Plan { function, schema, .. } = plan;
        Answers { function, reveal: revealed(function).unwrap_or(Reveal::Label), names: &schema.classes }
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
            Reveal::Value => 0,
        }
    }

    /// Classes that a label can name.
    pub fn classes(&self) -> Classes<'a> {
        let count = interp::logits_of(self.function).map_or(0, |logits| self.function.value(logits).ty.len());
        Classes { count, names: self.names }
    }

    /// What an answer [means](interp::meaning): labels, best first, or integers that stand for
    /// values; none if it is nothing that could be revealed.
    pub fn meaning(&self, answer: &[i64]) -> Vec<i64> {
        interp::meaning(self.function, answer)
    }

    /// The type of revealed values, if it is values that are revealed.
    pub fn values(&self) -> Option<&'a TensorType> {
        self.numbers().filter(|_| self.reveal == Reveal::Value)
    }

    /// The type of revealed logits or values.
    fn numbers(&self) -> Option<&'a TensorType> {
        let numbers = matches!(self.reveal, Reveal::Logits | Reveal::Value);
        let logits = interp::logits_of(self.function).filter(|_| numbers)?;
        Some(&self.function.value(logits).ty)
    }

    /// The logits or values of an answer as numbers; empty if they are not revealed.
    pub fn reals(&self, answer: &[i64]) -> Vec<f64> {
        self.numbers().map_or(Vec::new(), |ty| answer.iter().map(|element| ty.dequantize(*element)).collect())
    }

    /// The file of accepted answers, one row per query in input order; `identifiers` are a column
    /// and what it says of each row.
    pub fn results(&self, answers: &[Vec<i64>], identifiers: Option<(&str, Values)>) -> Results {
        if let Some(ty) = self.values() {
            let values = answers.iter().map(|answer| self.reals(answer)).collect();
            return Results::of_values(identifiers, values, ty.len());
        }
        let labels = answers.iter().map(|answer| self.meaning(answer)).collect();
        let logits: Option<Vec<Vec<f64>>> =
            self.numbers().map(|_| answers.iter().map(|answer| self.reals(answer)).collect());
        Results::new(identifiers, labels, self.ranks(), self.classes(), logits.as_deref())
    }

    /// Reads complete answers to `samples` samples, as [`Answers::results`] are written or, where
    /// one label is revealed, as int64 `.npy`: everything that the plan reveals, so that it can be
    /// compared in full. If the samples have identifiers, the answers are of the same.
    ///
    /// # Errors
    /// [`Error::Usage`] names the file and what is wrong with it.
    pub fn read(
        &self,
        path: &Path,
        samples: usize,
        of: &str,
        identifiers: Option<(&str, &Values)>,
    ) -> Result<Vec<Vec<i64>>, Error> {
        let File::Table(table) = open(path)? else {
            if self.reveal != Reveal::Label {
                let why =
                    format!("the plan reveals {}: the answers to compare with are a table of results", self.reveal);
                return Err(refuse(path, why));
            }
            let from = LabelFile::from(path.to_owned());
            return crate::input::labels(&from, [samples, 1], of, self.classes());
        };
        let first = identifiers.map_or("index", |(name, _)| name);
        let columns = self.columns(&table, first, path)?;
        if table.rows != samples {
            return Err(refuse(path, format!("it has {} rows, but there are {samples} {of}", table.rows)));
        }
        for row in 0..samples {
            let wanted = identifiers.map_or_else(|| row.to_string(), |(_, values)| values.written(row));
            let found = columns[0].written(row);
            if found != wanted {
                let why = format!("row {row} is an answer to {first} {found:?}, but the {of} have {wanted:?} there");
                return Err(refuse(path, why));
            }
        }
        let why = |row: usize| refuse(path, format!("row {row} is no answer that the plan gives"));
        (0..samples).map(|row| self.answer(&columns[1..], row).ok_or_else(|| why(row))).collect()
    }

    /// The columns of a table of results, of which the first is to be called `first`.
    fn columns<'t>(&self, table: &'t Table, first: &str, path: &Path) -> Result<Vec<&'t Column>, Error> {
        let header = self.results(&[], Some((first, Values::Text(Vec::new()))));
        let header = header.header();
        if table.names() != header {
            let (header, reveal) = (header.join(","), self.reveal);
            let why = format!("its columns are not {header}: the plan reveals {reveal}, all of which is compared");
            return Err(refuse(path, why));
        }
        Ok(table.columns.iter().collect())
    }

    /// The answer in a row of the file.
    fn answer(&self, columns: &[&Column], row: usize) -> Option<Vec<i64>> {
        let (labels, logits) = columns.split_at_checked(self.ranks())?;
        let labels: Vec<i64> =
            labels.iter().map(|column| column.label(row, self.classes()).ok()).collect::<Option<_>>()?;
        let real = |column: &Column| match &column.cells {
            Cells::Reals(reals) => reals.get(row).copied(),
            _ => column.written(row).parse().ok(),
        };
        let answer = match self.numbers() {
            Some(ty) => logits.iter().map(|column| exactly(real(column)?, ty)).collect::<Option<_>>()?,
            None => labels.clone(),
        };
        (self.values().is_some() || self.meaning(&answer) == labels).then_some(answer)
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
    use fusion_table::Kind;

    use crate::testing::tiny_plan;

    fn read(answers: &Answers<'_>, text: &str) -> Result<Vec<Vec<i64>>, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("labels.csv");
        std::fs::write(&path, text).unwrap();
        answers.read(&path, 2, "probes", None).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_written_is_read_again() {
        let plan = tiny_plan();
        let answers = Answers::new(&plan);
        let csv = answers.results(&[vec![1], vec![0]], None).to_csv().unwrap();
        assert_eq!(csv, "index,label\n0,1\n1,0\n");
        assert_eq!(read(&answers, &csv).unwrap(), [[1], [0]]);
        for (text, why) in [
            ("", "it is empty"),
            ("index,label_1,label_2\n0,1,0\n1,0,1\n", "all of which is compared"),
            ("index,label\n0,1\n", "it has 1 rows, but there are 2 probes"),
            ("index,label\n0,1\n2,0\n", "row 1 is an answer to index \"2\", but the probes have \"1\" there"),
            ("index,label\n0,1\n1,zero\n", "row 1 is no answer"),
            ("index,label\n0,1\n1,0,1\n", "line 3 has 3 cells"),
            ("index,label\n0,1\n1,99\n", "row 1 is no answer"),
        ] {
            let error = read(&answers, text).unwrap_err();
            assert!(error.contains(why), "{text:?}: {error}");
        }
    }

    #[test]
    fn names_and_identifiers_come_back_too() {
        let mut plan = tiny_plan();
        plan.schema.classes = ["benign", "malignant, early"].map(String::from).to_vec();
        plan.schema.classes.truncate(Answers::new(&plan).classes().count);
        let answers = Answers::new(&plan);
        let patients = Values::Text(["p-1".into(), "p \"2\"".into()].to_vec());
        let results = answers.results(&[vec![1], vec![0]], Some(("patient", patients.clone())));
        let csv = results.to_csv().unwrap();
        assert_eq!(csv, "patient,label\np-1,\"malignant, early\"\n\"p \"\"2\"\"\",benign\n");
        let directory = tempfile::tempdir().unwrap();
        for (name, kind) in [("r.csv", Kind::Csv), ("r.parquet", Kind::Parquet)] {
            let path = directory.path().join(name);
            std::fs::write(&path, results.to_bytes(kind).unwrap()).unwrap();
            let read = |values: &Values| answers.read(&path, 2, "probes", Some(("patient", values)));
            assert_eq!(read(&patients).unwrap(), [[1], [0]]);
            let others = Values::Text(["p-1".into(), "p-3".into()].to_vec());
            assert!(read(&others).unwrap_err().to_string().contains("row 1 is an answer to patient"));
        }
        assert!(results.to_bytes(Kind::Npy).unwrap_err().to_string().contains("no place for identifiers"));
    }
}
