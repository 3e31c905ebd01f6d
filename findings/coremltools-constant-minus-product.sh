#!/usr/bin/env bash
# coremltools: a constant minus a product becomes the product minus the constant.
#
# Guess (written after the run): b - x @ W with constant b and W becomes one linear operation with
#        the weights -W and the bias b, or stays as it is.
# Seen:  coremltools 9.0 writes a linear operation with the weights W and the bias -b: every output
#        has the wrong sign, so that the order of scores is reversed. x @ W - b and x @ W + b are
#        right.
#
# Exits with 0 while that is so, with another code once the behaviour has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    coremltools==9.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PY'
import logging
from importlib.metadata import version

logging.disable(logging.WARNING)
import coremltools as ct
import numpy as np
from coremltools.converters.mil import Builder as mb


def converted(network, *shapes):
    """The program of a network, and what coremltools makes of it with its default passes."""
    inputs, target = [mb.TensorSpec(shape) for shape in shapes], ct.target.iOS15
    program = lambda: mb.program(inputs, opset_version=target)(network)
    usual = {"compute_precision": ct.precision.FLOAT32, "minimum_deployment_target": target}
    return program(), ct.convert(program(), convert_to="milinternal", **usual)


def run(program, *arrays):
    """What a program's operations give, by numpy's formulas."""
    function = program.functions["main"]
    values = dict(zip(function.inputs, arrays))
    value = lambda var: values[var.name] if var.val is None else np.asarray(var.val)
    for op in function.operations:
        if op.op_type != "const":
            given = {n: value(v) for n, v in op.inputs.items() if n in NEEDED and v is not None}
            values[op.outputs[0].name] = FORMULAS[op.op_type](**given)
    return [value(var) for var in function.outputs]


def names(program):
    return [op.op_type for op in program.functions["main"].operations if op.op_type != "const"]


NEEDED = {"x", "y", "weight", "bias"}
FORMULAS = {
    "matmul": lambda x, y: x @ y,
    "linear": lambda x, weight, bias: x @ weight.T + bias,
    "add": lambda x, y: x + y,
    "sub": lambda x, y: x - y,
}
weights, b = np.float32([[1, 2], [3, 4], [5, 6]]), np.float32([10, 20])
networks = {
    "b - x @ W": (lambda x: mb.sub(x=b, y=mb.matmul(x=x, y=weights)), lambda x: b - x @ weights),
    "x @ W - b": (lambda x: mb.sub(x=mb.matmul(x=x, y=weights), y=b), lambda x: x @ weights - b),
    "x @ W + b": (lambda x: mb.add(x=mb.matmul(x=x, y=weights), y=b), lambda x: x @ weights + b),
}
print("coremltools", version("coremltools"))
x = np.float32([[1, 0, 2], [0, 1, 1]])
for name, (network, formula) in networks.items():
    before, after = converted(network, x.shape)
    gives = run(after, x)[0]
    print(name, "right", formula(x).tolist(), "converted", names(after), gives.tolist())
    assert np.array_equal(run(before, x)[0], formula(x)) and names(after) == ["linear"]
    assert np.array_equal(gives, -formula(x) if name == "b - x @ W" else formula(x))
PY
