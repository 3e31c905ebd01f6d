#!/usr/bin/env bash
# coremltools: a floor division of floats by 1 is dropped.
#
# Guess (written after the run): x // 1 rounds floats down, and only for integers is it nothing.
# Seen:  coremltools 9.0 counts floor_div by 1 among the operations that do nothing, whatever the
#        type: 2.7 // 1 is 2.7. Division by 2 and floor are right.
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


NEEDED = {"x", "y"}
FORMULAS = {
    "floor_div": lambda x, y: x // y,
    "floor": lambda x: np.floor(x),
    "relu": lambda x: np.maximum(x, 0),
}
networks = {
    "x // 1": (lambda x: mb.relu(x=mb.floor_div(x=x, y=np.float32(1))), lambda x: x // 1),
    "x // 2": (lambda x: mb.relu(x=mb.floor_div(x=x, y=np.float32(2))), lambda x: x // 2),
    "floor(x)": (lambda x: mb.relu(x=mb.floor(x=x)), np.floor),
}
print("coremltools", version("coremltools"))
x = np.float32([0.5, 2.7, 3.0])
for name, (network, formula) in networks.items():
    before, after = converted(network, x.shape)
    gives = run(after, x)[0]
    print(name, "right", formula(x).tolist(), "converted", names(after), gives.tolist())
    assert np.array_equal(run(before, x)[0], formula(x))
    assert np.array_equal(gives, x if name == "x // 1" else formula(x))
PY
