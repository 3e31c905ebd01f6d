#!/usr/bin/env bash
# onnxoptimizer: a Pad in front of a pool becomes the pool's padding, which counts otherwise.
#
# Guess: zeros of a Pad are data for MaxPool and count in an AveragePool's mean; a pool's own
#        padding does neither by default. The optimiser merges them only where that is the same.
# Seen:  onnxoptimizer 0.4.2 with its default passes merges them for MaxPool, whose border becomes
#        -1 instead of 0 for data below zero, and for AveragePool without count_include_pad that has
#        pads of its own: its corner is divided by 9 instead of 4. An AveragePool without pads of
#        its own is right. onnxsim 0.8.1 and onnxslim 0.1.98 keep the Pad.
#
# Exits with 0 while that is so, with another code once the behaviour has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6 onnxoptimizer==0.4.2 onnxsim==0.8.1 onnxslim==0.1.98
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PY'
from importlib.metadata import version

import numpy as np
import onnx
from onnx import helper, numpy_helper

import onnxoptimizer
import onnxsim
import onnxslim

def model(nodes, shape, opset, **constants):
    """A model from x, of this shape, to y, whose shape is inferred."""
    x = helper.make_tensor_value_info("x", 1, shape)
    stored = [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()]
    graph = helper.make_graph(nodes, "g", [x], [onnx.ValueInfoProto(name="y")], stored)
    opsets = [helper.make_opsetid("", opset)]
    plain = helper.make_model(graph, opset_imports=opsets, ir_version=helper.find_min_ir_version_for(opsets))
    inferred = onnx.shape_inference.infer_shapes(plain)
    onnx.checker.check_model(inferred)
    return inferred


def onnxruntime(model, x, optimised=True):
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 4
    if not optimised:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


print("onnxoptimizer", version("onnxoptimizer"), "onnxsim", version("onnxsim"), "onnxslim", version("onnxslim"))

node = helper.make_node
x = np.full((1, 1, 4, 4), -1, np.float32)


def padded(pool, **attributes):
    """One zero around the data, then a pool of 3x3."""
    nodes = [node("Pad", ["x", "p"], ["h"]), node(pool, ["h"], ["y"], kernel_shape=[3, 3], **attributes)]
    return model(nodes, [1, 1, 4, 4], 13, p=np.int64([0, 0, 1, 1, 0, 0, 1, 1]))


for pool, attributes, before, after in (
    ("MaxPool", {}, 0, -1),
    ("AveragePool", {"pads": [1, 1, 1, 1]}, -1 / 4, -1 / 9),
    ("AveragePool", {}, -4 / 9, -4 / 9),
):
    plain = padded(pool, **attributes)
    optimised = onnxoptimizer.optimize(plain)
    print(pool, attributes, "corner", onnxruntime(plain, x)[0, 0, 0, 0], "->", onnxruntime(optimised, x)[0, 0, 0, 0])
    assert np.isclose(onnxruntime(plain, x)[0, 0, 0, 0], before)
    assert np.isclose(onnxruntime(optimised, x)[0, 0, 0, 0], after)
    for other in (onnxsim.simplify(plain)[0], onnxslim.slim(plain)):
        assert np.allclose(onnxruntime(other, x), onnxruntime(plain, x))
PY
