import json
import os
import zlib

import support
from support import Case, Client, RawSocket, with_shards

LARGE = {"text": "The quick brown fox jumps over the lazy dog. " * 200}


@with_shards(1, 2)
class Compression(Case):
    async def test_negotiated_without_context_takeover(self):
        ann = await self.client("ann", compression="deflate")
        chosen = ann.socket.response_headers["Sec-WebSocket-Extensions"]
        self.assertIn("permessage-deflate", chosen)
        self.assertIn("server_no_context_takeover", chosen)
        self.assertIn("client_no_context_takeover", chosen)

    async def test_mixed_room(self):
        ann = await self.client("ann", compression="deflate")
        bob = await self.client("bob")
        carl = await self.client("carl", compression="deflate")
        self.assertNotIn("Sec-WebSocket-Extensions", bob.socket.response_headers)
        for client in (ann, bob, carl):
            await client.join(self.room)
        noise = os.urandom(20000).hex()
        for content in (LARGE, "small", noise, "", LARGE):
            for sender in (ann, bob):
                await sender.ok(type="room_message", room_id=self.room, content=content)
                for client in (ann, bob, carl):
                    self.assertEqual((await client.expect("message"))["content"], content)

    def test_large_events_are_compressed_and_small_are_not(self):
        with RawSocket(self.server) as raw:
            status, headers, _ = raw.upgrade("/ws/raw", "Sec-WebSocket-Extensions: permessage-deflate\r\n")
            self.assertEqual(status, 101)
            self.assertIn("permessage-deflate", headers["sec-websocket-extensions"])
            self.assertEqual(raw.read_frame()[0], 0x81)
            raw.command(type="join_room", room_id="raw compression " + self.mark)
            raw.read_event("user_joined")
            for _ in range(2):
                raw.command(type="room_message", room_id="raw compression " + self.mark, content=LARGE)
                first, payload = raw.read_frame()
                self.assertEqual(first, 0xc1)
                self.assertLess(len(payload), 1000)
                # Each message on its own: no context taken over.
                text = zlib.decompressobj(-15).decompress(payload + b"\0\0\xff\xff")
                self.assertEqual(json.loads(text)["content"], LARGE)

    def test_compressed_commands(self):
        with RawSocket(self.server) as raw:
            raw.upgrade("/ws/raw", "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n")
            for n in range(3):
                deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
                payload = deflate.compress(b'{"type":"ping","id":%d}' % n) + deflate.flush(zlib.Z_SYNC_FLUSH)
                raw.frame(1, payload[:-4], first=0xc0)
                raw.read_event("pong", id=n)

    def close_code(self, raw):
        while True:
            first, payload = raw.read_frame()
            if first == 0x88:
                return int.from_bytes(payload[:2], "big")

    def test_a_bomb_is_too_large(self):
        with RawSocket(self.server) as raw:
            raw.upgrade("/ws/raw", "Sec-WebSocket-Extensions: permessage-deflate\r\n")
            deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
            payload = deflate.compress(b" " * (50 << 20)) + deflate.flush(zlib.Z_SYNC_FLUSH)
            raw.frame(1, payload[:60000], first=0xc0)
            self.assertEqual(self.close_code(raw), 1009)

    def test_rubbish_is_refused(self):
        with RawSocket(self.server) as raw:
            raw.upgrade("/ws/raw", "Sec-WebSocket-Extensions: permessage-deflate\r\n")
            raw.frame(1, b"\xff\xff\xff\xff", first=0xc0)
            self.assertIn(self.close_code(raw), (1002, 1007))

    def test_windows_that_cannot_be_shared_are_declined(self):
        for offer in ("permessage-deflate; server_max_window_bits=9", "permessage-deflate; unknown_parameter",
                      "permessage-deflate; server_max_window_bits=99", "x-webkit-deflate-frame",
                      "permessage-deflate; server_no_context_takeover; server_no_context_takeover"):
            with self.subTest(offer=offer), RawSocket(self.server) as raw:
                status, headers, _ = raw.upgrade("/ws/raw", f"Sec-WebSocket-Extensions: {offer}\r\n")
                self.assertEqual(status, 101)
                self.assertNotIn("sec-websocket-extensions", headers)
                raw.read_event("connected")

    def test_the_second_offer_is_taken(self):
        with RawSocket(self.server) as raw:
            _, headers, _ = raw.upgrade("/ws/raw", "Sec-WebSocket-Extensions: permessage-deflate; "
                                        "server_max_window_bits=9, permessage-deflate; client_max_window_bits\r\n")
            self.assertIn("permessage-deflate", headers["sec-websocket-extensions"])
            self.assertNotIn("server_max_window_bits=9", headers["sec-websocket-extensions"])


class CompressionOff(Case):
    environment = {"HUBBUB_COMPRESSION": "false"}

    async def test_not_negotiated(self):
        ann = await Client.connect(self.server, "ann", compression="deflate")
        self.assertNotIn("Sec-WebSocket-Extensions", ann.socket.response_headers)
        await ann.join(self.room)
        await ann.ok(type="room_message", room_id=self.room, content=LARGE)
        self.assertEqual((await ann.expect("message"))["content"], LARGE)
        await ann.close()


if __name__ == "__main__":
    support.main()
