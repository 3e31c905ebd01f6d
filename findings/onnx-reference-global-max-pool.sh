#!/usr/bin/env bash
# onnx.reference: GlobalMaxPool is right for images only.
#
# Guess: GlobalMaxPool takes the maximum over all axes behind the channels, whatever their number.
# Seen:  onnx 1.23.2 does so for two such axes. With one it also takes the maximum over the
#        channels (1x2x3 gives 1x1), with three it treats the first as channels (1x2x2x3x2 gives
#        1x2x2x1x1x1).
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


for shape, wrong in (((1, 2, 3, 2), None), ((1, 2, 3), (1, 1)), ((1, 2, 2, 3, 2), (1, 2, 2, 1, 1, 1))):
    x = -np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    pool = model([helper.make_node("GlobalMaxPool", ["x"], ["y"])], list(shape), 13)
    right, found = onnxruntime(pool, x), reference(pool, x)
    print(shape, "onnxruntime", right.shape, "reference", found.shape)
    assert right.shape == (1, 2) + (1,) * (len(shape) - 2)
    assert found.shape == (wrong or right.shape)
PY
