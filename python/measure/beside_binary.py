"""What a verified batch takes from Python and by ``fusion-run``: seconds and bytes, by turns.

Both talk to a server of their own in another process, over loopback, with the same plan, queries,
public samples and policy, and write or return the labels, which must be the same. The clock runs from the client's start of
the session to the labels; the interpreter's own start, which a notebook pays once, and loading of
arrays are outside it for Python and in it for the binary.

    python measure/beside_binary.py PLAN.bin --bin target/release --queries Q.npy --public P.npy --labels L.npy

Needs ``pip install ./python`` and ``cargo build --release --bins``, of one commit; an idle machine.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

import fusion


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("plan", help="the server's plan; the client's lies beside it")
    parser.add_argument("--bin", default="target/release", help="where fusion-run is (default target/release)")
    parser.add_argument("--queries", required=True, help="queries, .npy")
    parser.add_argument("--public", required=True, help="samples whose labels are known, .npy")
    parser.add_argument("--labels", required=True, help="their labels, .npy")
    parser.add_argument("--accuracy", type=float, default=0.9, help="of the model on them (default 0.9)")
    parser.add_argument("--catch", type=float, default=0.1, help="share of wrong answers that is caught (default 0.1)")
    parser.add_argument("--repeat", type=int, default=5, help="runs of each (default 5)")
    return parser.parse_args()


class Served:
    """A server of one session, in another process, on a port of the system's choice."""

    def __init__(self, given):
        command = [f"{given.bin}/fusion-run", given.plan, "--role", "server", "--listen", "127.0.0.1:0"]
        self.process = subprocess.Popen(command + ["--quiet"], stdout=subprocess.PIPE, text=True)
        said = self.process.stdout.readline()
        found = re.search(r"127\.0\.0\.1:\d+", said)
        if not found:
            sys.exit(f"the server does not say where it listens: {said}")
        self.address = found.group()

    def __enter__(self):
        return self

    def __exit__(self, failed, *_):
        if failed:
            self.process.kill()
        self.process.communicate()


def by_python(given, client_plan, arrays):
    with Served(given) as server, tempfile.TemporaryDirectory() as folder:
        queries, public, labels = arrays
        client = fusion.Client(client_plan, server.address, ledger=os.path.join(folder, "ledger.redb"))
        start = time.monotonic()
        result = client.predict(queries, (public, labels), accuracy=given.accuracy, catch=given.catch)
        seconds = time.monotonic() - start
    return seconds, result.report, [str(label) for label in result.labels]


def by_binary(given, client_plan):
    with Served(given) as server, tempfile.TemporaryDirectory() as folder:
        labels, report = os.path.join(folder, "labels.csv"), os.path.join(folder, "report.json")
        command = [
            f"{given.bin}/fusion-run", client_plan, "--role", "client", "--connect", server.address,
            "--input", given.queries, "--public-inputs", given.public, "--public-labels", given.labels,
            f"--accuracy={given.accuracy}", f"--catch={given.catch}", "--quiet",
            "--ledger", os.path.join(folder, "ledger.redb"), "-o", labels, "--report", report,
        ]  # fmt: skip
        start = time.monotonic()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        seconds = time.monotonic() - start
        with open(report) as file:
            names = [line.split(",")[1] for line in open(labels).read().splitlines()[1:]]
            return seconds, json.load(file), names


def main():
    given = arguments()
    client_plan = re.sub(r"\.bin$", ".client.bin", given.plan)
    arrays = [np.load(file) for file in (given.queries, given.public, given.labels)]
    seconds = {"Python": [], "binary": []}
    sent, found = {}, {}
    for turn in range(given.repeat):
        ways = [("Python", lambda: by_python(given, client_plan, arrays)), ("binary", lambda: by_binary(given, client_plan))]
        for name, run in ways if turn % 2 == 0 else reversed(ways):
            took, report, labels = run()
            if labels != found.setdefault("labels", labels):
                sys.exit(f"labels differ: {labels} for {found['labels']}")
            seconds[name].append(took)
            sent.setdefault(name, report["bytes"])
            if report["bytes"] != sent["Python" if "Python" in sent else name]:
                sys.exit(f"bytes differ: {report['bytes']} for {sent}")
            ways = [report["bytes"][way] for way in ("client_to_server", "server_to_client")]
            print(f"{name}: {took:.2f} s, {report['batch']['positions']} positions, {ways} bytes", flush=True)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    pairs = statistics.median(python / binary for python, binary in zip(seconds["Python"], seconds["binary"]))
    print(f"medians {medians['Python']:.2f} s and {medians['binary']:.2f} s; Python over binary, median of the pairs: {pairs:.3f}")


if __name__ == "__main__":
    main()
