#!/usr/bin/env bash
# onnxruntime.quantization: quantize_static multiplies the bias of a Gemm by alpha, in the format
# QOperator.
#
# Guess: alpha scales the product, the bias is added as it is.
# Seen:  onnxruntime 1.32.0 writes the bias in the scale of input times weights, but its QGemm reads
#        it in alpha times that scale: with alpha=0.5 half of the bias is added. In the format QDQ
#        it is right.
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
import logging
from importlib.metadata import version

import numpy as np
import onnx
import onnxruntime as ort
from onnx import helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

logging.disable(logging.WARNING)
print("onnxruntime", version("onnxruntime"))
x = np.float32([[1, 2, 3]])
w, b = np.float32([[1, -1], [0, 1], [1, 0]]), np.float32([4, -2])


class Samples(CalibrationDataReader):
    """One sample: x."""

    def __init__(self):
        self.left = [{"x": x}]

    def get_next(self):
        return self.left.pop() if self.left else None


def run(path):
    return ort.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]


for alpha in (1, 0.5):
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["x", "w", "b"], ["y"], alpha=float(alpha))], "g",
        [helper.make_tensor_value_info("x", 1, [1, 3])], [helper.make_tensor_value_info("y", 1, [1, 2])],
        [numpy_helper.from_array(w, "w"), numpy_helper.from_array(b, "b")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), "plain.onnx")
    right = alpha * (x @ w) + b
    assert np.allclose(run("plain.onnx"), right)
    for format in (QuantFormat.QDQ, QuantFormat.QOperator):
        quantize_static("plain.onnx", "quantised.onnx", Samples(), quant_format=format)
        gives = run("quantised.onnx")
        print("alpha", alpha, format.name, "right", right, "quantised", gives)
        wrong = alpha != 1 and format == QuantFormat.QOperator
        assert np.allclose(gives, alpha * (x @ w + b) if wrong else right, atol=0.05)
        assert (np.abs(gives - right).max() > 0.9) == wrong
PY
