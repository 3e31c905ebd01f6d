//! ONNX files written field by field: just enough of the format for models that are wrong in one
//! respect.

/// Element types of the ONNX enumeration.
pub const FLOAT: u64 = 1;
pub const INT64: u64 = 7;

/// A protobuf message under construction.
#[derive(Clone, Default)]
pub struct Message(Vec<u8>);

impl Message {
    fn int(mut self, field: u8, value: u64) -> Self {
        self.varint(u64::from(field) << 3);
        self.varint(value);
        self
    }

    fn bytes(mut self, field: u8, payload: &[u8]) -> Self {
        self.varint(u64::from(field) << 3 | 2);
        self.varint(payload.len() as u64);
        self.0.extend(payload);
        self
    }

    fn text(self, field: u8, text: &str) -> Self {
        self.bytes(field, text.as_bytes())
    }

    fn all<'m>(self, field: u8, messages: impl IntoIterator<Item = &'m Message>) -> Self {
        messages.into_iter().fold(self, |message, one| message.bytes(field, &one.0))
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

/// A `NodeProto`.
pub fn node(op: &str, name: &str, inputs: &[&str], output: &str) -> Message {
    let node = inputs.iter().fold(Message::default(), |node, input| node.text(1, input));
    node.text(2, output).text(3, name).text(4, op)
}

/// A `TensorProto` of floats.
pub fn tensor(name: &str, dims: &[u64], elements: &[f32]) -> Message {
    let raw: Vec<u8> = elements.iter().flat_map(|element| element.to_le_bytes()).collect();
    dims.iter().fold(Message::default(), |tensor, dim| tensor.int(1, *dim)).int(2, FLOAT).text(8, name).bytes(9, &raw)
}

/// A `ValueInfoProto`: a name, an element type, and extents, of which `None` is left open.
pub fn port(name: &str, elements: u64, dims: &[Option<u64>]) -> Message {
    let dim = |extent: &Option<u64>| match extent {
        Some(extent) => Message::default().int(1, *extent),
        None => Message::default().text(2, "open"),
    };
    let shape = Message::default().all(1, &dims.iter().map(dim).collect::<Vec<_>>());
    let tensor = Message::default().int(1, elements).all(2, [&shape]);
    Message::default().text(1, name).all(2, [&Message::default().all(1, [&tensor])])
}

/// A graph from ports to ports. Its defaults are a classifier of four numbers into three classes:
/// `y = x w`.
pub struct Graph {
    pub nodes: Vec<Message>,
    pub weights: Vec<Message>,
    pub inputs: Vec<Message>,
    pub outputs: Vec<Message>,
}

impl Default for Graph {
    fn default() -> Graph {
        Graph {
            nodes: vec![node("MatMul", "scores", &["x", "w"], "y")],
            weights: vec![tensor("w", &[4, 3], &WEIGHTS)],
            inputs: vec![port("x", FLOAT, &[Some(1), Some(4)])],
            outputs: vec![port("y", FLOAT, &[Some(1), Some(3)])],
        }
    }
}

/// The default graph's weights.
pub const WEIGHTS: [f32; 12] = [0.5, -0.25, 1.0, 0.125, 0.75, -1.0, 0.25, 0.5, -0.5, 1.0, -0.75, 0.375];

impl Graph {
    /// The `ModelProto`'s file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let Graph { nodes, weights, inputs, outputs } = self;
        let graph = Message::default().all(1, nodes).text(2, "made").all(5, weights).all(11, inputs).all(12, outputs);
        let opset = Message::default().int(2, 13);
        Message::default().int(1, 8).all(7, [&graph]).all(8, [&opset]).0
    }
}

/// A model in which messages lie inside each other, `depth` deep: graphs in attributes of nodes of
/// graphs.
pub fn nested(depth: usize) -> Vec<u8> {
    let wrap = |graph: Message| {
        let attribute = Message::default().all(6, [&graph]);
        Message::default().all(1, [&Message::default().all(5, [&attribute])])
    };
    let graph = (0..depth).fold(Message::default().text(2, "innermost"), |graph, _| wrap(graph));
    Message::default().all(7, [&graph]).0
}
