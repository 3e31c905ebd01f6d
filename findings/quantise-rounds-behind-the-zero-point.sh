#!/usr/bin/env bash
# OpenVINO and OpenCV: QuantizeLinear rounds after it adds the zero point.
#
# Guess: the numbers that the ONNX specification gives, or a refusal when the file is read or run.
# Seen:  OpenVINO 2026.4.1 and OpenCV 5.0.0.93 add the zero point and then round halves to even:
#        with an odd zero point every half goes the other way, so that 0.5, 1.5 and 2.5 become 1, 1
#        and 3 steps instead of 0, 2 and 2. ONNX rounds first. An even zero point is right.
#
# Exits with 0 while that is so, with another code once the behaviour has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    opencv-python-headless==5.0.0.93 openvino==2026.4.1 onnx==1.23.2 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PY'
import io
from importlib.metadata import version

import cv2
import numpy as np
import openvino
from onnx import helper, numpy_helper


def run(nodes, x, opset=17, kind=1, **constants):
    """What a model from x to y, of a type, gives: OpenVINO and OpenCV."""
    entry = helper.make_tensor_value_info("x", helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)
    exit = helper.make_tensor_value_info("y", kind, x.shape)
    stored = [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()]
    graph = helper.make_graph(nodes, "g", [entry], [exit], stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    stored = model.SerializeToString()
    core = openvino.Core()
    read = core.read_model(io.BytesIO(stored))
    compiled = core.compile_model(read, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    net = cv2.dnn.readNetFromONNX(np.frombuffer(stored, np.uint8))
    net.setInput(x, "x")
    return np.array(compiled({"x": x})[0]), np.asarray(net.forward())


node = helper.make_node
print("openvino", version("openvino"), "opencv", version("opencv-python-headless"))

x = np.float32([[0.5, 1.5, 2.5, -0.5, -1.5]])
nodes = [
    node("QuantizeLinear", ["x", "s", "z"], ["q"]),
    node("DequantizeLinear", ["q", "s", "z"], ["y"]),
]
for zero in (2, 3):
    found = run(nodes, x, s=np.float32(1), z=np.uint8(zero))
    seen = np.round(x + zero) - zero
    print("zero point", zero, "right", np.round(x), "OpenVINO", found[0], "OpenCV", found[1])
    assert all(np.array_equal(gives, seen) for gives in found)
    assert np.array_equal(seen, np.round(x)) == (zero == 2)
PY
