#!/usr/bin/env bash
# OpenVINO: integers of 8 bits saturate instead of wrapping around.
#
# Guess: integers wrap around, as numpy's do; the ONNX specification does not say.
# Seen:  OpenVINO 2026.4.1 gives 255 for 200 + 100 of uint8 and 0 for 50 - 100; 100 + 100 of int8 is
#        127. numpy leaves the 8 low bits.
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

cases = (
    ("Add", np.uint8([200, 100]), np.uint8(100), [255, 200]),
    ("Sub", np.uint8([200, 50]), np.uint8(100), [100, 0]),
    ("Mul", np.uint8([200, 50]), np.uint8(3), [255, 150]),
    ("Add", np.int8([100, -100]), np.int8(100), [127, 0]),
)
for op, x, k, seen in cases:
    kind = helper.np_dtype_to_tensor_dtype(x.dtype)
    gives = run([node(op, ["x", "k"], ["y"])], x, kind=kind, k=k)
    right = {"Add": np.add, "Sub": np.subtract, "Mul": np.multiply}[op](x, k)
    print(op, x, "and", k, "numpy", right, "gives", gives)
    assert gives.tolist() == seen and gives.tolist() != right.tolist()
PY
