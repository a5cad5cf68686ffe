"""What the integration tests share: the server as a process, clients that read events with a time limit, raw sockets.

The server's path comes from HUBBUB_BINARY. Every wait has a limit, stretched by HUBBUB_TEST_SLOWNESS (sanitizers).
"""

import asyncio
import base64
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import unittest
import urllib.parse

import websockets

SLOWNESS = float(os.environ.get("HUBBUB_TEST_SLOWNESS", "1"))
WAIT_S = 5 * SLOWNESS


def binary_path():
    path = os.environ.get("HUBBUB_BINARY")
    if not path or not os.access(path, os.X_OK):
        raise RuntimeError(f"HUBBUB_BINARY names no program: {path!r}")
    return path


def run(*args, env=None, timeout=20, binary=None):
    """The finished process of `hubbub args...`."""
    return subprocess.run([binary or binary_path(), *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=timeout * SLOWNESS,
                          env={**os.environ, **(env or {})})


class Server:
    """`hubbub serve` on a port of its choice. Ready when made; `stop` checks that it ends well."""

    def __init__(self, *args, env=None, listen="127.0.0.1:0", binary=None, wait=True):
        self.process = subprocess.Popen([binary or binary_path(), "serve", "--listen", listen, *map(str, args)],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                        text=True, errors="replace", env={**os.environ, **(env or {})})
        self.lines = []
        self.port = None
        self.ready = threading.Event()
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()
        if wait and not self.ready.wait(20 * SLOWNESS):
            self.process.kill()
            self.reader.join(5)
            raise RuntimeError("the server did not get ready:\n" + self.log())

    def read(self):
        for line in self.process.stdout:
            self.lines.append(line)
            found = re.search(r"listening on [^ ]*?:(\d+)", line)
            if found and self.port is None:
                self.port = int(found.group(1))
                self.ready.set()
        self.process.stdout.close()

    def log(self):
        return "".join(self.lines)

    def wait(self, timeout=15):
        code = self.process.wait(timeout * SLOWNESS)
        self.reader.join(5)
        return code

    def stop(self, how=signal.SIGTERM):
        """Stops it; an exit code other than 0 (a sanitizer's too) is a failure."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        try:
            code = self.wait()
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.wait()
            raise AssertionError("the server did not stop:\n" + self.log()[-4000:]) from None
        if code != 0:
            raise AssertionError(f"the server ended with {code}:\n" + self.log()[-8000:])

    def ws_url(self, path):
        return f"ws://127.0.0.1:{self.port}{path}"


def quoted(text):
    return urllib.parse.quote(text, safe="")


class Client:
    """A session by Python's `websockets`. Events wait in `events` until a test asks for them."""

    def __init__(self, socket_):
        self.socket = socket_
        self.events = []
        self.raw = []
        self.next_id = 0
        self.connected = None

    @classmethod
    async def connect(cls, server, user, path=None, **options):
        options.setdefault("compression", None)
        options.setdefault("ping_interval", None)
        options.setdefault("close_timeout", 2)
        options.setdefault("max_queue", None)
        options.setdefault("open_timeout", WAIT_S * 2)
        client = cls(await websockets.connect(server.ws_url(path or "/ws/" + quoted(user)), **options))
        client.connected = await client.expect("connected")
        return client

    async def send(self, **command):
        await self.socket.send(json.dumps(command))

    async def send_raw(self, text):
        await self.socket.send(text)

    async def read(self, timeout):
        text = await asyncio.wait_for(self.socket.recv(), timeout)
        self.raw.append(text)
        self.events.append(json.loads(text))

    def take(self, type_=None, **fields):
        """The first waiting event that has these fields, or None."""
        for index, event in enumerate(self.events):
            if (type_ is None or event["type"] == type_) and all(event.get(k) == v for k, v in fields.items()):
                del self.events[index]
                return event
        return None

    async def expect(self, type_, timeout=WAIT_S, **fields):
        deadline = time.monotonic() + timeout
        while True:
            event = self.take(type_, **fields)
            if event is not None:
                return event
            left = deadline - time.monotonic()
            try:
                await self.read(max(left, 0.001))
            except asyncio.TimeoutError:
                raise AssertionError(f"no {type_} {fields} within {timeout} s; waiting: {self.events[-20:]}") from None

    async def call(self, **command):
        """Sends a command with an id; its ack, or whatever answer bears that id."""
        if "id" not in command:
            self.next_id += 1
            command["id"] = f"call-{self.next_id}"
        await self.send(**command)
        deadline = time.monotonic() + WAIT_S
        while True:
            for index, event in enumerate(self.events):
                # A message has an id of its own.
                if event.get("id") == command["id"] and event["type"] not in ("message", "direct_message"):
                    del self.events[index]
                    return event
            try:
                await self.read(max(deadline - time.monotonic(), 0.001))
            except asyncio.TimeoutError:
                raise AssertionError(f"no answer to {command}; waiting: {self.events[-20:]}") from None

    async def ok(self, **command):
        answer = await self.call(**command)
        if answer["type"] == "error":
            raise AssertionError(f"{command} was refused: {answer}")
        return answer

    async def refused(self, code, **command):
        answer = await self.call(**command)
        if answer["type"] != "error" or answer["code"] != code:
            raise AssertionError(f"{command}: wanted error {code}, got {answer}")
        return answer

    async def join(self, room, **options):
        return await self.ok(type="join_room", room_id=room, **options)

    async def settle(self, pause=0.15):
        """Gives what is on its way, also from other shards, the time to come."""
        await self.ok(type="ping")
        await asyncio.sleep(pause * SLOWNESS)
        await self.ok(type="ping")

    async def silent(self, type_, **fields):
        await self.settle()
        event = self.take(type_, **fields)
        if event is not None:
            raise AssertionError(f"unwanted {event}")

    async def closed(self, timeout=WAIT_S):
        """Waits until the server has closed; the close code."""
        try:
            while True:
                await self.read(timeout)
        except websockets.ConnectionClosed:
            return self.socket.close_code

    async def close(self):
        await self.socket.close()


class Case(unittest.IsolatedAsyncioTestCase):
    """Tests with one server a class: `settings` are its flags."""

    settings = ()
    environment = None
    server = None
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cls.server = Server(*cls.settings, env=cls.environment)

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()

    def setUp(self):
        # One server serves many tests: names must not meet.
        self.mark = f"{type(self).__name__}.{self._testMethodName}"
        self.room = f"room of {self.mark}"

    def user(self, name):
        return f"{name} {self.mark}"

    async def client(self, name, **options):
        client = await Client.connect(self.server, self.user(name), **options)
        self.addAsyncCleanup(client.close)
        return client

    async def members(self, *names):
        """Sessions of these users, all in the test's room, with the noise of joining gone."""
        clients = [await self.client(name) for name in names]
        for client in clients:
            await client.join(self.room)
        for n, client in enumerate(clients):
            # Each is told of every user whose first session came with it or after it.
            for late in dict.fromkeys(names[n:]):
                if late not in names[:n]:
                    await client.expect("user_joined", room_id=self.room, user_id=self.user(late))
            client.events.clear()
        return clients


def with_shards(*counts):
    """Makes a class of tests one for each number of shards."""

    def make(cls):
        module = sys.modules[cls.__module__]
        for count in counts:
            name = f"{cls.__name__}OnShards{count}"
            setattr(module, name, type(name, (cls,), {"settings": (*cls.settings, "--shards", count),
                                                      "shards": count, "__module__": cls.__module__}))
        return None

    return make


class RawSocket:
    """A TCP connection with a little HTTP and WebSocket: for what a decent client would not do."""

    def __init__(self, server, receive_buffer=None):
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(WAIT_S)
        self.socket.connect(("127.0.0.1", server.port))
        self.buffer = b""

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def send(self, data):
        self.socket.sendall(data)

    def fill(self):
        data = self.socket.recv(1 << 16)
        if not data:
            raise EOFError
        self.buffer += data

    def take(self, count):
        while len(self.buffer) < count:
            self.fill()
        data, self.buffer = self.buffer[:count], self.buffer[count:]
        return data

    def response(self, head=False):
        """(status, headers with lower-case names, body) of the next HTTP answer."""
        while b"\r\n\r\n" not in self.buffer:
            self.fill()
        top, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
        first, *rest = top.decode("latin-1").split("\r\n")
        headers = {k.strip().lower(): v.strip() for k, v in (line.split(":", 1) for line in rest)}
        length = int(headers.get("content-length", "0"))
        body = b"" if head or first.split()[1] in ("101", "204", "304") else self.take(length)
        return int(first.split()[1]), headers, body

    def at_end(self, timeout=WAIT_S):
        """True when the server closes before the timeout, whatever it sends until then."""
        self.socket.settimeout(timeout)
        try:
            while True:
                self.fill()
        except (EOFError, ConnectionError):
            return True
        except socket.timeout:
            return False

    def upgrade(self, path, extra=""):
        self.send(f"GET {path} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                  f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}\r\nSec-WebSocket-Version: 13\r\n"
                  f"{extra}\r\n".encode("latin-1"))
        return self.response()

    def frame(self, opcode, payload, first=0x80):
        mask = os.urandom(4)
        size = len(payload)
        if size < 126:
            header = bytes([first | opcode, 0x80 | size])
        elif size < 65536:
            header = bytes([first | opcode, 0x80 | 126]) + struct.pack("!H", size)
        else:
            header = bytes([first | opcode, 0x80 | 127]) + struct.pack("!Q", size)
        self.send(header + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(payload)))

    def command(self, **command):
        self.frame(1, json.dumps(command).encode())

    def read_frame(self):
        """(first byte, payload): the server's frames are unmasked."""
        first, second = self.take(2)
        if second & 0x80:
            raise AssertionError("a masked frame from the server")
        size = second & 0x7f
        if size == 126:
            size = struct.unpack("!H", self.take(2))[0]
        elif size == 127:
            size = struct.unpack("!Q", self.take(8))[0]
        return first, self.take(size)

    def next_event(self):
        """The next event, pings skipped; a close frame is a failure."""
        while True:
            first, payload = self.read_frame()
            if first == 0x88:
                raise AssertionError(f"closed with {int.from_bytes(payload[:2], 'big')}")
            if first & 0x0f == 1:
                return json.loads(payload)

    def read_event(self, type_, **fields):
        """The next event of this kind; others are skipped."""
        while True:
            event = self.next_event()
            if event["type"] == type_ and all(event.get(k) == v for k, v in fields.items()):
                return event


def wait_until_read(case, raw):
    """Until the server's socket of this connection has nothing unread, so that the next piece comes alone."""
    local, remote = (f":{address[1]:04X}" for address in (raw.socket.getpeername(), raw.socket.getsockname()))
    deadline = time.monotonic() + WAIT_S
    while True:
        with open("/proc/net/tcp", encoding="ascii") as table:
            rows = [line.split() for line in table]
        mine = [row for row in rows if row[1].endswith(local) and row[2].endswith(remote)]
        if not mine or mine[0][4].endswith(":00000000"):
            return
        case.assertLess(time.monotonic(), deadline, "the server does not read")
        time.sleep(0.001)


def main():
    """Like unittest.main, but running nothing is a failure."""
    program = unittest.main(module="__main__", exit=False, verbosity=2)
    sys.exit(0 if program.result.wasSuccessful() and program.result.testsRun else 1)
