#!/usr/bin/env bash
# tract: ConvTranspose with output_shape cuts the other end.
#
# Guess: Where output_shape asks for one element less, ONNX puts the larger half of the padding at
#        the start (unless auto_pad is SAME_UPPER), so the first element goes.
# Seen:  tract 0.23.9 keeps the first element and drops the last: everything is shifted by one, in
#        a tensor of the right shape.
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


x = np.arange(1, 4, dtype=np.float32).reshape(1, 1, 3)
up = model([helper.make_node("ConvTranspose", ["x", "w"], ["y"], output_shape=[4])], [1, 1, 3], 11, w=x)
full = np.convolve(x.ravel(), x.ravel())
print("all", full, "onnxruntime", onnxruntime(up, x).ravel(), "tract", tract(up, x).ravel())
assert np.allclose(onnxruntime(up, x).ravel(), full[1:]) and np.allclose(tract(up, x).ravel(), full[:-1])
PY
