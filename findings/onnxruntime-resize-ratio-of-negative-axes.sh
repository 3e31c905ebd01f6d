#!/usr/bin/env bash
# onnxruntime: Resize that keeps the aspect ratio passes over axes that are counted from the end.
#
# Guess: axes = [2, -1] means what axes = [2, 3] means for data of four axes, whatever else is asked
#        for.
# Seen:  onnxruntime 1.32.0 gives both the same with keep_aspect_ratio_policy stretch. With
#        not_larger an axis named -1 keeps its extent: 6x5 becomes 1x1 for [2, 3] and 1x5 for [2,
#        -1], and a declared shape of the result only gives a warning. onnx.reference 1.23.2 fails
#        on negative axes.
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


def model(policy, axes):
    sizes = numpy_helper.from_array(np.array([1, 10], np.int64), "sizes")
    node = helper.make_node("Resize", ["x", "", "", "sizes"], ["y"], axes=axes, keep_aspect_ratio_policy=policy)
    x = helper.make_tensor_value_info("x", 1, [1, 1, 6, 5])
    y = helper.make_tensor_value_info("y", 1, None)
    graph = helper.make_graph([node], "g", [x], [y], [sizes])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)


samples = {"x": np.arange(30, dtype=np.float32).reshape(1, 1, 6, 5)}


def extents(policy, axes):
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(
        model(policy, axes).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, samples)[0].shape[2:]


expected = [
    ("not_larger", [2, 3], (1, 1)),
    ("not_larger", [2, -1], (1, 5)),
    ("stretch", [2, 3], (1, 10)),
    ("stretch", [2, -1], (1, 10)),
]
for *case, shape in expected:
    seen = extents(*case)
    print(*case, "becomes", seen)
    assert seen == shape, shape
try:
    seen = ReferenceEvaluator(model("not_larger", [2, -1])).run(None, samples)
except ValueError as error:
    print("reference:", error)
else:
    raise SystemExit(f"the reference computes it: {seen}")
PY
