#!/usr/bin/env bash
# onnxruntime: Resize with tf_crop_and_resize ignores the region of axes whose extent stays.
#
# Guess: with coordinate_transformation_mode tf_crop_and_resize every axis is read within its part
#        of the region: 4 elements of the last half, written as 4, are some of the last half.
# Seen:  onnxruntime 1.32.0 copies an axis whose extent the result keeps and reads the region of the
#        others only, in nearest and linear mode; the number of elements of another axis does not
#        matter. onnx.reference 1.23.2 reads the region of all axes.
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
import onnxruntime as ort
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator


def resized(mode, extents, runtime):
    """Rows of 0, 1, 2, .. whose last half is made as large as `extents`."""
    region = numpy_helper.from_array(np.array([0, 0, 0.5, 1, 1, 1], np.float32), "region")
    sizes = numpy_helper.from_array(np.array([1, 1, extents[1]], np.int64), "sizes")
    node = helper.make_node(
        "Resize", ["x", "region", "", "sizes"], ["y"], mode=mode, coordinate_transformation_mode="tf_crop_and_resize"
    )
    x = helper.make_tensor_value_info("x", 1, [1, 1, extents[0]])
    y = helper.make_tensor_value_info("y", 1, None)
    graph = helper.make_graph([node], "g", [x], [y], [region, sizes])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    samples = {"x": np.arange(extents[0], dtype=np.float32).reshape(1, 1, -1)}
    if runtime == "reference":
        return ReferenceEvaluator(model).run(None, samples)[0].ravel().tolist()
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, samples)[0].ravel().tolist()


expected = [
    ("linear", (5, 5), "onnxruntime", [0, 1, 2, 3, 4]),
    ("linear", (5, 5), "reference", [2, 2.5, 3, 3.5, 4]),
    ("linear", (5, 3), "onnxruntime", [2, 3, 4]),
    ("linear", (5, 3), "reference", [2, 3, 4]),
    ("nearest", (9, 9), "onnxruntime", [0, 1, 2, 3, 4, 5, 6, 7, 8]),
    ("nearest", (9, 5), "onnxruntime", [4, 5, 6, 7, 8]),
    ("nearest", (9, 5), "reference", [4, 5, 6, 7, 8]),
]
for *case, values in expected:
    seen = resized(*case)
    print(*case, seen)
    assert seen == values, values
assert resized("nearest", (9, 9), "reference")[0] == 4
PY
