//! RNN, GRU and LSTM, unrolled: the input's part of all steps is one product, and each step has the
//! product of the state.

use ndarray::{Array1, Array2, ArrayD, Axis, Ix1, Ix2, s};

use super::super::call::{Call, Kind, Wire, number};
use super::super::size;
use super::{activation, linear, types};
use crate::nn::NodeId;
use crate::nn::expr::{Binary, Expr, Unary};

/// What all directions share.
struct Layer {
    /// The input, `[steps, batch, features]`.
    x: NodeId,
    steps: usize,
    batch: usize,
    hidden: usize,
    /// Steps that are run; the states of those behind them are zero.
    length: usize,
    /// Whether a GRU resets behind the product.
    reset_behind: bool,
}

/// One direction's weights, one row for each element of a gate.
struct Weights {
    input: Array2<f32>,
    state: Array2<f32>,
    input_bias: Array1<f32>,
    state_bias: Array1<f32>,
    /// Of an LSTM's cell on its gates: input, output, forget.
    peepholes: Option<Array1<f32>>,
    functions: Vec<Expr>,
    /// Whether an LSTM's new cell is the tanh of its sum, whose rows are doubled: then it is
    /// `2 sigmoid(sum) - 1`, and all gates are one function.
    doubled: bool,
}

/// What a direction gives: each step's state, in the order of the steps, and the last state and
/// cell.
struct Run {
    states: Vec<NodeId>,
    last: NodeId,
    cell: Option<NodeId>,
}

pub(in super::super) fn recurrent(call: &mut Call) -> Result<Vec<Wire>, String> {
    if types::of_numbers(call)? != Kind::Real {
        return Err("it reads no real numbers".into());
    }
    let op = call.node.op_type.clone();
    let (gates, defaults): (usize, &[&str]) = match op.as_str() {
        "RNN" => (1, &["Tanh"]),
        "GRU" => (3, &["Sigmoid", "Tanh"]),
        _ => (4, &["Sigmoid", "Tanh", "Tanh"]),
    };
    for name in ["clip", "input_forget"] {
        if call.attribute(name).is_some_and(|a| a.f != 0.0 || a.i != 0) {
            return Err(format!("{name} is not supported"));
        }
    }
    let directions: &[bool] = match call.text("direction") {
        "" | "forward" => &[false],
        "reverse" => &[true],
        "bidirectional" => &[false, true],
        other => return Err(format!("direction {other:?}")),
    };
    let batch_first = call.int("layout", 0) != 0;
    let layer = layer(call, gates, batch_first)?;
    let functions = functions(call, defaults, directions.len())?;
    let mut runs = Vec::new();
    for (i, reverse) in directions.iter().enumerate() {
        let weights = weights(call, &layer, gates, [i, directions.len()], functions[i].clone())?;
        let state = start(call, &layer, 5, [i, directions.len()], batch_first)?;
        let cell = if op == "LSTM" { start(call, &layer, 6, [i, directions.len()], batch_first)? } else { None };
        runs.push(run(call, &layer, &weights, [state, cell], *reverse)?);
    }
    outputs(call, &layer, &runs, batch_first)
}

