#!/usr/bin/env bash
# onnxruntime.quantization: quantize_static drops a Clip that does not begin at zero.
#
# Guess: a Clip behind a Conv is left out only where the quantised range ends exactly where the Clip
#        does.
# Seen:  onnxruntime 1.32.0 leaves it out whatever its bounds, in both formats: the range always
#        holds zero, so behind Clip(0.5, 1) there are values of 0, and behind Clip(-1, -0.25) too.
#        Clip(0, 1) is right.
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
x = np.linspace(-2, 2, 9, dtype=np.float32).reshape(1, 1, 1, 9)


class Samples(CalibrationDataReader):
    """One sample: x."""

    def __init__(self):
        self.left = [{"x": x}]

    def get_next(self):
        return self.left.pop() if self.left else None


def run(path):
    return ort.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0].ravel()


for low, high in ((0, 1), (0.5, 1), (-1, -0.25)):
    nodes = [helper.make_node("Conv", ["x", "w"], ["h"]), helper.make_node("Clip", ["h", "low", "high"], ["y"])]
    constants = {"w": np.ones((1, 1, 1, 1)), "low": low, "high": high}
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", 1, x.shape)], [helper.make_tensor_value_info("y", 1, x.shape)],
        [numpy_helper.from_array(np.float32(v), k) for k, v in constants.items()])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), "plain.onnx")
    right = np.clip(x.ravel(), low, high)
    assert np.allclose(run("plain.onnx"), right)
    for format in (QuantFormat.QDQ, QuantFormat.QOperator):
        quantize_static("plain.onnx", "quantised.onnx", Samples(), quant_format=format)
        assert "Clip" not in [n.op_type for n in onnx.load("quantised.onnx").graph.node]
        gives = run("quantised.onnx")
        print(low, high, format.name, "right", right, "quantised", gives.round(3))
        held = np.clip(x.ravel(), min(low, 0), max(high, 0))
        assert np.allclose(gives, held, atol=0.02) and (np.abs(gives - right).max() > 0.2) == (low != 0)
PY
