#!/usr/bin/env python3
"""Kills a fusion-server or its client at random moments, again and again.

After each kill: no labels that are wrong or cut off, no result without an accepted batch, the
session's positions spent once or not at all and always if labels came, and the next client is
served within a second, by the same server or by one that is started anew. Standard library only."""

import argparse
import pathlib
import random
import re
import sys
import tempfile
import time

from desk import DIGITS, ROOT, Desk, cut

QUERIES = 4


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200, help="[default: 200]")
    parser.add_argument("--seed", type=int, default=1, help="of the moments [default: 1]")
    parser.add_argument("--no-times", action="store_true", help="print times, but fail for none")
    parser.add_argument("--binaries", type=pathlib.Path, default=ROOT / "target/release", help="where they are")
    return parser.parse_args()


class Kills:
    def __init__(self, args, folder):
        self.args, self.folder, self.dice = args, pathlib.Path(folder), random.Random(args.seed)
        cut(DIGITS / "queries.npy", self.folder / "x.npy", QUERIES)
        config = '[budget]\npositions = 1000000000\nfile = "budget.redb"\n[log]\nlevel = "debug"\n'
        self.desk = Desk(args.binaries, folder, config)
        self.right = self.desk.run("fusionc", "eval", "plan.bin", "--input", "x.npy", "-o", "right.csv")
        self.right = (self.folder / "right.csv").read_text()
        self.counts = {"client": 0, "server": 0, "before the start": 0, "in the session": 0, "accepted": 0}

    def client(self):
        words = ["--input", "x.npy", "--public-inputs", DIGITS / "public.npy", "--accuracy", "0.95", "--lambda", "10"]
        words += ["--public-labels", DIGITS / "public_labels.npy", "--ledger", "ledger.redb", "-q", "--timeout", "10"]
        return self.desk.client(*words, "-o", "labels.csv")

    def labels(self):
        """What there is, which must be right."""
        path = self.folder / "labels.csv"
        if not path.exists():
            return False
        if path.read_text() != self.right:
            sys.exit(f"labels that are wrong or cut off: {path.read_text()!r}")
        return True

    def whole(self):
        """A session that nobody disturbs; its positions, and its seconds until it started and in all."""
        seen, spent, began = len(self.desk.log()), self.desk.budgets(), time.monotonic()
        client = self.client()
        # The log's line is there once the client may go on.
        while not (found := re.search(r"positions=(\d+).*\n?", self.desk.log()[seen:])):
            if client.poll() not in (None, 0):
                sys.exit(f"after a kill, exit code {client.returncode}: {client.communicate()[1]}")
            time.sleep(0.002)
        started = time.monotonic() - began
        _, said = client.communicate()
        took = time.monotonic() - began
        if client.returncode != 0 or not self.labels():
            sys.exit(f"after a kill, exit code {client.returncode}: {said}")
        positions = int(found.group(1))
        if self.desk.budgets() != spent + positions:
            sys.exit(f"{positions} positions: the budget went from {spent} to {self.desk.budgets()}")
        return positions, started, took

    def kill(self, positions, took):
        """One kill; seconds until there is a server again."""
        side = self.dice.choice(["client", "server"])
        # Half of them near the end, where labels and ledger are written.
        moment = took * (self.dice.random() if self.dice.random() < 0.5 else self.dice.uniform(0.8, 1.05))
        # The client removes it too, if it gets that far.
        (self.folder / "labels.csv").unlink()
        spent, seen = self.desk.budgets(), len(self.desk.log())
        client, began = self.client(), time.monotonic()
        time.sleep(moment)
        if side == "client":
            client.kill()
        else:
            self.desk.kill()
        killed, restart = time.monotonic(), 0.0
        if side == "server":
            # As a supervisor would.
            self.desk.start()
            restart = time.monotonic() - killed
        self.counts[side] += 1
        code = client.wait()
        if code not in (0, 4, -9):
            sys.exit(f"the {side} was killed after {killed - began:.3f} s, exit code {code}: {client.communicate()[1]}")
        came = self.labels()
        if code == 0 and not came or code == 4 and came:
            sys.exit(f"exit code {code}, and labels are {'' if came else 'not '}there")
        found = self.desk.budgets() - spent
        if found not in (0, positions) or came and found == 0:
            sys.exit(f"{positions} positions, labels {came}: {found} were spent")
        # A session that the log has was paid for before the log had it.
        if "session started" in self.desk.log()[seen:] and found == 0:
            sys.exit("a session started and nothing was spent")
        self.counts["accepted" if came else "in the session" if found else "before the start"] += 1
        client.communicate()
        return restart

    def run(self):
        self.desk.start()
        times = [self.whole() for _ in range(3)]
        positions, took = times[0][0], min(took for _, _, took in times)
        print(f"{positions} positions a session, {took:.2f} s; its start after {min(s for _, s, _ in times):.3f} s", flush=True)
        waits, problems = [], []
        for number in range(self.args.kills):
            restart = self.kill(positions, took)
            _, started, _ = self.whole()
            waits.append(restart + started)
            if (number + 1) % 20 == 0:
                print(f"{number + 1} kills: {self.counts}", flush=True)
        left = sorted(path.name for path in self.folder.iterdir() if path.suffix == ".tmp")
        waits.sort()
        print(f"{self.counts}; the next session started after {waits[len(waits) // 2]:.3f} s, {waits[-1]:.3f} s at most")
        if waits[-1] > 1.0 and not self.args.no_times:
            problems.append("the next client waited too long")
        if left:
            problems.append(f"temporary files stay: {left}")
        if "panic" in self.desk.log():
            problems.append("a panic")
        if self.desk.stop() != 0:
            problems.append("the server did not end well")
        return problems


def main():
    args = arguments()
    with tempfile.TemporaryDirectory() as folder:
        kills = Kills(args, folder)
        try:
            problems = kills.run()
        finally:
            kills.desk.kill()
    print("\n".join(problems) or "all went well")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
