#!/usr/bin/env bash
# MNN: a normalisation's scale and bias are taken along its axis, whatever their shape is.
#
# Guess: the numbers that the ONNX specification gives, or a refusal when the file is read or run.
# Seen:  MNN 3.6.1 fuses a normalisation in single operations with the Mul and Add behind it: a
#        scale for each row is applied to the columns. A scale for each column is right, and so is
#        the normalisation without Mul and Add.
#
# Exits with 0 while that is so, with another code once the behaviour has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    mnn==3.6.1 onnx==1.23.2 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PY'
import subprocess
import sys
from importlib.metadata import version

import MNN.expr as expr
import MNN.nn
import numpy as np
import onnx
from onnx import helper, numpy_helper


def mnn(nodes, x, **constants):
    """What a model from x to y gives. The converter is called without the command around it."""
    entry = helper.make_tensor_value_info("x", 1, x.shape)
    stored = [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()]
    graph = helper.make_graph(nodes, "g", [entry], [onnx.ValueInfoProto(name="y")], stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(onnx.shape_inference.infer_shapes(model), "model.onnx")
    convert = "import sys, _tools; _tools.mnnconvert(sys.argv)"
    files = ["--modelFile", "model.onnx", "--MNNModel", "model.mnn", "--bizCode", "x"]
    command = [sys.executable, "-c", convert, "-f", "ONNX", *files]
    subprocess.run(command, check=True, capture_output=True)
    network = MNN.nn.load_module_from_file("model.mnn", ["x"], ["y"])
    given = expr.placeholder(list(x.shape), expr.NCHW, expr.float)
    given.write(np.ascontiguousarray(x))
    result = network.forward([given])[0]
    if result.data_format == expr.NC4HW4:
        result = expr.convert(result, expr.NCHW)
    return np.array(result.read()).reshape(result.shape)


node = helper.make_node
print("mnn", version("mnn"))
x = np.arange(16, dtype=np.float32).reshape(1, 4, 4) ** 2
centred = x - x.mean(2, keepdims=True)
standard = centred / np.sqrt((centred**2).mean(2, keepdims=True) + 1e-3)
normalised = [
    node("ReduceMean", ["x"], ["m"], axes=[2]),
    node("Sub", ["x", "m"], ["d"]),
    node("Pow", ["d", "two"], ["q"]),
    node("ReduceMean", ["q"], ["v"], axes=[2]),
    node("Add", ["v", "eps"], ["e"]),
    node("Sqrt", ["e"], ["r"]),
]
constants = {"two": np.float32(2), "eps": np.float32(1e-3)}
scaled = [
    node("Div", ["d", "r"], ["n"]),
    node("Mul", ["n", "g"], ["h"]),
    node("Add", ["h", "b"], ["y"]),
]
g, b = np.float32([1, 2, 3, 4]), np.float32([0, 0, 0, 1])
for name, shape in (("column", (4,)), ("row", (4, 1))):
    operands = {"g": g.reshape(shape), "b": b.reshape(shape), **constants}
    gives = mnn([*normalised, *scaled], x, **operands)
    right = standard * g.reshape(shape) + b.reshape(shape)
    print("one for each", name, "right", right[0, 3].round(2), "gives", gives[0, 3].round(2))
    assert np.allclose(gives, standard * g + b, atol=1e-3)
    assert np.allclose(gives, right, atol=1e-3) == (name == "column")
plain = mnn([*normalised, node("Div", ["d", "r"], ["y"])], x, **constants)
assert np.allclose(plain, standard, atol=1e-3)
PY
