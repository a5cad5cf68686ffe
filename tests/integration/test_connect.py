import json

import websockets

import support
from support import Case, Client, RawSocket, quoted


class Connect(Case):
    settings = ("--server-id", "node-7")

    async def test_connected_is_the_first_event_and_tells_all(self):
        client = await self.client("ann")
        self.assertEqual(client.connected["type"], "connected")
        self.assertEqual(client.connected["user_id"], self.user("ann"))
        self.assertEqual(client.connected["server_id"], "node-7")
        self.assertEqual(client.connected["heartbeat_ms"], 30000)
        self.assertIs(client.connected["resumed"], False)
        for key in ("session_id", "session_key"):
            self.assertIsInstance(client.connected[key], str)
            self.assertTrue(client.connected[key])

    async def test_user_id_in_the_query(self):
        client = await Client.connect(self.server, "", path="/ws?user_id=bob%20the%202nd")
        self.assertEqual(client.connected["user_id"], "bob the 2nd")
        await client.close()

    async def test_sessions_of_one_user_differ(self):
        first, second = await self.client("ann"), await self.client("ann")
        self.assertNotEqual(first.connected["session_id"], second.connected["session_id"])
        self.assertNotEqual(first.connected["session_key"], second.connected["session_key"])

    async def test_ids_are_percent_decoded(self):
        for user in ("J\u00f6rg M\u00fcller", "\u6f22\u5b57", "a/b:c", "a+b", "100%", "\U0001f600", "x" * 256, '"\\'):
            with self.subTest(user=user):
                client = await Client.connect(self.server, user)
                self.assertEqual(client.connected["user_id"], user)
                await client.close()

    async def test_a_plus_in_the_path_stays_a_plus(self):
        client = await Client.connect(self.server, "", path="/ws/a+b")
        self.assertEqual(client.connected["user_id"], "a+b")
        await client.close()

    async def test_subprotocol_is_chosen_when_offered_only(self):
        offered = await self.client("ann", subprotocols=["other", "hubbub.v1"])
        self.assertEqual(offered.socket.subprotocol, "hubbub.v1")
        plain = await self.client("bob")
        self.assertIsNone(plain.socket.subprotocol)

    async def test_clients_refusal_of_a_bad_id(self):
        with self.assertRaises(websockets.InvalidStatusCode) as caught:
            await Client.connect(self.server, "\x07")
        self.assertEqual(caught.exception.status_code, 400)

    def test_bad_ids_are_400(self):
        bad = ["/ws/%00", "/ws/a%0Ab", "/ws/%1F", "/ws/%7F", "/ws/%C2%80", "/ws/%C2%9F", "/ws/%FF", "/ws/%C3",
               "/ws/%ED%A0%80", "/ws/%C0%AF", "/ws/%zz", "/ws/%4", "/ws/a%", "/ws/" + "x" * 257, "/ws?user_id=",
               "/ws", "/ws?user_id=%00", "/ws/" + quoted("\u00f6") * 129]
        for path in bad:
            with self.subTest(path=path[:40]), RawSocket(self.server) as raw:
                status, headers, body = raw.upgrade(path)
                self.assertEqual(status, 400)
                self.assertIn("application/json", headers["content-type"])
                error = json.loads(body)["error"]
                self.assertEqual(error["code"], "bad_request")
                self.assertTrue(error["message"])

    def test_other_paths_are_404(self):
        for path in ("/nope", "/wss/ann", "/ws/ann/x", "/echo"):
            with self.subTest(path=path), RawSocket(self.server) as raw:
                status, _, body = raw.upgrade(path)
                self.assertEqual((status, json.loads(body)["error"]["code"]), (404, "not_found"))

    def test_the_accept_key_of_the_rfc(self):
        with RawSocket(self.server) as raw:
            raw.send(b"GET /ws/ann HTTP/1.1\r\nHost: x\r\nupgrade: WebSocket\r\nconnection: keep-alive, upgrade\r\n"
                     b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n")
            status, headers, _ = raw.response()
            self.assertEqual(status, 101)
            self.assertEqual(headers["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
            self.assertEqual(headers["upgrade"].lower(), "websocket")

    def test_a_frame_sent_with_the_handshake_is_not_lost(self):
        with RawSocket(self.server) as raw:
            frame = b'\x81\x8f\0\0\0\0{"type":"ping"}'
            raw.send(b"GET /ws/ann HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                     b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n" + frame)
            self.assertEqual(raw.response()[0], 101)
            self.assertEqual(json.loads(raw.read_frame()[1])["type"], "connected")
            raw.read_event("pong")

    def test_connected_comes_before_the_answer_to_an_eager_client(self):
        for turn in range(20):
            with RawSocket(self.server) as raw:
                raw.upgrade(f"/ws/eager{turn}")
                raw.command(type="ping")
                self.assertEqual([json.loads(raw.read_frame()[1])["type"] for _ in range(2)], ["connected", "pong"])


class PeerCloses(Case):
    settings = ("--close-timeout", "60s")

    async def test_a_session_ends_with_its_close_frame_not_with_tcp(self):
        ann = await self.client("ann")
        await ann.ok(type="presence_watch", user_ids=[self.user("bob")])
        with RawSocket(self.server) as raw:
            raw.upgrade("/ws/" + quoted(self.user("bob")))
            await ann.expect("presence", user_id=self.user("bob"), status="online")
            raw.frame(8, b"\x03\xe8")
            await ann.expect("presence", user_id=self.user("bob"), status="offline")


class SessionLimits(Case):
    settings = ("--max-sessions-per-user", "2")

    def test_too_many_sessions_of_a_user(self):
        raws = [RawSocket(self.server) for _ in range(3)]
        try:
            self.assertEqual([raw.upgrade("/ws/ann")[0] for raw in raws[:2]], [101, 101])
            status, headers, body = raws[2].upgrade("/ws/ann")
            if status == 101:  # across shards it may be known only later
                while True:
                    first, payload = raws[2].read_frame()
                    if first == 0x88:
                        self.assertEqual(int.from_bytes(payload[:2], "big"), 4003)
                        break
            else:
                self.assertIn(status, (429, 503))
                self.assertEqual(json.loads(body)["error"]["code"], "too_many_sessions")
            with RawSocket(self.server) as other:
                self.assertEqual(other.upgrade("/ws/bob")[0], 101)
        finally:
            for raw in raws:
                raw.close()


if __name__ == "__main__":
    support.main()
