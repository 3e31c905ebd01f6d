#!/usr/bin/env bash
# onnx.reference: LpNormalization with p = 1 divides by the sum, not by the sum of absolute values.
#
# Guess: p = 1 is the L1 norm: 1, -4, 0 becomes 0.2, -0.8, 0.
# Seen:  onnx 1.23.2 adds the numbers with their signs, 1 - 4 = -3, and gives -1/3, 4/3, 0; 2, -2,
#        0.001 becomes 2000, -2000, 1. onnxruntime 1.32.0 gives the L1 norm. With p = 2 both agree.
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
from importlib.metadata import version

import numpy as np
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


def reference(model, x):
    from onnx.reference import ReferenceEvaluator

    return ReferenceEvaluator(model).run(None, {"x": x})[0]


print("onnx", version("onnx"), "onnxruntime", version("onnxruntime"))

x = np.float32([[1, -4, 0], [2, -2, 1e-3]])
for p in (1, 2):
    norm = model([helper.make_node("LpNormalization", ["x"], ["y"], p=p, axis=-1)], [2, 3], 22)
    print("p", p, "reference", reference(norm, x).tolist(), "onnxruntime", onnxruntime(norm, x).tolist())
    assert np.allclose(onnxruntime(norm, x), x / np.linalg.norm(x, ord=p, axis=1, keepdims=True), rtol=1e-5)
    assert np.allclose(reference(norm, x), x / x.sum(1, keepdims=True) if p == 1 else onnxruntime(norm, x), rtol=1e-3)
PY
