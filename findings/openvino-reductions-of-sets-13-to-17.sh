#!/usr/bin/env bash
# OpenVINO: ReduceL1, ReduceLogSum and ReduceLogSumExp of sets 13 to 17 reduce everything.
#
# Guess: the numbers that the ONNX specification gives, or a refusal when the file is read or run.
# Seen:  OpenVINO 2026.4.1 does not read their attribute axes there: one number for the whole
#        tensor. Before set 13 and from 18 on they are right, as are ReduceL2, ReduceMean and others
#        of all sets.
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

x = np.arange(1, 7, dtype=np.float32).reshape(2, 3)
formulas = {
    "ReduceL1": lambda x, **axes: np.abs(x).sum(**axes),
    "ReduceLogSum": lambda x, **axes: np.log(x.sum(**axes)),
    "ReduceLogSumExp": lambda x, **axes: np.log(np.exp(x).sum(**axes)),
    "ReduceL2": lambda x, **axes: np.sqrt((x * x).sum(**axes)),
}
for op, formula in formulas.items():
    for opset in (11, 13, 17, 18):
        attribute = {"axes": [1]} if opset < 18 else {}
        operand = {} if attribute else {"axes": np.array([1])}
        reduction = node(op, ["x", *operand], ["y"], keepdims=0, **attribute)
        gives = run([reduction], x, opset, **operand)
        print(op, "set", opset, "right", formula(x, axis=1), "gives", gives)
        everything = op != "ReduceL2" and opset in (13, 17)
        right = formula(x) if everything else formula(x, axis=1)
        assert gives.shape == right.shape and np.allclose(gives, right, rtol=1e-5)
PY
