//! Where an import goes wrong: values of the network against those of tract, node by node, on one
//! sample.

use std::path::Path;

use fusion_table::contain::contain;
use tract_onnx::prelude::{InferenceModelExt, IntoRunnable, OutletId, TractResult};

use super::{numbers, read};
use crate::import::Input;
use crate::nn::{Graph, eval};

/// Most values that are kept of one sample.
const MOST_ELEMENTS: usize = 1 << 26;
/// Two values are the same if they differ by no more than this fraction of the tensor's largest. If
/// nothing is missing by one of them, the next one is taken: scores may differ by little of their
/// size and by much of how far they are apart.
const TOLERANCES: [f32; 3] = [1e-3, 1e-4, 1e-5];

/// The first ONNX node behind the last one whose values `graph` has too: where it begins to mean
/// something else. `None` if tract does not show its values, or if nothing is missing.
///
/// Layouts differ, nodes are joined and taken apart; so a tensor counts as found if some node of
/// `graph` holds the same numbers in any order.
pub(crate) fn first_lost(path: &Path, inputs: &[Input], graph: &Graph, sample: &[f32]) -> Option<String> {
    let theirs = contain(|| values(path, inputs, sample))?.ok()?;
    let mut ours: Vec<Vec<f32>> = Vec::new();
    eval::visit(graph, sample, |_, value| ours.push(sorted(value.to_vec())));
    let lost = |tolerance: f32| {
        let found = |value: &Vec<f32>| ours.iter().any(|own| same(own, value, tolerance));
        let last = theirs.iter().rposition(|(_, value)| found(value));
        theirs.get(last.map_or(0, |last| last + 1)).map(|(name, _)| name.clone())
    };
    TOLERANCES.into_iter().find_map(lost)
}

/// Every node's first output that depends on the sample, sorted, in the order of the file.
fn values(path: &Path, given: &[Input], sample: &[f32]) -> TractResult<Vec<(String, Vec<f32>)>> {
    let (mut model, kinds) = read(path, given)?;
    let inputs: Vec<usize> = model.input_outlets()?.iter().map(|outlet| outlet.node).collect();
    let mut live = vec![false; model.nodes().len()];
    let mut shown: Vec<(String, OutletId)> = Vec::new();
    for id in model.eval_order()? {
        let node = model.node(id);
        live[id] = inputs.contains(&id) || node.inputs.iter().any(|input| live[input.node]);
        if live[id] && !inputs.contains(&id) {
            shown.push((node.name.clone(), OutletId::new(id, 0)));
        }
    }
    let outlets: Vec<OutletId> = shown.iter().map(|(_, outlet)| *outlet).collect();
    model.select_output_outlets(&outlets)?;
    let plan = model.into_typed()?.into_runnable()?;
    let shapes = given.iter().map(|input| input.shape.clone());
    let outputs = plan.run(super::values(&shapes.zip(kinds).collect::<Vec<_>>(), sample, 1)?)?;
    let mut left = MOST_ELEMENTS;
    let mut values = Vec::new();
    for ((name, _), output) in shown.into_iter().zip(outputs) {
        let Some(rest) = left.checked_sub(output.len()) else { break };
        left = rest;
        values.push((name, sorted(numbers::<f32>(&output)?)));
    }
    Ok(values)
}

fn sorted(mut values: Vec<f32>) -> Vec<f32> {
    values.sort_unstable_by(f32::total_cmp);
    values
}

fn same(a: &[f32], b: &[f32], tolerance: f32) -> bool {
    let scale = a.iter().chain(b).fold(0f32, |most, x| most.max(x.abs()));
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() <= tolerance * scale)
}
