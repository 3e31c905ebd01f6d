#!/usr/bin/env bash
# OpenCV: Resize ignores the scales of batch and channels.
#
# Guess: the numbers that the ONNX specification gives, or a refusal when the file is read or run.
# Seen:  OpenCV 5.0.0.93 reads the scales of height and width only: channels that should be doubled
#        stay as many.
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

x = np.arange(8, dtype=np.float32).reshape(1, 2, 2, 2)
resize = [node("Resize", ["x", "", "s"], ["y"], mode="nearest")]
gives = opencv(resize, x, (1, 4, 2, 4), s=np.float32([1, 2, 1, 2]))
right = x.repeat(2, 1).repeat(2, 3)
print("right", right.shape, "gives", gives.shape, gives.ravel())
assert gives.shape == (1, 2, 2, 4) and np.array_equal(gives, x.repeat(2, 3))
PY
