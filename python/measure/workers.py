"""How a verified batch gains from a second worker, on one machine.

Each number of workers runs in a process of its own that keeps to as many cores: so many servers of
one thread, so many workers of one thread on Ray, and everything that Ray needs. With one worker
all of it shares one core, as on a machine that has no other. The labels and the verdict of every
run are compared. Repetitions take turns over the numbers of workers.

    python measure/workers.py MODEL.onnx --calibrate X.npy --queries Q.npy --public P.npy --labels L.npy

Needs ``pip install ./python ray``; run on an idle machine, on Linux.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

import numpy as np

import fusion
import fusion.ray


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="an ONNX file, or a plan")
    parser.add_argument("--calibrate", help="samples to compile a model with, .npy")
    parser.add_argument("--queries", required=True, help="queries, .npy")
    parser.add_argument("--public", required=True, help="samples whose labels are known, .npy")
    parser.add_argument("--labels", required=True, help="their labels, .npy")
    parser.add_argument("--accuracy", type=float, default=0.9, help="of the model on them (default 0.9)")
    parser.add_argument("--catch", type=float, default=0.1, help="share of wrong answers that is caught (default 0.1)")
    parser.add_argument("--lambda-bits", type=int, default=40, help="of soundness at fixed positions (default 40)")
    parser.add_argument("--workers", default="1,2", help="numbers of workers (default 1,2)")
    parser.add_argument("--repeat", type=int, default=1, help="runs of each (default 1)")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


def one(given, workers):
    """Runs the batch once with so many workers, and prints what came of it."""
    import ray

    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < workers:
        sys.exit(f"{workers} workers take {workers} cores, and there are {len(cores)}")
    # What Ray starts inherits this.
    os.sched_setaffinity(0, cores[:workers])
    ray.init(num_cpus=2 * workers, include_dashboard=False, log_to_driver=False)
    plan = fusion.Plan.load(given.model)
    queries, public, labels = (np.load(file) for file in (given.queries, given.public, given.labels))
    with fusion.ray.serve(plan, replicas=workers) as servers:
        start = time.monotonic()
        result = fusion.ray.predict(
            plan, queries, (public, labels), servers=servers.addresses,
            accuracy=given.accuracy, catch=given.catch, lambda_bits=given.lambda_bits,
        )  # fmt: skip
        seconds = time.monotonic() - start
    report = result.report
    print(json.dumps({
        "seconds": seconds,
        "positions": report["batch"]["positions"],
        "bytes": sum(report["bytes"][way] for way in ("client_to_server", "server_to_client")),
        "labels": np.asarray(result.labels).tolist(),
        "verdict": {name: value for name, value in report["verdict"].items() if isinstance(value, bool)},
    }))  # fmt: skip


def main():
    given = arguments()
    if given.one is not None:
        return one(given, given.one)
    if given.model.endswith(".onnx"):
        if given.calibrate is None:
            sys.exit("a model takes --calibrate; a plan does not")
        plan = fusion.compile(given.model, calibrate=np.load(given.calibrate))
        given.model = os.path.splitext(os.path.basename(given.model))[0] + ".plan.bin"
        plan.save(given.model)
    numbers = [int(number) for number in given.workers.split(",")]
    options = [given.model] + [
        f"--{name.replace('_', '-')}={getattr(given, name)}"
        for name in ("queries", "public", "labels", "accuracy", "catch", "lambda_bits")
    ]
    runs = {number: [] for number in numbers}
    for _ in range(given.repeat):
        for number in numbers:
            command = [sys.executable, __file__, *options, f"--one={number}"]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            run = json.loads(done.stdout.splitlines()[-1])
            runs[number].append(run)
            print(
                f"{number} workers: {run['seconds']:.1f} s, {run['positions']} positions, "
                f"{run['bytes'] / 1e6:.1f} MB, {run['verdict']}",
                flush=True,
            )
    first = runs[numbers[0]][0]
    for number in numbers:
        for run in runs[number]:
            for what in ("labels", "verdict", "positions"):
                if run[what] != first[what]:
                    sys.exit(f"{number} workers have other {what}: {run[what]} for {first[what]}")
    median = {number: statistics.median(run["seconds"] for run in runs[number]) for number in numbers}
    for number in numbers[1:]:
        print(f"{number} workers: {median[numbers[0]] / median[number]:.2f} x as fast as {numbers[0]}")


if __name__ == "__main__":
    main()