fn layer(call: &mut Call, gates: usize, batch_first: bool) -> Result<Layer, String> {
    let mut x = call.data(0)?;
    if call.shape(x).len() != 3 {
        return Err(format!("data of shape {:?} are no sequences", call.shape(x)));
    }
    if batch_first {
        x = call.b.transpose(x, &[1, 0, 2]);
    }
    let [steps, batch, features] = [0, 1, 2].map(|axis| call.shape(x)[axis]);
    let rows = call.floats(2, "the state's weights")?;
    let hidden = rows.shape().last().copied().unwrap_or(0);
    let declared = call.int("hidden_size", hidden as i64);
    let shape = call.floats(1, "the input's weights")?.shape().to_vec();
    if hidden == 0 || declared != hidden as i64 || shape[1..] != [gates * hidden, features] {
        return Err(format!("weights of {shape:?} for {features} features and a state of {hidden} elements"));
    }
    let lengths = call.integers(4, "its sequence lengths")?.unwrap_or_else(|| vec![steps as i64; batch]);
    let length = lengths.first().and_then(|n| usize::try_from(*n).ok()).filter(|n| (1..=steps).contains(n));
    let length = length.ok_or_else(|| format!("sequences of {lengths:?} of {steps} steps"))?;
    if lengths.len() != batch || lengths.iter().any(|n| *n != length as i64) {
        return Err(format!("sequences of different lengths {lengths:?} are not supported"));
    }
    Ok(Layer { x, steps, batch, hidden, length, reset_behind: call.int("linear_before_reset", 0) != 0 })
}

/// The functions of each direction's gates.
fn functions(call: &Call, defaults: &[&str], directions: usize) -> Result<Vec<Vec<Expr>>, String> {
    let given = call.attribute("activations").map(|attribute| attribute.strings.clone()).unwrap_or_default();
    let given: Vec<String> = given.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect();
    let names = if given.is_empty() { defaults.repeat(directions) } else { given.iter().map(String::as_str).collect() };
    if names.len() != defaults.len() * directions {
        return Err(format!("activations {names:?}: {} are needed", defaults.len() * directions));
    }
    let numbers = |name: &str| call.attribute(name).map(|a| a.floats.clone()).unwrap_or_default().into_iter();
    let (mut alphas, mut betas) = (numbers("activation_alpha"), numbers("activation_beta"));
    let mut functions = Vec::new();
    for name in names {
        // The numbers go to the functions that have some, in order.
        let has = |all: &[&str]| all.iter().any(|other| other.eq_ignore_ascii_case(name));
        let alpha = has(&["Affine", "LeakyRelu", "ThresholdedRelu", "ScaledTanh", "HardSigmoid", "Elu"]);
        let beta = has(&["Affine", "ScaledTanh", "HardSigmoid"]);
        let alpha = if alpha { alphas.next() } else { None };
        let beta = if beta { betas.next() } else { None };
        functions.push(function(name, alpha, beta).ok_or_else(|| format!("activation {name:?}"))?);
    }
    Ok(functions.chunks(defaults.len()).map(<[Expr]>::to_vec).collect())
}

fn function(name: &str, alpha: Option<f32>, beta: Option<f32>) -> Option<Expr> {
    let number = |name: &str, default: f32| match name {
        "alpha" => f64::from(alpha.unwrap_or(default)),
        _ => f64::from(beta.unwrap_or(default)),
    };
    let times = |factor: f64, e: Expr| Expr::binary(Binary::Mul, e, Expr::Const(factor));
    let known = [
        "Relu",
        "Tanh",
        "Sigmoid",
        "Affine",
        "LeakyRelu",
        "ThresholdedRelu",
        "ScaledTanh",
        "HardSigmoid",
        "Elu",
        "Softsign",
        "Softplus",
    ];
    Some(match *known.iter().find(|known| known.eq_ignore_ascii_case(name))? {
        "Relu" => Expr::binary(Binary::Max, Expr::X, Expr::Const(0.0)),
        "Affine" => {
            let scaled = times(number("alpha", 1.0), Expr::X);
            Expr::binary(Binary::Add, scaled, Expr::Const(number("beta", 0.0)))
        }
        "ScaledTanh" => {
            let tanh = activation::named("Tanh", false, &number)?;
            times(number("alpha", 1.0), tanh.of(&times(number("beta", 1.0), Expr::X)))
        }
        other => activation::named(other, false, &number)?,
    })
}

