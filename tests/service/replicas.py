#!/usr/bin/env python3
"""Two fusion-servers that share budgets in PostgreSQL, killed at random moments together with their
clients and the database, again and again.

After each kill: labels are right and whole, whoever has labels has paid, nobody has paid twice, and
what is spent is the sum of what was noted of sessions. At the end: every session that the servers'
logs have was noted, and nothing else was but what a kill left behind. Needs PostgreSQL's programs
(Debian: apt-get install postgresql), else exit code 77, or 1 where FUSION_NEED_POSTGRES is set.
Standard library only."""

import argparse
import contextlib
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

from desk import DIGITS, ROOT, Desk, cut

QUERIES = 4


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200, help="[default: 200]")
    parser.add_argument("--seed", type=int, default=1, help="of the moments [default: 1]")
    parser.add_argument("--binaries", type=pathlib.Path, default=ROOT / "target/release", help="where they are")
    return parser.parse_args()


def programs():
    """The folder of PostgreSQL's programs, the newest of Debian's first."""
    folders = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    folders += map(pathlib.Path, os.get_exec_path())
    whole = [folder for folder in folders if all((folder / name).exists() for name in ("initdb", "postgres", "psql"))]
    return whole[0] if whole else None


class Database:
    """Ended with `stack`, however far its beginning came."""

    def __init__(self, folder, stack):
        self.programs, self.folder, self.process = programs(), pathlib.Path(folder) / "database", None
        if not self.programs:
            print("SKIPPED: no PostgreSQL, so replicas with budgets in it were not killed", file=sys.stderr)
            sys.exit(1 if "FUSION_NEED_POSTGRES" in os.environ else 77)
        self.folder.mkdir()
        # It refuses to be run by root.
        self.prefix = []
        if os.getuid() == 0:
            self.prefix = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]
            shutil.chown(self.folder, "postgres")
            os.chmod(folder, 0o755)
        words = ["--no-sync", "--no-locale", "--encoding=UTF8", "--username=fusion", "--auth=trust"]
        words = [*self.prefix, self.programs / "initdb", *words, self.folder / "data"]
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL, cwd="/")
        stack.callback(self.kill)
        # Ports that the system gives to nobody who does not ask for them: after a kill it must find
        # its own again.
        if not any(self.begin(port) for port in random.SystemRandom().sample(range(10_000, 30_000), 50)):
            sys.exit("no port for the database")
        self.says("CREATE DATABASE fusion", "postgres")

    def begin(self, port):
        """Whether it answers there; else it has ended, since somebody else has the port, for example."""
        self.port = port
        words = [*self.prefix, self.programs / "postgres", "-D", self.folder / "data", "-k", self.folder]
        # With the system's memory of files: programs are killed here, not the system.
        words += ["-c", "fsync=off", "-c", "listen_addresses=127.0.0.1", "-p", str(self.port)]
        with open(self.folder.parent / "database.log", "ab") as log:
            self.process = subprocess.Popen(words, stdout=log, stderr=log, cwd="/")
        ended = lambda: self.process.poll() is not None
        until("the database answers", lambda: ended() or self.psql("SELECT 1", "postgres").returncode == 0)
        return not ended()

    def start(self):
        until("the database is back", lambda: self.begin(self.port))

    def kill(self):
        """All its processes at once, without a checkpoint."""
        if self.process:
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait()

    def psql(self, statement, name):
        words = [self.programs / "psql", "-h", self.folder, "-p", str(self.port), "-U", "fusion", "-d", name, "-XAtq"]
        return subprocess.run([*words, "-c", statement], capture_output=True, text=True)

    def says(self, statement, name="fusion"):
        done = self.psql(statement, name)
        if done.returncode != 0:
            sys.exit(f"{statement}: {done.stderr}")
        return done.stdout.strip()


def until(what, look):
    # Also on the slowest of machines.
    deadline = time.monotonic() + 600
    while not look():
        if time.monotonic() > deadline:
            sys.exit(f"in vain: {what}")
        time.sleep(0.02)


