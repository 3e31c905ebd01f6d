#!/usr/bin/env bash
# OpenVINO: Resize without its attributes exclude_outside, antialias and keep_aspect_ratio_policy.
#
# Guess: a frontend that does not know an attribute which changes the result refuses the node.
# Seen:  OpenVINO 2026.4.1 reads the node and ignores the three: with keep_aspect_ratio_policy
#        not_larger 2x4 resized to 9x9 is 9x9 instead of 5x9, exclude_outside changes nothing.
#        antialias is computed by another filter than in onnxruntime 1.32.0 and onnx.reference
#        1.23.2, which agree. A plain Resize agrees.
#
# Exits with 0 while that is so, with another code once the behaviour has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    openvino==2026.4.1 onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
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


def reference(model, x):
    from onnx.reference import ReferenceEvaluator

    return ReferenceEvaluator(model).run(None, {"x": x})[0]


def openvino(model, x):
    import openvino

    core = openvino.Core()
    compiled = core.compile_model(core.read_model(model.SerializeToString()), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    result = compiled([x])
    return [result[i] for i in range(len(result))]


print("openvino", version("openvino"), "onnxruntime", version("onnxruntime"), "onnx", version("onnx"))

x = np.arange(1, 17, dtype=np.float32).reshape(1, 1, 4, 4)


def resized(inputs, constants, **attributes):
    node = helper.make_node("Resize", ["x", "", *inputs], ["y"], **attributes)
    return model([node], [1, 1, 4, 4], 19, **constants)


double, half = {"s": np.float32([1, 1, 2, 2])}, {"s": np.float32([1, 1, 0.6, 0.6])}
sizes = {"n": np.int64([9, 6])}
cases = {
    "plain": (resized(["s"], double, mode="cubic"), False),
    "exclude_outside": (resized(["s"], double, mode="cubic", exclude_outside=1), True),
    "antialias": (resized(["s"], half, mode="linear", antialias=1), True),
    "not_larger": (resized(["", "n"], sizes, axes=[2, 3], keep_aspect_ratio_policy="not_larger"), True),
}
for name, (resize, differs) in cases.items():
    right, gives = onnxruntime(resize, x), openvino(resize, x)[0]
    print(name, "onnxruntime", right.shape, right.ravel()[:3], "OpenVINO", gives.shape, gives.ravel()[:3])
    assert np.allclose(reference(resize, x), right, atol=1e-4)
    same = gives.shape == right.shape and np.abs(gives - right).max() < 1e-3
    assert same != differs
plain = resized(["", "n"], {"n": np.int64([1, 1, 9, 6])})
assert np.array_equal(openvino(cases["not_larger"][0], x)[0], openvino(plain, x)[0])
assert np.allclose(openvino(cases["exclude_outside"][0], x)[0], openvino(cases["plain"][0], x)[0])
PY
