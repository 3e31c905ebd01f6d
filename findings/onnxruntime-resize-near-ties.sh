#!/usr/bin/env bash
# onnxruntime: Resize to the nearest element takes a position near halfway for one halfway.
#
# Guess: round_prefer_floor takes the upper element of any position above halfway, in the float32 in
#        which positions are reckoned.
# Seen:  onnxruntime 1.32.0 takes the lower one one float32 above halfway (6.5000005), and with
#        round_prefer_ceil the upper one one float32 below it (14.499999). half_pixel_symmetric is
#        reckoned in float64 behind its float32 offset, so floor differs from what float32 gives.
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


def element(transformation, nearest, extents, at):
    """Which of 0, 1, 2, .. result `at` is."""
    sizes = numpy_helper.from_array(np.array([extents[1]], np.int64), "sizes")
    node = helper.make_node(
        "Resize", ["x", "", "", "sizes"], ["y"], mode="nearest", coordinate_transformation_mode=transformation,
        nearest_mode=nearest,
    )
    x, y = helper.make_tensor_value_info("x", 1, [extents[0]]), helper.make_tensor_value_info("y", 1, None)
    model = helper.make_model(
        helper.make_graph([node], "g", [x], [y], [sizes]), opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": np.arange(extents[0], dtype=np.float32)})[0][at]


f = np.float32
scale = f(19) / f(14)
assert np.nextafter(f(6.5), f(7)) == (f(9) + f(0.5)) / scale - f(0.5)
print("position in float32:", (f(9) + f(0.5)) / scale - f(0.5), "element:", element("half_pixel", "round_prefer_floor", (14, 19), 9))
assert (f(9) + f(0.5)) / scale - f(0.5) > 6.5 and element("half_pixel", "round_prefer_floor", (14, 19), 9) == 6
scale = f(6) / f(20)
assert (f(4) + f(0.5)) / scale - f(0.5) == np.nextafter(f(14.5), f(14))
assert element("half_pixel", "round_prefer_ceil", (20, 6), 4) == 15
# The offset is 0 here, and 5.5 / (11 / 3) - 0.5 is 1 in float32.
scale = f(11) / f(3)
assert f(5.5) / scale - f(0.5) == 1 and element("half_pixel_symmetric", "floor", (3, 11), 5) == 0
PY
