#!/usr/bin/env bash
# onnx shape inference: STFT without onesided has the shape of both sides.
#
# Guess: onesided is 1 unless it is given, so frames of 8 have 5 frequencies.
# Seen:  onnx 1.23.2 infers 8 for a node without the attribute, and 5 for one with onesided=1;
#        onnx.reference and onnxruntime 1.32.0 compute 5 for both. Whoever plans a Dense layer from
#        the inferred shape plans another.
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
import onnx
import onnxruntime as ort
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

print("onnx", version("onnx"), "onnxruntime", version("onnxruntime"))
x = np.random.default_rng(0).normal(size=(1, 20, 1)).astype(np.float32)
frames = np.lib.stride_tricks.sliding_window_view(x[0, :, 0], 8)[::4]
right = np.fft.rfft(frames)
for attributes in ({}, {"onesided": 1}, {"onesided": 0}):
    node = helper.make_node("STFT", ["x", "step", "", "length"], ["y"], **attributes)
    graph = helper.make_graph(
        [node], "g", [helper.make_tensor_value_info("x", 1, x.shape)], [onnx.ValueInfoProto(name="y")],
        [numpy_helper.from_array(np.int64(4), "step"), numpy_helper.from_array(np.int64(8), "length")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    described = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    onnx.checker.check_model(described)
    inferred = described.graph.output[0].type.tensor_type.shape
    inferred = [d.dim_value for d in inferred.dim]
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    computed = session.run(None, {"x": x})[0]
    assert ReferenceEvaluator(model).run(None, {"x": x})[0].shape == computed.shape
    print(attributes, "inferred", inferred, "computed", computed.shape)
    if attributes.get("onesided", 1):
        assert np.allclose(computed[0, ..., 0] + 1j * computed[0, ..., 1], right, atol=1e-4)
    assert (tuple(inferred) == computed.shape) == bool(attributes)
PY
