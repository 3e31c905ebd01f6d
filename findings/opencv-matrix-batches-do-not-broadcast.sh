#!/usr/bin/env bash
# OpenCV: batches of matrices that broadcast along one of several axes meet the wrong partners.
#
# Guess: the numbers that the ONNX specification gives, or a refusal when the file is read or run.
# Seen:  OpenCV 5.0.0.93 takes the second operand's matrices in another order: to 2 x 3 matrices it
#        multiplies the three of the other operand as 0 0 1, 0 0 1 instead of 0 1 2, 0 1 2, so that
#        one weight matrix for each head is another head's. One batch axis is right.
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

weights = np.float32([1, 2, 3]).reshape(3, 1, 1)
product = [node("MatMul", ["x", "w"], ["y"])]
one, several = np.float32([1, 10]).reshape(2, 1, 1, 1), np.float32([[1, 10, 100], [2, 20, 200]])
for x in (one, several[..., None, None]):
    gives = opencv(product, x, (2, 3, 1, 1), w=weights)
    print("right", (x @ weights).ravel(), "gives", gives.ravel())
    assert np.array_equal(gives, x @ weights[[0, 0, 1]])
batches = several.reshape(2, 3)[:1].T[..., None]
assert np.array_equal(opencv(product, batches, (3, 1, 1), w=weights), batches @ weights)
PY
