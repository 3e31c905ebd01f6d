#!/usr/bin/env bash
# onnx shape inference: a ConvTranspose with auto_pad SAME and output_padding is inferred too large.
#
# Guess: with SAME the extent is the input's times the stride, as ONNX says; output_padding changes
#        the padding.
# Seen:  onnx 1.23.2 adds output_padding to the inferred extent: 4 elements with stride 2 are 9.
#        onnx.reference and onnxruntime 1.32.0 compute 8. Without output_padding, or with pads
#        written out, the inferred shape is right.
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
x = np.arange(1, 5, dtype=np.float32).reshape(1, 1, 4)
weights = np.float32([[[1, 10, 100]]])
cases = [
    ({"auto_pad": "SAME_UPPER"}, 8, 8),
    ({"auto_pad": "SAME_UPPER", "output_padding": [1]}, 8, 9),
    ({"auto_pad": "SAME_LOWER", "output_padding": [1]}, 8, 9),
    ({"pads": [1, 1], "output_padding": [1]}, 8, 8),
]
for attributes, right, seen in cases:
    node = helper.make_node("ConvTranspose", ["x", "w"], ["y"], strides=[2], kernel_shape=[3], **attributes)
    graph = helper.make_graph(
        [node], "g", [helper.make_tensor_value_info("x", 1, x.shape)], [onnx.ValueInfoProto(name="y")],
        [numpy_helper.from_array(weights, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10)
    described = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    onnx.checker.check_model(described)
    inferred = described.graph.output[0].type.tensor_type.shape
    inferred = inferred.dim[2].dim_value
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    computed = session.run(None, {"x": x})[0].shape[2]
    reference = ReferenceEvaluator(model).run(None, {"x": x})[0].shape[2]
    print(attributes, "computed", computed, "by onnx.reference", reference, "inferred", inferred)
    assert computed == reference == right and inferred == seen
PY
