#!/usr/bin/env bash
# OpenCV: a GRU's sequence is its last state, and direction reverse runs forward.
#
# Guess: the numbers that the ONNX specification gives, or a refusal when the file is read or run.
# Seen:  OpenCV 5.0.0.93 gives the last state where a GRU has the output Y alone, without the axis
#        of directions; with Y_h beside it Y is right. Direction reverse is ignored in both outputs.
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

update, new = 0.6, 0.9
x = np.float32([1, 2, 3]).reshape(3, 1, 1)
weights, recurrent = np.float32([[[update], [0.2], [new]]]), np.float32([[[0.3], [0.4], [0.5]]])


def sequence(inputs):
    """All states of one unit, by the specification's formulas."""
    state, states, sigmoid = 0.0, [], lambda t: 1 / (1 + np.exp(-t))
    for t in inputs:
        z, r = sigmoid(update * t + 0.3 * state), sigmoid(0.2 * t + 0.4 * state)
        state = (1 - z) * np.tanh(new * t + 0.5 * r * state) + z * state
        states.append(state)
    return np.array(states)


def gru(outputs, shape, direction="forward"):
    operands = {"hidden_size": 1, "direction": direction}
    recurrence = node("GRU", ["x", "w", "r"], outputs, **operands)
    return opencv([recurrence], x, shape, w=weights, r=recurrent)


right, reverse = sequence([1, 2, 3]), sequence([3, 2, 1])[::-1]
alone, both = gru(["y"], (3, 1, 1, 1)), gru(["y", "h"], (3, 1, 1, 1))
print("right", right.round(4), "Y alone", alone.shape, alone.ravel(), "with Y_h", both.ravel())
assert alone.shape == (1, 1, 1) and np.allclose(alone, right[-1])
assert np.allclose(both.ravel(), right)
back, last = gru(["y", "h"], (3, 1, 1, 1), "reverse"), gru(["", "y"], (1, 1, 1), "reverse")
print("reverse, right", reverse.round(4), "gives", back.ravel(), "its last state", last.ravel())
assert np.allclose(back.ravel(), right) and np.allclose(last, right[-1])
assert not np.allclose(right, reverse, atol=0.05)
PY
