"""Makes a case that goes wrong as small as it gets while it goes wrong in the same way."""

import numpy as np
import onnx
from onnx import helper, numpy_helper

from graph import info, reads
from generate import judged
from judge import judge
from noise import tensors


def shrink(case, fusionc, kind, most=250):
    """The smallest case found with a verdict of this kind, and that verdict."""
    best, verdict, budget = case, judge(case, fusionc), most
    progress = True
    while progress and budget > 0:
        progress = False
        for model in smaller(best):
            budget -= 1
            if budget <= 0:
                break
            candidate = attempt(best, model)
            found = candidate and judge(candidate, fusionc)
            if found and found.kind == kind:
                best, verdict, progress = candidate, found, True
                break
    return best, verdict


def attempt(case, model):
    """The case with this model, if that is a valid one that says something."""
    if size(model) >= size(case.model):
        return None
    return judged(case.name, model, case.samples)


def size(model):
    """What shrinking lowers: nodes, then attributes, then elements of constants and how odd they are."""
    nodes = model.graph.node
    arrays = [numpy_helper.to_array(tensor) for tensor in model.graph.initializer]
    odd = sum(int(np.sum((array != 0) & (array != 1))) for array in arrays if array.dtype.kind == "f")
    attributes = sum(len(node.attribute) for node in nodes)
    return len(nodes), attributes, len(model.graph.value_info), sum(array.size for array in arrays), odd


def smaller(case):
    """Models with less in them, the boldest first."""
    values = tensors(case.model, case.samples)
    graph = case.model.graph
    yield from (ending_in(case, name, values[name]) for name in cuts(graph, values))
    for index, node in enumerate(graph.node):
        yield from (without_node(case, index, name) for name in node.input if same(values, name, node.output[0]))
    for index, node in enumerate(graph.node):
        if node.output[0] in values:
            yield from from_input(case, index, values)
    for index, node in enumerate(graph.node):
        for place in range(len(node.attribute)):
            yield edited(case.model, lambda g: g.node[index].attribute.pop(place))
    if graph.value_info:
        yield edited(case.model, lambda g: g.ClearField("value_info"))
    for index, tensor in enumerate(graph.initializer):
        array = numpy_helper.to_array(tensor)
        if array.dtype == np.float32 and array.size:
            yield with_constant(case.model, index, np.sign(np.round(array)))
            yield with_constant(case.model, index, np.ones_like(array))


def cuts(graph, values):
    """Values of 2 to 12 scores that the model could end in."""
    output = graph.output[0].name
    fits = lambda v: v.dtype == np.float32 and 2 <= v[0].size <= 12
    return [name for name, v in values.items() if name != output and fits(v)]


def same(values, a, b):
    """Whether b may stand for a; both are values of the sample."""
    return a in values and b in values and values[a].shape == values[b].shape and values[a].dtype == values[b].dtype


def edited(model, change):
    new = onnx.ModelProto()
    new.CopyFrom(model)
    change(new.graph)
    return pruned(new)


def ending_in(case, name, value):
    """The model up to a value, with the median taken off, so that all labels occur."""

    def change(graph):
        del graph.output[:]
        median = np.median(value, axis=0)
        graph.initializer.append(numpy_helper.from_array(np.asarray(median), "median"))
        graph.node.append(helper.make_node("Sub", [name, "median"], ["scores"]))
        graph.output.append(info("scores", value.dtype, value.shape[1:]))

    return edited(case.model, change)


def without_node(case, index, name):
    """The model with an operand in place of a node's result."""

    def change(graph):
        gone = graph.node.pop(index).output[0]
        for node in graph.node:
            for place, read in enumerate(node.input):
                if read == gone:
                    node.input[place] = name
        for output in graph.output:
            output.name = name if output.name == gone else output.name

    return edited(case.model, change)


def from_input(case, index, values):
    """The model with the input, cut to shape, in place of a node's operand."""
    graph = case.model.graph
    for place, name in enumerate(graph.node[index].input):
        if name == "input" or name not in values or values[name].dtype != np.float32:
            continue
        if values[name].shape == case.samples.shape:

            def change(graph, place=place):
                graph.node[index].input[place] = "input"

            yield edited(case.model, change)


def with_constant(model, index, array):
    def change(graph):
        name = graph.initializer[index].name
        graph.initializer[index].CopyFrom(numpy_helper.from_array(array.astype(np.float32), name))

    return edited(model, change)


def pruned(model):
    """The model without what its output does not depend on."""
    graph = model.graph
    needed, nodes = {output.name for output in graph.output}, []
    for node in reversed(graph.node):
        if needed & set(node.output):
            needed |= set(reads(node))
            nodes.append(node)
    constants = [tensor for tensor in graph.initializer if tensor.name in needed]
    names = {tensor.name for tensor in constants}
    inputs = [port for port in graph.input if port.name == "input" or port.name in names]
    new = onnx.ModelProto()
    new.CopyFrom(model)
    for field, kept in (("node", nodes[::-1]), ("initializer", constants), ("input", inputs)):
        new.graph.ClearField(field)
        getattr(new.graph, field).extend(kept)
    return new