/// The weights of direction `i` of `n`.
fn weights(
    call: &Call,
    layer: &Layer,
    gates: usize,
    [i, n]: [usize; 2],
    functions: Vec<Expr>,
) -> Result<Weights, String> {
    let rows = gates * layer.hidden;
    let part = |at: usize, what: &str| -> Result<Option<ArrayD<f32>>, String> {
        let Some(all) = call.optional_floats(at, what)? else { return Ok(None) };
        if all.shape().first() != Some(&n) {
            return Err(format!("{what} of shape {:?} for {n} directions", all.shape()));
        }
        Ok(Some(all.index_axis(Axis(0), i).to_owned()))
    };
    let matrix = |at: usize, what: &str| -> Result<Array2<f32>, String> {
        let part = part(at, what)?.ok_or_else(|| format!("{what} are missing"))?;
        let matrix = part.into_dimensionality::<Ix2>().map_err(|e| format!("{what}: {e}"))?;
        if matrix.nrows() == rows { Ok(matrix) } else { Err(format!("{what} of {} rows, not {rows}", matrix.nrows())) }
    };
    let vector = |at: usize, what: &str, len: usize| -> Result<Option<Array1<f32>>, String> {
        let Some(part) = part(at, what)? else { return Ok(None) };
        let vector = part.into_dimensionality::<Ix1>().map_err(|e| format!("{what}: {e}"))?;
        if vector.len() == len {
            Ok(Some(vector))
        } else {
            Err(format!("{what}: {} elements, not {len}", vector.len()))
        }
    };
    let bias = vector(3, "the bias", 2 * rows)?.unwrap_or_else(|| Array1::zeros(2 * rows));
    let lstm = call.node.op_type == "LSTM";
    let mut weights = Weights {
        input: matrix(1, "the input's weights")?,
        state: matrix(2, "the state's weights")?,
        input_bias: bias.slice(s![..rows]).to_owned(),
        state_bias: bias.slice(s![rows..]).to_owned(),
        peepholes: if lstm { vector(7, "the peepholes", 3 * layer.hidden)? } else { None },
        functions,
        doubled: false,
    };
    let usual = [Unary::Sigmoid, Unary::Tanh].map(|f| Expr::unary(f, Expr::X));
    if lstm && weights.peepholes.is_none() && weights.functions[..2] == usual {
        let new = s![3 * layer.hidden..];
        weights.doubled = true;
        for matrix in [&mut weights.input, &mut weights.state] {
            matrix.slice_mut(s![3 * layer.hidden.., ..]).map_inplace(|w| *w *= 2.0);
        }
        for bias in [&mut weights.input_bias, &mut weights.state_bias] {
            bias.slice_mut(new).map_inplace(|b| *b *= 2.0);
        }
    }
    Ok(weights)
}

/// The first state of a direction, `[batch, hidden]`; `None` if it is zero.
fn start(
    call: &mut Call,
    layer: &Layer,
    at: usize,
    [i, n]: [usize; 2],
    batch_first: bool,
) -> Result<Option<Start>, String> {
    if !call.has(at) {
        return Ok(None);
    }
    let wanted = if batch_first { [layer.batch, n, layer.hidden] } else { [n, layer.batch, layer.hidden] };
    let direction = usize::from(batch_first);
    let refuse = |shape: &[usize]| format!("a first state of shape {shape:?}, not {wanted:?}");
    if call.constant(at).is_some() {
        let all = call.floats(at, "the first state")?;
        if all.shape() != wanted {
            return Err(refuse(all.shape()));
        }
        let part = all.index_axis(Axis(direction), i).to_owned();
        return Ok(if part.iter().all(|x| *x == 0.0) { None } else { Some(Start::Known(part)) });
    }
    let x = call.data(at)?;
    if call.shape(x) != wanted {
        return Err(refuse(&call.shape(x)));
    }
    let (mut from, mut extents) = ([0; 3], wanted);
    (from[direction], extents[direction]) = (i, 1);
    let part = call.b.slice(x, &from, &extents);
    Ok(Some(Start::Secret(call.b.reshape(part, &[layer.batch, layer.hidden]))))
}

