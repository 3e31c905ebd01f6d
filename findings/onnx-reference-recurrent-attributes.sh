#!/usr/bin/env bash
# onnx.reference: LSTM, GRU and RNN ignore sequence_lens, clip, input_forget and, but for RNN,
# activations.
#
# Guess: the reference evaluator computes recurrent operators as their text says: outputs behind a
#        sequence's length are zero, activations are those named; what it lacks it refuses.
# Seen:  onnx 1.23.2 gives the same numbers with and without these: sequence_lens [2] of 4 steps,
#        clip 0.1, input_forget 1, activations HardSigmoid and Relu. onnxruntime 1.32.0 gives others
#        each time. RNN refuses unknown activations.
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


print("onnx", version("onnx"), "onnxruntime", version("onnxruntime"))

generator = np.random.default_rng(1)
x = generator.normal(size=(4, 1, 3)).astype(np.float32)


def recurrent(op, lengths=False, **attributes):
    """Four steps of three numbers through two cells."""
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[op]
    draw = np.random.default_rng(2)
    weights = {"w": draw.normal(size=(1, 2 * gates, 3)), "r": draw.normal(size=(1, 2 * gates, 2))}
    weights = {k: v.astype(np.float32) for k, v in weights.items()}
    inputs = ["x", "w", "r", ""] + (["n"] if lengths else [])
    node = helper.make_node(op, inputs, ["y"], hidden_size=2, **attributes)
    return model([node], [4, 1, 3], 14, **weights, **({"n": np.int32([2])} if lengths else {}))


others = {"LSTM": ["HardSigmoid", "Relu", "Softsign"], "GRU": ["HardSigmoid", "Relu"]}
for op in ("LSTM", "GRU", "RNN"):
    plain = recurrent(op)
    assert np.allclose(onnxruntime(plain, x), reference(plain, x), atol=1e-5)
    variants = {"sequence_lens": recurrent(op, lengths=True), "clip": recurrent(op, clip=0.1)}
    if op in others:
        variants["activations"] = recurrent(op, activations=others[op])
    if op == "LSTM":
        variants["input_forget"] = recurrent(op, input_forget=1)
    for name, variant in variants.items():
        apart = np.abs(onnxruntime(variant, x) - reference(variant, x)).max()
        print(op, name, "onnxruntime and reference are apart by", apart)
        assert np.array_equal(reference(variant, x), reference(plain, x)) and apart > 0.01
    assert (onnxruntime(variants["sequence_lens"], x)[2:] == 0).all()
PY
