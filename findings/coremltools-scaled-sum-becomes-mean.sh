#!/usr/bin/env bash
# coremltools: a sum times any small number becomes a mean.
#
# Guess (written after the run): reduce_sum times 1 / n becomes reduce_mean where the number is 1 /
#        n, up to rounding, as does a division by n.
# Seen:  coremltools 9.0 compares the factor with 1 / n up to 1e-6, whatever n is: from a million
#        elements on, a sum times 1e-7 is a mean, ten times too large, from 1001 on division by n -
#        1 is division by n. Where the difference exceeds 1e-6 it is right.
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


NEEDED = {"x", "y", "axes", "keep_dims"}
FORMULAS = {
    "reduce_sum": lambda x, axes, keep_dims: x.sum(tuple(axes), keepdims=bool(keep_dims)),
    "reduce_mean": lambda x, axes, keep_dims: x.mean(tuple(axes), keepdims=bool(keep_dims)),
    "mul": lambda x, y: x * y,
    "real_div": lambda x, y: x / y,
    "relu": lambda x: np.maximum(x, 0),
}
print("coremltools", version("coremltools"))
cases = (1000, 1 / 1010), (1000, 1 / 999), (1001, 1 / 1000), (1_000_000, 1e-7), (2_000_000, 1e-7)
for n, factor in cases:
    x = np.random.default_rng(0).uniform(0, 2, (1, n)).astype(np.float32)
    multiplied = lambda y: mb.mul(x=y, y=np.float32(factor))
    divided = lambda y: mb.real_div(x=y, y=np.float32(1 / factor))
    total = lambda x: mb.reduce_sum(x=x, axes=[1], keep_dims=False)
    network = lambda last: lambda x: mb.relu(x=last(total(x)))
    right = x.sum(dtype=np.float64) * factor
    before, after = converted(network(multiplied), x.shape)
    gives, quotient = run(after, x)[0][0], run(converted(network(divided), x.shape)[1], x)[0][0]
    shown = "right", right, "converted", names(after), gives, "divided", quotient
    print(n, "elements times", factor, *shown)
    assert np.allclose(run(before, x)[0][0], right, rtol=1e-4)
    assert np.isclose(gives, quotient, rtol=1e-5)
    expected = x.mean(dtype=np.float64) if abs(factor - 1 / n) < 1e-6 else right
    assert np.allclose(gives, expected, rtol=1e-4)
PY
