#!/usr/bin/env bash
# tinygrad: Split into parts that do not divide has other parts.
#
# Guess: the numbers that the ONNX specification gives, or a refusal when the file is read or run.
# Seen:  tinygrad 0.14.0 makes the parts as even as it can: 7 elements in 3 parts are 3, 2 and 2.
#        The specification's last part is the smaller one: 3, 3 and 1. What divides is right.
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

for extent, right, seen in ((7, [3, 3, 1], [3, 2, 2]), (6, [2, 2, 2], [2, 2, 2])):
    x = np.arange(extent, dtype=np.float32)
    nodes = [node("Split", ["x"], ["a", "b", "c"], axis=0, num_outputs=3)]
    gives = tinygrad(nodes, x, ["a", "b", "c"], 18)
    print(extent, "elements, right", right, "gives", [part.tolist() for part in gives])
    assert [len(part) for part in gives] == seen
PY
