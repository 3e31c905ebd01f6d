//! A few lines of protobuf: enough to write small ONNX models.

#![allow(dead_code, reason = "each test binary uses its own part")]

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

fn number(tag: u64, value: u64) -> Vec<u8> {
    [varint(tag << 3), varint(value)].concat()
}

fn message(tag: u64, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = payload.as_ref();
    [varint(tag << 3 | 2), varint(payload.len() as u64), payload.to_vec()].concat()
}

/// One integer attribute.
pub fn int(name: &str, value: u64) -> Vec<u8> {
    [message(1, name), number(3, value), number(20, 2)].concat()
}

/// One attribute of several integers.
pub fn ints(name: &str, values: &[u64]) -> Vec<u8> {
    let values: Vec<u8> = values.iter().flat_map(|v| number(8, *v)).collect();
    [message(1, name), values, number(20, 7)].concat()
}

/// One float attribute.
pub fn float(name: &str, value: f32) -> Vec<u8> {
    [message(1, name), varint(2 << 3 | 5), value.to_le_bytes().to_vec(), number(20, 1)].concat()
}

/// One node.
pub fn node(op: &str, name: &str, inputs: &[&str], output: &str, attributes: &[Vec<u8>]) -> Vec<u8> {
    node_of(op, name, inputs, &[output], attributes)
}

/// One node with several outputs.
pub fn node_of(op: &str, name: &str, inputs: &[&str], outputs: &[&str], attributes: &[Vec<u8>]) -> Vec<u8> {
    let inputs: Vec<u8> = inputs.iter().flat_map(|input| message(1, input)).collect();
    let outputs: Vec<u8> = outputs.iter().flat_map(|output| message(2, output)).collect();
    let attributes: Vec<u8> = attributes.iter().flat_map(|attribute| message(5, attribute)).collect();
    [inputs, outputs, message(3, name), message(4, op), attributes].concat()
}

/// A float32 initializer.
pub fn tensor(name: &str, shape: &[u64], elements: &[f32]) -> Vec<u8> {
    let raw: Vec<u8> = elements.iter().flat_map(|x| x.to_le_bytes()).collect();
    let dims: Vec<u8> = shape.iter().flat_map(|extent| number(1, *extent)).collect();
    [dims, number(2, 1), message(8, name), message(9, raw)].concat()
}

/// An int64 initializer of one axis.
pub fn integers(name: &str, elements: &[i64]) -> Vec<u8> {
    let raw: Vec<u8> = elements.iter().flat_map(|x| x.to_le_bytes()).collect();
    [number(1, elements.len() as u64), number(2, 7), message(8, name), message(9, raw)].concat()
}

/// A model from `x` (batch axis `N`, then `shape`; an extent 0 is dynamic) to `y`.
pub fn model(shape: &[u64], nodes: &[Vec<u8>], initializers: &[Vec<u8>]) -> Vec<u8> {
    model_of(&[("x", shape)], &["y"], 13, nodes, initializers)
}

/// A model of an operator set with several inputs and outputs.
pub fn model_of(
    inputs: &[(&str, &[u64])],
    outputs: &[&str],
    opset: u64,
    nodes: &[Vec<u8>],
    initializers: &[Vec<u8>],
) -> Vec<u8> {
    batched(0, inputs, outputs, opset, nodes, initializers)
}

/// As [`model_of`], for so many samples at a time; 0 leaves that open.
pub fn batched(
    batch: u64,
    inputs: &[(&str, &[u64])],
    outputs: &[&str],
    opset: u64,
    nodes: &[Vec<u8>],
    initializers: &[Vec<u8>],
) -> Vec<u8> {
    let dynamic = |name: &str| message(1, message(2, name));
    let extent = |n: &u64| if *n == 0 { dynamic("H") } else { message(1, number(1, *n)) };
    let input = |(name, shape): &(&str, &[u64])| {
        let first = if batch == 0 { dynamic("N") } else { extent(&batch) };
        let dims = [first, shape.iter().flat_map(extent).collect()].concat();
        let ty = message(1, [number(1, 1), message(2, dims)].concat());
        message(11, [message(1, name), message(2, ty)].concat())
    };
    let inputs: Vec<u8> = inputs.iter().flat_map(input).collect();
    let outputs: Vec<u8> = outputs.iter().flat_map(|name| message(12, message(1, name))).collect();
    let nodes: Vec<u8> = nodes.iter().flat_map(|node| message(1, node)).collect();
    let initializers: Vec<u8> = initializers.iter().flat_map(|tensor| message(5, tensor)).collect();
    let graph = [nodes, message(2, "small"), initializers, inputs, outputs].concat();
    [number(1, 8), message(7, graph), message(8, number(2, opset))].concat()
}

/// `0, 1, -1, 2, -2 ...` scaled down.
pub fn numbers(n: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 7 + 3) % 13) as f32 / 8.0 - 0.75).collect()
}
