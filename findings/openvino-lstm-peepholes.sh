#!/usr/bin/env bash
# OpenVINO: the peepholes of an LSTM are ignored.
#
# Guess: the numbers that the ONNX specification gives, or a refusal when the file is read or run.
# Seen:  OpenVINO 2026.4.1 reads the model without a word and computes as if the weights P were
#        zero.
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

def lstm(inputs, p_i, p_o, p_f):
    """The states of one unit, by the specification's formulas."""
    sigmoid, h, c, states = (lambda t: 1 / (1 + np.exp(-t))), 0.0, 0.0, []
    for t in inputs:
        i, f = sigmoid(0.1 * t + 0.5 * h + p_i * c), sigmoid(0.3 * t + 0.7 * h + p_f * c)
        c = f * c + i * np.tanh(0.4 * t + 0.8 * h)
        o = sigmoid(0.2 * t + 0.6 * h + p_o * c)
        h = o * np.tanh(c)
        states.append(h)
    return np.array(states)


x = np.float32([1, 2, 3]).reshape(3, 1, 1)
weights, recurrent = (np.float32(w).reshape(1, 4, 1) for w in ([1, 2, 3, 4], [5, 6, 7, 8]))
for peepholes in ([0, 0, 0], [2, 0, 0], [0, 2, 0], [0, 0, 2]):
    recurrence = node("LSTM", ["x", "w", "r", "", "", "", "", "p"], ["y"], hidden_size=1)
    operands = {"w": weights / 10, "r": recurrent / 10, "p": np.float32([peepholes])}
    gives = run([recurrence], x, **operands).ravel()
    print("P", peepholes, "right", lstm([1, 2, 3], *peepholes).round(4), "gives", gives.round(4))
    assert np.allclose(gives, lstm([1, 2, 3], 0, 0, 0), atol=1e-4)
    assert not any(peepholes) or not np.allclose(gives, lstm([1, 2, 3], *peepholes), atol=0.01)
PY
