#!/usr/bin/env bash
# onnxruntime: auto_pad SAME with windows that need no padding may skip the first element.
#
# Guess: where windows leave elements over (a kernel of 1 every 4 elements), nothing is padded and
#        the first window begins at the first element, for SAME_UPPER as for SAME_LOWER.
# Seen:  onnxruntime 1.32.0 reads elements 1 and 5 of 8 in Conv and LpPool with SAME_UPPER, 0 and 4
#        in Conv with SAME_LOWER; of 6 elements, 3 apart, Conv reads 0 and 3, LpPool 1 and 4.
#        MaxPool is refused when it runs ("padding values must be non-negative"). onnx.reference
#        1.23.2 begins at element 0 in Conv and at element 2 in MaxPool.
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


def windows(op, auto_pad, stride, extent, runtime):
    """The elements of 0, 1, 2, .. that windows of one element read."""
    names, stored = ["x"], []
    if op == "Conv":
        names, stored = ["x", "w"], [numpy_helper.from_array(np.ones((1, 1, 1), np.float32), "w")]
    node = helper.make_node(op, names, ["y"], kernel_shape=[1], strides=[stride], auto_pad=auto_pad)
    x = helper.make_tensor_value_info("x", 1, [1, 1, extent])
    y = helper.make_tensor_value_info("y", 1, None)
    graph = helper.make_graph([node], "g", [x], [y], stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    samples = {"x": np.arange(extent, dtype=np.float32).reshape(1, 1, extent)}
    if runtime == "reference":
        return ReferenceEvaluator(model).run(None, samples)[0].ravel().tolist()
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, samples)[0].ravel().tolist()


expected = [
    ("Conv", "SAME_UPPER", 4, 8, "onnxruntime", [1, 5]),
    ("Conv", "SAME_LOWER", 4, 8, "onnxruntime", [0, 4]),
    ("Conv", "SAME_UPPER", 3, 6, "onnxruntime", [0, 3]),
    ("LpPool", "SAME_UPPER", 4, 8, "onnxruntime", [1, 5]),
    ("LpPool", "SAME_UPPER", 3, 6, "onnxruntime", [1, 4]),
    ("Conv", "SAME_UPPER", 4, 8, "reference", [0, 4]),
    ("MaxPool", "SAME_UPPER", 4, 8, "reference", [2, 6]),
]
for *case, read in expected:
    seen = windows(*case)
    print(*case, "reads", seen)
    assert seen == read, read
try:
    raise SystemExit(f"MaxPool is computed: {windows('MaxPool', 'SAME_UPPER', 4, 8, 'onnxruntime')}")
except Exception as refusal:
    assert "non-negative" in str(refusal), refusal
    print("MaxPool is refused")
PY
