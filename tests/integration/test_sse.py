"""Server-Sent Events by Python's http.client and `curl -N`."""

import asyncio
import base64
import http.client
import json
import queue
import socket
import subprocess
import threading
import time

from support import WAIT_S, Case, Client, quoted, with_shards


class Stream:
    """An event stream read in a thread; blocks wait in `blocks` as (event, id, data)."""

    def __init__(self, server, path, headers=None):
        self.connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=4 * WAIT_S)
        self.connection.request("GET", path, headers=headers or {})
        self.response = self.connection.getresponse()
        self.socket = self.connection.sock or self.response.fp.raw._sock
        self.blocks = queue.Queue()
        self.raw = []
        self.cursor = None
        self.reader = threading.Thread(target=self.read, daemon=True)
        if self.response.status == 200:
            self.reader.start()

    def read(self):
        fields = {}
        try:
            for line in self.response:
                self.raw.append(line)
                text = line.decode().rstrip("\n")
                if text:
                    name, _, value = text.partition(":")
                    value = value[1:] if value.startswith(" ") else value
                    fields[name] = fields[name] + "\n" + value if name in fields else value
                elif fields:
                    if "id" in fields:
                        self.cursor = fields["id"]
                    self.blocks.put((fields.get("event", "message"), fields.get("id"), fields.get("data"), dict(fields)))
                    fields = {}
        except (OSError, ValueError, AttributeError, http.client.HTTPException):
            pass
        self.blocks.put(("end", None, None, {}))

    def next(self, event, timeout=WAIT_S, **wanted):
        """The next event of this type with these fields; others are skipped."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                name, id_, data, fields = self.blocks.get(timeout=max(deadline - time.monotonic(), 0.001))
            except queue.Empty:
                raise AssertionError(f"no {event} {wanted} within {timeout} s: {b''.join(self.raw)[-2000:]}") from None
            if name == "end" and event != "end":
                raise AssertionError(f"the stream ended before {event}: {b''.join(self.raw)[-2000:]}")
            if name != event:
                continue
            if event in ("cursor", "end"):
                return id_
            if "data" not in fields:
                continue
            parsed = json.loads(data)
            if all(parsed.get(k) == v for k, v in wanted.items()):
                return parsed

    def close(self):
        try:
            self.socket.shutdown(socket.SHUT_RDWR)  # closing alone would wait for the reader's lock
            self.response.close()
            self.connection.close()
        except OSError:
            pass


def request(server, method, path, body=None, headers=None):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=2 * WAIT_S)
    connection.request(method, path, body=None if body is None else json.dumps(body), headers=headers or {})
    response = connection.getresponse()
    text = response.read()
    connection.close()
    return response.status, json.loads(text) if text else None


def seqs_of(cursor):
    """How far a cursor is in each stream ("" is the inbox): as docs/protocol.md has it."""
    data = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
    at, seqs = 6, {}

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7f) << shift
            shift += 7
            if byte < 0x80:
                return value
    if data[5] & 1:
        at += 16
    if data[5] & 2:
        varint()
    while at < len(data):
        size = varint()
        room = data[at:at + size].decode()
        at += size + 8
        seqs[room] = varint()
    return seqs


def command(server, connected, *commands):
    status, answer = request(server, "POST", f"/sessions/{connected['session_id']}/commands", list(commands),
                             {"X-Session-Key": connected["session_key"]})
    if status != 200:
        raise AssertionError((status, answer))
    return answer["answers"]


@with_shards(1, 2)
class Sse(Case):
    settings = ("--session-linger", "30s", "--sse-keepalive", "300ms", "--sse-retry", "1500ms")

    def stream(self, name, query="", **headers):
        stream = Stream(self.server, f"/events/{quoted(self.user(name))}{query}", headers)
        self.addCleanup(stream.close)
        return stream

    async def test_the_response_is_what_proxies_and_browsers_need(self):
        stream = self.stream("ann")
        self.assertEqual(stream.response.status, 200)
        self.assertEqual(stream.response.getheader("Content-Type"), "text/event-stream")
        self.assertEqual(stream.response.getheader("Cache-Control"), "no-cache")
        self.assertEqual(stream.response.getheader("X-Accel-Buffering"), "no")
        self.assertIsNone(stream.response.getheader("Content-Length"))
        connected = stream.next("connected")
        self.assertEqual((connected["user_id"], connected["resumed"]), (self.user("ann"), False))
        self.assertTrue(connected["session_key"])
        self.assertEqual(stream.next("cursor"), connected["cursor"])
        self.assertIn(b"retry: 1500\n", stream.raw)

    async def test_silence_is_broken_by_comments(self):
        stream = self.stream("ann")
        stream.next("connected")
        deadline = time.monotonic() + WAIT_S
        while stream.raw.count(b": keepalive\n") < 2:
            self.assertLess(time.monotonic(), deadline)
            await asyncio.sleep(0.05)

    async def test_it_joins_rooms_at_once_and_gets_their_messages(self):
        stream = self.stream("ann", f"?rooms={quoted(self.room)},{quoted(self.room + '2')}")
        # In any order: the rooms may have different home shards.
        self.assertEqual({stream.next("joined")["room_id"] for _ in range(2)}, {self.room, self.room + "2"})
        bob = await self.client("bob")
        await bob.join(self.room)
        content = {"lines": "a\nb", "utf8": "h\u00e9\U0001f600\u2028", "n": [1, 2]}
        await bob.ok(type="room_message", room_id=self.room, content=content)
        message = stream.next("message")
        self.assertEqual((message["content"], message["from"], message["seq"]), (content, self.user("bob"), 1))

    async def test_json_over_several_lines_stays_json(self):
        stream = self.stream("ann", f"?room={quoted(self.room)}")
        stream.next("joined")
        bob = await self.client("bob")
        await bob.join(self.room)
        await bob.send_raw('{"type":"room_message","room_id":%s,"content":{\n "a" : 1,\r\n "b":\r2\n}}'
                           % json.dumps(self.room))
        self.assertEqual(stream.next("message")["content"], {"a": 1, "b": 2})

    async def test_it_speaks_by_commands(self):
        stream = self.stream("ann")
        connected = stream.next("connected")
        answers = command(self.server, connected,
                          {"type": "join_room", "room_id": self.room},
                          {"type": "room_message", "room_id": self.room, "content": 1, "id": "x"},
                          {"type": "room_message", "room_id": "elsewhere", "content": 1},
                          {"type": "ping"}, {"type": "history", "room_id": self.room}, {"type": "no"},
                          {"type": "direct_message", "to_user": self.user("bob"), "content": 2})
        self.assertEqual([a["type"] for a in answers], ["joined", "ack", "error", "pong", "history", "error", "ack"])
        self.assertEqual((answers[1]["id"], answers[1]["seq"]), ("x", 1))
        self.assertEqual((answers[2]["code"], answers[5]["code"]), ("not_in_room", "unknown_type"))
        stream.next("joined")
        self.assertEqual(stream.next("message")["content"], 1)

    async def test_commands_need_the_sessions_key(self):
        stream = self.stream("ann")
        connected = stream.next("connected")
        path = f"/sessions/{connected['session_id']}/commands"
        ping = {"type": "ping"}
        for headers in ({}, {"X-Session-Key": "0" * 32}, {"X-Session-Key": connected["session_key"][:-1]}):
            status, answer = request(self.server, "POST", path, ping, headers)
            self.assertEqual((status, answer["error"]["code"]), (403, "forbidden"))
        status, answer = request(self.server, "POST", f"{path}?session_key={connected['session_key']}", ping)
        self.assertEqual((status, answer), (200, {"answers": [{"type": "pong"}]}))
        status, answer = request(self.server, "POST", "/sessions/zz/commands", ping)
        self.assertEqual((status, answer["error"]["code"]), (404, "not_found"))
        right = {"X-Session-Key": connected["session_key"]}
        for body in (1, "x", [1]):
            status, answer = request(self.server, "POST", path, body, right)
            self.assertEqual(status, 200 if body == [1] else 400, answer)
        status, answer = request(self.server, "POST", path, [ping] * 1001, right)
        self.assertEqual((status, answer["error"]["code"]), (413, "payload_too_large"))

    async def test_a_reconnect_takes_the_session_over_and_repeats_only_what_followed_the_cursor(self):
        stream = self.stream("ann", f"?room={quoted(self.room)}")
        connected = stream.next("connected")
        stream.next("joined")
        bob = await self.client("bob")
        await bob.join(self.room)
        for n in (1, 2):
            await bob.ok(type="room_message", room_id=self.room, content=n)
            stream.next("message", content=n)
        bob.events.clear()
        held = stream.next("cursor")
        while seqs_of(held)[self.room] < 2:  # one comes at most every 100 ms
            held = stream.next("cursor")
        stream.close()
        for n in (3, 4):
            await bob.ok(type="room_message", room_id=self.room, content=n)
        await bob.ok(type="direct_message", to_user=self.user("ann"), content="dm")
        again = self.stream("ann", **{"Last-Event-ID": held})
        resumed = again.next("connected")
        self.assertEqual((resumed["session_id"], resumed["resumed"]), (connected["session_id"], True))
        seen = {again.next("message")["seq"] for _ in range(2)}
        self.assertEqual(seen, {3, 4})
        await bob.ok(type="room_message", room_id=self.room, content=5)
        again.next("message", seq=5)
        self.assertIsNone(bob.take("user_left"))
        self.assertIsNone(bob.take("user_joined"))

    async def test_the_newer_connection_of_a_session_wins(self):
        first = self.stream("ann")
        first.next("connected")
        cursor = first.next("cursor")
        second = self.stream("ann", **{"Last-Event-ID": cursor})
        self.assertTrue(second.next("connected")["resumed"])
        first.next("end")

    async def test_a_cursor_of_a_websocket_goes_on_by_sse_and_back(self):
        ann = await self.client("ann")
        await ann.join(self.room)
        bob = await self.client("bob")
        await bob.join(self.room)
        await bob.ok(type="room_message", room_id=self.room, content=1)
        await ann.expect("message", content=1)
        cursor = (await ann.ok(type="cursor"))["cursor"]
        await ann.close()
        await bob.ok(type="room_message", room_id=self.room, content=2)
        stream = self.stream("ann", f"?last_event_id={cursor}")
        self.assertEqual((stream.next("connected")["recovered"], stream.next("joined")["recovered"]), (True, True))
        self.assertEqual(stream.next("message")["seq"], 2)
        cursor = stream.next("cursor")
        stream.close()
        await bob.ok(type="room_message", room_id=self.room, content=3)
        ann = await Client.connect(self.server, self.user("ann"),
                                   path=f"/ws/{quoted(self.user('ann'))}?since={cursor}")
        self.addAsyncCleanup(ann.close)
        self.assertTrue((await ann.expect("joined"))["recovered"])
        self.assertEqual((await ann.expect("message"))["seq"], 3)

    async def test_bad_cursors_are_refused(self):
        cursor = self.stream("ann").next("cursor")
        for user, bad in (("ann", "nonsense"), ("ann", cursor[:-1]), ("bob", cursor)):
            stream = self.stream(user, **{"Last-Event-ID": bad})
            self.assertEqual(stream.response.status, 400)
            self.assertEqual(json.loads(stream.response.read())["error"]["code"], "bad_cursor")

    async def test_curl_reads_it(self):
        process = subprocess.Popen(["curl", "-sN", "--max-time", str(4 * WAIT_S),
                                    f"http://127.0.0.1:{self.server.port}/events/curl?room={quoted(self.room)}"],
                                   stdout=subprocess.PIPE)
        self.addCleanup(process.wait)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.terminate)
        lines = []
        while not any(line.startswith(b"event: joined") for line in lines):
            lines.append(process.stdout.readline())
            self.assertTrue(lines[-1], lines)
        bob = await self.client("bob")
        await bob.join(self.room)
        await bob.ok(type="room_message", room_id=self.room, content="for curl")
        while not any(b"for curl" in line for line in lines):
            lines.append(process.stdout.readline())
            self.assertTrue(lines[-1], lines)


class Linger(Case):
    settings = ("--session-linger", "300ms")

    async def test_a_session_ends_when_nobody_comes_back(self):
        bob = await self.client("bob")
        await bob.join(self.room)
        stream = Stream(self.server, f"/events/{quoted(self.user('ann'))}?room={quoted(self.room)}")
        connected = stream.next("connected")
        stream.next("joined")
        cursor = stream.next("cursor")
        await bob.expect("user_joined", user_id=self.user("ann"))
        stream.close()
        await bob.expect("user_left", user_id=self.user("ann"))
        status, _ = request(self.server, "POST", f"/sessions/{connected['session_id']}/commands", {"type": "ping"},
                            {"X-Session-Key": connected["session_key"]})
        self.assertEqual(status, 404)
        # Its cursor still tells where to go on, in a new session.
        await bob.ok(type="direct_message", to_user=self.user("ann"), content="late")
        again = Stream(self.server, f"/events/{quoted(self.user('ann'))}", {"Last-Event-ID": cursor})
        self.addCleanup(again.close)
        self.assertIs(again.next("connected")["resumed"], False)
        self.assertEqual(again.next("direct_message")["content"], "late")


if __name__ == "__main__":
    import support
    support.main()
