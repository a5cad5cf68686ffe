"""Three real nodes behind real HAProxy and real nginx, with the very files of config/; ports are all that is replaced.

Both proxies get a socket that listens already, so no port is taken twice.
"""

import asyncio
import http.client
import http.server
import json
import os
import re
import signal
import socket
import subprocess
import tempfile
import threading
import time
import unittest
from pathlib import Path

import support
from support import WAIT_S, Client, RawSocket, Server, quoted, run
from test_sse import Stream, request

CONFIG = Path(__file__).resolve().parents[2] / "config"
# What a node needs to work with the others. With a broker that they share, users may meet from different nodes; until
# then `a_pair` looks for users of one node.
BROKER = ("--broker", "memory")
NODES = ("n1", "n2", "n3")


def node(name, *args):
    return Server("--server-id", name, "--shards", 1, *BROKER, *args)


class Proxy:
    """A proxy with its file of config/, in front of three `host:port`. `replace`: pairs of (pattern, text), each must fit."""

    def __init__(self, nodes, replace=(), env=None):
        self.folder = tempfile.TemporaryDirectory()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.listener.setblocking(False)  # nginx takes it as it is, and a worker of two would wait in accept() for ever
        self.port = self.listener.getsockname()[1]
        text = (CONFIG / self.file).read_text()
        for pattern, new in (*self.replacements(nodes), *replace):
            text, count = re.subn(pattern, new, text)
            if count == 0:
                raise AssertionError(f"{pattern} is nowhere in {self.file}")
        self.config = Path(self.folder.name) / self.file
        self.config.write_text(text)
        self.log_file = open(Path(self.folder.name) / "log", "ab+")
        self.process = subprocess.Popen(
            self.command(), stdin=subprocess.DEVNULL, stdout=self.log_file, stderr=self.log_file,
            pass_fds=[self.listener.fileno()], env={**os.environ, **self.environment(nodes), **(env or {})})

    def log(self):
        return Path(self.log_file.name).read_text(errors="replace")

    def ws_url(self, path):
        return f"ws://127.0.0.1:{self.port}{path}"

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(4 * WAIT_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.listener.close()
        self.log_file.close()
        self.folder.cleanup()


class Haproxy(Proxy):
    file = "haproxy.cfg"

    def replacements(self, nodes):
        return ()

    def environment(self, nodes):
        return {"HUBBUB_BIND": f"fd@{self.listener.fileno()}",
                **{f"HUBBUB_NODE{index}": address for index, address in enumerate(nodes, 1)}}

    def command(self):
        return ["/usr/sbin/haproxy", "-db", "-f", str(self.config)]


class Nginx(Proxy):
    file = "nginx.conf"

    def replacements(self, nodes):
        yield "listen 8080;", f"listen 127.0.0.1:{self.port} backlog=512;"
        for index, address in enumerate(nodes, 1):
            yield f"server 127\\.0\\.0\\.1:808{index} ", f"server {address} "

    def environment(self, nodes):
        return {"NGINX": f"{self.listener.fileno()};"}  # nginx's own way to hand over sockets, to itself as a rule

    def command(self):
        return ["/usr/sbin/nginx", "-c", str(self.config), "-e", "stderr",
                "-g", f"daemon off; pid {self.folder.name}/pid;"]


class StandIn:
    """A node that says what a test tells it: /readyz answers 200 or 503, GETs of sessions an event stream or 503, all
    else 200. It remembers what it was asked."""

    def __init__(self):
        self.ready = True
        self.asked = []  # (method, path, headers) but for /readyz
        self.checks = 0
        self.wake = threading.Condition()
        self.said = 0
        stand_in = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 8 * WAIT_S

            def do_GET(self):
                if self.path == "/readyz":
                    stand_in.checks += 1
                    return self.answer(200 if stand_in.ready else 503)
                stand_in.asked.append(("GET", self.path, self.headers))
                if not stand_in.ready or not self.path.startswith("/events"):
                    return self.answer(200 if stand_in.ready else 503)
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                self.send_header("Connection", "close")
                self.end_headers()
                self.close_connection = True
                said = 0
                self.wfile.write(b'event: connected\ndata: {"server_id":"stand-in"}\n\n')
                while True:
                    with stand_in.wake:
                        if not stand_in.wake.wait_for(lambda: stand_in.said != said, 8 * WAIT_S):
                            return None
                        said = stand_in.said
                    if said < 0:
                        return None
                    self.wfile.write(b'event: word\ndata: {"number":%d}\n\n' % said)

            def do_POST(self):
                self.rfile.read(int(self.headers.get("Content-Length", "0")))
                stand_in.asked.append(("POST", self.path, self.headers))
                self.answer(200 if stand_in.ready else 503)

            def answer(self, status):
                body = b'{"server_id":"stand-in"}'
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *_: None  # a proxy may hang up whenever it likes
        self.address = "127.0.0.1:%d" % self.server.server_port
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self.thread.start()

    def say(self, number):
        with self.wake:
            self.said = number
            self.wake.notify_all()

    def stop(self):
        self.say(-1)
        self.server.shutdown()
        self.thread.join(WAIT_S)
        self.server.server_close()


class Behind(unittest.IsolatedAsyncioTestCase):
    """What holds behind either proxy. Tests that stop nodes start their own; the others share three."""

    proxy_type = None
    shared = None

    @classmethod
    def setUpClass(cls):
        cls.shared = {name: node(name) for name in NODES}
        cls.proxy = cls.proxy_type([cls.address(n) for n in cls.shared.values()])

    @classmethod
    def tearDownClass(cls):
        cls.proxy.stop()
        for server in cls.shared.values():
            server.stop()

    @staticmethod
    def address(server):
        return f"127.0.0.1:{server.port}"

    def setUp(self):
        self.mark = f"{type(self).__name__}.{self._testMethodName}"

    def started(self, *args):
        """Three nodes of this test's own, by name."""
        servers = {}
        for name in NODES:
            servers[name] = node(name, *args)
            self.addCleanup(self.ended, servers[name])
        return servers

    @staticmethod
    def ended(server):
        if server.process.poll() is None:
            server.process.kill()
        server.wait()

    def fronted(self, addresses, **more):
        proxy = self.proxy_type(addresses, **more)
        self.addCleanup(proxy.stop)
        return proxy

    async def client(self, user, proxy=None, **options):
        client = await Client.connect(proxy or self.proxy, user, **options)
        self.addAsyncCleanup(client.close)
        return client

    def stream(self, path, proxy=None, **headers):
        stream = Stream(proxy or self.proxy, path, headers)
        self.addCleanup(stream.close)
        return stream

    async def a_user_of(self, name, proxy=None, prefix=""):
        """A client of a new user whom the proxy sends to this node."""
        for number in range(100):
            client = await Client.connect(proxy or self.proxy, f"{prefix}{number} {self.mark}")
            if client.connected["server_id"] == name:
                self.addAsyncCleanup(client.close)
                return client
            await client.close()
        raise AssertionError(f"the proxy sends none of 100 users to {name}")

    async def until(self, condition, what):
        deadline = time.monotonic() + 2 * WAIT_S
        while not condition():
            self.assertLess(time.monotonic(), deadline, what)
            await asyncio.sleep(0.02)

    async def test_users_chat_by_websocket(self):
        ann = await self.a_user_of("n2", prefix="ann")
        bob = await self.a_user_of("n2", prefix="bob")
        packed = await self.client(ann.connected["user_id"], compression="deflate")
        self.assertTrue(packed.socket.extensions, "permessage-deflate did not get through")
        for client in (ann, bob, packed):
            await client.join(self.mark)
        for number in range(50):
            content = "x" * 60000 if number == 25 else f"number {number}"
            await bob.ok(type="room_message", room_id=self.mark, content=content)
            for client in (ann, bob, packed):
                self.assertEqual((await client.expect("message"))["content"], content)
        await ann.ok(type="direct_message", to_user=bob.connected["user_id"], content="psst")
        await bob.expect("direct_message", content="psst")

    async def test_a_user_is_on_one_node_over_all_transports_without_a_cookie(self):
        seen = []
        for number in range(40):
            user = f"user {number}/{self.mark}"
            client = await Client.connect(self.proxy, user)
            where = client.connected["server_id"]
            again = await Client.connect(self.proxy, user, path=f"/ws?user_id={quoted(user)}")
            stream = Stream(self.proxy, f"/events/{quoted(user)}")
            connected = await asyncio.to_thread(stream.next, "connected")
            status, answer = await asyncio.to_thread(request, self.proxy, "GET", f"/poll/{quoted(user)}?timeout=5")
            self.assertEqual(status, 200, answer)
            self.assertEqual([again.connected["server_id"], connected["server_id"], answer["messages"][0]["server_id"]],
                             [where] * 3, user)
            for session in (connected, answer["messages"][0]):
                path = f"/sessions/{session['session_id']}/commands?user_id={quoted(user)}"
                status, answers = await asyncio.to_thread(
                    request, self.proxy, "POST", path, {"type": "ping", "id": 7}, {"X-Session-Key": session["session_key"]})
                self.assertEqual((status, answers.get("answers")), (200, [{"type": "pong", "id": 7}]), answers)
            status, _ = await asyncio.to_thread(request, self.proxy, "POST", f"/notify/{quoted(user)}", {"number": number})
            self.assertEqual(status, 200)
            await client.expect("notification", number=number)
            await asyncio.to_thread(stream.next, "notification", number=number)
            stream.close()
            await client.close()
            await again.close()
            seen.append(where)
        print("users a node:", {name: seen.count(name) for name in NODES})
        for name in NODES:
            self.assertIn(name, seen)

    async def test_events_are_not_held_back(self):
        user = f"ann {self.mark}"
        stream = self.stream(f"/events/{quoted(user)}?rooms={quoted(self.mark)}")
        connected = await asyncio.to_thread(stream.next, "connected")
        speaker = await self.client(user)
        self.assertEqual(speaker.connected["server_id"], connected["server_id"])
        await speaker.join(self.mark)
        slowest = 0
        # Each must be there before the next one is said: what a proxy held back would never come.
        for number in range(30):
            began = time.monotonic()
            await speaker.send(type="room_message", room_id=self.mark, content=number)
            await asyncio.to_thread(stream.next, "message", content=number)
            slowest = max(slowest, time.monotonic() - began)
        print(f"slowest of 30 events: {slowest * 1000:.1f} ms")
        self.assertLess(slowest, 1 * support.SLOWNESS)

    async def test_curl_reads_events_as_they_come(self):
        user = f"ann {self.mark}"
        curl = subprocess.Popen(["curl", "-sN", "--max-time", str(int(4 * WAIT_S)),
                                 f"http://127.0.0.1:{self.proxy.port}/events/{quoted(user)}"],
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        self.addCleanup(curl.stdout.close)
        self.addCleanup(curl.wait)
        self.addCleanup(curl.kill)
        self.assertEqual(await asyncio.to_thread(self.data_after, curl.stdout, b"event: connected\n", "user_id"), user)
        status, _ = await asyncio.to_thread(request, self.proxy, "POST", f"/notify/{quoted(user)}", {"title": "now"})
        self.assertEqual(status, 200)
        self.assertEqual(await asyncio.to_thread(self.data_after, curl.stdout, b"event: notification\n", "title"), "now")
        self.assertIsNone(curl.poll())

    @staticmethod
    def data_after(lines, wanted, field):
        for line in lines:
            if line == wanted:
                return json.loads(next(lines).removeprefix(b"data: "))[field]
        raise AssertionError(f"curl ended before {wanted}")

    async def test_a_long_poll_is_not_cut(self):
        path = f"/poll/{quoted('ann ' + self.mark)}"
        _, answer = await asyncio.to_thread(request, self.proxy, "GET", path + "?timeout=5")
        began = time.monotonic()
        connection = http.client.HTTPConnection("127.0.0.1", self.proxy.port, timeout=8 + 4 * WAIT_S)
        self.addCleanup(connection.close)
        connection.request("GET", f"{path}?timeout=8&cursor={answer['cursor']}")
        response = await asyncio.to_thread(connection.getresponse)
        self.assertEqual((response.status, json.loads(response.read())["messages"]), (200, []))
        self.assertGreaterEqual(time.monotonic() - began, 7.9)

    async def idle(self, *flags):
        """What of a WebSocket and an event stream lives after 5 s without a word, with a proxy that allows 2 s."""
        servers = self.started(*flags)
        proxy = self.fronted([self.address(s) for s in servers.values()], replace=[(r"\b130s\b", "2s")])
        user = f"ann {self.mark}"
        client = await self.client(user, proxy)
        stream = self.stream(f"/events/{quoted(user)}", proxy)
        await asyncio.to_thread(stream.next, "connected")
        with self.assertRaises(asyncio.TimeoutError):
            await client.read(5)
        await client.ok(type="ping")
        status, _ = await asyncio.to_thread(request, proxy, "POST", f"/notify/{quoted(user)}", {"still": "there"})
        self.assertEqual(status, 200)
        await client.expect("notification", still="there")
        await asyncio.to_thread(stream.next, "notification", still="there")

    async def test_heartbeats_keep_an_idle_connection_open(self):
        await self.idle("--heartbeat", "800ms", "--sse-keepalive", "800ms")

    async def test_without_heartbeats_the_proxy_cuts(self):
        """So that the test above means something."""
        with self.assertRaises((support.websockets.ConnectionClosed, AssertionError)):
            await self.idle()

    async def test_the_proxys_patience_is_longer_than_the_nodes_silence(self):
        shown = run("print-config").stdout
        units = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}

        def seconds(key):
            number, unit = re.search(rf'(?m)^{key} = "(\d+)([a-z]+)"', shown).groups()
            return int(number) * units[unit]

        text = re.sub(r"(?m)#.*$", "", (CONFIG / self.proxy_type.file).read_text())
        found = {name: int(number) for name, number in re.findall(self.patience, text)}
        self.assertEqual(len(found), len(re.findall(self.patience, text)))
        self.assertEqual(set(found), self.patience_names)
        for name, patience in found.items():
            self.assertGreater(patience, 2 * seconds("heartbeat"), name)
            self.assertGreater(patience, 2 * seconds("sse_keepalive"), name)
            self.assertGreater(patience, seconds("poll_timeout_max"), name)

    async def test_a_node_that_stops_gets_no_new_sessions_and_the_others_go_on(self):
        servers = self.started("--close-timeout", "60s")
        proxy = self.fronted([self.address(s) for s in servers.values()])
        mine = await self.a_user_of("n2", proxy, "mine")
        others = [await self.a_user_of(name, proxy, "other") for name in ("n1", "n3")]
        with RawSocket(servers["n2"]) as stuck:
            stuck.upgrade("/ws/stuck")  # it won't answer the close frame, so the node goes on stopping
            servers["n2"].process.send_signal(signal.SIGTERM)
            self.assertEqual(await mine.closed(), 1001)
            for number in range(20):
                client = await Client.connect(proxy, f"new {number} {self.mark}")
                self.assertIn(client.connected["server_id"], ("n1", "n3"))
                await client.close()
            again = await self.client(mine.connected["user_id"], proxy, path=f"/ws/{quoted(mine.connected['user_id'])}")
            self.assertIn(again.connected["server_id"], ("n1", "n3"))
            self.assertIsNone(servers["n2"].process.poll(), "it was to be stopping still")
            for client in others:
                await client.ok(type="ping")

    async def test_users_of_a_killed_node_get_to_another_one_and_back_when_it_returns(self):
        servers = self.started()
        proxy = self.fronted([self.address(s) for s in servers.values()])
        mine = [await self.a_user_of("n3", proxy, f"mine {n} ") for n in range(5)]
        others = [await self.a_user_of(name, proxy, "other") for name in ("n1", "n2")]
        stream = self.stream(f"/events/{quoted(mine[0].connected['user_id'])}", proxy)
        self.assertEqual((await asyncio.to_thread(stream.next, "connected"))["server_id"], "n3")
        port = servers["n3"].port
        servers["n3"].process.kill()
        servers["n3"].wait()
        await asyncio.to_thread(stream.next, "end")
        for client in mine:
            await client.closed()
            # At the first try: the proxy finds out by itself.
            again = await self.client(client.connected["user_id"], proxy)
            self.assertIn(again.connected["server_id"], ("n1", "n2"))
        for client in others:
            await client.ok(type="ping")
        # Back at the same address, and with all its users.
        back = Server("--server-id", "n3", "--shards", 1, *BROKER, listen=f"127.0.0.1:{port}")
        self.addCleanup(self.ended, back)
        deadline = time.monotonic() + 4 * WAIT_S
        for client in mine:
            while True:
                again = await Client.connect(proxy, client.connected["user_id"])
                await again.close()
                if again.connected["server_id"] == "n3":
                    break
                self.assertLess(time.monotonic(), deadline, "the node that is back gets no sessions")
                await asyncio.sleep(0.1)

    def with_a_stand_in(self, **more):
        stand_in = StandIn()
        self.addCleanup(stand_in.stop)
        nodes = [self.address(self.shared["n1"]), stand_in.address, self.address(self.shared["n3"])]
        return stand_in, self.fronted(nodes, **more)

    async def a_stream_of_the_stand_in(self, proxy):
        """(user, stream) whom the proxy sends there."""
        for number in range(100):
            user = f"user{number}"
            stream = self.stream(f"/events/{user}", proxy)
            if (await asyncio.to_thread(stream.next, "connected"))["server_id"] == "stand-in":
                return user, stream
            stream.close()
        raise AssertionError("the proxy sends none of 100 users to the stand-in")

    async def test_a_node_that_answers_503_gets_no_new_sessions_and_keeps_those_it_has(self):
        stand_in, proxy = self.with_a_stand_in()
        user, stream = await self.a_stream_of_the_stand_in(proxy)
        stand_in.ready = False
        await self.until_left_alone(stand_in, proxy, user)
        before = len(stand_in.asked)
        for number in range(20):
            for path in (f"/events/{user}", f"/events/new{number}"):
                fresh = Stream(proxy, path)
                self.assertEqual(fresh.response.status, 200)
                self.assertIn((await asyncio.to_thread(fresh.next, "connected"))["server_id"], ("n1", "n3"))
                fresh.close()
        self.check_left_alone(stand_in, before)
        for number in (1, 2, 3):
            stand_in.say(number)
            await asyncio.to_thread(stream.next, "word", number=number)

    async def test_a_request_that_may_have_been_carried_out_is_not_repeated(self):
        listener = socket.create_server(("127.0.0.1", 0))  # a node that takes requests and dies before it answers
        self.addCleanup(listener.close)
        taken = []

        def take():
            while True:
                try:
                    peer, _ = listener.accept()
                except OSError:
                    return
                with peer:
                    peer.settimeout(WAIT_S)
                    try:
                        asked = peer.recv(65536)
                        if asked.startswith(b"GET /readyz"):
                            peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                        elif asked:
                            taken.append(asked)
                    except OSError:
                        pass

        threading.Thread(target=take, daemon=True).start()
        proxy = self.fronted([self.address(self.shared["n1"]), "127.0.0.1:%d" % listener.getsockname()[1],
                              self.address(self.shared["n3"])])
        for number in range(100):  # until one is for that node
            status, _ = await asyncio.to_thread(self.status_of, proxy, "POST", f"/notify/user{number}", '{"title":"once"}')
            if taken:
                break
            self.assertEqual(status, 200)
        self.assertEqual(status, 502)
        self.assertEqual(len(taken), 1, taken)
        listener.shutdown(socket.SHUT_RDWR)

    @staticmethod
    def status_of(proxy, method, path, body=None, source="127.0.0.1", **headers):
        """(status, headers) of one request."""
        connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=4 * WAIT_S, source_address=(source, 0))
        try:
            connection.request(method, path, body=body, headers=headers)
            response = connection.getresponse()
            response.read()
            return response.status, response.headers
        finally:
            connection.close()

    async def test_nodes_are_told_who_the_client_is(self):
        stand_in, proxy = self.with_a_stand_in()
        user, _ = await self.a_stream_of_the_stand_in(proxy)
        await asyncio.to_thread(
            self.status_of, proxy, "POST", f"/sessions/x/commands?user_id={user}", "{}", "127.0.0.7",
            **{"X-Forwarded-For": "6.6.6.6", "X-Forwarded-Proto": "gopher", "Forwarded": "for=6.6.6.6",
               "X-Session-Key": "secret", "Host": "chat.example"})
        method, path, headers = stand_in.asked[-1]
        self.assertEqual((method, path), ("POST", f"/sessions/x/commands?user_id={user}"))
        self.assertEqual(headers.get_all("X-Forwarded-For"), ["127.0.0.7"])
        self.assertEqual(headers.get_all("X-Forwarded-Proto"), ["http"])
        self.assertEqual(headers.get_all("X-Forwarded-Host"), ["chat.example"])
        self.assertEqual((headers["Host"], headers["X-Session-Key"]), ("chat.example", "secret"))
        self.assertIsNone(headers["Forwarded"])

    async def test_backends_routes_are_for_private_addresses(self):
        # Nothing but loopback here: so 127.0.0.1 alone plays the private network.
        proxy = self.fronted([self.address(s) for s in self.shared.values()], replace=[(r"127\.0\.0\.0/8", "127.0.0.1/32")])
        for path in ("/api/stats", "/api/users/count", "//api/stats", "/%61pi/stats", "/x/../api/stats", "/notify/ann",
                     "/send/ann", "/notify", "/api"):
            method = "GET" if "api" in path or "%61" in path else "POST"
            status, _ = await asyncio.to_thread(self.status_of, proxy, method, path, None, "127.0.0.2")
            self.assertIn(status, (403,) if ".." not in path else (403, 404), path)
        for path in ("/api/stats", "/healthz"):
            self.assertEqual((await asyncio.to_thread(self.status_of, proxy, "GET", path))[0], 200, path)
        self.assertEqual((await asyncio.to_thread(self.status_of, proxy, "GET", "/healthz", None, "127.0.0.2"))[0], 200)

    async def test_a_repeated_idempotency_key_finds_its_node(self):
        answers = set()
        for _ in range(12):
            connection = http.client.HTTPConnection("127.0.0.1", self.proxy.port, timeout=4 * WAIT_S)
            connection.request("POST", f"/api/rooms/{quoted(self.mark)}/messages", body='{"content":1,"from":"shop"}',
                               headers={"Idempotency-Key": f"once {self.mark}"})
            response = connection.getresponse()
            self.assertEqual(response.status, 200)
            answers.add(response.read())
            connection.close()
        self.assertEqual(len(answers), 1, "it was carried out more than once")

    async def test_one_address_has_a_limit(self):
        proxy = self.limited([self.address(s) for s in self.shared.values()])
        clients = [await Client.connect(proxy, f"{n} {self.mark}") for n in range(5)]
        with self.assertRaises((support.websockets.exceptions.InvalidStatusCode, OSError, EOFError,
                                support.websockets.exceptions.InvalidMessage)):
            await Client.connect(proxy, f"one more {self.mark}")
        self.assertEqual((await asyncio.to_thread(self.status_of, proxy, "GET", "/healthz", None, "127.0.0.2"))[0], 200)
        await clients.pop().close()
        deadline = time.monotonic() + 2 * WAIT_S
        while True:
            try:
                clients.append(await Client.connect(proxy, f"one more {self.mark}"))
                break
            except (support.websockets.exceptions.InvalidHandshake, OSError, EOFError):
                self.assertLess(time.monotonic(), deadline, "a place that is free again is not given")
                await asyncio.sleep(0.05)
        for client in clients:
            await client.ok(type="ping")
            await client.close()

    async def test_no_secret_is_in_the_proxys_log(self):
        user = f"ann {self.mark}"
        stream = self.stream(f"/events/{quoted(user)}")
        connected = await asyncio.to_thread(stream.next, "connected")
        path = f"/sessions/{connected['session_id']}/commands"
        status, _ = await asyncio.to_thread(
            self.status_of, self.proxy, "POST", f"{path}?user_id={quoted(user)}&session_key={connected['session_key']}",
            '{"type":"ping"}')
        self.assertEqual(status, 200)
        await self.until(lambda: path in self.proxy.log(), "the request is not logged")
        self.assertNotIn(connected["session_key"], self.proxy.log())


