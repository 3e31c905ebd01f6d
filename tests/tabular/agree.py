"""Exports the models of export.py, compiles them with no flag but --calibrate, and counts the rows whose label is onnxruntime's.

    python tests/tabular/agree.py --fusionc target/release/fusionc /tmp/exports [NAME..]

Packages as export.py asks for. Models that are in the folder already are not exported again. Prints a table in Markdown; exit code 1 if a
row differs of any model but GaussianNB and QDA, of which one in a hundred may.
"""
import argparse
import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx

import export

NEARLY = {"gaussian_nb": 0.99, "qda": 0.99}


def labels(fusionc, folder, name):
    """What the compiled model answers, or why it is not compiled."""
    kind = "csv" if (folder / f"{name}.x.csv").exists() else "npy"
    plan, results = folder / f"{name}.bin", folder / f"{name}.labels.csv"
    for command in (["compile", folder / f"{name}.onnx", "--calibrate", folder / f"{name}.c.{kind}", "-o", plan],
                    ["eval", plan, "--input", folder / f"{name}.x.{kind}", "-o", results]):
        ended = subprocess.run([fusionc, *command], capture_output=True, text=True)
        if ended.returncode:
            return None, f"{command[0]}: {ended.stderr.strip()[-300:]}"
    with open(results, newline="") as file:
        return np.array([int(row["label"]) for row in csv.DictReader(file)]), ""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="for exports, plans and answers")
    parser.add_argument("names", nargs="*", help="which models; all by default")
    parser.add_argument("--fusionc", default="fusionc", help="the compiler")
    arguments = parser.parse_args()
    folder, names = arguments.folder, arguments.names or list(export.MODELS)
    absent = [name for name in names if not (folder / f"{name}.s.npy").exists()]
    if absent:
        export.export(folder, absent, quiet=True)
    differing = False
    print("| model | exported by | rows | labels equal | rows on which onnxruntime differs from itself |\n|---|---|---|---|---|")
    for name in names:
        path = folder / f"{name}.onnx"
        if not path.exists():
            print(f"| {name} | its converter refuses it | | | |")
            continue
        producer = onnx.load(path)
        expected, unsteady = np.load(folder / f"{name}.y.npy"), np.load(folder / f"{name}.s.npy")
        found, why = labels(arguments.fusionc, folder, name)
        equal = 0 if found is None else int((found == expected).sum())
        differing |= equal < NEARLY.get(name, 1.0) * len(expected)
        print(f"| {name} | {producer.producer_name} {producer.producer_version} | {len(expected)} | {why or equal} | {len(unsteady)} |", flush=True)
    sys.exit(differing)


if __name__ == "__main__":
    main()
