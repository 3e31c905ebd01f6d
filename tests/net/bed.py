#!/usr/bin/env python3
"""Two network namespaces with a link of our own between them: delay, rate, loss and jitter under real TCP.

    bed.py check                      # is the link true? round trip, rate and loss, measured
    bed.py run PLAN.bin --input X.npy # both parties over it, measured time beside fusionc cost's forecast

Needs root, /dev/net/tun, the program `ip`, rustc for link.rs, and for `run` the release binaries. Where
namespaces are not allowed it says SKIPPED and ends with exit code 77. Python's standard library only."""

import argparse
import contextlib
import fcntl
import json
import os
import pathlib
import re
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SKIPPED = 77

# Round trip in ms, Mbit/s each way, loss of packets each way, jitter in ms.
PROFILES = {
    "wan": (40, 400, 0.0, 0.0),
    "slow": (100, 50, 0.0, 0.0),
    "lossy": (10, 1000, 0.001, 0.0),
    "jitter": (40, 400, 0.0, 5.0),
}
# As good as none.
LOOPBACK = (0.05, 20000, 0.0, 0.0)
SERVER, CLIENT = "10.77.0.1", "10.77.0.2"
MTU = 1500
# Of a packet, what TCP with time stamps carries.
PAYLOAD_SHARE = (MTU - 52) / MTU

TUNSETIFF, IFF_TUN, IFF_NO_PI, IFF_VNET_HDR = 0x400454CA, 0x0001, 0x1000, 0x4000
# As a network card does it: checksums, and cutting and joining TCP's packets over IPv4.
TUNSETOFFLOAD, TUN_F_CSUM, TUN_F_TSO4 = 0x400454D0, 0x01, 0x02


def skip(why):
    print(f"SKIPPED: {why}", file=sys.stderr)
    sys.exit(SKIPPED)


def ip(*words):
    done = subprocess.run(["ip", *map(str, words)], capture_output=True, text=True)
    if done.returncode != 0:
        raise OSError(f"ip {' '.join(map(str, words))}: {done.stderr.strip()}")


def link_program(folder):
    """The link, built."""
    program = folder / "link"
    subprocess.run(["rustc", "-O", "--edition", "2024", str(HERE / "link.rs"), "-o", str(program)], check=True)
    return program


