#!/usr/bin/env bash
# coremltools: a select whose condition is constant and larger loses its shape.
#
# Guess (written after the run): select broadcasts its condition with its two values, and a
#        condition that is true everywhere may be dropped where the chosen value has the result's
#        shape.
# Seen:  coremltools 9.0 compares with the shape of the two values only: a condition of 4 x 3 trues
#        and values of 1 x 3 give one row instead of four, and a sum behind it counts one. A
#        condition with one false in it is right.
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


NEEDED = {"x", "y", "cond", "a", "b", "axes", "keep_dims"}
FORMULAS = {
    "select": lambda cond, a, b: np.where(cond, a, b),
    "reduce_sum": lambda x, axes, keep_dims: x.sum(tuple(axes), keepdims=bool(keep_dims)),
}
print("coremltools", version("coremltools"))
x = np.float32([[1, 2, 3]])
all_true, one_false = np.ones((4, 3), bool), np.arange(12).reshape(4, 3) > 0
for condition in (all_true, one_false):
    def network(x):
        chosen = mb.select(cond=condition, a=x, b=np.zeros((1, 3), np.float32))
        return mb.reduce_sum(x=chosen, axes=[0, 1], keep_dims=False)

    before, after = converted(network, x.shape)
    right, gives = np.where(condition, x, 0).sum(), run(after, x)[0]
    print("false", (~condition).sum(), "right", right, "converted", names(after), gives)
    assert run(before, x)[0] == right
    assert gives == (x.sum() if condition.all() else right) and (right != x.sum())
PY
