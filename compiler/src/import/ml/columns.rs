//! Where numbers come from: exact functions of single elements of the sample.
//!
//! Pipelines scale, impute and cast features before trees test them. Each of these steps is a
//! monotone function of one feature, rounding included. So a test of its result is a test of the
//! feature itself, whose threshold is found by bisection over all float32, exactly.

use std::collections::HashMap;
use std::sync::Arc;

use tract_onnx::pb::tensor_proto::DataType;

use super::super::whole::is_whole;
use super::ask::Ask;
use super::exact::{Exact, Number};
use crate::nn::NodeId;
use crate::nn::trees::{LARGEST, Test, unordered};

/// One element of a tensor: an exact function of one element of the sample.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct Column {
    /// The sample's element.
    pub element: usize,
    /// What is done to it, first to last.
    pub steps: Vec<Arc<Exact>>,
}

/// A tensor that is made of them.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct Columns {
    /// Its element type.
    pub of: DataType,
    /// Every element's column.
    pub each: Vec<Column>,
}

/// Nodes that are such tensors.
pub(in super::super) type Known = HashMap<NodeId, Arc<Columns>>;

impl Columns {
    /// With the steps of a node, one for each element, or none.
    pub fn then(&self, (of, steps): (DataType, Vec<Exact>)) -> Columns {
        let mut each = self.each.clone();
        for (column, step) in each.iter_mut().zip(steps) {
            column.steps.push(Arc::new(step));
        }
        Columns { of, each }
    }

    /// As float32, which some operators make of whatever they read.
    pub fn narrowed(&self) -> Columns {
        let narrows = self.of != DataType::Float;
        self.then((DataType::Float, if narrows { vec![Exact::Narrow; self.each.len()] } else { Vec::new() }))
    }

    /// Whether these are integers.
    pub fn are_whole(&self) -> bool {
        is_whole(self.of)
    }
}

impl Column {
    /// The sample's element as it is.
    pub fn of(element: usize) -> Column {
        Column { element, steps: Vec::new() }
    }

    fn at(&self, x: f32) -> f64 {
        self.steps.iter().fold(Number::Real(x.into()), |x, step| step.at(x)).real()
    }

    /// What `ask` asks of this column, as a test of the sample's element; its feature is the
    /// element.
    pub fn pulled_back(&self, ask: &Ask) -> Test {
        let (feature, missing) = (self.element, ask.holds(self.at(f32::NAN)));
        if self.steps.is_empty() {
            return Test { feature, missing, ..ask.test() };
        }
        let value = |order: i64| self.at(unordered(order));
        // Infinities that a step makes no number of are no numbers of the feature either.
        let end = if [-LARGEST, LARGEST].iter().any(|order| value(*order).is_nan()) { LARGEST - 1 } else { LARGEST };
        let holds = |order: i64| ask.holds(value(order));
        let [low, high] = [holds(-end), holds(end)];
        if low == high {
            // Monotone, so nothing else is in between: true of all numbers or of none.
            return Test { feature, most: LARGEST, above: !low, missing };
        }
        // It is `low` up to `at`, and `high` from `above` on.
        let (mut at, mut above) = (-end, end);
        while above - at > 1 {
            let middle = at + (above - at) / 2;
            if holds(middle) == low { at = middle } else { above = middle }
        }
        Test { feature, most: at, above: !low, missing }
    }
}

#[cfg(test)]
mod tests {
    use fusion_ir::input::ordered;
    use fusion_ir::prefix::Step;

    use super::super::exact::Arithmetic;
    use super::*;

    /// Thresholds in float64 between two numbers of float32.
    #[test]
    fn columns_in_float64_are_compared_in_float64() {
        let threshold = f64::from(0.1f32) + 1e-12;
        let ask = Ask { feature: 0, threshold, strict: false, above: false, missing: false };
        let shifted = |c: f64| Column { element: 2, steps: vec![Arc::new(Exact::Wide(Arithmetic::Add, c))] };
        // float32 has no number between 0.1 + 5e-13 and 0.1 + 2e-12.
        assert!(shifted(5e-13).pulled_back(&ask).holds(0.1));
        assert!(!shifted(2e-12).pulled_back(&ask).holds(0.1));
        let mut narrowed = shifted(2e-12);
        narrowed.steps.push(Arc::new(Exact::Narrow));
        assert!(narrowed.pulled_back(&ask).holds(0.1));
    }

    #[test]
    fn tests_of_scaled_features_are_tests_of_the_features() {
        let chains = [
            vec![Step::Scale { offset: 307.2815, scale: 0.012_345_6 }],
            vec![Step::Multiply(-0.37), Step::Add(1e-3)],
            vec![Step::Impute(2.5), Step::Subtract(0.1), Step::Divide(3.0)],
            vec![Step::SubtractFrom(1.0), Step::Relu],
            vec![Step::Binarise(0.3), Step::Multiply(7.0)],
            vec![Step::Multiply(0.0)],
        ]
        .map(|steps| steps.into_iter().map(Exact::Single).collect::<Vec<_>>());
        let limit = |low: Option<f64>, high: Option<f64>| Exact::Limit {
            low: low.map(Number::Real),
            high: high.map(Number::Real),
        };
        let wide = [
            vec![Exact::Wide(Arithmetic::Subtract, 307.281_5), Exact::Wide(Arithmetic::Divide, 81.000_007)],
            vec![Exact::Wide(Arithmetic::Multiply, -0.37), Exact::Narrow, Exact::Single(Step::Add(1e-3))],
            vec![Exact::Scale { offset: 307.2815, scale: -0.012_345_6 }, limit(Some(0.0), None)],
            vec![Exact::Wide(Arithmetic::SubtractFrom, 1.0), limit(Some(0.0), None)],
            vec![limit(Some(-100.0), Some(33.3)), Exact::Single(Step::SubtractFrom(0.0))],
            vec![Exact::Wide(Arithmetic::Multiply, -3.0), limit(None, Some(7.0)), Exact::Narrow],
            vec![Exact::Whole(Arithmetic::Multiply, -70_001), Exact::Whole(Arithmetic::Add, 1 << 40), Exact::Narrow],
            vec![Exact::Whole(Arithmetic::SubtractFrom, 5), Exact::Widen, Exact::Wide(Arithmetic::Divide, 3.0)],
        ];
        let mut state = 7u64;
        let mut random = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            ((state >> 40) as f32 / (1u64 << 24) as f32 - 0.5) * 700.0
        };
        for steps in chains.into_iter().chain(wide) {
            let column = Column { element: 3, steps: steps.into_iter().map(Arc::new).collect() };
            for (above, missing) in [(false, false), (true, false), (false, true)] {
                // A threshold that the column takes, so that equality occurs.
                let at = random();
                let ask = Ask { feature: 0, threshold: column.at(at), strict: missing, above, missing };
                let pulled = column.pulled_back(&ask);
                let near = (-40i64..40).map(|d| unordered((ordered(at) + d).clamp(-LARGEST, LARGEST)));
                let all = near.chain((0..500).map(|_| random())).chain([0.0, f32::MAX, f32::MIN, f32::NAN]);
                for x in all {
                    assert_eq!(pulled.holds(x), ask.holds(column.at(x)), "{x} {column:?} {ask:?}");
                }
                assert_eq!(pulled.feature, 3);
            }
        }
    }
}
