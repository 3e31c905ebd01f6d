#!/usr/bin/env bash
# tinygrad: grouped attention reads the keys and values of other heads.
#
# Guess: the numbers that the ONNX specification gives, or a refusal when the file is read or run.
# Seen:  tinygrad 0.14.0 repeats all heads of keys and values one after the other, instead of each
#        for its group: of four query heads with two of keys the second and the third attend to the
#        wrong one. As many heads, or one of keys, are right.
#
# Exits with 0 while that is so, with another code once the behaviour has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    tinygrad==0.14.0 onnx==1.23.2 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PY'
import os
from importlib.metadata import version

# Its interpreter in Python: no compiler is needed.
os.environ["DEV"] = "PYTHON"
import numpy as np
from onnx import helper, numpy_helper, save
from tinygrad import Tensor
from tinygrad.nn.onnx import OnnxRunner


def tinygrad(nodes, x, outputs, opset, **constants):
    """What a model from x gives."""
    ports = [helper.make_tensor_value_info(name, 1, None) for name in outputs]
    stored = [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()]
    entry = helper.make_tensor_value_info("x", 1, x.shape)
    graph = helper.make_graph(nodes, "g", [entry], ports, stored)
    opsets = [helper.make_opsetid("", opset)]
    save(helper.make_model(graph, opset_imports=opsets, ir_version=10), "model.onnx")
    found = OnnxRunner("model.onnx")({"x": Tensor(x)})
    return [found[name].numpy() for name in outputs]


node = helper.make_node
print("tinygrad", version("tinygrad"))

def attention(queries, keys, values):
    scores = queries @ keys.swapaxes(-1, -2) / np.sqrt(queries.shape[-1])
    powers = np.exp(scores)
    return powers / powers.sum(-1, keepdims=True) @ values


rng = np.random.default_rng(0)
x = rng.standard_normal((1, 4, 3, 2)).astype(np.float32)
for heads in (1, 2, 4):
    keys, values = rng.standard_normal((2, 1, heads, 3, 2)).astype(np.float32)
    nodes = [node("Attention", ["x", "k", "v"], ["y"])]
    gives = tinygrad(nodes, x, ["y"], 23, k=keys, v=values)[0]
    each = [a.repeat(4 // heads, axis=1) for a in (keys, values)]
    other = [np.tile(a, (1, 4 // heads, 1, 1)) for a in (keys, values)]
    wrong = np.abs(gives - attention(x, *each)).max((0, 2, 3)) > 1e-4
    print(heads, "heads of keys and values, four of queries; wrong", wrong)
    assert np.allclose(gives, attention(x, *other), atol=1e-5)
    assert wrong.tolist() == [False, heads == 2, heads == 2, False]
PY
