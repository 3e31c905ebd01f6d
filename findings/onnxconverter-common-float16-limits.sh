#!/usr/bin/env bash
# onnxconverter-common: float16 weights are cut to 10000, and small ones are raised to 1e-7.
#
# Guess: a conversion to float16 keeps what float16 holds, up to 65504; what is larger becomes that
#        or infinite, what is below 6e-8 becomes zero.
# Seen:  onnxconverter-common 1.16.0 with its defaults makes 10000 of 20000 and 60000, and 1e-7, a
#        hundred times as much, of 1e-9. Warnings name one such number of each kind. With
#        max_finite_val=65504 and min_positive_val=6e-8 numbers that float16 holds stay.
#
# Exits with 0 while that is so, with another code once the behaviour has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6 onnxconverter-common==1.16.0
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PY'
import warnings
from importlib.metadata import version

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnxconverter_common import float16


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


print("onnxconverter-common", version("onnxconverter-common"), "onnxruntime", version("onnxruntime"))

weights = np.float32([20000, 60000, -30000, 1e-9, -1e-8, 1])
x = np.ones((1, 6), np.float32)
plain = model([helper.make_node("Mul", ["x", "w"], ["y"])], [1, 6], 17, w=weights)
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    half = float16.convert_float_to_float16(plain)
wide = float16.convert_float_to_float16(plain, max_finite_val=65504, min_positive_val=6e-8)
gives, others = (onnxruntime(m, x.astype(np.float16))[0].astype(np.float64) for m in (half, wide))
print("weights", weights, "in float16", weights.astype(np.float16), "converted", gives, "with wider limits", others)
print("warnings:", [str(w.message) for w in said])
assert (gives[:3] == [10000, 10000, -10000]).all() and len(said) == 4
assert np.abs(gives[3] - 1e-7) < 3e-8 and np.abs(gives[4] + 1e-7) < 3e-8 and gives[5] == 1
assert np.array_equal(others[:3], weights.astype(np.float16)[:3].astype(np.float64))
PY
