//! Samples and labels that a program has in memory.

use fusion_ir::Plan;
use fusion_ir::prefix::Prefix;

use crate::Error;
use crate::fusion::{Known, PublicSample, Row};
use crate::input::{Samples, quantised};

/// Quantises samples that are made of rows of numbers, one after the other.
pub(super) fn quantise(elements: &[f32], plan: &Plan) -> Result<Samples, Error> {
    let (quantiser, prefix) = (plan.function.quantiser(), plan.schema.prefix.as_ref());
    let len = prefix.map_or(quantiser.ty.len(), Prefix::columns);
    if elements.is_empty() || !elements.len().is_multiple_of(len.max(1)) {
        let found = elements.len();
        return Err(Error::Usage(format!("{found} elements are no samples of {len} elements each")));
    }
    let samples = fusion_table::numbers(elements.to_vec(), len, prefix, quantiser.is_ordered());
    let samples = samples.map_err(|error| Error::Usage(error.to_string()))?;
    Ok(quantised(samples, quantiser))
}

/// Samples with one label each, below `classes`.
pub(super) fn public(rows: Vec<Row>, labels: &[i64], classes: usize) -> Result<Vec<PublicSample>, Error> {
    if rows.len() != labels.len() {
        return Err(Error::Usage(format!("{} labels for {} public samples", labels.len(), rows.len())));
    }
    let unknown = |label: &i64| usize::try_from(*label).map_or(true, |label| label >= classes);
    if let Some(at) = labels.iter().position(unknown) {
        return Err(Error::Usage(format!("label {} of sample {at} is not in 0..{classes}", labels[at])));
    }
    let labelled = rows.into_iter().zip(labels);
    Ok(labelled.map(|(row, label)| PublicSample { row, known: vec![*label].into() }).collect())
}

/// Samples with the same number of values each, one after the other in `values`, that answers with
/// `frac` fractional bits may be `tolerance` away from.
pub(super) fn valued(
    rows: Vec<Row>,
    values: &[f64],
    each: usize,
    tolerance: f64,
    frac: i8,
) -> Result<Vec<PublicSample>, Error> {
    if each == 0 || values.len() != rows.len() * each {
        return Err(Error::Usage(format!("{} values for {} public samples of {each} each", values.len(), rows.len())));
    }
    let known = values.chunks_exact(each).map(|values| Known::values(values.to_vec(), tolerance, frac));
    let sample = |(row, known): (Row, Option<Known>)| Some(PublicSample { row, known: known? });
    let samples = rows.into_iter().zip(known).map(sample).collect::<Option<_>>();
    samples.ok_or_else(|| Error::Usage("known values and the tolerance are finite, the latter not negative".into()))
}

#[cfg(test)]
mod tests {
    use fusion_ir::prefix::{Element, Step};

    use super::*;
    use crate::testing::tiny_plan;

    #[test]
    fn arrays_are_samples_like_those_of_files() {
        let plan = tiny_plan();
        let len = plan.function.values[0].ty.len();
        let elements: Vec<f32> = (0..2 * len).map(|i| i as f32 / 16.0).collect();
        let samples = quantise(&elements, &plan).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.npy");
        let shape = [&[2], &plan.function.values[0].ty.shape[..]].concat();
        let array = ndarray::ArrayD::from_shape_vec(shape, elements.clone()).unwrap();
        ndarray_npy::write_npy(&path, &array).unwrap();
        let read = crate::input::samples(&path, &plan, crate::input::Apart::default()).unwrap();
        assert_eq!(samples.rows, read.rows);
        let refused = |elements: &[f32]| quantise(elements, &plan).unwrap_err().to_string();
        assert!(refused(&[]).contains("0 elements"));
        assert!(refused(&elements[1..]).contains("are no samples"));
        let mut broken = elements;
        broken[len + 1] = f32::NAN;
        assert!(refused(&broken).contains("sample 1 holds NaN at element 1"));
    }

    #[test]
    fn what_a_plan_does_first_makes_no_other_sample() {
        let with = |factor: f32| {
            let mut plan = tiny_plan();
            let shape = plan.function.values[0].ty.shape.clone();
            let element = |column| Element::Number { column, steps: vec![Step::Multiply(factor)] };
            let elements = (0..plan.function.values[0].ty.len() as u32).map(element).collect();
            plan.schema.prefix = Some(Prefix { shape, elements, ..Prefix::default() });
            plan
        };
        let plain = tiny_plan();
        let row: Vec<f32> = (0..plain.function.values[0].ty.len()).map(|i| i as f32 / 16.0).collect();
        let [plain, one, other] = [plain, with(0.5), with(0.25)].map(|plan| quantise(&row, &plan).unwrap().rows);
        assert_ne!(one[0].elements, other[0].elements);
        assert_eq!(one[0].digest, other[0].digest);
        assert_eq!(one[0].digest, plain[0].digest);
    }

    #[test]
    fn labels_fit_samples_and_classes() {
        let rows = || vec![Row::from(vec![1]), Row::from(vec![2])];
        assert_eq!(public(rows(), &[1, 0], 2).unwrap()[0].known, vec![1].into());
        assert!(public(rows(), &[1], 2).unwrap_err().to_string().contains("1 labels for 2"));
        for wrong in [-1, 2, i64::MAX] {
            assert!(public(rows(), &[0, wrong], 2).unwrap_err().to_string().contains("of sample 1 is not in 0..2"));
        }
    }
}
