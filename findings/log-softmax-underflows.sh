#!/usr/bin/env bash
# tract and onnx.reference: LogSoftmax of ordinary scores is minus infinity.
#
# Guess: LogSoftmax exists since the logarithm of a softmax underflows; implementations subtract
#        the logarithm of the sum.
# Seen:  For the scores 100, 2, -30, -200 onnxruntime 1.32.0 gives 0, -98, -130, -300. tract
#        0.23.9 and onnx.reference 1.23.2 take the logarithm of the softmax: two are -inf, and
#        tract's -98 is -87.6.
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


def reference(model, x):
    from onnx.reference import ReferenceEvaluator

    return ReferenceEvaluator(model).run(None, {"x": x})[0]


def tract(model, x):
    import tract

    onnx.save(model, "model.onnx")
    return tract.onnx().load("model.onnx").into_model().into_runnable().run([x])[0].to_numpy()


x = np.array([[100, 2, -30, -200]], np.float32)
scores = model([helper.make_node("LogSoftmax", ["x"], ["y"], axis=1)], [1, 4], 13)
found = {f.__name__: f(scores, x).ravel() for f in (onnxruntime, reference, tract)}
print(found)
assert np.allclose(found["onnxruntime"], [0, -98, -130, -300])
assert np.isneginf(found["reference"][2:]).all() and np.isneginf(found["tract"][2:]).all()
assert -88 < found["tract"][1] < -87
PY
