#!/usr/bin/env bash
# OpenCV: auto_pad SAME_UPPER with strides pads the beginning too much.
#
# Guess: the numbers that the ONNX specification gives, or a refusal when the file is read or run.
# Seen:  OpenCV 5.0.0.93 pads half of what the kernel needs at stride 1, whatever stride and extent
#        are: a window of 3 with stride 2 over 6 elements begins one element before the first
#        instead of at it, so that convolutions of 3 with stride 2 over even extents are shifted,
#        and so is MaxPool; this window over an odd extent, and SAME_UPPER with stride 1, are right.
#        SAME_LOWER is taken for SAME_UPPER.
#
# Exits with 0 while that is so, with another code once the behaviour has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    opencv-python-headless==5.0.0.93 onnx==1.23.2 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PY'
from importlib.metadata import version

import cv2
import numpy as np
from onnx import helper, numpy_helper


def opencv(nodes, x, shape, opset=17, **constants):
    """What a model from x to y of a shape gives."""
    ports = [helper.make_tensor_value_info(*port) for port in (("x", 1, x.shape), ("y", 1, shape))]
    stored = [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()]
    graph = helper.make_graph(nodes, "g", ports[:1], ports[1:], stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    net = cv2.dnn.readNetFromONNX(np.frombuffer(model.SerializeToString(), np.uint8))
    net.setInput(x, "x")
    return np.asarray(net.forward())


node = helper.make_node
print("opencv-python-headless", version("opencv-python-headless"))

def begins(extent, kernel, stride, mode, op):
    """The first elements of the windows, by a kernel that picks them or as maxima."""
    x = np.arange(1, extent + 1, dtype=np.float32).reshape(1, 1, 1, extent)
    first = np.eye(1, kernel, dtype=np.float32).reshape(1, 1, 1, kernel)
    usual = {"auto_pad": mode, "strides": [1, stride]}
    shape = (1, 1, 1, -(-extent // stride))
    if op == "Conv":
        return opencv([node("Conv", ["x", "w"], ["y"], **usual)], x, shape, w=first).ravel()
    return -opencv([node(op, ["x"], ["y"], kernel_shape=[1, kernel], **usual)], -x, shape).ravel()


for extent, kernel, stride, mode in ((6, 3, 2, "UPPER"), (5, 3, 2, "UPPER"), (5, 2, 1, "LOWER")):
    total = max((-(-extent // stride) - 1) * stride + kernel - extent, 0)
    before = total // 2 if mode == "UPPER" else -(-total // 2)
    right = np.arange(0, extent, stride) + 1 - before
    for op in ("Conv", "MaxPool"):
        gives = begins(extent, kernel, stride, "SAME_" + mode, op)
        print(op, mode, "extent", extent, "kernel", kernel, "stride", stride, "right", end=" ")
        print(np.maximum(right, op == "MaxPool"), "gives", gives)
        shift = {"UPPER": extent % 2 - 1, "LOWER": 1}[mode]
        assert np.array_equal(gives, np.maximum(right + shift, op == "MaxPool"))
PY
