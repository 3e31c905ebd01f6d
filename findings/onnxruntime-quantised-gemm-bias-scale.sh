#!/usr/bin/env bash
# onnxruntime: a quantised Gemm reads its bias in another scale than the file gives it.
#
# Guess: a bias of int32 behind a DequantizeLinear is worth its own scale; the fused kernel, which
#        adds it to the integer products, takes it only if the scale is that of input times weights.
# Seen:  onnxruntime 1.32.0 with its default optimisations fuses such a Gemm into QGemm and adds the
#        integers as they are: with a bias scale of 0.05 beside 0.02 * 0.01 the bias disappears,
#        with twice the product's scale half of it is left. Without optimisations, and in Conv, it
#        is right.
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
from importlib.metadata import version

import numpy as np
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


node = helper.make_node


def quantised(op, scale, w):
    """Input, weights, bias and result in 8 and 32 bits, around a product of floats."""
    nodes = [node("QuantizeLinear", ["x", "xs", "xz"], ["xq"]), node("DequantizeLinear", ["xq", "xs", "xz"], ["xd"]),
             node("DequantizeLinear", ["w", "ws", "wz"], ["wd"]), node("DequantizeLinear", ["b", "bs", "bz"], ["bd"]),
             node(op, ["xd", "wd", "bd"], ["o"]), node("QuantizeLinear", ["o", "os", "xz"], ["oq"]),
             node("DequantizeLinear", ["oq", "os", "xz"], ["y"])]
    f, bias = np.float32, np.round(np.array([2, -2, 1, -1]) / scale).astype(np.int32)
    shape = [1, 8] if op == "Gemm" else [1, 8, 1, 1]
    zeros = {"xz": np.uint8(128), "wz": np.int8(0), "bz": np.int32(0)}
    return model(nodes, shape, 13, xs=f(0.02), ws=f(0.01), bs=f(scale), os=f(0.02), w=w, b=bias, **zeros)



print("onnxruntime", version("onnxruntime"))

generator = np.random.default_rng(5)
w = generator.integers(-40, 40, (8, 4)).astype(np.int8)
x = generator.uniform(-1, 1, (1, 8)).astype(np.float32)
for scale, part in ((0.0002, 0), (0.0004, 0.5), (0.05, 1)):
    gemm, conv = quantised("Gemm", scale, w), quantised("Conv", scale, w.T.reshape(4, 8, 1, 1).copy())
    pixel = x.reshape(1, 8, 1, 1)
    lost = onnxruntime(gemm, x, False) - onnxruntime(gemm, x)
    print("bias scale", scale, "Gemm as written", onnxruntime(gemm, x, False)[0], "optimised", onnxruntime(gemm, x)[0])
    assert np.abs(lost - part * np.array([2, -2, 1, -1])).max() < 0.05
    assert np.abs(onnxruntime(conv, pixel, False) - onnxruntime(conv, pixel)).max() < 0.03
PY
