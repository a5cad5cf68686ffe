import json

import support
from support import Case, RawSocket


class Errors(Case):
    settings = ("--shards", "2")

    async def test_bad_json_is_answered_and_the_session_lives(self):
        ann = await self.client("ann")
        bad = ["", " ", "{", "[", "nonsense", '{"type":}', '{"type":"ping"} x', '{"type":"ping"}{}', "{'type':'ping'}",
               '{"type":"ping",}', '{"type":"\\ud800"}', '{"type":"\\udc00\\ud800"}', '{"type":"a\nb"}',
               '{"type":"\\x"}', '{"type":"ping","n":01}', '{"type":"ping","n":1.}', '{"type":"ping","n":NaN}',
               '{"type":"ping","n":+1}', '{"a":' + "[" * 64 + "]" * 64 + "}", "\ufeff{}", '{"type":"ping" "id":1}',
               '{"type":tru}']
        for text in bad:
            with self.subTest(text=text[:40]):
                await ann.send_raw(text)
                error = await ann.expect("error")
                self.assertEqual(error["code"], "bad_json")
                self.assertTrue(error["message"])
        self.assertEqual((await ann.call(type="ping"))["type"], "pong")

    async def test_not_an_object(self):
        ann = await self.client("ann")
        for text in ("[]", "1", '"ping"', "null", "true"):
            await ann.send_raw(text)
            self.assertEqual((await ann.expect("error"))["code"], "bad_json")

    async def test_depth_is_limited_to_64(self):
        ann, = await self.members("ann")
        fits = "[" * 63 + "]" * 63
        await ann.send_raw('{"type":"room_message","room_id":%s,"content":%s}' % (json.dumps(self.room), fits))
        await ann.expect("message")

    async def test_unknown_type(self):
        ann = await self.client("ann")
        for type_ in ("dance", "", "PING", "connected", "auth", "joined"):
            error = await ann.refused("unknown_type", type=type_)
            self.assertTrue(error["message"])

    async def test_missing_and_bad_fields_are_named(self):
        ann, = await self.members("ann")
        room = {"room_id": self.room}
        cases = [
            ("missing_field", "type", {}),
            ("bad_field", "type", {"type": 1}),
            ("missing_field", "room_id", {"type": "join_room"}),
            ("bad_field", "room_id", {"type": "join_room", "room_id": 1}),
            ("missing_field", "room_id", {"type": "join_room", "room_id": None}),
            ("bad_field", "room_id", {"type": "join_room", "room_id": ""}),
            ("bad_field", "room_id", {"type": "join_room", "room_id": "x" * 257}),
            ("bad_field", "room_id", {"type": "join_room", "room_id": "a\nb"}),
            ("bad_field", "room_id", {"type": "join_room", "room_id": "\x7f"}),
            ("bad_field", "room_id", {"type": "join_room", "room_id": "\x85"}),
            ("bad_field", "since", {"type": "join_room", **room, "since": -1}),
            ("bad_field", "since", {"type": "join_room", **room, "since": "1"}),
            ("bad_field", "since", {"type": "join_room", **room, "since": 1.5}),
            ("missing_field", "room_id", {"type": "leave_room"}),
            ("missing_field", "content", {"type": "room_message", **room}),
            ("missing_field", "room_id", {"type": "room_message", "content": 1}),
            ("bad_field", "message_id", {"type": "room_message", **room, "content": 1, "message_id": 5}),
            ("bad_field", "message_id", {"type": "room_message", **room, "content": 1, "message_id": ""}),
            ("bad_field", "message_id", {"type": "room_message", **room, "content": 1, "message_id": "x" * 129}),
            ("missing_field", "to_user", {"type": "direct_message", "content": 1}),
            ("missing_field", "content", {"type": "direct_message", "to_user": "x"}),
            ("bad_field", "to_user", {"type": "direct_message", "to_user": "", "content": 1}),
            ("missing_field", "room_id", {"type": "typing_start"}),
            ("missing_field", "room_id", {"type": "typing_stop"}),
            ("missing_field", "user_ids", {"type": "presence_query"}),
            ("missing_field", "user_ids", {"type": "presence_watch"}),
            ("missing_field", "user_ids", {"type": "presence_unwatch"}),
            ("missing_field", "to_user", {"type": "signal", "data": 1}),
            ("missing_field", "data", {"type": "signal", "to_user": "x"}),
            ("missing_field", "seq", {"type": "received"}),
        ]
        for code, field, command in cases:
            with self.subTest(command=command):
                error = await ann.refused(code, **command)
                self.assertEqual(error["field"], field)

    async def test_a_bad_id_is_not_echoed(self):
        ann = await self.client("ann")
        for id_ in ({}, [], True, "x" * 257):
            await ann.send(type="ping", id=id_)
            error = await ann.expect("error")
            self.assertEqual((error["code"], error.get("field")), ("bad_field", "id"))
            self.assertNotIn("id", error)

    async def test_null_is_as_good_as_left_out(self):
        ann, = await self.members("ann")
        await ann.send(type="ping", id=None)
        self.assertEqual(await ann.expect("pong"), {"type": "pong"})
        joined = await ann.ok(type="join_room", room_id=self.room, since=None, epoch=None)
        self.assertNotIn("recovered", joined)
        await ann.ok(type="room_message", room_id=self.room, content=None, message_id=None)
        self.assertIsNone((await ann.expect("message"))["content"])

    async def test_unknown_fields_are_ignored_and_the_last_of_two_counts(self):
        ann = await self.client("ann")
        await ann.send_raw('{"type":"dance","x":{"type":"y"},"type":"ping","id":1,"id":2}')
        self.assertEqual((await ann.expect("pong"))["id"], 2)
        await ann.send_raw('{ "\\u0074ype" :\t"pi\\u006eg"\n, "id":3 }')
        self.assertEqual((await ann.expect("pong"))["id"], 3)

    async def test_ping(self):
        ann = await self.client("ann")
        await ann.send(type="ping")
        self.assertEqual(await ann.expect("pong"), {"type": "pong"})

    async def test_binary_closes_with_1003(self):
        ann = await self.client("ann")
        await ann.socket.send(b'{"type":"ping"}')
        self.assertEqual(await ann.closed(), 1003)

    async def test_too_large_closes_with_1009(self):
        ann, bob = await self.members("ann", "bob")
        fits = json.dumps({"type": "room_message", "room_id": self.room, "content": ""})
        await ann.send_raw(fits[:-2] + "x" * (65536 - len(fits)) + fits[-2:])
        await bob.expect("message")
        await ann.send_raw(" " * 65537)
        self.assertEqual(await ann.closed(), 1009)
        await bob.expect("user_left")

    def test_too_large_in_fragments_closes_with_1009(self):
        with RawSocket(self.server) as raw:
            raw.upgrade("/ws/raw")
            raw.frame(1, b" " * 40000, first=0)
            raw.frame(0, b" " * 40000)
            while True:
                first, payload = raw.read_frame()
                if first == 0x88:
                    break
            self.assertEqual(int.from_bytes(payload[:2], "big"), 1009)

    def closed_with(self, *frames):
        with RawSocket(self.server) as raw:
            raw.upgrade("/ws/raw")
            for frame in frames:
                raw.send(frame)
            while True:
                first, payload = raw.read_frame()
                if first == 0x88:
                    self.assertTrue(raw.at_end(), "not closed after the close frame")
                    return int.from_bytes(payload[:2], "big")

    def test_broken_frames_get_the_codes_of_the_rfc(self):
        mask = b"\0\0\0\0"
        self.assertEqual(self.closed_with(b"\x81\x02{}"), 1002)  # not masked
        self.assertEqual(self.closed_with(b"\xc1\x82" + mask + b"{}"), 1002)  # RSV1, nothing negotiated
        self.assertEqual(self.closed_with(b"\x83\x80" + mask), 1002)  # reserved opcode
        self.assertEqual(self.closed_with(b"\x80\x80" + mask), 1002)  # continues nothing
        self.assertEqual(self.closed_with(b"\x89\xfe\x00\x7e" + mask + b"x" * 126), 1002)  # long ping
        self.assertEqual(self.closed_with(b"\x09\x80" + mask), 1002)  # fragmented ping
        self.assertEqual(self.closed_with(b"\x88\x81" + mask + b"x"), 1002)  # half a close code
        self.assertEqual(self.closed_with(b"\x81\x82" + mask + b"\xc3\x28"), 1007)
        self.assertEqual(self.closed_with(b"\x01\x81" + mask + b"\xc3", b"\x80\x81" + mask + b"\x28"), 1007)
        self.assertEqual(self.closed_with(b"\x88\x82" + mask + b"\x03\xe8"), 1000)

    def test_a_message_in_fragments_with_a_ping_between(self):
        with RawSocket(self.server) as raw:
            raw.upgrade("/ws/raw")
            raw.frame(1, b'{"type":"pi', first=0)
            raw.frame(9, b"are you there")
            raw.frame(0, b"", first=0)
            raw.frame(0, b'ng"}')
            raw.read_event("connected")
            self.assertEqual(raw.read_frame(), (0x8a, b"are you there"))
            raw.read_event("pong")

    def test_byte_by_byte(self):
        with RawSocket(self.server) as raw:
            raw.socket.setsockopt(support.socket.IPPROTO_TCP, support.socket.TCP_NODELAY, 1)
            raw.upgrade("/ws/raw")
            for byte in b'\x81\x8f\x01\x02\x03\x04' + bytes(b ^ (1 + i % 4) for i, b in enumerate(b'{"type":"ping"}')):
                raw.send(bytes([byte]))
            raw.read_event("pong")


class Rate(Case):
    settings = ("--frames-per-second", "20")

    async def test_a_flood_is_limited(self):
        ann = await self.client("ann")
        try:
            for _ in range(2000):
                await ann.send(type="ping")
            while not ann.take("error", code="rate_limited"):
                await ann.read(support.WAIT_S)
        except support.websockets.ConnectionClosed:
            self.assertEqual(ann.socket.close_code, 4002)
        bob = await self.client("bob")
        await bob.ok(type="ping")


if __name__ == "__main__":
    support.main()