/// A state that is known, or depends on the sample.
#[derive(Clone)]
enum Start {
    Known(ArrayD<f32>),
    Secret(NodeId),
}

fn run(
    call: &mut Call,
    layer: &Layer,
    weights: &Weights,
    [state, cell]: [Option<Start>; 2],
    reverse: bool,
) -> Result<Run, String> {
    let Layer { batch, length, .. } = *layer;
    let parts = inputs(call, layer, weights, length)?;
    let (mut state, mut cell) = (state, cell);
    let mut states = Vec::new();
    for turn in 0..length {
        let at = if reverse { length - 1 - turn } else { turn };
        let columns = call.shape(parts)[1];
        let part = call.b.slice(parts, &[at * batch, 0], &[batch, columns]);
        let (next, next_cell) = match call.node.op_type.as_str() {
            "RNN" => (rnn(call, weights, part, state.as_ref())?, None),
            "GRU" => (gru(call, layer, weights, part, state.as_ref())?, None),
            _ => lstm(call, layer, weights, part, [state.as_ref(), cell.as_ref()])?,
        };
        states.push(next);
        state = Some(Start::Secret(next));
        cell = next_cell.map(Start::Secret);
        size::check_layers(call.b.graph.nodes.len(), call.memory)?;
    }
    let last = *states.last().ok_or("it has no steps")?;
    if reverse {
        states.reverse();
    }
    let cell = if let Some(Start::Secret(cell)) = cell { Some(cell) } else { None };
    Ok(Run { states, last, cell })
}

/// The input's part of all gates in all steps, `[length * batch, gates * hidden]`, with the biases
/// that are only added.
fn inputs(call: &mut Call, layer: &Layer, weights: &Weights, length: usize) -> Result<NodeId, String> {
    let features = weights.input.ncols();
    let x = call.b.slice(layer.x, &[0; 3], &[length, layer.batch, features]);
    let rows = call.b.reshape(x, &[length * layer.batch, features]);
    let product = linear::by_constant(call, rows, &weights.input.t().to_owned().into_dyn())?;
    let mut bias = &weights.input_bias + &weights.state_bias;
    if layer.reset_behind && call.node.op_type == "GRU" {
        // The last gate's bias of the state is reset with its product.
        let last = s![2 * layer.hidden..];
        bias.slice_mut(last).assign(&weights.input_bias.slice(last));
    }
    call.affine(product, &number(1.0), &bias.into_dyn())
}

/// `[batch, hidden]` by the rows of `matrix`; a constant state's product is a constant.
fn by_state(call: &mut Call, state: NodeId, matrix: &Array2<f32>) -> Result<NodeId, String> {
    linear::by_constant(call, state, &matrix.t().to_owned().into_dyn())
}

/// `part` with the state's product added, if there is a state.
fn driven(call: &mut Call, part: NodeId, state: Option<&Start>, matrix: &Array2<f32>) -> Result<NodeId, String> {
    match state {
        None => Ok(part),
        Some(Start::Known(c)) => {
            let state = c.clone().into_dimensionality::<Ix2>().map_err(|e| e.to_string())?;
            let product = state.dot(&matrix.t()).into_dyn();
            call.affine(part, &number(1.0), &product)
        }
        Some(Start::Secret(state)) => {
            let product = by_state(call, *state, matrix)?;
            Ok(call.b.add(part, product))
        }
    }
}

/// Columns `from .. to` of a matrix.
fn columns(call: &mut Call, x: NodeId, from: usize, to: usize) -> NodeId {
    let rows = call.shape(x)[0];
    call.b.slice(x, &[0, from], &[rows, to - from])
}

fn rnn(call: &mut Call, weights: &Weights, part: NodeId, state: Option<&Start>) -> Result<NodeId, String> {
    let sum = driven(call, part, state, &weights.state)?;
    Ok(applied(call, &weights.functions[0], sum))
}

