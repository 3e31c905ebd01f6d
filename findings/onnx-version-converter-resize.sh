#!/usr/bin/env bash
# onnx.version_converter: a linear Resize or Upsample is another one after conversion.
#
# Guess: The converter keeps what a model computes, or refuses. Resize of set 10 and Upsample of
#        set 9 map x to x / scale (asymmetric), so the Resize of set 11 needs that as
#        coordinate_transformation_mode.
# Seen:  onnx 1.23.2 leaves the attribute out, and its default, half_pixel, shifts the samples: a
#        ramp that is doubled differs by up to a quarter of a step, without a warning.
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

from onnx import version_converter

x = np.arange(4, dtype=np.float32).reshape(1, 1, 1, 4)
scales = np.float32([1, 1, 1, 2])
for op, opset in (("Upsample", 9), ("Resize", 10)):
    old = model([helper.make_node(op, ["x", "s"], ["y"], mode="linear")], [1, 1, 1, 4], opset, s=scales)
    new = version_converter.convert_version(old, 13)
    before, after = onnxruntime(old, x).ravel(), onnxruntime(new, x).ravel()
    print(op, opset, before, "-> 13", after)
    assert np.allclose(before, [0, 0.5, 1, 1.5, 2, 2.5, 3, 3]) and np.isclose(np.abs(before - after).max(), 0.25)
PY
