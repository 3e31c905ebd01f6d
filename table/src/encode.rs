//! Rows become samples: numbers are taken as they are, categories are looked up.

use std::borrow::Cow;
use std::collections::HashMap;

use fusion_ir::prefix::{Categories, Element, NumberKey, Prefix};

use crate::error::CellError;
use crate::table::shortened;

/// A prefix, ready for rows.
pub(crate) struct Encoder<'p> {
    prefix: &'p Prefix,
    /// Whether every float is a number.
    any: bool,
    sets: Vec<Places<'p>>,
}

/// Where each category is in its set.
enum Places<'p> {
    Integers(HashMap<i64, usize>),
    Texts(HashMap<&'p str, usize>),
    Numbers(HashMap<NumberKey, usize>),
}

impl<'p> Encoder<'p> {
    /// `any` says whether infinities and NaN are numbers too.
    pub fn new(prefix: &'p Prefix, any: bool) -> Self {
        let places = |set: &'p Categories| match set {
            Categories::Integers(all) => Places::Integers(all.iter().copied().zip(0..).collect()),
            Categories::Texts(all) => Places::Texts(all.iter().map(String::as_str).zip(0..).collect()),
            Categories::Numbers(all) => Places::Numbers(all.iter().copied().map(NumberKey::from).zip(0..).collect()),
        };
        Encoder { prefix, any, sets: prefix.sets.iter().map(places).collect() }
    }

    /// Appends the sample that a row is: `number` and `text` read its columns. Errors come with the
    /// column.
    pub fn encode<'t>(
        &self,
        number: impl Fn(usize) -> Result<f32, CellError>,
        text: impl Fn(usize) -> Result<Cow<'t, str>, CellError>,
        sample: &mut Vec<f32>,
    ) -> Result<(), (usize, CellError)> {
        // Elements of one column follow each other.
        let mut last: Option<(u32, u32, Option<usize>)> = None;
        for element in &self.prefix.elements {
            let column = element.column() as usize;
            let refuse = |error| (column, error);
            let value = match element {
                Element::Number { steps, .. } => {
                    let given = number(column).map_err(refuse)?;
                    match steps.iter().fold(given, |x, step| step.at(x)) {
                        real if self.any || real.is_finite() => real,
                        _ if given.is_nan() => return Err(refuse(CellError::Empty)),
                        real => return Err(refuse(CellError::NotFinite(real))),
                    }
                }
                Element::Category { column: of, set, values, other } => {
                    let place = match last {
                        Some((column, known, place)) if (column, known) == (*of, *set) => place,
                        _ => match &self.sets[*set as usize] {
                            Places::Integers(places) => {
                                // Of NaN there is no integer.
                                let real = number(column).map_err(refuse)?;
                                let whole = (!real.is_nan()).then_some(real as i64);
                                whole.and_then(|whole| places.get(&whole).copied())
                            }
                            Places::Texts(places) => places.get(&*text(column).map_err(refuse)?).copied(),
                            Places::Numbers(places) => places.get(&number(column).map_err(refuse)?.into()).copied(),
                        },
                    };
                    last = Some((*of, *set, place));
                    match (place, other) {
                        (Some(place), _) => values.of(place),
                        (None, Some(other)) => *other,
                        (None, None) => return Err(refuse(self.unknown(column, &number, &text))),
                    }
                }
            };
            sample.push(value);
        }
        Ok(())
    }

    fn unknown<'t>(
        &self,
        column: usize,
        number: impl Fn(usize) -> Result<f32, CellError>,
        text: impl Fn(usize) -> Result<Cow<'t, str>, CellError>,
    ) -> CellError {
        let found = match self.prefix.categories(column) {
            Some(Categories::Texts(_)) => text(column).map(|text| shortened(&text)),
            _ => number(column).map(|number| number.to_string()),
        };
        let known = self.prefix.categories(column).map(ToString::to_string).unwrap_or_default();
        CellError::Unknown { found: found.unwrap_or_default(), known }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::{File, Kind};
    use crate::samples::{Wanted, samples};
    use fusion_ir::prefix::{Step, Values};

    /// An age, a city and a grade: the age, whether it is Oslo or Rome, what the grade is worth.
    fn prefix(other: Option<f32>) -> Prefix {
        let city = |one| Element::Category { column: 1, set: 0, values: Values::One(one), other };
        let values = Values::Numbers(vec![0.25, 4.0]);
        Prefix {
            shape: vec![3],
            sets: vec![
                Categories::Texts(["Oslo", "Rome"].map(String::from).to_vec()),
                Categories::Integers(vec![-1, 7]),
            ],
            elements: vec![
                Element::Number { column: 0, steps: vec![Step::Impute(40.0)] },
                city(0),
                city(1),
                Element::Category { column: 2, set: 1, values, other: Some(-1.0) },
            ],
        }
    }

    fn read(text: &str, prefix: &Prefix) -> Result<Vec<Vec<f32>>, String> {
        let columns = ["age", "city", "grade"].map(String::from);
        let wanted = Wanted { shape: &[4], columns: &columns, prefix: Some(prefix), apart: &[], any: false };
        let found = samples(&File::of(Kind::Csv, text.into()).unwrap(), wanted).map_err(|error| error.to_string())?;
        Ok(found.rows().map(<[f32]>::to_vec).collect())
    }

    #[test]
    fn categories_are_looked_up() {
        let found = read("city,grade,age\nRome,7,30\nOslo,-1.9,\nBern,3,1\n", &prefix(Some(0.0))).unwrap();
        assert_eq!(found, [[30.0, 0.0, 1.0, 4.0], [40.0, 1.0, 0.0, 0.25], [1.0, 0.0, 0.0, -1.0]]);
        let error = read("city,grade,age\nRome,7,30\nBern,7,30\n", &prefix(None)).unwrap_err();
        let expected =
            "row 1 (line 3), column \"city\": \"Bern\" is no category that the model knows: {\"Oslo\", \"Rome\"}";
        assert_eq!(error, expected);
        let error = read("city,grade,age\nRome,seven,30\n", &prefix(None)).unwrap_err();
        assert!(error.contains("column \"grade\": \"seven\" is no number"), "{error}");
        let error = read("city,grade,age\nRome,7,inf\n", &prefix(None)).unwrap_err();
        assert!(error.ends_with("column \"age\": inf is not finite"), "{error}");
    }

    #[test]
    fn numbers_are_scaled_and_looked_up() {
        let mut prefix = prefix(Some(0.0));
        let scaled = vec![Step::Impute(1.0), Step::Scale { offset: 3.0, scale: 0.1 }, Step::Relu];
        prefix.elements[0] = Element::Number { column: 0, steps: scaled };
        prefix.elements[2] = Element::Number { column: 2, steps: vec![Step::Binarise(0.5), Step::SubtractFrom(1.0)] };
        prefix.sets[1] = Categories::Numbers(vec![f32::NAN, -0.0]);
        let found = read("city,grade,age\nRome,0,30\nOslo,,\nBern,7.5,13\n", &prefix);
        assert_eq!(found.unwrap(), [[2.7, 0.0, 1.0, 4.0], [0.0, 1.0, 1.0, 0.25], [1.0, 0.0, 0.0, -1.0]]);
        prefix.elements[0] = Element::Number { column: 0, steps: vec![Step::Multiply(3e38)] };
        let error = |cell: &str| read(&format!("city,grade,age\nRome,0,{cell}\n"), &prefix).unwrap_err();
        assert_eq!(error("16"), "row 0 (line 2), column \"age\": inf is not finite");
        assert!(error("").contains("column \"age\": "), "{}", error(""));
    }

    #[test]
    fn arrays_have_categories_that_are_integers() {
        let mut grades = prefix(None);
        grades.elements.drain(1..3);
        let bytes = |rows: &[[f32; 3]]| {
            let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}, 3), }}", rows.len());
            let length = u16::try_from(header.len()).unwrap().to_le_bytes();
            let numbers = rows.iter().flatten().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
            [&b"\x93NUMPY\x01\x00"[..], &length, header.as_bytes(), &numbers].concat()
        };
        let read = |prefix: &Prefix, rows: &[[f32; 3]]| {
            let wanted =
                Wanted { shape: &[prefix.elements.len()], columns: &[], prefix: Some(prefix), apart: &[], any: false };
            let found = samples(&File::of(Kind::Npy, bytes(rows)).unwrap(), wanted);
            found.map(|found| found.rows().map(<[f32]>::to_vec).collect::<Vec<_>>()).map_err(|error| error.to_string())
        };
        assert_eq!(read(&grades, &[[1.0, 9.0, 7.0], [f32::NAN, f32::NAN, 8.0]]).unwrap(), [[1.0, 4.0], [40.0, -1.0]]);
        let error = read(&prefix(None), &[[1.0, 9.0, 7.0]]).unwrap_err();
        assert_eq!(error, "sample 0, element 1: it holds categories that are text: give a table");
    }
}
