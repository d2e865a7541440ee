"""What the measuring scripts share: servers that are started and ended, a small RESP client, the machine, statistics.

Owns every process that a script starts: each server runs in a temporary directory of its own, on a free loopback port,
and is ended by its process id when the script ends, whichever way it ends. It must not know what is measured.

Invariant: nothing is ended or written that this process did not start or create.
"""

import argparse
import contextlib
import ctypes
import functools
import json
import os
import pathlib
import shlex
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 20
REPLY_TIMEOUT_S = 600
PR_SET_PDEATHSIG = 1
REFERENCES = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target")) / "references"
# What can be named by --only, and where it is: fetched by scripts/references, or installed. The first that is there serves.
INSTALLED = {
    "redis": [REFERENCES / "redis-8.10/redis-server", "redis-server"],
    "valkey": [REFERENCES / "valkey-9.1/valkey-server", "valkey-server"],
    "redis-8.2": [REFERENCES / "redis-8.2/redis-server"],
    "redis-installed": ["redis-server"],
    "valkey-installed": ["valkey-server"],
}
DEFAULT = ["redis", "valkey", "strata"]


class Failure(Exception):
    """The measurement cannot go on or cannot be trusted; the message says why."""


# --- options -------------------------------------------------------------------------------------------------------

def parser(description, not_measured):
    """An argument parser with the options that choose the servers. `not_measured` is printed at the foot of --help."""
    options = argparse.ArgumentParser(
        description=description, epilog="Not measured: " + not_measured,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    options.set_defaults(not_measured=not_measured)
    options.add_argument("--strata", default="target/release/strata", metavar="PATH",
                         help="the Strata binary, from the repository's root; the default one is built when missing")
    options.add_argument("--strata-args", default="", metavar="ARGS", help="further flags for Strata")
    options.add_argument("--server", action="append", default=[], metavar="NAME=PATH:ARGS",
                         help="replace the server of that name (redis, valkey, strata) or add one; ARGS are all its "
                              "flags but --port and --bind. `strata=/usr/bin/redis-server:--save ''` compares redis "
                              "with itself")
    options.add_argument("--only", default="", metavar="NAMES",
                         help="use only these of the servers, comma separated; there are also redis-8.2, redis-installed and "
                              "valkey-installed")
    options.add_argument("--json", metavar="FILE", help="write the result there as well")
    return options


def servers(options):
    """The list of `Program`s that the options choose, in the order in which they are reported."""
    only = [name for name in options.only.split(",") if name]
    overrides = dict(parse_server(text) for text in options.server)
    chosen = {}
    for name in [*DEFAULT, *only, *overrides]:
        if (only and name not in only) or name in chosen:
            continue
        program = overrides.get(name) or default_program(name, options)
        if program:
            chosen[name] = program
    if not chosen:
        raise Failure("no server is left to measure")
    return list(chosen.values())


def parse_server(text):
    name, equals, rest = text.partition("=")
    path, _, args = rest.partition(":")
    if not (name and equals and path):
        raise Failure(f"--server {text!r}: expected NAME=PATH:ARGS")
    if not shutil.which(path):
        raise Failure(f"--server {text!r}: {path} cannot be executed")
    return name, Program(name, os.path.abspath(shutil.which(path)), shlex.split(args))


# As the other servers, which keep nothing either. A later flag wins.
MEMORY_ONLY = ["--tier-max-bytes", "0"]


def default_program(name, options):
    if name == "strata":
        return Program(name, strata_binary(options.strata), [*MEMORY_ONLY, *shlex.split(options.strata_args)])
    path = installed(name)
    if path is None and name.startswith("valkey"):
        print(f"{name} is neither in {REFERENCES} nor installed, and is left out", file=sys.stderr)
        return None
    if path is None:
        raise Failure(f"{name} is neither in {REFERENCES} nor installed (Debian: apt-get install redis-server)")
    return Program(name, path, ["--save", "", "--appendonly", "no"])


@functools.cache
def installed(name):
    """The path of a server of that name, which is fetched first if it can be; None where there is none."""
    if name not in INSTALLED:
        raise Failure(f"--only: there is no server named {name!r}")
    subprocess.run([str(REPOSITORY / "scripts" / "references")], stdout=sys.stderr, check=False)
    return next(filter(None, (shutil.which(path) for path in INSTALLED[name])), None)


def strata_binary(path):
    binary = REPOSITORY / path
    if path == "target/release/strata" and not binary.exists():
        cargo("build", "--release", "--bin", "strata")
    if not os.access(binary, os.X_OK):
        raise Failure(f"--strata {path}: no such executable")
    return str(binary)


def load_binary():
    """The load generator of examples/load.rs, built when it is missing or older than its source."""
    cargo("build", "--release", "--example", "load")
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target"))
    return str(target / "release" / "examples" / "load")


def cargo(*args):
    if subprocess.run(["cargo", *args, "--quiet"], cwd=REPOSITORY).returncode != 0:
        raise Failure(f"cargo {' '.join(args)} failed")


# --- servers -------------------------------------------------------------------------------------------------------

class Program:
    """A server that can be started: a name for the tables, a binary and its flags."""

    def __init__(self, name, path, args):
        self.name, self.path, self.args = name, path, args

    def version(self):
        out = subprocess.run([self.path, "--version"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, text=True, timeout=30).stdout
        return out.strip().split("\n")[0] or "(prints no version)"

    @contextlib.contextmanager
    def running(self, *more_args, cpus=None):
        """A started `Server`; it is ended when the block is left."""
        directory = tempfile.mkdtemp(prefix=f"strata-measure-{self.name}-")
        server = None
        try:
            server = Server(self, directory, more_args, cpus)
            server.wait_until_ready()
            yield server
        finally:
            if server:
                server.stop()
            shutil.rmtree(directory, ignore_errors=True)


class Server:
    """A running server, its process and what /proc says about it."""

    def __init__(self, program, directory, more_args, cpus):
        self.name, self.port, self.log = program.name, free_port(), os.path.join(directory, "log")
        flags = ["--port", str(self.port), "--bind", "127.0.0.1", *program.args, *more_args]
        with open(self.log, "wb") as log:
            self.process = start([program.path, *flags], cpus=cpus, cwd=directory, stdin=subprocess.DEVNULL,
                                 stdout=log, stderr=log)
        self.pid = self.process.pid

    def wait_until_ready(self):
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise Failure(f"{self.name} ended with {self.process.returncode} before it answered:\n{self.tail()}")
            try:
                with self.client(timeout=5) as client:
                    if client.call("PING") == b"PONG":
                        self.check_identity(client)
                        return
            except OSError:
                pass
            time.sleep(0.05)
        raise Failure(f"{self.name} did not answer PING within {START_TIMEOUT_S} s:\n{self.tail()}")

    def check_identity(self, client):
        """Another process may have taken the port first; the answer must come from ours."""
        pid = client.info("server").get("process_id")
        if pid is not None and int(pid) != self.pid:
            raise Failure(f"{self.name}: port {self.port} is served by process {pid}, not by ours ({self.pid})")

    def tail(self):
        return open(self.log, errors="replace").read()[-2000:]

    def stop(self):
        stop(self.process)

    def client(self, timeout=REPLY_TIMEOUT_S):
        return Client(self.port, timeout)

    def check_alive(self):
        if self.process.poll() is not None:
            raise Failure(f"{self.name} ended with {self.process.returncode} while measured:\n{self.tail()}")

    def cpu_ns(self):
        """User and system time of all threads, ended ones too. The process's CPU clock is the sum that
        /proc/PID/stat shows as utime + stime, without being rounded down to ticks of 10 ms."""
        try:
            return time.clock_gettime_ns((~self.pid << 3) | 2)
        except OSError:
            return sum(self.user_system_ns())

    def user_system_ns(self):
        fields = open(f"/proc/{self.pid}/stat").read().rpartition(")")[2].split()
        tick_ns = 10**9 // os.sysconf("SC_CLK_TCK")
        return int(fields[11]) * tick_ns, int(fields[12]) * tick_ns

    def rss_bytes(self):
        for line in open(f"/proc/{self.pid}/status"):
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise Failure(f"{self.name} is gone")

    def settle(self, quiet_cores=0.05, timeout_s=20):
        """Waits until background work (freeing, rehashing) of earlier commands has ended."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            before = self.cpu_ns()
            time.sleep(0.2)
            if (self.cpu_ns() - before) / 0.2e9 < quiet_cores:
                return True
        print(f"note: {self.name} was still busy after {timeout_s} s without requests", file=sys.stderr)
        return False


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(command, cpus=None, **how):
    """Starts a process in a session of its own (Ctrl-C reaches only us) that dies with us, should we be killed."""
    libc = ctypes.CDLL(None)

    def prepare():
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if cpus:
            os.sched_setaffinity(0, cpus)

    return subprocess.Popen(command, start_new_session=True, preexec_fn=prepare, **how)


def stop(process):
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()


def run(command, cpus=None, accept=(0,)):
    """Runs a tool to its end and returns what it printed; its failure is ours."""
    process = start(command, cpus=cpus, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                    text=True)
    try:
        out, err = process.communicate()
    finally:
        stop(process)
    if process.returncode not in accept:
        raise Failure(f"{shlex.join(command)} ended with {process.returncode}:\n{err[-2000:]}{out[-500:]}")
    return out


# --- a RESP client -------------------------------------------------------------------------------------------------

class Client:
    """One connection. Errors raise `Failure`: a measurement whose commands fail measures nothing."""

    def __init__(self, port, timeout):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb", 1 << 16)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()
        self.socket.close()

    def call(self, *args):
        return self.batch([args])[0]

    def batch(self, requests):
        self.socket.sendall(b"".join(encode(request) for request in requests))
        return [self.reply() for _ in requests]

    def reply(self):
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("the server closed the connection")
        kind, rest = line[:1], line[1:-2]
        if kind == b"+":
            return rest
        if kind == b"-":
            raise Failure(f"the server replied: {rest.decode(errors='replace')}")
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return None if rest == b"-1" else self.file.read(int(rest) + 2)[:-2]
        if kind == b"*":
            return None if rest == b"-1" else [self.reply() for _ in range(int(rest))]
        raise Failure(f"not a RESP2 reply: {line!r}")

    def info(self, section):
        text = self.call("INFO", section).decode()
        return dict(line.split(":", 1) for line in text.split("\r\n") if ":" in line)


def encode(request):
    parts = [part if isinstance(part, bytes) else str(part).encode() for part in request]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)


def fill(server, count, value_bytes, *more_args):
    """SETs key:000000000000 and on, `count` of them (the names of redis-benchmark), with incompressible values."""
    batch = 500
    noise = os.urandom((1 << 20) + value_bytes)
    tail = b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in (str(arg).encode() for arg in more_args))
    head = b"*%d\r\n$3\r\nSET\r\n$16\r\nkey:" % (3 + len(more_args))
    with server.client() as client:
        for first in range(0, count, batch):
            ids = range(first, min(first + batch, count))
            requests = []
            for key in ids:
                at = (key * 127) % (len(noise) - value_bytes)
                value = noise[at:at + value_bytes]
                requests.append(b"%b%012d\r\n$%d\r\n%b\r\n%b" % (head, key, value_bytes, value, tail))
            client.socket.sendall(b"".join(requests))
            expected = b"+OK\r\n" * len(ids)
            if (replies := client.file.read(len(expected))) != expected:
                raise Failure(f"{server.name}: SET was answered by {replies[:200]!r}")
        if (found := client.call("DBSIZE")) != count:
            raise Failure(f"{server.name}: DBSIZE is {found} after {count} keys were written")


def check_values(server, count, value_bytes):
    """A thousand keys over the whole range must be there, with values of the right length."""
    step = max(1, count // 1000)
    with server.client() as client:
        keys = range(0, count, step)
        values = client.batch([("GET", f"key:{key:012}") for key in keys])
    for key, value in zip(keys, values):
        if value is None or len(value) != value_bytes:
            raise Failure(f"{server.name}: GET key:{key:012} gave {value!r:.80}, expected {value_bytes} bytes")


# --- report --------------------------------------------------------------------------------------------------------

def machine():
    """Where and on what this was measured."""
    cpu = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "?")
    commit = subprocess.run(["git", "describe", "--always", "--dirty", "--abbrev=12"], cwd=REPOSITORY,
                            capture_output=True, text=True).stdout.strip()
    return {"cpu": cpu, "cores": len(os.sched_getaffinity(0)), "kernel": os.uname().release,
            "load_average": os.getloadavg()[0], "commit": commit or "unknown"}


def print_head(options, programs, tools=()):
    """Prints and returns machine, versions, command line, and what is not measured."""
    head = {"command": shlex.join([os.path.relpath(sys.argv[0]), *sys.argv[1:]]), "machine": machine(),
            "versions": {program.name: program.version() for program in programs}
            | {tool: Program(tool, tool, []).version() for tool in tools},
            "not_measured": options.not_measured}
    box = head["machine"]
    print(f"$ {head['command']}")
    print(f"machine: {box['cpu']}, {box['cores']} cores, Linux {box['kernel']}, load average {box['load_average']:.2f}")
    print(f"commit: {box['commit']}")
    for name, version in head["versions"].items():
        print(f"{name}: {version}")
    print(f"not measured: {options.not_measured}\n", flush=True)
    return head


def print_table(header, rows):
    """Columns aligned: the first ones left where they hold text, numbers right."""
    rows = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    numeric = [all(row[column][:1] in "0123456789-+." for row in rows) for column in range(len(header))]
    for row in [header, *rows]:
        cells = (cell.rjust(width) if right else cell.ljust(width) for cell, width, right in zip(row, widths, numeric))
        print("  ".join(cells).rstrip())
    print(flush=True)


def percentile(ordered, fraction):
    """Of an ascending list: the smallest value that at least `fraction` of all are not above."""
    index = max(0, -int(-len(ordered) * fraction // 1) - 1)
    return ordered[min(index, len(ordered) - 1)]


def spread(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def write_json(path, result):
    if path:
        with open(path, "w") as file:
            json.dump(result, file, indent=1)
            file.write("\n")


def main(measure):
    """Runs `measure`; SIGTERM and Ctrl-C unwind it like an error, so that every `finally` ends its servers."""
    def interrupted(*_):
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupted)
    signal.signal(signal.SIGHUP, interrupted)
    try:
        measure()
    except KeyboardInterrupt:
        sys.exit("interrupted; every server that was started has been ended")
    except (Failure, OSError) as failure:
        sys.exit(f"{os.path.basename(sys.argv[0])}: {failure}")
