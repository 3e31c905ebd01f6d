"""What the programs of this folder share: a folder with a plan, a fusion-server, and clients of it.

Standard library only. Everything stays on the loopback interface."""

import ast
import os
import pathlib
import re
import signal
import struct
import subprocess
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
DIGITS = ROOT / "models/digits"


def cut(source, destination, rows):
    """Writes `rows` rows of the array in a .npy file to another one, from the first again when they run out."""
    data = source.read_bytes()
    (length,) = struct.unpack("<H", data[8:10])
    header, body = ast.literal_eval(data[10 : 10 + length].decode()), data[10 + length :]
    size = len(body) // header["shape"][0]
    text = repr(header | {"shape": (rows, *header["shape"][1:])})
    text += " " * (-(len(text) + 11) % 64) + "\n"
    body = (body * -(-rows * size // len(body)))[: rows * size]
    destination.write_bytes(data[:8] + struct.pack("<H", len(text)) + text.encode() + body)


class Desk:
    """A folder with plan.bin, plan.client.bin and server.toml."""

    def __init__(self, binaries, folder, config, model=None, calibrate=None):
        self.binaries, self.folder, self.server = binaries.resolve(), pathlib.Path(folder), None
        model, calibrate = model or DIGITS / "digits.onnx", calibrate or DIGITS / "calibrate.npy"
        self.run("fusionc", "compile", model, "--calibrate", calibrate, "-o", "plan.bin")
        self.configure(config)

    def configure(self, config):
        text = 'listen = "127.0.0.1:0"\n[plans.model]\nfile = "plan.bin"\n[http]\nlisten = "127.0.0.1:0"\n'
        (self.folder / "server.toml").write_text(text + config)

    def run(self, *words):
        words = [str(self.binaries / words[0]), *map(str, words[1:])]
        done = subprocess.run(words, cwd=self.folder, capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(words)}: exit code {done.returncode}: {done.stderr}")
        return done.stdout

    def start(self):
        """Starts the server; its log is the file `log`, which grows from process to process."""
        log = open(self.folder / "log", "ab")
        skipped = log.tell()
        words = [str(self.binaries / "fusion-server"), "server.toml"]
        self.server = subprocess.Popen(words, cwd=self.folder, stdout=subprocess.PIPE, stderr=log, text=True)
        self.address = self.server.stdout.readline().split()[-1]
        while not (found := re.search(r'http="([^"]*)"', self.log()[skipped:])):
            time.sleep(0.01)
        self.http = found.group(1)

    def stop(self):
        """Tells the server to end; its exit code."""
        self.server.send_signal(signal.SIGTERM)
        return self.server.wait(timeout=120)

    def kill(self):
        self.server.kill()
        self.server.wait()

    def log(self):
        return (self.folder / "log").read_text(errors="replace")

    def metrics(self):
        text = urllib.request.urlopen(f"http://{self.http}/metrics", timeout=10).read().decode()
        return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line[0] != "#"}

    def use(self):
        """What the server takes: resident bytes, threads, file descriptors."""
        process = pathlib.Path(f"/proc/{self.server.pid}")
        resident = re.search(r"VmRSS:\s+(\d+)", (process / "status").read_text())
        return int(resident.group(1)) * 1024, len(os.listdir(process / "task")), len(os.listdir(process / "fd"))

    def budgets(self):
        """Positions spent, of all clients together."""
        lines = self.run("fusion-server", "server.toml", "--show-budgets").splitlines()[1:]
        return sum(int(line.rsplit(",", 2)[1]) for line in lines)

    def client(self, *words):
        """Starts a client in the folder."""
        words = [str(self.binaries / "fusion-run"), "plan.client.bin", "--role", "client", *map(str, words)]
        words += ["--connect", self.address]
        return subprocess.Popen(words, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