/// A ReLU has the cheapest protocol.
fn applied(call: &mut Call, f: &Expr, x: NodeId) -> NodeId {
    let relu = Expr::binary(Binary::Max, Expr::X, Expr::Const(0.0));
    if *f == relu { call.b.relu(x) } else { call.b.pointwise(f.clone(), x) }
}

/// Gates: update, reset, and the new state.
fn gru(
    call: &mut Call,
    layer: &Layer,
    weights: &Weights,
    part: NodeId,
    state: Option<&Start>,
) -> Result<NodeId, String> {
    let h = layer.hidden;
    let [f, g] = [&weights.functions[0], &weights.functions[1]];
    let new_bias = weights.state_bias.slice(s![2 * h..]).to_owned();
    let (gates, new) = (columns(call, part, 0, 2 * h), columns(call, part, 2 * h, 3 * h));
    let one = number(1.0);
    let (gates, product) = match state {
        Some(Start::Secret(state)) if layer.reset_behind => {
            // One product for all gates.
            let all = by_state(call, *state, &weights.state)?;
            let (driven, product) = (columns(call, all, 0, 2 * h), columns(call, all, 2 * h, 3 * h));
            (call.b.add(gates, driven), Some(call.affine(product, &one, &new_bias.clone().into_dyn())?))
        }
        _ => (driven(call, gates, state, &weights.state.slice(s![..2 * h, ..]).to_owned())?, None),
    };
    let gates = applied(call, f, gates);
    let (update, reset) = (columns(call, gates, 0, h), columns(call, gates, h, 2 * h));
    let matrix = weights.state.slice(s![2 * h.., ..]).to_owned();
    let new = if let Some(product) = product {
        let reset = call.b.mul(reset, product)?;
        call.b.add(new, reset)
    } else if layer.reset_behind {
        // The product of a known state, or of none.
        let product = match state {
            Some(Start::Known(c)) => {
                let state = c.clone().into_dimensionality::<Ix2>().map_err(|e| e.to_string())?;
                state.dot(&matrix.t()) + &new_bias
            }
            _ => new_bias.insert_axis(Axis(0)),
        };
        let reset = call.affine(reset, &product.into_dyn(), &number(0.0))?;
        call.b.add(new, reset)
    } else {
        match state {
            None => new,
            Some(Start::Known(c)) => {
                let kept = call.affine(reset, c, &number(0.0))?;
                let product = by_state(call, kept, &matrix)?;
                call.b.add(new, product)
            }
            Some(Start::Secret(state)) => {
                let kept = call.b.mul(reset, *state)?;
                let product = by_state(call, kept, &matrix)?;
                call.b.add(new, product)
            }
        }
    };
    let new = applied(call, g, new);
    // (1 - z) new + z old = new + z (old - new)
    let difference = match state {
        Some(Start::Secret(old)) => call.b.sub(*old, new),
        Some(Start::Known(old)) => call.affine(new, &number(-1.0), old)?,
        None => call.b.scale(-1.0, new),
    };
    let kept = call.b.mul(difference, update)?;
    Ok(call.b.add(new, kept))
}

