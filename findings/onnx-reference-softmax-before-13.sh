#!/usr/bin/env bash
# onnx.reference: Softmax of operator sets before 13 is taken along one axis.
#
# Guess: Up to operator set 12 Softmax, LogSoftmax and Hardmax flatten the tensor at `axis`, by
#        default 1, and normalise over everything behind it; the evaluator looks at the operator
#        set, as it does for others.
# Seen:  onnx 1.23.2 applies the rule of 13: for a 1x2x2 tensor each row sums to 1 (default axis
#        -1), where the four numbers should.
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


x = np.array([[[1, 2], [3, 4]]], np.float32)
softmax = model([helper.make_node("Softmax", ["x"], ["y"])], [1, 2, 2], 12)
print("onnxruntime", onnxruntime(softmax, x).ravel(), "reference", reference(softmax, x).ravel())
assert np.allclose(onnxruntime(softmax, x).sum(), 1) and np.allclose(reference(softmax, x).sum(axis=2), 1)
PY
