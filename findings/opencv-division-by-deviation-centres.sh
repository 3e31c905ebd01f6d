#!/usr/bin/env bash
# OpenCV: x over its standard deviation is centred as well.
#
# Guess: the numbers that the ONNX specification gives, or a refusal when the file is read or run.
# Seen:  OpenCV 5.0.0.93 takes x / sqrt(var(x) + eps) * g + b for a layer normalisation without a
#        look at the numerator: the mean is subtracted. Without g and b it is right.
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

x = np.float32([[5, 6, 7, 10], [-1, -2, -3, -2]])
g, b = np.float32([1, 2, 3, 4]), np.float32([0, 0, 1, 1])
deviation = np.sqrt(x.var(1, keepdims=True) + 1e-5)
nodes = [
    node("ReduceMean", ["x"], ["m"], axes=[-1]),
    node("Sub", ["x", "m"], ["d"]),
    node("Pow", ["d", "two"], ["q"]),
    node("ReduceMean", ["q"], ["v"], axes=[-1]),
    node("Add", ["v", "eps"], ["e"]),
    node("Sqrt", ["e"], ["r"]),
    node("Div", ["x", "r"], ["n"]),
    node("Mul", ["n", "g"], ["h"]),
    node("Add", ["h", "b"], ["y"]),
]
usual = {"two": np.float32(2), "eps": np.float32(1e-5)}
gives = opencv(nodes, x, x.shape, g=g, b=b, **usual)
right, centred = (v / deviation * g + b for v in (x, x - x.mean(1, keepdims=True)))
print("right", right.round(3).tolist(), "gives", gives.round(3).tolist())
assert np.allclose(gives, centred, atol=1e-4) and not np.allclose(gives, right, atol=1)
plain = opencv([*nodes[:6], node("Div", ["x", "r"], ["y"])], x, x.shape, **usual)
assert np.allclose(plain, x / deviation, atol=1e-4)
PY
