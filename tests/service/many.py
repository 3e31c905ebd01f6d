#!/usr/bin/env python3
"""Eight clients at once against one fusion-server, beside the same work in one session; then with a
ninth that does not fit in memory, and with a thousand stray connections.

Fails unless all are served and right, the ninth waits and is served, and, unless --no-times, eight
sessions take at most 1.1 times what one takes and strays cost no client more than 5 %: beside as many
that go elsewhere, to a port where nobody accepts, since strays are made on this machine too. Rounds
alternate, and medians are compared, since what else the machine does disturbs all alike."""

import argparse
import pathlib
import random
import re
import socket
import statistics
import sys
import tempfile
import threading
import time

from desk import DIGITS, ROOT, Desk, cut

CLIENTS = 8


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=512, help="of each client, unverified [default: 512]")
    parser.add_argument("--micro-batch", type=int, default=32, help="of every session [default: 32]")
    parser.add_argument("--rounds", type=int, default=5, help="of each kind [default: 5]")
    parser.add_argument("--strays", type=int, default=1000, help="in each round with strays [default: 1000]")
    parser.add_argument("--no-times", action="store_true", help="print times, but fail for none")
    parser.add_argument("--model", type=pathlib.Path, help="ONNX [default: models/digits]")
    parser.add_argument("--inputs", type=pathlib.Path, help="its samples, .npy, which also calibrate it")
    parser.add_argument("--binaries", type=pathlib.Path, default=ROOT / "target/release", help="where they are")
    return parser.parse_args()


class Many:
    def __init__(self, args, folder):
        self.args, self.folder = args, pathlib.Path(folder)
        inputs = args.inputs or DIGITS / "queries.npy"
        cut(inputs, self.folder / "cal.npy", 64)
        cut(inputs, self.folder / "x.npy", args.queries)
        cut(inputs, self.folder / "all.npy", CLIENTS * args.queries)
        self.desk = Desk(args.binaries, folder, "", args.model, self.folder / "cal.npy")
        for name in ("x", "all"):
            self.desk.run("fusionc", "eval", "plan.bin", "--input", f"{name}.npy", "-o", f"{name}.right.csv")

    def session(self, name, inputs):
        words = ["--input", f"{inputs}.npy", "--no-verify", "--no-ledger", "-q", "-o", f"{name}.csv"]
        began = time.monotonic()
        client = self.desk.client(*words, "--micro-batch", self.args.micro_batch)
        _, said = client.communicate()
        took = time.monotonic() - began
        if client.returncode != 0:
            sys.exit(f"client {name}: exit code {client.returncode}: {said}")
        found, right = ((self.folder / file).read_text() for file in (f"{name}.csv", f"{inputs}.right.csv"))
        if found != right:
            sys.exit(f"client {name}: wrong labels")
        return took

    def together(self, clients, strays=0, at=None):
        """Seconds in all, and of each client, while `strays` connect to the service or `at` a port."""
        times, done = {}, threading.Event()
        run = lambda number: times.update({number: self.session(number, "x")})
        threads = [threading.Thread(target=run, args=(number,)) for number in range(clients)]
        threads.append(threading.Thread(target=self.stray, args=(strays, at, done)))
        began = time.monotonic()
        [thread.start() for thread in threads]
        [thread.join() for thread in threads[:-1]]
        total = time.monotonic() - began
        done.set()
        threads[-1].join()
        if len(times) < clients:
            sys.exit("a client failed")
        return total, sorted(times.values())

    def stray(self, count, at, done):
        """Connects `count` times, evenly over what the sessions took without; none says hello."""
        dice, (host, port) = random.Random(1), self.desk.address.rsplit(":", 1)
        kept = []
        for _ in range(count):
            stray = socket.create_connection((host, at or int(port)), timeout=10)
            stray.sendall(dice.choice([b"", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01", dice.randbytes(64)]))
            # A tenth of them stays.
            kept.append(stray) if dice.random() < 0.1 else stray.close()
            self.strays += at is None
            if done.wait(self.pause):
                break
        [stray.close() for stray in kept]

    def run(self):
        rounds, desk, median = self.args.rounds, self.desk, statistics.median
        room = int(pathlib.Path("/proc/sys/net/core/somaxconn").read_text())
        if self.args.strays > room:
            sys.exit(f"--strays is {self.args.strays}, but only {room} fit where nobody accepts: sysctl net.core.somaxconn")
        desk.start()
        self.pause, self.strays = 0.0, 0
        self.together(1)
        memory = int(re.search(r"memory_bytes=(\d+)", desk.log()).group(1))
        one, eight, elsewhere, among = [], [], [], []
        for _ in range(rounds):
            one.append(self.session("all", "all"))
            eight.append(self.together(CLIENTS))
            self.pause, before = 0.8 * eight[-1][0] / max(1, self.args.strays), self.strays
            with socket.create_server(("127.0.0.1", 0), backlog=self.args.strays) as nobody:
                elsewhere.append(self.together(CLIENTS, self.args.strays, nobody.getsockname()[1]))
            among.append(self.together(CLIENTS, self.args.strays))
            print(
                f"one session {one[-1]:.2f} s; eight {eight[-1][0]:.2f} s; with strays elsewhere "
                f"{elsewhere[-1][0]:.2f} s; among {self.strays - before} strays {among[-1][0]:.2f} s",
                flush=True,
            )
        assert desk.stop() == 0
        # So much that eight fit and nine do not.
        process = 12 << 20
        desk.configure(f'[limits]\nmemory = "{(process + memory * (CLIENTS + 0.5)) / 1e6:.3f}MB"\n')
        desk.start()
        self.together(CLIENTS + 1)
        waited = desk.log().count("waits for its turn")
        assert desk.stop() == 0
        ratio = median(total for total, _ in eight) / median(one)
        each = [median(times[n] for _, times in among) / median(times[n] for _, times in elsewhere) for n in range(CLIENTS)]
        print(f"eight sessions take {ratio:.3f} of the time of one with as many positions")
        print(f"among {self.strays} strays clients take {min(each):.3f} to {max(each):.3f} of their time with strays elsewhere")
        print(f"{waited} of nine waited for memory")
        problems = []
        if waited < 1:
            problems.append("nobody waited")
        if "panic" in desk.log():
            problems.append("a panic")
        if not self.args.no_times and ratio > 1.1:
            problems.append("eight sessions take too long")
        if not self.args.no_times and max(each) > 1.05:
            problems.append("strays are felt")
        return problems


def main():
    args = arguments()
    with tempfile.TemporaryDirectory() as folder:
        many = Many(args, folder)
        try:
            problems = many.run()
        finally:
            many.desk.kill()
    print("\n".join(problems) or "all went well")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
