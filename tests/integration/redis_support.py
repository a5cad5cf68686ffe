"""A redis-server of the test's own, and nodes that share it."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time

from support import SLOWNESS, WAIT_S, Server


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Redis:
    """redis-server on a port of 127.0.0.1, in a folder of its own. `args` as on its command line."""

    def __init__(self, *args, persistent=False):
        self.args = ["--save", "", "--appendonly", "yes" if persistent else "no", *args]
        self.folder = tempfile.mkdtemp(prefix="hubbub-redis-")
        self.process = None
        for _ in range(10):
            self.port = free_port()
            if self.start():
                return
        raise RuntimeError("redis-server does not start:\n" + self.log())

    def log(self):
        try:
            with open(os.path.join(self.folder, "log"), encoding="utf-8", errors="replace") as log:
                return log.read()[-4000:]
        except OSError:
            return ""

    def start(self):
        self.process = subprocess.Popen(
            ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--dir", self.folder,
             "--logfile", "log", "--daemonize", "no", *self.args],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 10 * SLOWNESS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                return False
            try:
                if self.call("PING") == b"PONG":
                    return True
            except OSError:
                pass
            time.sleep(0.02)
        return False

    @property
    def url(self):
        return f"redis://127.0.0.1:{self.port}"

    def call(self, *words):
        """One command on a connection of its own; its reply as bytes, int, None or list. An error is raised."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=5 * SLOWNESS) as connection:
            parts = [word if isinstance(word, bytes) else str(word).encode() for word in words]
            connection.sendall(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(p), p) for p in parts))
            reader = connection.makefile("rb")
            return self.read(reader)

    def read(self, reader):
        line = reader.readline()
        if not line:
            raise ConnectionError("redis closed")
        kind, rest = line[:1], line[1:-2]
        if kind == b"-":
            raise OSError(rest.decode())
        if kind == b":":
            return int(rest)
        if kind == b"$":
            if int(rest) < 0:
                return None
            data = reader.read(int(rest) + 2)
            return data[:-2]
        if kind == b"*":
            return None if int(rest) < 0 else [self.read(reader) for _ in range(int(rest))]
        return rest

    def keys(self):
        return sorted(self.call("KEYS", "*"))

    def kill(self):
        self.process.kill()
        self.process.wait()

    def restart(self):
        if self.process.poll() is None:
            self.kill()
        if not self.start():
            raise RuntimeError("redis-server does not come back:\n" + self.log())

    def freeze(self):
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        self.process.send_signal(signal.SIGCONT)

    def close(self):
        if self.process.poll() is None:
            self.thaw()
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def node(redis, *args, **options):
    urls = [redis] if isinstance(redis, str) else [redis.url]
    flags = [word for url in urls for word in ("--redis-url", url)]
    return Server("--broker", "redis", *flags, *args, **options)


def until(holds, what, timeout=WAIT_S):
    """Looks until it holds."""
    deadline = time.monotonic() + timeout
    while True:
        value = holds()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout} s: {what}; last: {value!r}")
        time.sleep(0.02)
