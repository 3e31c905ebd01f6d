#!/usr/bin/env bash
# onnxruntime: ConvTranspose with auto_pad SAME and a stride beyond the kernel gives too few
# elements.
#
# Guess: SAME means an extent of stride times the input's (12 of 4 elements by a stride of 3), with
#        zeros last for SAME_UPPER where a kernel of 2 does not reach them.
# Seen:  onnxruntime 1.32.0 gives 11, (4 - 1) * 3 + 2, for SAME_UPPER and SAME_LOWER alike: padding
#        that would be negative counts as none. onnx.reference 1.23.2 gives 12, the missing element
#        first for SAME_UPPER and last for SAME_LOWER. With `output_shape` instead both put it last.
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
import numpy as np
import onnxruntime as ort
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

kernel = numpy_helper.from_array(np.asarray([[[1, 2]]], np.float32), "w")
sample = {"x": np.asarray([[[1, 0, 0, 100]]], np.float32)}
body = [1, 2, 0, 0, 0, 0, 0, 0, 0, 100, 200]
expected = {
    "SAME_UPPER": (body, [0] + body),
    "SAME_LOWER": (body, body + [0]),
    "output_shape": (body + [0], body + [0]),
}
for case, wanted in expected.items():
    how = {"output_shape": [12]} if case == "output_shape" else {"auto_pad": case}
    node = helper.make_node("ConvTranspose", ["x", "w"], ["y"], strides=[3], **how)
    x = helper.make_tensor_value_info("x", 1, [1, 1, 4])
    y = helper.make_tensor_value_info("y", 1, None)
    graph = helper.make_graph([node], "g", [x], [y], [kernel])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=8)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    seen = session.run(None, sample)[0].ravel(), ReferenceEvaluator(model).run(None, sample)[0].ravel()
    for name, got, right in zip(("onnxruntime", "onnx.reference"), seen, wanted):
        print(f"{case:13} {name:15}", *got.astype(int))
        assert got.tolist() == right, (case, name)
PY