class BehindHaproxy(Behind):
    proxy_type = Haproxy
    patience = r"timeout (client|server|tunnel) +(\d+)s\b"
    patience_names = {"client", "server", "tunnel"}

    def limited(self, nodes):
        return self.fronted(nodes, env={"HUBBUB_MAXCONN_PER_ADDRESS": "5"})

    async def until_left_alone(self, stand_in, proxy, user):
        """Until the checks of /readyz have told HAProxy: its cookie no longer holds."""
        cookie = "HUBBUB_NODE=n2"

        def elsewhere():
            return "HUBBUB_NODE=" in (self.status_of(proxy, "GET", "/", Cookie=cookie)[1].get("Set-Cookie") or "")

        deadline = time.monotonic() + 2 * WAIT_S
        while not await asyncio.to_thread(elsewhere):
            self.assertLess(time.monotonic(), deadline, "HAProxy does not see the 503 of /readyz")
            await asyncio.sleep(0.05)

    def check_left_alone(self, stand_in, before):
        self.assertEqual(stand_in.asked[before:], [])
        self.assertGreater(stand_in.checks, 0)

    async def test_the_cookie_decides_before_the_user(self):
        ann = await self.a_user_of("n1", prefix="ann")
        bob = await self.a_user_of("n3", prefix="bob")
        given = ann.socket.response_headers["Set-Cookie"]
        self.assertIn("HUBBUB_NODE=n1", given)
        for attribute in ("HttpOnly", "SameSite=Lax", "path=/"):
            self.assertIn(attribute.lower(), given.lower())
        cookie = {"Cookie": given.split(";")[0]}
        user = bob.connected["user_id"]
        client = await self.client(user, extra_headers=cookie)
        self.assertEqual(client.connected["server_id"], "n1")
        self.assertNotIn("Set-Cookie", client.socket.response_headers)
        stream = self.stream(f"/events/{quoted(user)}", **cookie)
        connected = await asyncio.to_thread(stream.next, "connected")
        self.assertEqual(connected["server_id"], "n1")
        status, answer = await asyncio.to_thread(request, self.proxy, "GET", f"/poll/{quoted(user)}?timeout=5", None, cookie)
        self.assertEqual((status, answer["messages"][0]["server_id"]), (200, "n1"))
        # Commands find it by the cookie alone.
        for _ in range(6):
            status, answers = await asyncio.to_thread(
                request, self.proxy, "POST", f"/sessions/{connected['session_id']}/commands", {"type": "ping", "id": 1},
                {"X-Session-Key": connected["session_key"], **cookie})
            self.assertEqual((status, answers["answers"][0]["type"]), (200, "pong"))

    async def test_every_first_answer_gives_the_cookie_and_nodes_never_see_it(self):
        stand_in, proxy = self.with_a_stand_in()
        user, stream = await self.a_stream_of_the_stand_in(proxy)
        self.assertIn("HUBBUB_NODE=n2", stream.response.headers["Set-Cookie"])
        for cookie in ("HUBBUB_NODE=n2", "HUBBUB_NODE=n2; theme=dark", "HUBBUB_NODE=n9"):
            await asyncio.to_thread(self.status_of, proxy, "POST", f"/sessions/x/commands?user_id={user}", "{}", Cookie=cookie)
            self.assertNotIn("HUBBUB_NODE", stand_in.asked[-1][2].get("Cookie", ""))

    async def test_a_cookie_of_a_dead_node_is_replaced(self):
        servers = self.started()
        proxy = self.fronted([self.address(s) for s in servers.values()])
        client = await self.a_user_of("n2", proxy)
        cookie = {"Cookie": client.socket.response_headers["Set-Cookie"].split(";")[0]}
        servers["n2"].process.kill()
        servers["n2"].wait()
        again = await self.client(client.connected["user_id"], proxy, extra_headers=cookie)
        self.assertIn(again.connected["server_id"], ("n1", "n3"))
        self.assertIn(f"HUBBUB_NODE={again.connected['server_id']}", again.socket.response_headers["Set-Cookie"])

    async def test_its_own_health_is_that_of_the_nodes(self):
        stand_in = StandIn()
        self.addCleanup(stand_in.stop)
        proxy = self.fronted([stand_in.address] * 3)

        def status():
            return self.status_of(proxy, "GET", "/proxyz")[0]

        self.assertEqual(await asyncio.to_thread(status), 200)
        stand_in.ready = False
        deadline = time.monotonic() + 2 * WAIT_S
        while await asyncio.to_thread(status) != 503:
            self.assertLess(time.monotonic(), deadline, "no node is ready, and /proxyz says 200")
            await asyncio.sleep(0.05)
        stand_in.ready = True
        while await asyncio.to_thread(status) != 200:
            self.assertLess(time.monotonic(), deadline + 2 * WAIT_S, "nodes are ready, and /proxyz says 503")
            await asyncio.sleep(0.05)


class BehindNginx(Behind):
    proxy_type = Nginx
    patience = r"(proxy_read_timeout|proxy_send_timeout|send_timeout) +(\d+)s\b"
    patience_names = {"proxy_read_timeout", "proxy_send_timeout", "send_timeout"}

    def limited(self, nodes):
        return self.fronted(nodes, replace=[("limit_conn addresses 1000", "limit_conn addresses 5")])

    async def until_left_alone(self, stand_in, proxy, user):
        """nginx asks nobody how he is: the next request finds out, and another node answers it."""

    def check_left_alone(self, stand_in, before):
        # Once found out, it is asked again only every fail_timeout.
        self.assertLessEqual(len(stand_in.asked) - before, 4)

    async def test_buffering_is_off_in_so_many_words(self):
        text = re.sub(r"(?m)#.*$", "", (CONFIG / "nginx.conf").read_text())
        self.assertIn("proxy_buffering off;", text)
        self.assertNotIn("proxy_buffering on", text)


del Behind  # what it says holds for its children

if __name__ == "__main__":
    support.main()
