"""Random valid classifiers, each from a seed and its index."""

import numpy as np
import onnx

import control
import elementwise
import linear
import moves
import places
import sequences
from onnxruntime.capi import onnxruntime_pybind11_state as runtime

from graph import Graph, Skip, session
from noise import answers, clear

WRITERS = {**elementwise.WRITERS, **linear.WRITERS, **moves.WRITERS, **places.WRITERS, **sequences.WRITERS, **control.WRITERS}
OPSETS = list(range(7, 29))
# Operators that networks are made of come more often.
WEIGHTS = np.array([1.0 if name in elementwise.WRITERS else 2.5 for name in sorted(WRITERS)])
SAMPLES = 32
REFUSALS = (
    onnx.checker.ValidationError,
    runtime.Fail,
    runtime.InvalidArgument,
    runtime.InvalidGraph,
    runtime.NotImplemented,
    runtime.RuntimeException,
)
MOST_NODES = 8


class Case:
    """A model with samples and what onnxruntime answers to each of them."""

    def __init__(self, name, model, samples, outputs):
        self.name, self.model, self.samples, self.outputs = name, model, samples, outputs

    @property
    def operators(self):
        return sorted({node.op_type for node in self.model.graph.node})


def case(seed, index, only=None):
    """The case number `index` of a seed, `None` if its choices led nowhere."""
    for attempt in range(20):
        rng = np.random.default_rng([seed, index, attempt])
        opset = OPSETS[int(rng.integers(len(OPSETS)))]
        g = Graph(rng, opset, inputs(rng))
        try:
            wanted = [only] if only else []
            grow(g, wanted)
            model = g.model(head(g))
        except Skip:
            continue
        found = judged(f"{seed}-{index}", model, g.input.data)
        if found is not None:
            return found
    return None


def inputs(rng):
    """Samples of tables, sequences or images."""
    shape = [
        lambda: (1, int(rng.integers(2, 12))),
        lambda: (1, int(rng.integers(1, 7)), int(rng.integers(2, 9))),
        lambda: (1, int(rng.integers(1, 5)), int(rng.integers(3, 8)), int(rng.integers(3, 8))),
    ][rng.choice(3, p=[0.25, 0.25, 0.5])]()
    samples = rng.standard_normal((SAMPLES, *shape)) * rng.choice([0.3, 1, 1, 5])
    return (samples + rng.choice([0, 0, 0.5])).astype(np.float32)


def grow(g, wanted):
    names, weights = sorted(WRITERS), WEIGHTS / WEIGHTS.sum()
    goal, added, tries = g.int(1, MOST_NODES), 0, 0
    while added < goal and tries < 4 * MOST_NODES:
        tries += 1
        name = wanted[0] if wanted and (added == goal - 1 or g.chance(0.4)) else str(g.rng.choice(names, p=weights))
        try:
            WRITERS[name](g)
            added += 1
            wanted = [w for w in wanted if w != name]
        except Skip:
            pass
    if wanted:
        raise Skip


def head(g):
    """The scores of 2 to 12 classes out of what there is, and what stands behind them; or the one score of two classes."""
    if g.chance(0.1):
        return decision(g)
    x = next(v for v in reversed(g.pool) if v.dtype == np.float32)
    rows = sum(extent > 1 for extent in x.shape) > 1
    if rows or not (2 <= x.size <= 12) or g.chance(0.5):
        if x.rank != 2 or x.shape[0] != 1:
            x = g.add("Reshape", x, moves.ints(1, -1), keep=False)
        classes, inner = g.int(2, 8), x.shape[1]
        x = g.add("MatMul", x, g.normal((inner, classes), 1 / np.sqrt(inner)), keep=False)
    # Every class wins on some samples.
    x = g.add("Sub", x, np.median(x.data, axis=0), keep=False)
    lone = sum(extent > 1 for extent in x.shape) == 1
    axis = int(np.argmax(x.shape))
    behind = g.choice(["", "", "", "Softmax", "LogSoftmax", "Sigmoid", "Identity", "ArgMax", "ArgMin", "Softmax ArgMax", "shape"])
    if not lone or not behind:
        return x
    if behind == "shape":
        return g.add("Reshape", x, moves.ints(*g.choice([(1, -1), (-1,), (1, 1, -1), (-1, 1)])), keep=False)
    if "Softmax" in behind:
        x = g.add(behind.split()[0], x, axis=axis, keep=False)
    if "Arg" in behind:
        return arg_max(g, x, axis, behind.split()[-1])
    return x if "Softmax" in behind else g.add(behind, x, keep=False)


def arg_max(g, x=None, axis=None, op="ArgMax"):
    """Over an axis that has all scores."""
    if x is None:
        x = g.pick(lambda v: v.rank >= 1 and max(v.shape) == v.size >= 2)
        axis = int(np.argmax(x.shape))
    last = 0 if g.chance(0.3) else None
    axis = axis - x.rank if g.opset >= 11 and g.chance(0.3) else axis
    axis = None if axis == 0 and g.chance(0.3) else axis
    return g.add(op, x, axis=axis, keepdims=g.choice([None, 0, 1]), select_last_index=last, keep=False)


def decision(g):
    """One score: the probability of a class, or whether it is chosen."""
    x = next(v for v in reversed(g.pool) if v.dtype == np.float32)
    x = g.add("Reshape", x, moves.ints(1, -1), keep=False)
    x = g.add("MatMul", x, g.normal((x.shape[1], 1), 1 / np.sqrt(x.shape[1])), keep=False)
    middle = np.float32(np.median(x.data))
    if g.chance(0.5):
        x = g.add("Sigmoid", g.add("Sub", x, middle, keep=False), keep=False)
        return x if g.chance(0.6) else g.add("Greater", x, np.float32(0.5), keep=False)
    x = g.add(g.choice(["Greater", "GreaterOrEqual"] if g.opset >= 12 else ["Greater"]), x, middle, keep=False)
    if g.chance(0.4):
        return x
    return g.add("Cast", x, to=int(g.choice([onnx.TensorProto.FLOAT, onnx.TensorProto.INT64])), keep=False)


# What stands at the end only.
HEADS = {"ArgMax": arg_max, "ArgMin": lambda g: arg_max(g, op="ArgMin")}
OPERATORS = sorted({*WRITERS, *HEADS})


def judged(name, model, samples):
    """The case with onnxruntime's answers, unless they say too little."""
    try:
        onnx.checker.check_model(model, full_check=False)
        outputs = run(model, samples)
        if outputs.size == 0 or outputs.dtype.kind not in "fib":
            return None
        labels = answers(outputs)
        if labels.min() < 0 or np.bincount(labels).max() / len(labels) > 0.85:
            return None
        # Where noise alone decides, nothing can be compared.
        if len(clear(model, samples, labels, range(len(samples)), 2)) < len(samples) / 3:
            return None
    except (RuntimeError, ValueError, *REFUSALS):
        # The checker, onnxruntime or its inference of shapes does not take it for valid.
        return None
    return Case(name, model, samples, outputs)


def run(model, samples, optimised=True):
    """What onnxruntime gives for each sample by itself."""
    runtime = session(model, optimised)
    return np.stack([runtime.run(None, {"input": sample})[0] for sample in samples])