class Bed:
    """The namespaces `server` and `client` and the link between them, for as long as the `with` lasts."""

    def __init__(self, program, profile, congestion=None, queue_bytes=0, seed=1):
        self.program, self.profile, self.congestion = program, profile, congestion
        self.queue_bytes, self.seed = queue_bytes, seed
        self.spaces = {side: f"fusion-{os.getpid()}-{side}" for side in ("server", "client")}
        self.process = None

    def __enter__(self):
        try:
            self.build()
        except (OSError, subprocess.CalledProcessError) as error:
            self.__exit__()
            if isinstance(error, OSError):
                skip(f"no namespaces with a link between them: {error}")
            sys.exit(f"{' '.join(error.cmd)}: {error.stderr.strip()}")
        return self

    def build(self):
        rtt_ms, mbit, loss, jitter_ms = self.profile
        tuns = []
        for side, own, other in (("server", SERVER, CLIENT), ("client", CLIENT, SERVER)):
            space = self.spaces[side]
            ip("netns", "add", space)
            ip("-n", space, "link", "set", "lo", "up")
            tun = os.open("/dev/net/tun", os.O_RDWR)
            name = f"f{os.getpid() % 1000000}{side[0]}"
            fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI | IFF_VNET_HDR))
            fcntl.ioctl(tun, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4)
            tuns.append(tun)
            ip("link", "set", name, "netns", space)
            ip("-n", space, "link", "set", name, "mtu", MTU, "txqueuelen", 20000, "up")
            ip("-n", space, "addr", "add", own, "peer", other, "dev", name)
            if self.congestion:
                self.succeed(side, "sysctl", "-qw", f"net.ipv4.tcp_congestion_control={self.congestion}")
        words = ["--mbit", mbit, "--delay-ms", rtt_ms / 2, "--loss", loss, "--jitter-ms", jitter_ms]
        words += ["--queue-bytes", self.queue_bytes, "--seed", self.seed]
        words = [str(self.program), *map(str, words)]
        self.process = subprocess.Popen(words, stdin=tuns[0], stdout=tuns[1], stderr=subprocess.PIPE, text=True)
        # They belong to the link: with it they go.
        [os.close(tun) for tun in tuns]

    def __exit__(self, *_):
        for space in self.spaces.values():
            subprocess.run(["ip", "netns", "del", space], capture_output=True)
        self.said = ""
        if self.process:
            try:
                _, self.said = self.process.communicate(timeout=5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def words(self, side, words):
        return ["ip", "netns", "exec", self.spaces[side], *map(str, words)]

    def start(self, side, *words, **more):
        return subprocess.Popen(self.words(side, words), **more)

    def succeed(self, side, *words, **more):
        return subprocess.run(self.words(side, words), check=True, capture_output=True, text=True, **more).stdout


# What runs within a namespace: `bed.py _NAME ADDRESS ..`.


def echo(address):
    """Sends every datagram back, until killed."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        own.bind((address, 7007))
        print("ready", flush=True)
        while True:
            data, peer = own.recvfrom(2048)
            own.sendto(data, peer)


def ping(address, count, interval):
    """Median round trip in ms of `count` small datagrams, and how many came back."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        own.connect((address, 7007))
        own.setblocking(False)
        times, due = [], time.monotonic()
        end = due + int(count) * float(interval) + 1
        sent = 0
        while time.monotonic() < end:
            if sent < int(count) and time.monotonic() >= due:
                own.send(struct.pack("d", time.monotonic()))
                sent, due = sent + 1, due + float(interval)
            with contextlib.suppress(BlockingIOError):
                times.append(time.monotonic() - struct.unpack("d", own.recv(64))[0])
            if sent == int(count) and len(times) == sent:
                break
            time.sleep(0.0001)
        print(1e3 * statistics.median(times), len(times))


def sink(address):
    """The rate in Mbit/s at which one connection's bytes come, once it is under way."""
    with socket.create_server((address, 7008)) as listener:
        print("ready", flush=True)
        own, _ = listener.accept()
        marks, total = [], 0
        while data := own.recv(1 << 20):
            total += len(data)
            marks.append((time.monotonic(), total))
        began, ended = marks[0][0], marks[-1][0]
        late = [mark for mark in marks if mark[0] >= began + (ended - began) / 2]
        print(8e-6 * (late[-1][1] - late[0][1]) / (late[-1][0] - late[0][0]))


def flood(address, seconds):
    end = time.monotonic() + float(seconds)
    with socket.create_connection((address, 7008)) as own:
        while time.monotonic() < end:
            own.sendall(bytes(1 << 16))


WITHIN = {"_echo": echo, "_ping": ping, "_sink": sink, "_flood": flood}


def check(program, name, congestion):
    """Whether the link is what it says, by measuring it with nothing of Fusion's."""
    profile = PROFILES[name]
    rtt_ms, mbit, loss, jitter_ms = profile
    me = [sys.executable, str(HERE / "bed.py")]
    with Bed(program, profile, congestion) as bed:
        with bed.start("server", *me, "_echo", SERVER, stdout=subprocess.PIPE) as server:
            server.stdout.readline()
            found = bed.succeed("client", *me, "_ping", SERVER, 100, 0.01).split()
            many = bed.succeed("client", *me, "_ping", SERVER, 5000, 0.0005).split() if loss else None
            server.kill()
        with bed.start("server", *me, "_sink", SERVER, stdout=subprocess.PIPE, text=True) as server:
            server.stdout.readline()
            bed.succeed("client", *me, "_flood", SERVER, 8 if loss else 5)
            rate = float(server.stdout.read())
    measured_ms, expected = float(found[0]), mbit * PAYLOAD_SHARE
    print(f"{name}: round trip {measured_ms:.2f} ms of {rtt_ms}, TCP {rate:.1f} Mbit/s of {expected:.1f}", end="")
    # A connection that loses packets does not fill the link.
    true = -0.1 < measured_ms - rtt_ms < 1.0 + 2 * jitter_ms and (0.7 if loss else 0.95) * expected < rate < 1.02 * expected
    if loss:
        gone, due = 1 - int(many[1]) / 5000, 1 - (1 - loss) ** 2
        # Five standard deviations.
        true &= abs(gone - due) < 5 * (due / 5000) ** 0.5
        print(f", lost {100 * gone:.2f} % there and back of {100 * due:.2f} %", end="")
    print("" if true else ": NOT TRUE")
    print(bed.said, end="", file=sys.stderr)
    return true


def seconds(text):
    number, unit = text.split()
    return float(number) * {"s": 1.0, "ms": 1e-3}[unit]


class Runs:
    """Sessions of one plan, over a link or over loopback. Each party has half of the cores and as many
    threads: what parties take from each other on one machine, they do not on two."""

    def __init__(self, args, folder):
        self.args, self.folder = args, folder
        cores = sorted(os.sched_getaffinity(0))
        half = max(len(cores) // 2, 1)
        self.cores = {"server": cores[:half], "client": cores[-half:]}
        self.client_plan = args.plan.with_name(args.plan.stem + ".client" + args.plan.suffix)
        self.keys = {side: self.own("fusion-run", "--keygen", f"{side}.pem").strip() for side in ("server", "client")}

    def own(self, name, *words):
        words = [str(self.args.binaries / name), *map(str, words)]
        done = subprocess.run(words, cwd=self.folder, capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"{' '.join(words)}: exit code {done.returncode}: {done.stderr}")
        return done.stdout

    def forecast(self, profile, positions, machine):
        """What fusionc cost says that so many positions take."""
        rtt_ms, mbit, _, _ = profile
        network = self.folder / "network.toml"
        network.write_text(f"mbit_per_s = {mbit * PAYLOAD_SHARE}\nrtt_ms = {rtt_ms}\n")
        words = ["cost", self.args.plan, "--network", network, *self.args.cost_args.split()]
        if machine:
            words += ["--machine", machine]
        text = self.own("fusionc", *words)
        found = re.search(r"(\d+) queries,.*: (\d+) positions .* about .* and (\S+ m?s) per query", text)
        return seconds(found.group(3)) * int(found.group(1)) * positions / int(found.group(2))

    def bound(self, profile, positions):
        """The same on a machine that computes everything at once: what the network alone takes."""
        machine = json.loads(self.args.machine.read_text())
        machine["nanoseconds"] = dict.fromkeys(machine["nanoseconds"], 0.0)
        path = self.folder / "machine.json"
        path.write_text(json.dumps(machine))
        return self.forecast(profile, positions, path)

    def threads(self, side):
        return ["--threads", len(self.cores[side])]

    def at(self, side):
        return {"cwd": self.folder, "preexec_fn": lambda: os.sched_setaffinity(0, self.cores[side])}

    def session(self, start, address):
        """One session: the client's report, with the seconds of its whole process."""
        fusion_run = self.args.binaries / "fusion-run"
        server = [fusion_run, self.args.plan, "--role", "server", "--listen", f"{address}:0"]
        server += ["--identity", "server.pem", "--peer", self.keys["client"], "-q"]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        with start("server", *server, *self.threads("server"), **self.at("server"), **pipes) as process:
            listening = process.stdout.readline().split()[-1]
            client = [fusion_run, self.client_plan, "--role", "client", "--connect", listening, "--no-ledger"]
            client += ["--identity", "client.pem", "--peer", self.keys["server"], "-q", "-o", "labels.csv"]
            client += ["--report", "report.json", "--input", self.args.input, *self.args.client_args.split()]
            began = time.monotonic()
            client += self.threads("client")
            ended = start("client", *client, **self.at("client"), stderr=subprocess.PIPE, text=True)
            _, said = ended.communicate()
            took = time.monotonic() - began
            if ended.returncode != 0:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    said += process.communicate(timeout=10)[1]
                process.kill()
                sys.exit(f"after {took:.1f} s the client ended with exit code {ended.returncode}: {said}")
        return json.loads((self.folder / "report.json").read_text()) | {"process_s": took}


def loopback(_, *words, **more):
    return subprocess.Popen([str(word) for word in words], **more)


def run(args, folder, program):
    for name in ("plan", "input", "binaries", "machine"):
        path = getattr(args, name)
        setattr(args, name, path and path.resolve())
    runs = Runs(args, folder)
    lan = [runs.session(loopback, "127.0.0.1") for _ in range(args.repeat)]
    total = lambda reports: statistics.median(report["time_s"]["total"] for report in reports)
    lan_s, positions = total(lan), lan[0]["batch"]["positions"]
    # What the machine takes by itself, to tell its share of an error from the network's.
    foretold = runs.forecast(LOOPBACK, positions, args.machine)
    print(f"{positions} positions; loopback {lan_s:.2f} s, forecast {foretold:.2f} s")
    head = ["network", "s", "from .. to", "forecast", "off", "network s", "of bound", "MB", "rounds"]
    print("{:<10} {:>7} {:>16} {:>9} {:>6} {:>9} {:>8} {:>8} {:>6}".format(*head))
    for name in args.profile.split(","):
        profile = PROFILES[name]
        with Bed(program, profile, args.congestion) as bed:
            reports = [runs.session(bed.start, SERVER) for _ in range(args.repeat)]
        took, forecast = total(reports), runs.forecast(profile, positions, args.machine)
        times = [report["time_s"]["total"] for report in reports]
        sent = sum(reports[0]["bytes"][way] for way in ("client_to_server", "server_to_client"))
        network_s = of_bound = float("nan")
        if args.machine:
            network_s = runs.bound(profile, positions)
            # A batch computes while it waits, a single query cannot.
            of_bound = took / (network_s + lan_s if positions == 1 else max(network_s, lan_s))
        spread, off = f"{min(times):.2f} .. {max(times):.2f}", 100 * (forecast / took - 1)
        print(
            f"{name:<10} {took:>7.2f} {spread:>16} {forecast:>9.2f} {off:>+5.0f}% {network_s:>9.2f} {of_bound:>8.2f}"
            f" {sent / 1e6:>8.2f} {reports[0]['rounds']:>6}",
            flush=True,
        )
        print(bed.said, end="", file=sys.stderr)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for command in ("check", "run"):
        sub = commands.add_parser(command)
        sub.add_argument("--profile", default="wan,slow,lossy", help=f"of {', '.join(PROFILES)}")
        sub.add_argument("--congestion", help="bbr, cubic or another that the kernel has [default: the system's]")
    sub.add_argument("plan", type=pathlib.Path, help="the server's; the client's lies beside it")
    sub.add_argument("--input", type=pathlib.Path, required=True)
    sub.add_argument("--client-args", default="--no-verify", help="more for the client [default: --no-verify]")
    sub.add_argument("--cost-args", default="", help="more for fusionc cost, --queries R above all")
    sub.add_argument("--machine", type=pathlib.Path, help="as fusionc calibrate wrote it")
    sub.add_argument("--repeat", type=int, default=3)
    sub.add_argument("--binaries", type=pathlib.Path, default=ROOT / "target/release")
    return parser.parse_args()


def main():
    if len(sys.argv) > 1 and sys.argv[1] in WITHIN:
        return WITHIN[sys.argv[1]](*sys.argv[2:])
    args = arguments()
    if os.geteuid() != 0:
        skip("only root makes network namespaces")
    if not os.path.exists("/dev/net/tun") or not shutil.which("ip"):
        skip("there is no /dev/net/tun or no program ip")
    with tempfile.TemporaryDirectory() as folder:
        program = link_program(pathlib.Path(folder))
        if args.command == "check":
            true = [check(program, name, args.congestion or "bbr") for name in args.profile.split(",")]
            sys.exit(0 if all(true) else 1)
        run(args, pathlib.Path(folder), program)


if __name__ == "__main__":
    main()
