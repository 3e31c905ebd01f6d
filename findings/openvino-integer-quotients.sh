#!/usr/bin/env bash
# OpenVINO: quotients of integers round to the nearest or down.
#
# Guess: the numbers that the ONNX specification gives, or a refusal when the file is read or run.
# Seen:  OpenVINO 2026.4.1 divides integers behind a ReduceSum or ReduceMax as floats and rounds to
#        the nearest: 7 / 2 is 4. Of two constants the quotient is rounded down: -7 / 2 is -4. Of
#        inputs it is right: towards zero.
#
# Exits with 0 while that is so, with another code once the behaviour has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    openvino==2026.4.1 onnx==1.23.2 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PY'
import io
from importlib.metadata import version

import numpy as np
import openvino
from onnx import helper, numpy_helper


def run(nodes, x, opset=17, kind=1, **constants):
    """What a model from x to y, of a type, gives."""
    entry = helper.make_tensor_value_info("x", helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)
    exit = helper.make_tensor_value_info("y", kind, None)
    stored = [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()]
    graph = helper.make_graph(nodes, "g", [entry], [exit], stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    core = openvino.Core()
    read = core.read_model(io.BytesIO(model.SerializeToString()))
    compiled = core.compile_model(read, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return np.array(compiled({"x": x})[0])


node = helper.make_node
print("openvino", version("openvino"))

x, two = np.array([[3, 4], [-4, -3], [0, 5]]), np.int64(2)
operations = {
    "ReduceSum": (node("ReduceSum", ["x", "w"], ["s"], keepdims=0), np.array([1]), x.sum(1)),
    "ReduceMax": (node("ReduceMax", ["x"], ["s"], axes=[1], keepdims=0), np.array([1]), x.max(1)),
    "Add": (node("Add", ["x", "w"], ["s"]), np.array([0]), x),
}
for name, (operation, w, dividends) in operations.items():
    gives = run([operation, node("Div", ["s", "k"], ["y"])], x, kind=7, k=two, w=w)
    right, nearest = np.trunc(dividends / 2), np.round(dividends / 2)
    print(name, dividends.ravel(), "by 2, right", right.ravel(), "gives", gives.ravel())
    assert np.array_equal(gives, right if name == "Add" else nearest)
    assert not np.array_equal(right, nearest)
c = np.array([7, -7, 5, -5])
quotient = [node("Div", ["c", "k"], ["q"]), node("Add", ["x", "q"], ["y"])]
gives = run(quotient, np.zeros(4, np.int64), kind=7, c=c, k=two)
print("constants", c, "by 2, right", np.trunc(c / 2), "gives", gives)
assert gives.tolist() == [3, -4, 2, -3]
PY
