"""What fusionc makes of a case, and whether that is right."""

import collections
import csv
import os
import re
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
DRAWS = 36
# What is said where not fixed point but the import gives other labels or scores: perhaps of tract's
# fault.
MISREAD = "the network as imported has"
# What is said when some labels are others, but not enough of them to refuse.
WARNING = re.compile(r"^warning .*only \d+ of \d+ calibration samples have.*$", re.M)

# `kind` is one of KINDS; `detail` is for people, `disagreeing` counts samples, `clear` of them
# beyond near ties.
Verdict = collections.namedtuple("Verdict", "kind detail disagreeing clear", defaults=("", 0, 0))
KINDS = ("agree", "near", "refused", "distrusted", "warned", "misread", "wrong", "crash", "hang", "silent")
FAULTS = ("misread", "wrong", "crash", "hang", "silent")


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
    np.save(os.path.join(fusionc.folder, "x.npy"), written(case))
    compile_args = ("compile", "model.onnx", "--calibrate", "x.npy", "--no-verify", "-o", "plan.bin")
    try:
        compiled = fusionc.run(*compile_args)
        if compiled.returncode != 0:
            verdict = failure("compile", compiled)
            blamed = verdict.kind == "distrusted" and MISREAD in verdict.detail
            return verdict._replace(kind="misread") if blamed and misread(case, fusionc, compile_args) else verdict
        evaluated = fusionc.run("eval", "plan.bin", "--input", "x.npy")
    except subprocess.TimeoutExpired as late:
        return Verdict("hang", f"{late.cmd[1]} took over {PATIENCE} s")
    if evaluated.returncode != 0:
        return failure("eval", evaluated)
    verdict = compare(case, labels_of(evaluated))
    if verdict.kind == "wrong" and (warning := WARNING.search(compiled.stderr + compiled.stdout)):
        return verdict._replace(kind="warned", detail=f"{verdict.detail}; {warning[0]}")
    return verdict


def misread(case, fusionc, compile_args):
    """Whether it is not tract's fault that the import is blamed: onnxruntime disagrees too, and beyond near ties."""
    blamed = fusionc.run(*compile_args, "--expected", expected(case, fusionc))
    if MISREAD not in blamed.stderr:
        return False
    fusionc.run(*compile_args, "--min-agreement", "0")
    evaluated = fusionc.run("eval", "plan.bin", "--input", "x.npy")
    return compare(case, labels_of(evaluated)).kind == "wrong"


def labels_of(evaluated):
    return np.array([int(row["label"]) for row in csv.DictReader(evaluated.stdout.splitlines())])


def expected(case, fusionc):
    """A file of onnxruntime's answers."""
    scores = case.outputs.reshape(len(case.outputs), -1)
    labelled = scores.dtype != np.float32 or scores.shape[1] == 1
    np.save(os.path.join(fusionc.folder, "y.npy"), answers(case.outputs) if labelled else scores)
    return "y.npy"


def written(case):
    """The samples as one file or another may hold them."""
    samples = np.ascontiguousarray(case.samples[:, 0])
    form = int(case.name.split("-")[1]) % 8
    if form == 0:
        return np.asfortranarray(samples)
    return samples.astype(np.float64) if form == 1 else samples


def failure(command, ended):
    """A refusal says why, in words."""
    text = ended.stderr.strip()
    if ended.returncode == -signal.SIGXCPU:
        return Verdict("hang", f"{command} computed for over {SECONDS} s")
    if ended.returncode != 2:
        return Verdict("crash", f"{command} ended with {ended.returncode}: {text}")
    if not text or "panicked" in text:
        return Verdict("silent", f"refused without a reason: {text!r}")
    return Verdict("distrusted" if text.startswith("fusionc: no plan: ") else "refused", text)


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
