#!/usr/bin/env bash
# onnx.reference: LRN normalises as many channels as there are samples in the batch.
#
# Guess: The reference evaluator of the onnx package computes every stable operator as its text
#        says.
# Seen:  In onnx 1.23.2 LRN's loop over channels runs over the batch's extent: with one sample
#        only the first channel is normalised, the others come out as they went in.
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


def reference(model, x):
    from onnx.reference import ReferenceEvaluator

    return ReferenceEvaluator(model).run(None, {"x": x})[0]


x = np.arange(1, 5, dtype=np.float32).reshape(1, 4, 1, 1)
lrn = model([helper.make_node("LRN", ["x"], ["y"], size=3, alpha=0.3)], [1, 4, 1, 1], 13)
print("onnxruntime", onnxruntime(lrn, x).ravel(), "reference", reference(lrn, x).ravel())
padded = np.pad(x.ravel(), 1)
squares = np.array([np.square(padded[i : i + 3]).sum() for i in range(4)])
assert np.allclose(onnxruntime(lrn, x).ravel(), x.ravel() / (1 + 0.1 * squares) ** 0.75, atol=1e-5)
assert (reference(lrn, x).ravel()[1:] == x.ravel()[1:]).all() and reference(lrn, x).ravel()[0] < 0.8
PY
