#!/usr/bin/env bash
# tract: LSTM, GRU and RNN ignore activations, clip, input_forget and the direction reverse.
#
# Guess: a runtime that computes these operators, also in both directions, reads the attributes or
#        refuses them.
# Seen:  tract 0.23.9 gives the numbers of Sigmoid and Tanh for activations Relu, HardSigmoid or
#        Softsign, those of no clip for clip 0.1, those of independent gates for input_forget 1, and
#        those of direction forward for reverse. onnxruntime 1.32.0 gives others each time.
#        bidirectional is right, sequence_lens is refused.
#
# Exits with 0 while that is so, with another code once the behaviour has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6 tract==0.23.9
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PY'
from importlib.metadata import version

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


def tract(model, x):
    import tract

    onnx.save(model, "model.onnx")
    return tract.onnx().load("model.onnx").into_model().into_runnable().run([x])[0].to_numpy()



print("tract", version("tract"), "onnxruntime", version("onnxruntime"))

x = np.random.default_rng(1).normal(size=(4, 1, 3)).astype(np.float32)


def recurrent(op, ways=1, **attributes):
    """Four steps of three numbers through two cells."""
    gates, draw = {"LSTM": 4, "GRU": 3, "RNN": 1}[op], np.random.default_rng(2)
    weights = {"w": draw.normal(size=(ways, 2 * gates, 3)), "r": draw.normal(size=(ways, 2 * gates, 2))}
    weights = {k: v.astype(np.float32) for k, v in weights.items()}
    node = helper.make_node(op, ["x", "w", "r"], ["y"], hidden_size=2, **attributes)
    return model([node], [4, 1, 3], 14, **weights)


others = {"LSTM": ["Sigmoid", "Relu", "Softsign"], "GRU": ["HardSigmoid", "Relu"], "RNN": ["Relu"]}
for op in others:
    plain, both = recurrent(op), recurrent(op, ways=2, direction="bidirectional")
    for right in (plain, both):
        assert np.allclose(tract(right, x), onnxruntime(right, x), atol=1e-4)
    ignored = [{"direction": "reverse"}, {"clip": 0.1}, {"activations": others[op]}]
    for attributes in ignored + ([{"input_forget": 1}] if op == "LSTM" else []):
        variant = recurrent(op, **attributes)
        apart = np.abs(tract(variant, x) - onnxruntime(variant, x)).max()
        print(op, attributes, "onnxruntime and tract are apart by", apart)
        assert np.allclose(tract(variant, x), tract(plain, x), atol=1e-6) and apart > 0.05
PY
