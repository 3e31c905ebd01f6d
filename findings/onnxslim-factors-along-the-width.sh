#!/usr/bin/env bash
# onnxslim: a Mul behind a Conv by a vector is folded into the channels, though it runs along the
# width.
#
# Guess: ONNX aligns shapes at the end: a vector of 4 scales the columns of a 1x4x4x4 result. It
#        cannot go into a Conv's weights, so Conv and Mul stay.
# Seen:  onnxslim 0.1.98 multiplies the filters by it wherever the number of channels is the
#        vector's length, so channels are scaled instead of columns, without a word. Its own check
#        does not run by default. A factor of shape 4x1x1 is folded rightly. onnxoptimizer 0.4.2 and
#        onnxsim 0.8.1 keep the Mul.
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


print("onnxslim", version("onnxslim"), "onnxoptimizer", version("onnxoptimizer"), "onnxsim", version("onnxsim"))

node = helper.make_node
x = np.ones((1, 1, 4, 4), np.float32)
filters = np.ones((4, 1, 1, 1), np.float32)
factors = np.float32([1, 2, 3, 4])


def scaled(factors):
    nodes = [node("Conv", ["x", "w"], ["h"]), node("Mul", ["h", "c"], ["y"])]
    return model(nodes, [1, 1, 4, 4], 13, w=filters, c=factors)


plain = scaled(factors)
slim = onnxslim.slim(plain)
print("a row of channel 0", onnxruntime(plain, x)[0, 0, 0], "->", onnxruntime(slim, x)[0, 0, 0])
print("a pixel's channels", onnxruntime(plain, x)[0, :, 0, 0], "->", onnxruntime(slim, x)[0, :, 0, 0])
assert (onnxruntime(plain, x) == factors).all()
assert (onnxruntime(slim, x) == factors.reshape(4, 1, 1)).all()
for other in (onnxoptimizer.optimize(plain), onnxsim.simplify(plain)[0]):
    assert (onnxruntime(other, x) == factors).all()
channels = scaled(factors.reshape(4, 1, 1))
assert (onnxruntime(onnxslim.slim(channels), x) == onnxruntime(channels, x)).all()
PY
