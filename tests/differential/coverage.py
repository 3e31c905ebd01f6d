#!/usr/bin/env python3
"""Every operator of fusionc's table, in each of its versions in operator sets 7 to 28, with each attribute that the version has: what the
generator never writes in a way that onnxruntime takes. See README.md."""

import argparse
import pathlib
import re
import sys

import numpy as np
import onnx

import generate
from graph import Graph, Skip

TABLE = pathlib.Path(__file__).parents[2] / "compiler/src/import/support.rs"
# Control flow has no row in the table.
OTHERS = ("If", "Loop")

# What is never written, and why.
NAMED = {
    **{("QuantizeLinear", since, "block_size"): "a scale for each block of activations, refused by name" for since in (21, 23, 24, 25)},
    **{(op, since, "clip"): "refused by name" for op in ("GRU", "LSTM", "RNN") for since in (7, 14, 22)},
    **{(op, since, "layout"): "not in onnxruntime 1.32" for op in ("GRU", "LSTM", "RNN") for since in (14, 22)},
    **{("LSTM", since, "input_forget"): "refused by name" for since in (7, 14, 22)},
    ("QuantizeLinear", 28): "not in onnxruntime 1.32",
    ("DequantizeLinear", 28): "not in onnxruntime 1.32",
}


def operators():
    return sorted({*re.findall(r'\(\s*"(\w+)",\s+\w+\(', TABLE.read_text()), *OTHERS})


def wanted(op):
    """For each version of an operator that some operator set from 7 to 28 has: these sets, and the attributes."""
    versions = {}
    for opset in generate.OPSETS:
        try:
            schema = onnx.defs.get_schema(op, opset, "")
        except onnx.defs.SchemaError:
            continue
        if not schema.deprecated:
            versions.setdefault(schema.since_version, ([], set(schema.attributes)))[0].append(opset)
    return versions


def writer(op):
    return generate.WRITERS.get(op) or generate.HEADS.get(op)


def missing(op, tries):
    for since, (opsets, attributes) in wanted(op).items():
        open_ = {"", *attributes}
        for attempt in range(tries):
            if not open_:
                break
            rng = np.random.default_rng([since, attempt])
            g = Graph(rng, int(rng.choice(opsets)), generate.inputs(rng))
            try:
                if g.chance(0.5):
                    generate.grow(g, [])
                writer(op)(g)
            except (Skip, TypeError):
                continue
            for node in g.nodes:
                if node.op_type == op:
                    open_ -= {"", *(attribute.name for attribute in node.attribute)}
        yield from ((op, since, attribute) for attribute in open_)


def reason(op, since, attribute):
    return NAMED.get((op, since)) or NAMED.get((op, since, attribute))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tries", type=int, default=200, help="most graphs for each version of an operator")
    options = parser.parse_args()
    found = [row for op in operators() for row in missing(op, options.tries)]
    for op, since, attribute in found:
        why = reason(op, since, attribute)
        print(f"never written: {op}-{since} {attribute}".rstrip(), f"({why})" if why else "")
    unnamed = [row for row in found if not reason(*row)]
    count = sum(len(attributes) + 1 for op in operators() for _, attributes in wanted(op).values())
    print(f"{count - len(found)} of {count} versions and attributes of {len(operators())} operators are written")
    sys.exit(1 if unnamed else 0)


if __name__ == "__main__":
    main()
