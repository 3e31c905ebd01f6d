#!/usr/bin/env python3
"""Runs mixed sessions against one fusion-server for as long as one likes, and fails unless its memory,
threads and file descriptors stay flat, its budget adds up, and every session that may succeed does.

Needs the binaries (cargo build --release) and nothing but Python's standard library. Sessions are of
two models of digits and of several sizes; some clients are killed half-way, some connections are garbage,
silent, or hang up. Everything stays on the loopback interface."""

import argparse
import os
import pathlib
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=600, help="how long [default: 600]")
    parser.add_argument("--clients", type=int, default=3, help="clients at once [default: 3]")
    parser.add_argument("--binaries", type=pathlib.Path, default=ROOT / "target/release", help="where they are")
    parser.add_argument("--seed", type=int, default=1, help="of the random choices [default: 1]")
    return parser.parse_args()


class Soak:
    def __init__(self, args, folder):
        self.args, self.folder = args, folder
        self.end = time.monotonic() + args.seconds
        self.lock, self.failures = threading.Lock(), []
        self.counts = {"accepted": 0, "killed": 0, "refused": 0, "strays": 0}

    def run(self, *words, **more):
        words = [str(self.args.binaries / words[0]), *map(str, words[1:])]
        return subprocess.run(words, cwd=self.folder, capture_output=True, text=True, check=True, **more)

    def prepare(self):
        digits = ROOT / "models/digits"
        calibrate = ["--calibrate", digits / "calibrate.npy"]
        forest = ROOT / "tests/fixtures/forest/digits.onnx"
        for model, plan in ((digits / "digits.onnx", "plan.bin"), (forest, "forest.bin")):
            self.run("fusionc", "compile", model, *calibrate, "-o", plan)
        (self.folder / "server.toml").write_text(
            'listen = "127.0.0.1:0"\n[plans.digits]\nfile = "plan.bin"\n[plans.forest]\nfile = "forest.bin"\n[limits]\nmemory = "700MB"\n'
            'hello_timeout_s = 2\n[budget]\npositions = 1000000000\nfile = "budget.redb"\n'
            '[http]\nlisten = "127.0.0.1:0"\n[reports]\ndirectory = "reports"\nkeep = 50\n'
            "[client_defaults]\nmax_positions = 5000\n"
        )

    def start(self):
        log = open(self.folder / "log", "w")
        words = [str(self.args.binaries / "fusion-server"), "server.toml"]
        # As the unit for systemd has it.
        own = os.environ | {"MALLOC_ARENA_MAX": "2"}
        self.server = subprocess.Popen(words, cwd=self.folder, stdout=subprocess.PIPE, stderr=log, text=True, env=own)
        self.address = self.server.stdout.readline().split()[-1]
        # Lines are written by a thread of their own.
        while not (found := re.search(r'http="([^"]*)"', (self.folder / "log").read_text())):
            time.sleep(0.01)
        self.http = found.group(1)

    def metrics(self):
        text = urllib.request.urlopen(f"http://{self.http}/metrics", timeout=10).read().decode()
        return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line[0] != "#"}

    def use(self):
        """What the server takes: resident bytes, threads, file descriptors."""
        process = pathlib.Path(f"/proc/{self.server.pid}")
        resident = re.search(r"VmRSS:\s+(\d+)", (process / "status").read_text())
        return int(resident.group(1)) * 1024, len(os.listdir(process / "task")), len(os.listdir(process / "fd"))

    def count(self, what):
        with self.lock:
            self.counts[what] += 1

    def client(self, number):
        dice = random.Random(self.args.seed * 1000 + number)
        digits = ROOT / "models/digits"
        while time.monotonic() < self.end and not self.failures:
            # Of the forest few labels are the true ones.
            plan = dice.choice(["plan", "plan", "forest"])
            words = [str(self.args.binaries / "fusion-run"), f"{plan}.client.bin", "--role", "client", "--no-ledger", "-q"]
            words += ["--connect", self.address, "--input", str(digits / "queries.npy"), "--report", f"{number}.json"]
            if plan == "forest" or dice.random() < 0.5:
                words += ["--no-verify"]
            else:
                words += ["--public-inputs", str(digits / "public.npy"), "--accuracy", "0.95"]
                words += ["--public-labels", str(digits / "public_labels.npy")]
            words += ["--in-flight", str(dice.choice([1, 2, 4])), "-o", f"{number}.csv"]
            if dice.random() < 0.1:
                words += ["--copies", "40"] if "--no-verify" not in words else []
            client = subprocess.Popen(words, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            if dice.random() < 0.2:
                time.sleep(dice.random() * 2)
                client.kill()
                client.communicate()
                self.count("killed")
                continue
            _, said = client.communicate()
            if client.returncode == 0:
                self.count("accepted")
            elif "this client may have 5000 in a session" in said and "40" in words:
                self.count("refused")
            else:
                self.failures.append(f"client {number}: exit code {client.returncode}: {said}")

    def stray(self):
        dice = random.Random(self.args.seed)
        host, port = self.address.rsplit(":", 1)
        while time.monotonic() < self.end and not self.failures:
            with socket.create_connection((host, int(port)), timeout=10) as connection:
                connection.sendall(dice.choice([b"", b"GET / HTTP/1.1\r\n\r\n", dice.randbytes(dice.randrange(1, 200))]))
                time.sleep(dice.random() * 0.1)
            self.count("strays")

    def soak(self):
        targets = [(self.client, (number,)) for number in range(self.args.clients)] + [(self.stray, ())]
        threads = [threading.Thread(target=target, args=args) for target, args in targets]
        [thread.start() for thread in threads]
        uses = []
        while any(thread.is_alive() for thread in threads):
            time.sleep(1)
            uses.append(self.use())
        [thread.join() for thread in threads]
        return uses


def main():
    args = arguments()
    with tempfile.TemporaryDirectory() as folder:
        soak = Soak(args, pathlib.Path(folder))
        soak.prepare()
        soak.start()
        try:
            uses = soak.soak()
            time.sleep(3)
            quiet, metrics = soak.use(), soak.metrics()
        finally:
            soak.server.send_signal(signal.SIGTERM)
            code = soak.server.wait(timeout=120)
        budgets = soak.run("fusion-server", "server.toml", "--show-budgets").stdout.splitlines()[1:]
        # The first fifth fills caches; after that the highest may not rise.
        warm = len(uses) // 5
        early, late = uses[warm : len(uses) // 2], uses[len(uses) // 2 :]
        highest = [[max(use[what] for use in part) for what in range(3)] for part in (early, late)]
        begun = sum(value for name, value in metrics.items() if name.startswith("fusion_sessions_total"))
        print(f"{soak.counts}; {begun:.0f} sessions had started; exit code {code}")
        print(f"resident bytes, threads, descriptors: first half {highest[0]}, second half {highest[1]}, quiet {quiet}")
        problems = list(soak.failures)
        if highest[1][0] > 1.1 * highest[0][0] + 20e6:
            problems.append("memory grows")
        if highest[1][2] > highest[0][2] + 64:
            problems.append("file descriptors grow")
        if quiet[1] > 64 or quiet[2] > 64:
            problems.append("threads or file descriptors stay")
        if metrics["fusion_running_sessions"] or metrics["fusion_memory_forecast_bytes"]:
            problems.append("sessions stay")
        spent = sum(value for name, value in metrics.items() if name.startswith("fusion_positions_total"))
        if code != 0:
            problems.append(f"the server ended with exit code {code}")
        log = (pathlib.Path(folder) / "log").read_text()
        started = sum(int(positions) for positions in re.findall(r"session started.* positions=(\d+)", log))
        if started != spent or "panic" in log:
            problems.append("the log does not add up")
        if sum(int(line.split(",")[2]) for line in budgets) != spent:
            problems.append(f"positions of sessions are {spent:.0f}, but the budget's file has {budgets}")
        print("\n".join(problems) or "all went well")
        sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