class Replicas:
    def __init__(self, args, folder, stack):
        self.args, self.dice, self.database = args, random.Random(args.seed), Database(folder, stack)
        config = f'[budget]\npositions = 1000000000\npostgres = "postgresql://fusion@127.0.0.1:{self.database.port}/fusion"\n'
        self.desks = []
        for name in ("one", "two"):
            place = pathlib.Path(folder) / name
            place.mkdir()
            desk = Desk(args.binaries, place, config)
            stack.callback(lambda desk=desk: desk.server and desk.kill())
            self.desks.append(desk)
            cut(DIGITS / "queries.npy", place / "x.npy", QUERIES)
        self.desks[0].run("fusionc", "eval", "plan.bin", "--input", "x.npy", "-o", "right.csv")
        self.right = (self.desks[0].folder / "right.csv").read_text()
        self.counts = {"server": 0, "client": 0, "database": 0, "labels": 0, "paid": 0}

    def client(self, desk):
        (desk.folder / "labels.csv").unlink(missing_ok=True)
        words = ["--input", "x.npy", "--public-inputs", DIGITS / "public.npy", "--accuracy", "0.95", "--lambda", "10"]
        words += ["--public-labels", DIGITS / "public_labels.npy", "--ledger", "ledger.redb", "-q", "--timeout", "20"]
        return desk.client(*words, "-o", "labels.csv")

    def labels(self, desk):
        path = desk.folder / "labels.csv"
        if path.exists() and path.read_text() != self.right:
            sys.exit(f"labels that are wrong or cut off: {path.read_text()!r}")
        return path.exists()

    def sessions(self):
        """How many were paid, all of one price."""
        statement = "SELECT coalesce(sum(spent), 0), coalesce(sum(admitted), 0), coalesce(sum(sessions), 0) FROM fusion.clients"
        spent, admitted, sessions = map(int, self.database.says(statement).split("|"))
        if spent != admitted or sessions and spent != sessions * (spent // sessions):
            sys.exit(f"{spent} are spent, {admitted} were noted of {sessions} sessions")
        return sessions

    def ready(self, desk):
        try:
            return urllib.request.urlopen(f"http://{desk.http}/ready", timeout=10).status == 200
        except urllib.error.HTTPError:
            return False

    def all_ready(self):
        for desk in self.desks:
            until("it is ready", lambda: self.ready(desk))

    def turn(self, took):
        side, before = self.dice.choice(["server", "server", "client", "database"]), self.sessions()
        clients = [self.client(desk) for desk in self.desks]
        time.sleep(took * self.dice.uniform(0, 1.1))
        victim = self.dice.randrange(2)
        if side == "server":
            self.desks[victim].kill()
        elif side == "client":
            clients[victim].kill()
        else:
            self.database.kill()
            time.sleep(self.dice.choice([0, 0, 3]))
            self.database.start()
        codes = [client.wait() for client in clients]
        said = [client.communicate()[1] for client in clients]
        if side == "server":
            self.desks[victim].start()
        self.all_ready()
        came = [self.labels(desk) for desk in self.desks]
        for number in range(2):
            disturbed = side == "database" or number == victim
            # A client that is killed may have written its labels already.
            fits = {0: came[number], 4: disturbed and not came[number], -9: disturbed}
            if not fits.get(codes[number], False):
                sys.exit(f"{side}: exit code {codes[number]}, labels {came[number]}: {said[number]}")
        paid = self.sessions() - before
        if not sum(came) <= paid <= 2:
            sys.exit(f"{side}: {sum(came)} have labels, {paid} have paid")
        self.counts[side] += 1
        self.counts["labels"] += sum(came)
        self.counts["paid"] += paid

    def run(self):
        [desk.start() for desk in self.desks]
        self.all_ready()
        began = time.monotonic()
        clients = [self.client(desk) for desk in self.desks]
        if [client.wait() for client in clients] != [0, 0] or self.sessions() != 2:
            sys.exit(f"undisturbed: {[client.communicate()[1] for client in clients]}")
        took = time.monotonic() - began
        for number in range(self.args.kills):
            self.turn(took)
            if (number + 1) % 20 == 0:
                print(f"{number + 1} kills: {self.counts}", flush=True)
        started = sum(desk.log().count("session started") for desk in self.desks)
        # Servers that were killed may have spent what they did not begin with. What others refused
        # is given back.
        fits = lambda: started <= self.sessions() <= started + self.counts["server"]
        until("as many sessions are paid as were started", fits)
        back = sum(desk.log().count("given back what was spent") for desk in self.desks)
        print(f"{self.counts}; {started} sessions started, {self.sessions()} are paid, {back} were given back")
        problems = [desk.log() for desk in self.desks if "panic" in desk.log()]
        if [desk.stop() for desk in self.desks] != [0, 0]:
            problems.append("a server did not end well")
        return problems


def main():
    args = arguments()
    # Who is told to end cleans up, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("told to end"))
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        problems = Replicas(args, folder, stack).run()
    print("\n".join(problems) or "all went well")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
