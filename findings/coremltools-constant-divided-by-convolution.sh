#!/usr/bin/env bash
# coremltools: a constant divided by a convolution becomes the convolution divided by the constant.
#
# Guess (written after the run): only a division of the convolution by a constant is a scale that
#        its weights can take.
# Seen:  coremltools 9.0 multiplies the weights by the constant's reciprocal in both cases: of 8 /
#        conv(x) it makes conv(x) / 8, whether the constant is a number or one for each channel.
#        conv(x) / 8 is right.
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
    "conv": lambda x, weight, bias=0: (
        np.einsum("nihw,oi->nohw", x, weight[:, :, 0, 0]) + np.reshape(bias, (-1, 1, 1))
    ),
    "real_div": lambda x, y: x / y,
    "sub": lambda x, y: x - y,
    "add": lambda x, y: x + y,
    "relu": lambda x: np.maximum(x, 0),
}

weights = np.float32([1, 3]).reshape(2, 1, 1, 1)
each = np.float32([8, 2]).reshape(1, 2, 1, 1)
conv = lambda x: mb.conv(x=x, weight=weights)
networks = {
    "8 / conv(x)": (lambda x: mb.relu(x=mb.real_div(x=np.float32(8), y=conv(x))), lambda y: 8 / y),
    "[8, 2] / conv(x)": (lambda x: mb.relu(x=mb.real_div(x=each, y=conv(x))), lambda y: each / y),
    "conv(x) / 8": (lambda x: mb.relu(x=mb.real_div(x=conv(x), y=np.float32(8))), lambda y: y / 8),
}
print("coremltools", version("coremltools"))
x = np.float32([1, 2, 4]).reshape(1, 1, 1, 3)
for name, (network, formula) in networks.items():
    before, after = converted(network, x.shape)
    right, gives = formula(weights.reshape(1, 2, 1, 1) * x), run(after, x)[0]
    shown = right.round(3).tolist(), "converted", names(after), gives.round(3).tolist()
    print(name, "right", *shown)
    assert np.allclose(run(before, x)[0], right) and names(after) == ["conv", "relu"]
    assert np.allclose(gives, right if name == "conv(x) / 8" else 1 / right)
PY
