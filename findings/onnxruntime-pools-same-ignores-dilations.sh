#!/usr/bin/env bash
# onnxruntime: a pool with auto_pad SAME_UPPER and dilations is smaller than its input.
#
# Guess: SAME means an output of ceil(input / stride) elements, as ONNX's text and shape inference
#        say; dilations widen the padding.
# Seen:  onnxruntime 1.32.0 pads as if there were no dilations: AveragePool, MaxPool and LpPool
#        (kernel 3, dilation 2) over 5 elements give 3, where onnx 1.23.2 infers 5. Nothing warns.
#        Conv with the same attributes is refused.
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
import onnx
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


x = np.arange(1, 6, dtype=np.float32).reshape(1, 1, 5)
for op in ("AveragePool", "MaxPool", "LpPool"):
    pool = model([helper.make_node(op, ["x"], ["y"], kernel_shape=[3], dilations=[2], auto_pad="SAME_UPPER")], [1, 1, 5], 22)
    inferred = onnx.shape_inference.infer_shapes(pool).graph.output[0].type.tensor_type.shape
    y = onnxruntime(pool, x)
    print(op, "inferred", inferred.dim[2].dim_value, "computed", y.shape[2], y.ravel())
    assert inferred.dim[2].dim_value == 5 and y.shape == (1, 1, 3)
kernel = np.ones((1, 1, 3), np.float32)
conv = model([helper.make_node("Conv", ["x", "w"], ["y"], dilations=[2], auto_pad="SAME_UPPER")], [1, 1, 5], 22, w=kernel)
try:
    raise SystemExit(f"Conv is computed: {onnxruntime(conv, x)}")
except Exception as refusal:
    print("Conv:", str(refusal).strip())
    assert "Dilation not supported" in str(refusal)
PY
