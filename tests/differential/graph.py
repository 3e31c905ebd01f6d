"""A graph under construction whose every value is known: onnxruntime computes each node as it is added.

What onnxruntime refuses, or what leaves the range in which a comparison means something, is not added. So
every graph that comes out is valid, and the writers of operators need not know the rules of shapes.
"""

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

# Larger tensors test nothing that smaller ones do not.
MAX_ELEMENTS = 640
MAX_RANK = 5
LARGEST = 1e4

FLOAT, BOOL = np.dtype(np.float32), np.dtype(np.bool_)


class Skip(Exception):
    """A proposal that does not fit here."""


def reads(node):
    """The names that a node reads, those inside its graphs included."""
    names = [name for name in node.input if name]
    for attribute in node.attribute:
        if attribute.HasField("g"):
            graph = attribute.g
            made = {name for inner in graph.node for name in inner.output} | {port.name for port in graph.input}
            inside = [name for inner in graph.node for name in reads(inner)]
            names += [name for name in (*inside, *(port.name for port in graph.output)) if name not in made]
    return names


class Value:
    """A tensor: of each sample (`data` has the samples as first axis), or a constant."""

    def __init__(self, name, data, secret):
        self.name, self.data, self.secret = name, data, secret

    @property
    def shape(self):
        return self.data.shape[1:] if self.secret else self.data.shape

    @property
    def rank(self):
        return len(self.shape)

    @property
    def size(self):
        return int(np.prod(self.shape))

    @property
    def dtype(self):
        return self.data.dtype

    @property
    def largest(self):
        return float(np.abs(self.data.astype(np.float64)).max(initial=0.0))


