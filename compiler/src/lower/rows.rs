//! Which elements of a network's values belong together: what a softmax subtracts from an element
//! must be the largest of its own row, and what it divides it by the sum of that row.

use fusion_ir::op::Window;

use crate::nn::{Graph, NodeId, Op, eval};

/// Floats count up to here.
const MOST_ELEMENTS: usize = 1 << 24;

/// For each element of `to`, which element of `from` it is, moved, copied or with the other sign.
/// `None` if anything else happens in between.
pub(super) fn copied(graph: &Graph, from: NodeId, to: NodeId) -> Option<Vec<usize>> {
    let elements = graph.node(from).len();
    if elements >= MOST_ELEMENTS || to < from {
        return None;
    }
    // Counted from one: zero is what a padding adds.
    let mut values: Vec<Vec<f32>> = vec![Vec::new(); to.0 + 1];
    values[from.0] = (1..=elements).map(|i| i as f32).collect();
    for at in from.0 + 1..=to.0 {
        let node = graph.node(NodeId(at));
        if node.inputs.is_empty() || node.inputs.iter().any(|input| values[input.0].is_empty()) {
            continue;
        }
        match &node.op {
            Op::Scale(-1.0) => values[at] = values[node.inputs[0].0].clone(),
            op if op.moves() || matches!(op, Op::Concat { .. }) => values[at] = eval::apply(graph, node, &values, &[]),
            _ => {}
        }
    }
    let found = std::mem::take(&mut values[to.0]);
    let known = !found.is_empty() && found.iter().all(|i| *i > 0.0);
    known.then(|| found.into_iter().map(|i| i as usize - 1).collect())
}

/// For each element of `from`, which element of the pool `pool` it is in, if it is in one and only
/// once, and is nothing else's.
pub(super) fn pooled(graph: &Graph, from: NodeId, pool: NodeId) -> Option<Vec<usize>> {
    let node = graph.node(pool);
    let (Op::MaxPool(window) | Op::SumPool(window)) = &node.op else { return None };
    let operand = node.inputs[0];
    let places = copied(graph, from, operand)?;
    let windows = windows(window, &graph.node(operand).shape, &node.shape)?;
    let mut found = vec![None; graph.node(from).len()];
    for (element, window) in places.into_iter().zip(windows) {
        if found[element].replace(window).is_some() {
            return None;
        }
    }
    found.into_iter().collect()
}

/// For each element of a pool's operand the window that it is in, if it is in one.
fn windows(window: &Window, shape: &[usize], out: &[usize]) -> Option<Vec<usize>> {
    let (&[channels, height, width], &[_, rows, columns]) = (shape, out) else { return None };
    if window.pads != [0; 4] {
        return None;
    }
    let mut found = vec![None; channels * height * width];
    for (number, at) in (0..channels * rows * columns).enumerate() {
        let (channel, row, column) = (at / (rows * columns), at / columns % rows, at % columns);
        let [top, left] = [row * window.strides[0], column * window.strides[1]];
        for i in top..top + window.kernel[0] {
            for j in left..left + window.kernel[1] {
                if found[(channel * height + i) * width + j].replace(number).is_some() {
                    return None;
                }
            }
        }
    }
    found.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::build::Builder;

    #[test]
    fn copies_are_followed_and_nothing_else() {
        let mut b = Builder::default();
        let x = b.push(Op::Input, vec![], [2, 3]);
        let turned = b.transpose(x, &[1, 0]);
        let minus = b.scale(-1.0, turned);
        let row = b.reshape(minus, &[1, 6]);
        let twice = b.expand(row, &[2, 6]).unwrap();
        let half = b.scale(0.5, twice);
        let graph = b.graph.reachable(half);
        let last = NodeId(graph.nodes.len() - 1);
        assert_eq!(copied(&graph, NodeId(0), NodeId(last.0 - 1)).unwrap(), [[0, 3, 1, 4, 2, 5]; 2].concat());
        assert_eq!(copied(&graph, NodeId(0), last), None);
        assert_eq!(copied(&graph, last, NodeId(0)), None);
    }

    #[test]
    fn elements_are_in_one_window_or_nothing_is_said() {
        let window = |kernel, strides, pads| Window { kernel, strides, pads };
        let found = windows(&window([1, 2], [1, 2], [0; 4]), &[2, 1, 4], &[2, 1, 2]).unwrap();
        assert_eq!(found, [0, 0, 1, 1, 2, 2, 3, 3]);
        assert_eq!(windows(&window([1, 4], [1, 1], [0; 4]), &[1, 2, 4], &[1, 2, 1]).unwrap(), [0, 0, 0, 0, 1, 1, 1, 1]);
        // One is in two, one in none, and one is padding.
        assert_eq!(windows(&window([1, 2], [1, 1], [0; 4]), &[1, 1, 3], &[1, 1, 2]), None);
        assert_eq!(windows(&window([1, 2], [1, 2], [0; 4]), &[1, 1, 3], &[1, 1, 1]), None);
        assert_eq!(windows(&window([1, 2], [1, 2], [0, 1, 0, 0]), &[1, 1, 3], &[1, 1, 2]), None);
    }
}
