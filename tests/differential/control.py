"""Graphs inside nodes: If with a condition that is known, Loop with a known number of turns."""

import numpy as np
from graph import info
from onnx import helper, numpy_helper

STEPS = ("Relu", "Neg", "Abs", "Sigmoid", "Tanh", "Identity")


def steps(g, name, result, count):
    """Nodes that make `result` out of `name`, by functions that keep the shape."""
    nodes = []
    for i in range(count):
        to = result if i + 1 == count else g.fresh("inner")
        if g.chance(0.3):
            scale = g.fresh("inner")
            tensor = numpy_helper.from_array(g.normal((), 1.0), scale)
            nodes.append(helper.make_node("Constant", [], [scale], value=tensor))
            nodes.append(helper.make_node(g.choice(["Mul", "Add"]), [name, scale], [to]))
        else:
            nodes.append(helper.make_node(g.choice(STEPS), [name], [to]))
        name = to
    return nodes


def condition(g, x):
    """True or False: said, or found out about a shape."""
    if g.chance(0.5):
        return np.bool_(g.chance(0.5)) if g.chance(0.5) else np.array([g.chance(0.5)])
    rank = g.add("Size", g.add("Shape", x, keep=False), keep=False)
    return g.add("Equal", rank, np.int64(g.choice([x.rank, x.rank + 1])), keep=False)


def if_(g):
    x = g.pick()
    branches = {}
    for name in ("then_branch", "else_branch"):
        result = g.fresh("branch")
        output = info(result, x.dtype, list(x.shape))
        branches[name] = helper.make_graph(steps(g, x.name, result, g.int(1, 3)), name, [], [output])
    return g.add("If", condition(g, x), captured=[x], **branches)


def loop(g):
    """One value that turns around, perhaps with what it was in each turn beside it."""
    x = g.pick(lambda v: v.rank <= 3)
    turn, goes_on, around, after, still, seen = (g.fresh(name) for name in ("turn", "on", "around", "after", "still", "seen"))
    nodes = steps(g, around, after, g.int(1, 2))
    nodes.append(helper.make_node("Identity", [goes_on], [still]))
    outputs = [info(still, np.bool_, []), info(after, x.dtype, list(x.shape))]
    scan = g.chance(0.4)
    if scan:
        nodes.append(helper.make_node("Identity", [after], [seen]))
        outputs.append(info(seen, x.dtype, list(x.shape)))
    inputs = [info(turn, np.int64, []), info(goes_on, np.bool_, []), info(around, x.dtype, list(x.shape))]
    body = helper.make_graph(nodes, "body", inputs, outputs)
    found = g.add("Loop", np.int64(g.int(1, 3)), np.bool_(True), x, outputs=2 if scan else 1, body=body)
    return g.choice(found) if scan else found


WRITERS = {"If": if_, "Loop": loop}