def session(model, optimised=True):
    """An onnxruntime session on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def element_type(dtype):
    return helper.np_dtype_to_tensor_dtype(np.dtype(dtype))


def info(name, dtype, shape):
    return helper.make_tensor_value_info(name, element_type(dtype), shape)


class Graph:
    def __init__(self, rng, opset, samples):
        self.rng, self.opset = rng, opset
        self.nodes, self.initializers = [], {}
        self.input = Value("input", samples, True)
        self.pool = [self.input]
        self.count = 0

    # Random choices.
    def chance(self, p):
        return self.rng.random() < p

    def choice(self, options):
        return options[self.rng.integers(len(options))]

    def int(self, low, high):
        """Between low and high, both included."""
        return int(self.rng.integers(low, high + 1))

    def real(self, low, high):
        return float(self.rng.uniform(low, high))

    def normal(self, shape, scale=1.0):
        return (self.rng.standard_normal(shape) * scale).astype(np.float32)

    def pick(self, fits=lambda v: True, dtype=FLOAT):
        """A value of the sample, mostly the newest one that fits."""
        fitting = [v for v in self.pool if v.dtype == dtype and fits(v)]
        if not fitting:
            raise Skip
        return fitting[-1] if self.chance(0.7) else self.choice(fitting)

    def schema(self, op):
        try:
            return onnx.defs.get_schema(op, self.opset, "")
        except onnx.defs.SchemaError:
            raise Skip from None

    def has_attribute(self, op, name):
        return name in self.schema(op).attributes

    # Building.
    def fresh(self, kind):
        self.count += 1
        return f"{kind.lower()}_{self.count}"

    def constant(self, array):
        """A constant: an initializer or a Constant node in one of its forms."""
        array = np.asarray(array)
        if array.dtype == np.float64:
            array = array.astype(np.float32)
        value = Value(self.fresh("c"), array, False)
        if self.chance(0.75):
            self.initializers[value.name] = array
            return value
        forms = [{"value": numpy_helper.from_array(array)}]
        if self.opset >= 12 and array.size:
            kind = {"float32": "float", "int64": "int"}.get(array.dtype.name)
            if kind and array.ndim == 0:
                forms.append({f"value_{kind}": array.item()})
            elif kind and array.ndim == 1:
                forms.append({f"value_{kind}s": array.tolist()})
        self.nodes.append(helper.make_node("Constant", [], [value.name], name=value.name, **self.choice(forms)))
        return value

    def value(self, operand):
        return operand if isinstance(operand, Value) or operand is None else self.constant(operand)

    def add(self, op, *operands, outputs=1, keep=True, captured=(), hidden=False, **attributes):
        """Adds a node; its outputs as Values. Attributes that this operator set lacks are left out. Graphs inside the node may read
        the `captured`; `hidden` numbers may be as large as they like."""
        schema = self.schema(op)
        attributes = {k: v for k, v in attributes.items() if v is not None and k in schema.attributes}
        operands = list(operands)
        while operands and operands[-1] is None:
            operands.pop()
        mark = len(self.nodes), dict(self.initializers)
        operands = [self.value(operand) for operand in operands]
        names = [self.fresh(op) for _ in range(outputs)]
        inputs = ["" if operand is None else operand.name for operand in operands]
        node = helper.make_node(op, inputs, names, **attributes)
        if self.chance(0.9):
            node.name = names[0]
        try:
            values = self.compute(node, [v for v in (*operands, *captured) if v is not None], hidden)
        except Skip:
            del self.nodes[mark[0] :]
            self.initializers = mark[1]
            raise
        self.nodes.append(node)
        if keep:
            self.pool += [v for v in values if v.secret]
        return values[0] if outputs == 1 else values

    def compute(self, node, operands, hidden=False):
        secret = [v for v in dict.fromkeys(operands) if v.secret]
        model = self.model_of(
            [node],
            [info(v.name, v.dtype, list(v.shape)) for v in secret],
            [onnx.ValueInfoProto(name=name) for name in node.output],
            {v.name: v.data for v in operands if not v.secret},
        )
        try:
            run = session(model, optimised=False)
            feeds = zip(*(list(v.data) for v in secret)) if secret else [()]
            rows = [run.run(None, {v.name: np.asarray(x) for v, x in zip(secret, feed)}) for feed in feeds]
        except Exception as refusal:
            raise Skip from refusal
        values = []
        for name, column in zip(node.output, zip(*rows)):
            data = np.stack(column) if secret else column[0]
            value = Value(name, data, bool(secret))
            if value.size == 0 or value.size > MAX_ELEMENTS or value.rank > MAX_RANK:
                raise Skip
            tame = lambda: np.isfinite(data).all() and value.largest <= LARGEST
            if data.dtype.kind == "f" and not hidden and not tame():
                raise Skip
            values.append(value)
        return values

    def model_of(self, nodes, inputs, outputs, constants, ir_version=None):
        tensors = [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()]
        graph = helper.make_graph(nodes, "g", inputs, outputs, tensors)
        opsets = [helper.make_opsetid("", self.opset)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=ir_version or helper.find_min_ir_version_for(opsets))

    # Values that a function is defined on.
    def within(self, value, low, high):
        """An affine function of the value that lies between low and high."""
        least, most = float(value.data.min()), float(value.data.max())
        if low <= least and most <= high:
            return value
        factor = (high - low) / max(most - least, 1e-3) * 0.98
        scaled = self.add("Mul", value, np.float32(factor), keep=False)
        shift = low + 0.01 * (high - low) - float(scaled.data.min())
        return self.add("Add", scaled, np.float32(shift), keep=False)

    def model(self, output):
        """The finished model: what `output` depends on, and now and then what it does not."""
        needed, nodes = {output.name}, []
        dead_too = self.chance(0.1)
        for node in reversed(self.nodes):
            if dead_too or needed & set(node.output):
                needed |= set(reads(node))
                nodes.append(node)
        constants = {name: array for name, array in self.initializers.items() if name in needed}
        batch = "N" if self.chance(0.4) else 1
        inputs = [info("input", FLOAT, [batch, *self.input.shape[1:]])]
        shape = [batch if axis == 0 and extent == 1 else extent for axis, extent in enumerate(output.shape)]
        outputs = [info(output.name, output.dtype, shape)]
        least = max(3, helper.find_min_ir_version_for([helper.make_opsetid("", self.opset)]))
        listed = least == 3 and self.chance(0.5)
        if listed:
            inputs += [info(name, array.dtype, list(array.shape)) for name, array in constants.items()]
            self.rng.shuffle(inputs)
        model = self.model_of(nodes[::-1], inputs, outputs, constants, ir_version=least if listed else max(4, least))
        if TensorProto.FLOAT == outputs[0].type.tensor_type.elem_type and self.chance(0.3):
            model = onnx.shape_inference.infer_shapes(model)
        return model
