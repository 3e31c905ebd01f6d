#!/usr/bin/env bash
# onnx.version_converter: Hardmax upwards over set 13 and Softmax downwards change their meaning.
#
# Guess: Set 13 changed Softmax, LogSoftmax and Hardmax from flattening at `axis` to working along
#        it. The converter rewrites Softmax upwards, so it does so for Hardmax, and it rewrites or
#        refuses Softmax downwards.
# Seen:  onnx 1.23.2 copies both nodes as they are: Hardmax (axis 1) of a 1x2x2 tensor has one 1
#        in set 12 and two in set 13; Softmax along axis 1 of set 13 becomes one over all four
#        numbers in set 12.
#
# Exits with 0 while that is so, with another code once the behaviour has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PY'
import numpy as np
import onnx
from onnx import helper, numpy_helper


def model(nodes, shape, opset, **constants):
    """A model from x, of this shape, to y."""
    x = helper.make_tensor_value_info("x", 1, shape)
    y = helper.make_tensor_value_info("y", 1, None)
    stored = [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()]
    opsets = [helper.make_opsetid("", opset)]
    graph = helper.make_graph(nodes, "g", [x], [y], stored)
    return helper.make_model(graph, opset_imports=opsets, ir_version=helper.find_min_ir_version_for(opsets))


def onnxruntime(model, x, optimised=True):
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 4
    if not optimised:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]

from onnx import version_converter

x = np.array([[[1, 2], [4, 3]]], np.float32)
for op, old, new in (("Softmax", 12, 13), ("Hardmax", 12, 13), ("Softmax", 13, 12)):
    before = model([helper.make_node(op, ["x"], ["y"], axis=1)], [1, 2, 2], old)
    after = version_converter.convert_version(before, new)
    a, b = onnxruntime(before, x).ravel(), onnxruntime(after, x).ravel()
    print(op, old, a, "->", new, b)
    assert np.allclose(a, b) == (op == "Softmax" and new == 13)
PY
