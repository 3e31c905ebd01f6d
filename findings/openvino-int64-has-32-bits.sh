#!/usr/bin/env bash
# OpenVINO: integers of 64 bits are computed in 32.
#
# Guess: the numbers that the ONNX specification gives, or a refusal when the file is read or run.
# Seen:  OpenVINO 2026.4.1 on the CPU converts int64 to int32 within the network: constants and
#        results beyond 2^31 are 2147483647 or wrap around, and 2^31 - 1 equals 2^33 + 1. The
#        outputs are of type int64.
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

gives = run([node("Add", ["x", "k"], ["y"])], np.array([0, 1]), kind=7, k=np.int64(2**33))
print("0 and 1 plus 2^33:", gives, gives.dtype)
assert gives.dtype == np.int64 and (gives < 2**31).all()
gives = run([node("Mul", ["x", "k"], ["y"])], np.array([3, 1]), kind=7, k=np.int64(2**31))
print("3 and 1 times 2^31:", gives)
assert (gives < 2**31).all()
x, k = np.array([2**33 + 1, 2**31 - 1, 5]), np.int64(2**33 + 1)
gives = run([node("Equal", ["x", "k"], ["e"]), node("Cast", ["e"], ["y"], to=1)], x, k=k)
print(x, "equal", k, gives)
assert gives.tolist()[1:] == [1, 0]
PY
