#!/usr/bin/env bash
# onnx.reference: BatchNormalization of operator sets 9 to 13 normalises by the sample's own
# statistics.
#
# Guess: A BatchNormalization with one output is in inference mode and uses the stored mean and
#        variance.
# Seen:  onnx 1.23.2 mixes the batch's own mean and variance into the stored ones with `momentum`
#        (0.9 by default), so momentum, which inference ignores, changes the result, and a
#        sample's result depends on its batch. From operator set 14 on it is right.
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
stored = dict(s=np.float32([1, 2]), b=np.float32([0, 1]), m=np.float32([1, 2]), v=np.float32([4, 1]))
for opset in (9, 14):
    for momentum in (0.9, 0.5):
        node = helper.make_node("BatchNormalization", ["x", "s", "b", "m", "v"], ["y"], momentum=momentum)
        norm = model([node], [1, 2, 2], opset, **stored)
        plain, found = onnxruntime(norm, x).ravel(), reference(norm, x).ravel()
        print(opset, momentum, "onnxruntime", plain, "reference", found)
        assert np.allclose(plain, [0, 0.5, 3, 5], atol=1e-3)
        assert np.allclose(plain, found, atol=1e-3) == (opset == 14)
PY
