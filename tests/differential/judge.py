"""What fusionc makes of a case, and whether that is right."""

import collections
import csv
import os
import resource
import signal
import subprocess

import numpy as np
import onnx

from noise import answers, clear

# Processor time, and time on a busy machine.
SECONDS, PATIENCE = 10, 120
MEMORY = 4 << 30
# How often noise is drawn for a sample before its label counts.
DRAWS = 24

# `kind` is one of KINDS; `detail` is for people, `disagreeing` counts samples, `clear` of them beyond near ties.
Verdict = collections.namedtuple("Verdict", "kind detail disagreeing clear", defaults=("", 0, 0))
KINDS = ("agree", "near", "refused", "distrusted", "wrong", "crash", "hang", "silent")
FAULTS = ("wrong", "crash", "hang", "silent")


class Fusionc:
    """The compiler's command line, in a folder of its own."""

    def __init__(self, path, folder):
        self.path, self.folder = os.path.abspath(path), folder
        self.environment = {**os.environ, "RAYON_NUM_THREADS": "1", "RUST_BACKTRACE": "0"}

    def run(self, *args):

        def limit():
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
            resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 1))

        return subprocess.run(
            [self.path, *args],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            preexec_fn=limit,
        )


def judge(case, fusionc):
    """Compiles the case, evaluates its samples and compares the labels."""
    onnx.save(case.model, os.path.join(fusionc.folder, "model.onnx"))
    np.save(os.path.join(fusionc.folder, "x.npy"), np.ascontiguousarray(case.samples[:, 0]))
    compile_args = ("compile", "model.onnx", "--calibrate", "x.npy", "--no-verify", "-o", "plan.bin")
    try:
        compiled = fusionc.run(*compile_args)
        if compiled.returncode != 0:
            return failure("compile", compiled)
        evaluated = fusionc.run("eval", "plan.bin", "--input", "x.npy")
    except subprocess.TimeoutExpired as late:
        return Verdict("hang", f"{late.cmd[1]} took over {PATIENCE} s")
    if evaluated.returncode != 0:
        return failure("eval", evaluated)
    labels = np.array([int(row["label"]) for row in csv.DictReader(evaluated.stdout.splitlines())])
    verdict = compare(case, labels)
    if verdict.kind == "wrong" and "agreement" in compiled.stderr:
        return verdict._replace(kind="distrusted")
    return verdict


def failure(command, ended):
    """A refusal says why, in words."""
    text = ended.stderr.strip()
    if ended.returncode == -signal.SIGXCPU:
        return Verdict("hang", f"{command} computed for over {SECONDS} s")
    if ended.returncode != 2:
        return Verdict("crash", f"{command} ended with {ended.returncode}: {text}")
    if not text or "panicked" in text:
        return Verdict("silent", f"refused without a reason: {text!r}")
    return Verdict("distrusted" if "agreement" in text else "refused", text)


def compare(case, labels):
    wanted = answers(case.outputs)
    differ = np.flatnonzero(labels != wanted)
    if not len(differ):
        return Verdict("agree")
    certain = clear(case.model, case.samples, wanted, differ, DRAWS)
    if not certain:
        return Verdict("near", disagreeing=len(differ))
    rows = ", ".join(f"sample {i}: {labels[i]} instead of {wanted[i]}" for i in certain[:4])
    return Verdict("wrong", rows, len(differ), len(certain))
