#!/usr/bin/env bash
# onnxoptimizer: two Reshapes in a row become another shape if the second copies an extent.
#
# Guess: a Reshape's result is independent of how its input was shaped before, so the first of two
#        is left out. A 0 in the second shape copies an extent of its input, which the first made,
#        so then both stay.
# Seen:  onnxoptimizer 0.4.2 with its default passes leaves the first out regardless: 2x3x4 through
#        3x8 and then [0, -1] is 3x8, optimised 2x12. A maximum of each row behind it gives two
#        numbers instead of three. onnxsim 0.8.1 and onnxslim 0.1.98 are right.
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
x = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
plain = model(
    [node("Reshape", ["x", "first"], ["h"]), node("Reshape", ["h", "second"], ["y"])], [2, 3, 4], 13,
    first=np.int64([3, 8]), second=np.int64([0, -1]))
optimised = onnxoptimizer.optimize(plain)
print([n.op_type for n in optimised.graph.node], onnxruntime(plain, x).shape, "->", onnxruntime(optimised, x).shape)
assert onnxruntime(plain, x).shape == (3, 8) and onnxruntime(optimised, x).shape == (2, 12)
for other in (onnxsim.simplify(plain)[0], onnxslim.slim(plain)):
    assert onnxruntime(other, x).shape == (3, 8)
# Behind a maximum over the rows only the number of results differs.
plain = model(
    [node("Reshape", ["x", "first"], ["h"]), node("Reshape", ["h", "second"], ["g"]),
     node("ReduceMax", ["g"], ["y"], axes=[1], keepdims=0)], [2, 3, 4], 13,
    first=np.int64([3, 8]), second=np.int64([0, -1]))
print("maxima", onnxruntime(plain, x), "->", onnxruntime(onnxoptimizer.optimize(plain), x))
assert (onnxruntime(plain, x) == [7, 15, 23]).all()
assert (onnxruntime(onnxoptimizer.optimize(plain), x) == [11, 23]).all()
PY
