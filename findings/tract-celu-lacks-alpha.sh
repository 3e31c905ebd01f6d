#!/usr/bin/env bash
# tract: Celu is not scaled by alpha on the negative side.
#
# Guess: Celu is max(0, x) + min(0, alpha * (exp(x / alpha) - 1)); a runtime that accepts the
#        attribute applies it in both places.
# Seen:  tract 0.23.9 gives exp(x / alpha) - 1: with alpha = 2 Celu(-2) is -0.632 instead of
#        -1.264. With alpha = 1 nothing is seen.
#
# Exits with 0 while that is so, with another code once the behaviour has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6 tract==0.23.9
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


def tract(model, x):
    import tract

    onnx.save(model, "model.onnx")
    return tract.onnx().load("model.onnx").into_model().into_runnable().run([x])[0].to_numpy()


x = np.array([[-2, -1, -0.5, 1]], np.float32)
celu = model([helper.make_node("Celu", ["x"], ["y"], alpha=2.0)], [1, 4], 12)
expected = np.maximum(x, 0) + np.minimum(0, 2 * (np.exp(x / 2) - 1))
print("onnxruntime", onnxruntime(celu, x), "tract", tract(celu, x))
assert np.allclose(onnxruntime(celu, x), expected, atol=1e-6)
assert np.allclose(tract(celu, x), np.where(x > 0, x, np.exp(x / 2) - 1), atol=1e-5)
PY