/// Gates: input, output, forget, and the new cell.
fn lstm(
    call: &mut Call,
    layer: &Layer,
    weights: &Weights,
    part: NodeId,
    [state, cell]: [Option<&Start>; 2],
) -> Result<(NodeId, Option<NodeId>), String> {
    let h = layer.hidden;
    let [f, g, out] = [0, 1, 2].map(|i| &weights.functions[i]);
    let sum = driven(call, part, state, &weights.state)?;
    let peephole = |i: usize| weights.peepholes.as_ref().map(|p| p.slice(s![i * h..(i + 1) * h]).to_owned().into_dyn());
    let [mut input, mut output, mut forget] = [0, 1, 2].map(|i| columns(call, sum, i * h, (i + 1) * h));
    let mut new = columns(call, sum, 3 * h, 4 * h);
    let zero = number(0.0);
    if let (Some(start), Some(p_input), Some(p_forget)) = (cell, peephole(0), peephole(2)) {
        for (gate, peephole) in [(&mut input, p_input), (&mut forget, p_forget)] {
            *gate = match start {
                Start::Known(c) => call.affine(*gate, &number(1.0), &(c * &peephole))?,
                Start::Secret(old) => {
                    let seen = call.affine(*old, &peephole, &zero)?;
                    call.b.add(*gate, seen)
                }
            };
        }
    }
    // Gates that are one function of neighbours are one operation.
    let (input, output_now, forget) = if weights.peepholes.is_none() {
        let gates = if weights.doubled { sum } else { columns(call, sum, 0, 3 * h) };
        let gates = applied(call, f, gates);
        if weights.doubled {
            new = columns(call, gates, 3 * h, 4 * h);
        }
        let [input, output, forget] = [0, 1, 2].map(|i| columns(call, gates, i * h, (i + 1) * h));
        (input, Some(output), forget)
    } else {
        (applied(call, f, input), None, applied(call, f, forget))
    };
    let new = if weights.doubled {
        let twice = call.b.scale(2.0, new);
        call.affine(twice, &number(1.0), &number(-1.0))?
    } else {
        applied(call, g, new)
    };
    let mut next = call.b.mul(input, new)?;
    if let Some(cell) = cell {
        let kept = match cell {
            Start::Secret(cell) => call.b.mul(forget, *cell)?,
            Start::Known(c) => call.affine(forget, c, &zero)?,
        };
        next = call.b.add(next, kept);
    }
    let output = match output_now {
        Some(output) => output,
        None => {
            if let Some(peephole) = peephole(1) {
                let seen = call.affine(next, &peephole, &zero)?;
                output = call.b.add(output, seen);
            }
            applied(call, f, output)
        }
    };
    let shown = applied(call, out, next);
    Ok((call.b.mul(output, shown)?, Some(next)))
}

/// All states, the last ones and the last cells.
fn outputs(call: &mut Call, layer: &Layer, runs: &[Run], batch_first: bool) -> Result<Vec<Wire>, String> {
    let (n, batch, hidden) = (runs.len(), layer.batch, layer.hidden);
    let wanted = |slot: usize| call.node.output.get(slot).is_some_and(|name| !name.is_empty());
    let (all, last, cell) = (wanted(0), wanted(1), wanted(2));
    let mut wires = vec![Wire::Missing; 3];
    if all {
        let mut rows = Vec::new();
        for step in 0..layer.length {
            for run in runs {
                rows.push(call.b.reshape(run.states[step], &[1, batch, hidden]));
            }
        }
        let y = call.b.concat(&rows, 0);
        let y = call.b.pad(y, &[0; 3], &[n * (layer.steps - layer.length), 0, 0]);
        let y = call.b.reshape(y, &[layer.steps, n, batch, hidden]);
        let y = if batch_first { call.b.transpose(y, &[2, 0, 1, 3]) } else { y };
        wires[0] = Wire::Data(y, Kind::Real);
    }
    for (slot, wanted) in [(1, last), (2, cell)] {
        let parts: Vec<NodeId> =
            runs.iter().filter_map(|run| if slot == 1 { Some(run.last) } else { run.cell }).collect();
        if !wanted || parts.len() != n {
            continue;
        }
        let parts: Vec<NodeId> = parts.into_iter().map(|part| call.b.reshape(part, &[1, batch, hidden])).collect();
        let y = call.b.concat(&parts, 0);
        let y = if batch_first { call.b.transpose(y, &[1, 0, 2]) } else { y };
        wires[slot] = Wire::Data(y, Kind::Real);
    }
    Ok(wires)
}
