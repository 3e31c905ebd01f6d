//! If and Loop, where shapes and constants say which branch is taken and how often a body runs: the
//! graphs inside become part of the network.

use std::sync::Arc;

use tract_onnx::pb::{GraphProto, NodeProto};
use tract_onnx::prelude::{DatumType, Tensor};

use super::call::{Call, Kind, Wire};
use super::ops::shape;

/// Most turns of a loop.
const MAX_TURNS: i64 = 1024;

/// The network under way, as the graphs inside a node see it.
pub(super) trait Network {
    /// What a name stands for.
    fn read(&self, name: &str) -> Wire;

    /// Outputs of a graph inside a node, whose inputs are bound to `given`; of a loop's body in the
    /// turn of that number.
    ///
    /// # Errors
    /// Why it is refused; nothing if a node of it was.
    fn inside(
        &mut self,
        graph: &GraphProto,
        given: Vec<(String, Wire)>,
        turn: Option<i64>,
    ) -> Result<Vec<Wire>, Option<String>>;

    /// What translates `node`.
    fn call<'c>(&'c mut self, node: &'c NodeProto) -> Call<'c>;
}

/// Whether a node holds graphs that are taken here.
pub(super) fn is_control(node: &NodeProto) -> bool {
    matches!(node.op_type.as_str(), "If" | "Loop")
}

/// What an If or a Loop gives.
///
/// # Errors
/// Why it is refused; nothing if a node inside it was.
pub(super) fn outputs(network: &mut impl Network, node: &NodeProto) -> Result<Vec<Wire>, Option<String>> {
    if node.op_type == "Loop" {
        return turns(network, node);
    }
    let condition = node.input.first().map_or(Wire::Missing, |name| network.read(name));
    let holds = truth(&condition).ok_or_else(|| Some("its condition depends on the sample".to_string()))?;
    let branch = graph(node, if holds { "then_branch" } else { "else_branch" })?;
    network.inside(branch, Vec::new(), None)
}

fn turns(network: &mut impl Network, node: &NodeProto) -> Result<Vec<Wire>, Option<String>> {
    let body = graph(node, "body")?;
    let inputs: Vec<Wire> = node.input.iter().map(|name| network.read(name)).collect();
    let refuse = |why: &str| Some(why.to_string());
    let limit = match inputs.first() {
        None | Some(Wire::Missing) => None,
        Some(count) => Some(integer(count).ok_or_else(|| refuse("its number of turns depends on the sample"))?),
    };
    let mut goes_on = match inputs.get(1) {
        None | Some(Wire::Missing) => true,
        Some(condition) => truth(condition).ok_or_else(|| refuse("its condition depends on the sample"))?,
    };
    let mut carried: Vec<Wire> = inputs.get(2..).unwrap_or_default().to_vec();
    let mut scanned: Vec<Vec<Wire>> = vec![Vec::new(); body.output.len().saturating_sub(1 + carried.len())];
    let mut turn = 0;
    while goes_on && limit.is_none_or(|limit| turn < limit) {
        if turn >= MAX_TURNS {
            return Err(Some(format!("more than {MAX_TURNS} turns")));
        }
        let number = [Wire::Const(Arc::new(Tensor::from(turn))), Wire::Const(Arc::new(Tensor::from(true)))];
        let given: Vec<Wire> = number.into_iter().chain(carried.iter().cloned()).collect();
        let names = body.input.iter().map(|input| input.name.clone());
        let mut results = network.inside(body, names.zip(given).collect(), Some(turn))?.into_iter();
        let condition = results.next().unwrap_or(Wire::Missing);
        goes_on = truth(&condition).ok_or_else(|| refuse("its condition depends on the sample"))?;
        carried = results.by_ref().take(carried.len()).collect();
        scanned.iter_mut().zip(results).for_each(|(all, one)| all.push(one));
        turn += 1;
    }
    for turns in scanned {
        carried.push(stacked(network, node, turns).map_err(Some)?);
    }
    Ok(carried)
}

/// The same output of every turn along a new first axis.
fn stacked(network: &mut impl Network, node: &NodeProto, turns: Vec<Wire>) -> Result<Wire, String> {
    let mut call = network.call(node);
    let mut parts = Vec::new();
    let mut known: Option<Kind> = None;
    for turn in turns {
        parts.push(match turn {
            Wire::Data(x, kind) => {
                known = Some(known.and_then(|known| known.or(kind)).unwrap_or(kind));
                let shape = [&[1], call.b.shape(x)].concat();
                Wire::Data(call.b.reshape(x, &shape), kind)
            }
            Wire::Const(c) => {
                let mut c = (*c).clone();
                c.insert_axis(0).map_err(|e| e.to_string())?;
                Wire::Const(Arc::new(c))
            }
            _ => return Err("an output of its body is missing".into()),
        });
    }
    if let Some(kind) = known {
        return Ok(Wire::Data(shape::joined(&mut call, &parts, 0)?, kind));
    }
    let tensors: Vec<Arc<Tensor>> =
        parts.into_iter().filter_map(|part| if let Wire::Const(c) = part { Some(c) } else { None }).collect();
    if tensors.is_empty() {
        return Err("it does not run, so an output of it is empty".into());
    }
    let all = Tensor::stack_tensors(0, &tensors).map_err(|e| e.to_string())?;
    Ok(Wire::Const(Arc::new(all)))
}

fn graph<'n>(node: &'n NodeProto, name: &str) -> Result<&'n GraphProto, Option<String>> {
    let attribute = node.attribute.iter().find(|attribute| attribute.name == name);
    attribute.and_then(|attribute| attribute.g.as_ref()).ok_or_else(|| Some(format!("it has no {name}")))
}

fn truth(wire: &Wire) -> Option<bool> {
    let Wire::Const(c) = wire else { return None };
    if c.datum_type() != DatumType::Bool {
        return None;
    }
    c.to_plain_array_view::<bool>().ok()?.iter().next().copied()
}

fn integer(wire: &Wire) -> Option<i64> {
    let Wire::Const(c) = wire else { return None };
    let c = c.cast_to::<i64>().ok()?;
    let view = c.to_plain_array_view::<i64>().ok()?;
    view.iter().next().copied()
}
