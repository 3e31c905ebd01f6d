#!/usr/bin/env bash
# coremltools: where a convolution and something else subtract one constant, one of them adds it.
#
# Guess (written after the run): the constant goes into the convolution's bias with its sign turned,
#        and stays as it is elsewhere.
# Seen:  coremltools 9.0 turns the sign of the constant itself: x - c beside conv(x) - c becomes x +
#        c, and two convolutions turn it twice, so that both add c. The caller's array changes as
#        well. With a constant for each all are right.
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

weights = np.float32([1, 2]).reshape(2, 1, 1, 1)


def mean():
    """The constant, a new array each time: coremltools writes into the one that it gets."""
    return np.float32([10, 20]).reshape(1, 2, 1, 1)


def beside(x, shared):
    c = mb.const(val=mean())
    d = c if shared else mb.const(val=mean())
    return mb.relu(x=mb.sub(x=mb.conv(x=x, weight=weights), y=c)), mb.relu(x=mb.sub(x=x, y=d))


def convolutions(x, shared):
    c = mb.const(val=mean())
    d = c if shared else mb.const(val=mean())
    both = (mb.conv(x=x, weight=weights), c), (mb.conv(x=x, weight=2 * weights), d)
    return [mb.relu(x=mb.sub(x=y, y=k)) for y, k in both]


print("coremltools", version("coremltools"))
x = np.float32([5, 15, 30]).reshape(1, 1, 1, 3)
y = weights.reshape(1, 2, 1, 1) * x
cases = {
    "conv(x) - c, x - c": (lambda x: beside(x, True), (y, x), (-mean(), mean())),
    "conv(x) - c, conv(x) - c": (lambda x: convolutions(x, True), (y, 2 * y), (mean(), mean())),
    "conv(x) - c, x - d": (lambda x: beside(x, False), (y, x), (-mean(), -mean())),
    "conv(x) - c, conv(x) - d": (lambda x: convolutions(x, False), (y, 2 * y), (-mean(), -mean())),
}
for name, (network, results, added) in cases.items():
    before, after = converted(network, x.shape)
    right, gives = [np.maximum(r - mean(), 0) for r in results], run(after, x)
    rows = lambda results: [r[0, :, 0].tolist() for r in results]
    print(name, "right", rows(right), "converted", rows(gives))
    assert all(map(np.array_equal, run(before, x), right))
    assert all(np.array_equal(g, np.maximum(r + c, 0)) for g, r, c in zip(gives, results, added))
own = mean()
converted(lambda x: mb.relu(x=mb.sub(x=mb.conv(x=x, weight=weights), y=own)), x.shape)
print("the caller's array", own.ravel())
assert np.array_equal(own, -mean())
PY
