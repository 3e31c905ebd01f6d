#!/usr/bin/env python3
"""Random classifiers through fusionc and onnxruntime: the labels must be the same. See README.md."""

import argparse
import collections
import multiprocessing
import os
import re
import sys
import tempfile
import time

import numpy as np
import onnx

import generate
from judge import DRAWS, FAULTS, KINDS, Fusionc, judge
from noise import answers, clear
from shrink import shrink


def main():
    options = arguments()
    began = time.monotonic()
    kinds, reasons = collections.Counter(), collections.Counter()
    seen, compiled, faults = collections.Counter(), collections.Counter(), []
    indices = range(options.start, options.start + options.count)
    with multiprocessing.Pool(options.jobs, begin, (options,)) as pool:
        for index, outcome in zip(indices, pool.imap(one, indices, chunksize=4)):
            if (index + 1 - options.start) % 1000 == 0:
                print(f"{index + 1 - options.start} done", file=sys.stderr, flush=True)
            if outcome is None:
                kinds["none"] += 1
                continue
            operators, verdict, note = outcome
            kinds[verdict.kind] += 1
            seen.update(operators)
            if verdict.kind in ("agree", "near", "warned", "wrong"):
                compiled.update(operators)
            if verdict.kind in ("refused", "distrusted"):
                reasons.update(phrases(verdict.detail))
            if verdict.kind == "warned":
                print(f"{options.seed}-{index} warned: {verdict.detail}\n    {note}", flush=True)
            if verdict.kind in FAULTS:
                faults.append(f"{options.seed}-{index} {verdict.kind}: {verdict.detail}\n    {note}")
                print(faults[-1], flush=True)
            elif options.verbose:
                print(f"{options.seed}-{index} {verdict.kind} {note}", flush=True)
    if options.table:
        for name in sorted(seen):
            print(f"{name:<28} {compiled[name]:>6} of {seen[name]}")
    for reason, times in reasons.most_common(options.reasons):
        print(f"refused {times:>5}  {reason}")
    print(f"{options.count} graphs of seed {options.seed} from {options.start} in {time.monotonic() - began:.0f} s:", end=" ")
    print(", ".join(f"{kinds[kind]} {kind}" for kind in (*KINDS, "none") if kinds[kind]))
    answered = kinds["agree"] + kinds["near"]
    if answered < options.least * options.count:
        sys.exit(f"only {answered} of {options.count} graphs were compiled and right, not {options.least:.0%}")
    sys.exit(1 if faults else 0)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fusionc", default="target/release/fusionc", help="the compiler to test")
    parser.add_argument("--count", type=int, default=300, help="number of graphs")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--start", type=int, default=0, help="index of the first graph; a graph is its seed and index")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--only", metavar="OPERATOR", help="graphs with this operator")
    parser.add_argument("--without", metavar="OPERATOR,..", default="", help="pass over graphs with any of these operators")
    parser.add_argument("--least", type=float, default=0.0, metavar="PART", help="fail if fewer graphs are compiled and right")
    parser.add_argument("--found", metavar="FOLDER", help="where shrunk failures go, a folder each")
    parser.add_argument("--reasons", type=int, default=10, help="how many reasons of refusals are listed")
    parser.add_argument("--table", action="store_true", help="say how often each operator was compiled")
    parser.add_argument("--verbose", action="store_true", help="a line for each graph")
    return parser.parse_args()


def begin(options):
    global OPTIONS, FUSIONC
    OPTIONS = options
    FUSIONC = Fusionc(options.fusionc, tempfile.mkdtemp(prefix="differential-"))


def one(index):
    """Operators, verdict and a note on case number `index`."""
    case = generate.case(OPTIONS.seed, index, OPTIONS.only)
    if case is None or set(OPTIONS.without.split(",")) & set(case.operators):
        return None
    verdict = judge(case, FUSIONC)
    operators = case.operators
    if verdict.kind in FAULTS:
        case, verdict = shrink(case, FUSIONC, verdict.kind)
        if OPTIONS.found:
            keep(case, verdict, os.path.join(OPTIONS.found, f"{verdict.kind}-{case.name}"))
    return operators, verdict, sketch(case.model)


def sketch(model):
    steps = [node.op_type for node in model.graph.node if node.op_type != "Constant"]
    return f"opset {model.opset_import[0].version}: {' '.join(steps)}"


def keep(case, verdict, folder):
    """Writes a case as files that need none of this."""
    os.makedirs(folder, exist_ok=True)
    onnx.save(case.model, os.path.join(folder, "model.onnx"))
    np.save(os.path.join(folder, "input.npy"), np.ascontiguousarray(case.samples[:, 0]))
    with open(os.path.join(folder, "expected.txt"), "w") as file:
        print("labels", *settled(case), file=file)
    with open(os.path.join(folder, "NOTE.txt"), "w") as file:
        print(f"{verdict.kind}: {verdict.detail}\n{sketch(case.model)}", file=file)
        print(onnx.printer.to_text(case.model), file=file)


def settled(case):
    """The labels, with a dash for near ties."""
    labels = answers(case.outputs)
    certain = clear(case.model, case.samples, labels, range(len(labels)), DRAWS)
    return [label if at in certain else "-" for at, label in enumerate(labels)]


def phrases(text):
    """The reasons in a refusal, without names and numbers."""
    for line in text.splitlines():
        if not re.search(r"\d+ nodes? (is|are) not supported", line):
            line = re.sub(r'"[^"]*"', '"_"', line)
            yield re.sub(r"-?\d+(\.\d+)?(e-?\d+)?", "#", line).strip()[:120]


if __name__ == "__main__":
    main()
