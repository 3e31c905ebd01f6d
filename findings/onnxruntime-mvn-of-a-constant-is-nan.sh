#!/usr/bin/env bash
# onnxruntime: MeanVarianceNormalization of a constant is NaN.
#
# Guess: ONNX defines the operator as a function that adds 1e-9 to the standard deviation, so a
#        constant channel (a blank image) becomes 0.
# Seen:  onnxruntime 1.32.0 divides 0 by 0 when axes is not one of its two special sets, and gives
#        NaN for the whole tensor; onnx.reference 1.23.2 gives 0.
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


x = np.full((1, 2, 2, 1), 3, np.float32)
for axes in ([0, 2, 3], [0, -1]):
    mvn = model([helper.make_node("MeanVarianceNormalization", ["x"], ["y"], axes=axes)], [1, 2, 2, 1], 13)
    print(axes, "onnxruntime", onnxruntime(mvn, x).ravel(), "reference", reference(mvn, x).ravel())
    assert (reference(mvn, x) == 0).all()
assert np.isnan(onnxruntime(mvn, x)).all()
PY
