#!/usr/bin/env bash
# OpenCV: fusions do not check that a value which the pattern uses twice is the same one.
#
# Guess: the numbers that the ONNX specification gives, or a refusal when the file is read or run.
# Seen:  OpenCV 5.0.0.93 takes p * f(x) for x * f(x), and p is gone, where p is another value, as
#        x @ W: of HardSigmoid it makes HardSwish, if alpha is 1/6 and beta is written out, of
#        Softplus and Tanh it makes Mish, of p / |x| a normalisation, of
#        p * (1 + erf(x / sqrt 2)) * 0.5 GELU, of p / sqrt(var(x) + eps) * g + b a layer
#        normalisation, even where p is x itself without its mean subtracted. A gate of channels
#        by HardSigmoid, as MobileNetV3 has it, gives 1 x 1 instead of the image. It is right
#        without beta, with another alpha, without g and b, with p * 0.5 before the gate, and with
#        Sigmoid.
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
from math import erf

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

x, w = np.float32([[1, 2, -1], [0.5, -2, 3]]), np.float32([[1, 0, 2], [0, 1, 2], [1, 1, 0]])
p, g, b = x @ w, np.float32([1, 2, 3]), np.float32([0, 1, 1])
CONSTANTS = {"w": w, "g": g, "b": b, "two": np.float32(2), "eps": np.float32(1e-5)}
CONSTANTS |= {"one": np.float32(1), "half": np.float32(0.5), "root": np.float32(2**0.5)}

sixth = {"alpha": 1 / 6}
hard = np.clip(x / 6 + 0.5, 0, 1)
mish = np.tanh(np.log1p(np.exp(x)))
sigmoid = 1 / (1 + np.exp(-x))
norm = np.linalg.norm(x, axis=1, keepdims=True)
gauss = (1 + np.vectorize(erf)(x / 2**0.5)) / 2
centred = x - x.mean(1, keepdims=True)
deviation = np.sqrt(x.var(1, keepdims=True) + 1e-5)

product = [node("MatMul", ["x", "w"], ["p"])]
gated = [*product, node("Mul", ["p", "g_x"], ["y"])]
erfs = [
    node("Div", ["x", "root"], ["a"]),
    node("Erf", ["a"], ["e"]),
    node("Add", ["e", "one"], ["o"]),
]
roots = [
    node("ReduceMean", ["x"], ["m"], axes=[-1]),
    node("Sub", ["x", "m"], ["d"]),
    node("Pow", ["d", "two"], ["q"]),
    node("ReduceMean", ["q"], ["v"], axes=[-1]),
    node("Add", ["v", "eps"], ["s"]),
    node("Sqrt", ["s"], ["r"]),
]
scaled = [node("Mul", ["n", "g"], ["h"]), node("Add", ["h", "b"], ["y"])]
hard_gate = lambda **options: node("HardSigmoid", ["x"], ["g_x"], **options)

# The nodes, what they mean, and what they give if the other value is taken for the same one.
cases = {
    "HardSigmoid with beta": ([hard_gate(**sixth, beta=0.5), *gated], p * hard, x * hard),
    "HardSigmoid without beta": ([hard_gate(**sixth), *gated], p * hard, None),
    "HardSigmoid, alpha 0.2": (
        [hard_gate(alpha=0.2, beta=0.5), *gated],
        p * np.clip(x / 5 + 0.5, 0, 1),
        None,
    ),
    "Softplus and Tanh": (
        [node("Softplus", ["x"], ["s"]), node("Tanh", ["s"], ["g_x"]), *gated],
        p * mish,
        x * mish,
    ),
    "Sigmoid": ([node("Sigmoid", ["x"], ["g_x"]), *gated], p * sigmoid, None),
    "norm": (
        [*product, node("ReduceL2", ["x"], ["n"], axes=[1]), node("Div", ["p", "n"], ["y"])],
        p / norm,
        x / norm,
    ),
    "Erf, then the half": (
        [*product, *erfs, node("Mul", ["p", "o"], ["t"]), node("Mul", ["t", "half"], ["y"])],
        p * gauss,
        x * gauss,
    ),
    "the half, then Erf": (
        [*product, *erfs, node("Mul", ["p", "half"], ["t"]), node("Mul", ["t", "o"], ["y"])],
        p * gauss,
        None,
    ),
    "deviation, scale and bias": (
        [*product, *roots, node("Div", ["p", "r"], ["n"]), *scaled],
        p / deviation * g + b,
        centred / deviation * g + b,
    ),
    "x not centred": (
        [*roots, node("Div", ["x", "r"], ["n"]), *scaled],
        x / deviation * g + b,
        centred / deviation * g + b,
    ),
    "deviation alone": ([*product, *roots, node("Div", ["p", "r"], ["y"])], p / deviation, None),
}
for name, (nodes, right, own) in cases.items():
    used = {k: v for k, v in CONSTANTS.items() if any(k in n.input for n in nodes)}
    gives = opencv(nodes, x, x.shape, **used)
    print(name, "right", right[0].round(3).tolist(), "gives", gives[0].round(3).tolist())
    assert np.allclose(gives, right if own is None else own, atol=1e-3)
    assert own is None or not np.allclose(gives, right, atol=0.1)

rng = np.random.default_rng(0)
image, weights = rng.standard_normal((1, 2, 3, 3)), rng.standard_normal((2, 2, 1, 1))
image, weights = image.astype(np.float32), weights.astype(np.float32)
scores = (image.mean((2, 3)) @ weights[:, :, 0, 0].T)[:, :, None, None]
gate = np.clip(scores / 6 + 0.5, 0, 1)
excite = [node("GlobalAveragePool", ["x"], ["p"]), node("Conv", ["p", "w"], ["z"])]
for options in ({"beta": 0.5}, {}):
    hard_sigmoid = node("HardSigmoid", ["z"], ["g"], **sixth, **options)
    nodes = [*excite, hard_sigmoid, node("Mul", ["x", "g"], ["y"])]
    gives = opencv(nodes, image, image.shape, w=weights)
    print("gate of channels", options, "right", image.shape, "gives", gives.shape)
    expected = scores * gate if options else image * gate
    assert gives.shape == expected.shape and np.allclose(gives, expected, atol=1e-5)
PY
