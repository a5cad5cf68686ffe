import json
import socket
import threading
import time

import support
from support import Case, RawSocket


class Http(Case):
    settings = ("--shards", "2")

    def ask(self, request, head=False):
        with RawSocket(self.server) as raw:
            raw.send(request if isinstance(request, bytes) else request.encode())
            return raw.response(head)

    def refused(self, status, code, request):
        got, headers, body = self.ask(request)
        self.assertEqual(got, status, body)
        self.assertIn("application/json", headers["content-type"])
        error = json.loads(body)["error"]
        self.assertEqual(error["code"], code)
        self.assertTrue(error["message"])
        return headers

    def test_health_and_readiness(self):
        for path in ("/healthz", "/readyz", "/healthz?x=1"):
            status, headers, body = self.ask(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")
            self.assertEqual(status, 200, path)
            self.assertIn("content-type", headers)
            self.assertTrue(body)

    def test_head_is_get_without_the_body(self):
        _, get, body = self.ask("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        with RawSocket(self.server) as raw:
            raw.send(b"HEAD /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /nope HTTP/1.1\r\nHost: x\r\n\r\n")
            status, headers, _ = raw.response(head=True)
            self.assertEqual((status, headers.get("content-length")), (200, str(len(body))))
            self.assertEqual(headers["content-type"], get["content-type"])
            self.assertEqual(raw.response()[0], 404)

    def test_head_of_what_is_not_there_has_no_body(self):
        with RawSocket(self.server) as raw:
            raw.send(b"HEAD /nope HTTP/1.1\r\nHost: x\r\n\r\nGET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            self.assertEqual(raw.response(head=True)[0], 404)
            self.assertEqual(raw.response()[0], 200)

    def test_options(self):
        for path in ("/healthz", "/ws/ann", "*"):
            status, headers, _ = self.ask(f"OPTIONS {path} HTTP/1.1\r\nHost: x\r\n\r\n")
            self.assertIn(status, (200, 204), path)
            if path == "*":  # whatever any route knows
                self.assertLessEqual({"GET", "HEAD", "OPTIONS", "POST"}, set(headers["allow"].split(", ")))
            else:
                self.assertEqual(headers["allow"], "GET, HEAD, OPTIONS", path)

    def test_not_found(self):
        for path in ("/nope", "/healthz/", "/HEALTHZ", "/../healthz"):
            self.refused(404, "not_found", f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")

    def test_method_not_allowed(self):
        for method, path in (("POST", "/healthz"), ("DELETE", "/readyz"), ("PUT", "/ws/ann"), ("POST", "/ws/ann")):
            headers = self.refused(405, "method_not_allowed",
                                   f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
            self.assertIn("GET", headers["allow"])

    def test_bad_requests(self):
        for request in ("RUBBISH\r\n\r\n", "GET /healthz HTTP/1.1\r\n\r\n", "GET  /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
                        "GET /healthz HTTP/1.1\r\nHost: x\r\nNo colon here\r\n\r\n",
                        "GET /healthz HTTP/1.1\r\nHost: x\r\nBad name : y\r\n\r\n",
                        "GET /healthz HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
                        "POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: abc\r\n\r\n",
                        "POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
                        "POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"
                        "0\r\n\r\n",
                        "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"):
            with self.subTest(request=request[:50]):
                self.refused(400, "bad_request", request.encode("latin-1"))

    def test_versions(self):
        self.refused(505, "version_not_supported", "GET /healthz HTTP/2.0\r\nHost: x\r\n\r\n")
        status, headers, _ = self.ask("GET /healthz HTTP/1.0\r\n\r\n")
        self.assertEqual(status, 200)

    def test_upgrade_required(self):
        headers = self.refused(426, "upgrade_required", "GET /ws/ann HTTP/1.1\r\nHost: x\r\n\r\n")
        self.assertEqual(headers["upgrade"].lower(), "websocket")
        self.assertEqual(headers["connection"], "Upgrade, keep-alive")
        headers = self.refused(426, "upgrade_required",
                               "GET /ws/ann HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                               "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 8\r\n\r\n")
        self.assertEqual(headers["sec-websocket-version"], "13")
        for key in ("", "Sec-WebSocket-Key: short\r\n"):
            self.refused(400, "bad_request", "GET /ws/ann HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
                         f"Connection: Upgrade\r\n{key}Sec-WebSocket-Version: 13\r\n\r\n")

    def test_large_headers(self):
        self.refused(431, "headers_too_large",
                     "GET /healthz HTTP/1.1\r\nHost: x\r\nX-Large: " + "x" * 10000 + "\r\n\r\n")
        self.refused(431, "headers_too_large",
                     "GET /healthz HTTP/1.1\r\nHost: x\r\n" + "A: b\r\n" * 3000 + "\r\n")
        self.assertEqual(self.ask("GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + "x" * 7000 + "\r\n\r\n")[0], 200)

    def test_large_bodies(self):
        self.refused(413, "payload_too_large", "POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 2000000\r\n\r\n")

    def closed_with(self, statuses, *pieces):
        """Sends the pieces, each when the last has been taken in; wants one answer and then the end of the stream."""
        with RawSocket(self.server) as raw:
            try:
                for piece in pieces:
                    raw.send(piece)
                    support.wait_until_read(self, raw)
            except ConnectionError:
                pass  # refused before all of it was sent
            status, _, body = raw.response()
            self.assertIn(status, statuses, pieces[0])
            self.assertTrue(raw.at_end(), pieces[0])
            self.assertEqual(raw.buffer, b"", pieces[0])
            return status, json.loads(body)["error"]["code"] if body else None

    def test_headers_in_pieces_have_the_same_limit(self):
        # Each piece ends one byte into the next field, which Beast has then consumed all but one byte of.
        piece = b"X: " + b"x" * 2042 + b"\r\nX"
        self.assertEqual(self.closed_with({431}, b"GET /healthz HTTP/1.1\r\nHost: x\r\nX",
                                          *[piece[1:]] * 20)[1], "headers_too_large")

    def test_the_request_line_and_the_fields_share_the_limit(self):
        line = b"GET /healthz?" + b"x" * 6000 + b" HTTP/1.1\r\n"
        fields = b"Host: x\r\nX: " + b"x" * 6000 + b"\r\n\r\n"
        self.closed_with({431}, line + fields)
        self.closed_with({431}, line, fields)
        self.closed_with({431}, line + fields[:3000], fields[3000:])

    def test_a_long_target_is_414_however_it_comes(self):
        for size, status in ((8300, 414), (8000, 431)):
            request = b"GET /" + b"x" * size + b" HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 400 + b"\r\n\r\n"
            for cut in (1, 4000, 8100, 8192, 8193, len(request)):
                with self.subTest(size=size, cut=cut):
                    self.closed_with({status}, request[:cut], *[request[cut:]] if request[cut:] else [])

    def test_the_limit_is_to_the_byte(self):
        for size, status in ((8192, 200), (8193, 431)):
            top = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX: "
            request = top + b"x" * (size - len(top) - 4) + b"\r\n\r\n"
            for cut in (0, 10, 30, size - 1):
                with self.subTest(size=size, cut=cut), RawSocket(self.server) as raw:
                    raw.send(request[:cut])
                    support.wait_until_read(self, raw)
                    raw.send(request[cut:])
                    self.assertEqual(raw.response()[0], status)

    def test_chunk_extensions_and_trailers_have_a_limit(self):
        top = b"POST /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        for body in (b"1;" + b"a" * 65536, b"0\r\nX: " + b"y" * 65536, b"5\r\nhello\r\n0\r\nX: " + b"y" * 65536):
            with self.subTest(body=body[:20]):
                self.closed_with({431}, top, body)
                self.closed_with({431}, top + body)

    def test_a_transfer_encoding_but_chunked_is_refused_and_nothing_behind_it_is_read(self):
        smuggled = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
        for value in ("identity", "gzip", "chunked, identity", '"chunked"', "chunked;x", "chunked x", "gzip, chunked",
                      "chunked, chunked", "xchunked", "", "gzip\r\nTransfer-Encoding: chunked",
                      "chunked\r\nTransfer-Encoding: chunked", "chunked\r\nTransfer-Encoding: identity",
                      "identity\r\nContent-Length: 5", "chunked\r\nContent-Length: 5"):
            top = f"POST /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: {value}\r\n"
            for extra in ("", "Expect: 100-continue\r\n"):
                with self.subTest(value=value, extra=extra):
                    self.closed_with({400, 501}, f"{top}{extra}\r\n".encode() + b"0\r\n\r\n" + smuggled)
        self.closed_with({400}, b"POST /healthz HTTP/1.0\r\nTransfer-Encoding: chunked\r\n"
                         b"Connection: keep-alive\r\n\r\n0\r\n\r\n" + smuggled)

    def test_chunked_is_understood_in_any_case(self):
        self.assertEqual(self.ask("POST /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: Chunked\r\n\r\n"
                                  "0\r\n\r\n")[0], 405)

    def test_a_chunked_body_byte_by_byte(self):
        for body in (b"0\r\n\r\n", b"5\r\nhello\r\n0\r\n\r\n", b"00\r\nX: y\r\n\r\n", b"1;x=y\r\nz\r\n0;x\r\nA: b\r\n\r\n"):
            with self.subTest(body=body), RawSocket(self.server) as raw:
                raw.send(b"POST /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + body[:3])
                for at in range(3, len(body)):
                    support.wait_until_read(self, raw)
                    raw.send(body[at:at + 1])
                self.assertEqual(raw.response()[0], 405)
                raw.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
                self.assertEqual(raw.response()[0], 200)

    def test_a_body_is_not_taken_for_a_folded_header_line(self):
        with RawSocket(self.server) as raw:
            raw.send(b"POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r")
            support.wait_until_read(self, raw)
            raw.send(b"\n body")
            self.assertEqual(raw.response()[0], 405)

    def test_a_folded_header_line_is_refused_however_it_comes(self):
        request = b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: y\r\n z\r\n\r\n"
        for cut in range(len(request)):
            with self.subTest(cut=cut):
                self.closed_with({400}, request[:cut], request[cut:])

    def test_head_gets_no_body_when_it_is_refused(self):
        for request in (b"HEAD /healthz HTTP/1.1\r\n\r\n", b"HEAD /healthz HTTP/1.1\r\nHost: x\r\nX y\r\n\r\n",
                        b"HEAD /healthz HTTP/3.0\r\nHost: x\r\n\r\n", b"HEAD /" + b"x" * 9000):
            with self.subTest(request=request[:50]), RawSocket(self.server) as raw:
                raw.send(request)
                self.assertGreaterEqual(raw.response(head=True)[0], 400)
                self.assertTrue(raw.at_end())
                self.assertEqual(raw.buffer, b"")

    def test_no_answer_is_lost_when_the_client_closes_its_side(self):
        for count in (3, 20000):
            with self.subTest(count=count), RawSocket(self.server, receive_buffer=4096) as raw:
                def speak():
                    raw.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" * count)
                    raw.socket.shutdown(socket.SHUT_WR)
                speaker = threading.Thread(target=speak)
                speaker.start()
                self.addCleanup(speaker.join)
                self.assertEqual([raw.response()[0] for _ in range(count)], [200] * count)
                self.assertTrue(raw.at_end())

    def test_keep_alive(self):
        with RawSocket(self.server) as raw:
            for path, status in (("/healthz", 200), ("/nope", 404), ("/ws/ann", 426), ("/readyz", 200)):
                raw.send(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                self.assertEqual(raw.response()[0], status)
            raw.send(b"POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello")
            self.assertEqual(raw.response()[0], 405)
            raw.send(b"POST /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
            self.assertEqual(raw.response()[0], 405)
            self.assertEqual(raw.upgrade("/ws/ann")[0], 101)
            raw.read_event("connected")

    def test_close(self):
        for request in (b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
                        b"GET /healthz HTTP/1.0\r\n\r\n", b"RUBBISH\r\n\r\n"):
            with RawSocket(self.server) as raw:
                raw.send(request)
                raw.response()
                self.assertTrue(raw.at_end(), request)

    def test_pipelining_keeps_the_order(self):
        with RawSocket(self.server) as raw:
            paths = ["/healthz", "/nope", "/readyz", "/ws/ann"] * 25
            raw.send("".join(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n" for path in paths).encode())
            self.assertEqual([raw.response()[0] for _ in paths], [200, 404, 200, 426] * 25)

    def test_a_request_in_pieces(self):
        with RawSocket(self.server) as raw:
            for byte in b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n":
                raw.send(bytes([byte]))
            self.assertEqual(raw.response()[0], 200)

    def test_expect_continue(self):
        with RawSocket(self.server) as raw:
            raw.send(b"POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
            status, _, _ = raw.response()
            if status == 100:
                raw.send(b"hello")
                status, _, _ = raw.response()
            self.assertEqual(status, 405)

    def test_http_1_0_is_not_told_to_continue(self):
        with RawSocket(self.server) as raw:
            raw.send(b"POST /healthz HTTP/1.0\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
            support.wait_until_read(self, raw)
            raw.send(b"hello")
            self.assertEqual(raw.response()[0], 405)

    def test_the_subprotocol_is_echoed_only_as_it_was_offered(self):
        for offered, wanted in (("hubbub.v1", "hubbub.v1"), ("other, hubbub.v1", "hubbub.v1"), ("HUBBUB.v1", None)):
            with RawSocket(self.server) as raw:
                status, headers, _ = raw.upgrade("/ws/ann", f"Sec-WebSocket-Protocol: {offered}\r\n")
                self.assertEqual((status, headers.get("sec-websocket-protocol")), (101, wanted), offered)


class Trailers(Case):
    """RFC 9110 6.5.1: what comes behind a body is no header."""

    settings = ("--shards", "2", "--api-keys", "the-key")

    def ask(self, headers, trailers, path="/api/rooms/r/messages", pieces=1):
        body = b'{"content":1}'
        request = (f"POST {path} HTTP/1.1\r\nTransfer-Encoding: chunked\r\n{headers}\r\n".encode()
                   + b"%x\r\n%s\r\n0\r\n%s\r\n" % (len(body), body, trailers.encode()))
        step = -(-len(request) // pieces)
        with RawSocket(self.server) as raw:
            for at in range(0, len(request), step):
                raw.send(request[at:at + step])
                if pieces > 1:
                    support.wait_until_read(self, raw)
            status, headers, answer = raw.response()
            return status, headers, json.loads(answer)

    def test_no_trailer_is_a_header(self):
        key = "X-API-Key: the-key\r\n"
        for pieces in (1, 2, 3, 40):
            for headers, trailers, status in (
                    ("Host: x\r\n", "", 401), ("Host: x\r\n" + key, "", 200),
                    ("Host: x\r\n", key, 401), ("Host: x\r\n", "Authorization: Bearer the-key\r\n", 401),
                    ("Host: x\r\n" + key, "X-API-Key: wrong\r\nAuthorization: Bearer x\r\n", 200),
                    ("Host: x\r\nX-API-Key: wrong\r\n", key, 401),
                    (key, "Host: x\r\n", 400), ("Host: x\r\n" + key, "Host: y\r\n", 200),
                    (f"Host: x\r\n{key}Trailer: Host\r\n", "X-Sum: 1\r\n", 200)):
                with self.subTest(headers=headers, trailers=trailers, pieces=pieces):
                    self.assertEqual(self.ask(headers, trailers, pieces=pieces)[0], status)

    def test_an_idempotency_key_does_not_come_by_trailer(self):
        headers = "Host: x\r\nX-API-Key: the-key\r\n"
        path = "/api/rooms/once/messages"
        seqs = [self.ask(headers, "Idempotency-Key: k\r\n", path)[2]["seq"] for _ in range(3)]
        self.assertEqual(seqs, [1, 2, 3])
        for _ in range(2):
            self.assertEqual(self.ask(headers + "Idempotency-Key: k\r\n", "Idempotency-Key: l\r\n", path)[2]["seq"], 4)

    def test_a_trailer_says_nothing_of_the_connection(self):
        _, headers, _ = self.ask("Host: x\r\n", "Connection: close\r\n")
        self.assertEqual(headers["connection"], "keep-alive")
        _, headers, _ = self.ask("Host: x\r\nConnection: close\r\n", "Connection: keep-alive\r\n")
        self.assertEqual(headers["connection"], "close")

    def test_a_trailer_cannot_frame_the_body_again(self):
        for trailer in ("Content-Length: 3", "Transfer-Encoding: chunked"):
            self.assertEqual(self.ask("Host: x\r\nX-API-Key: the-key\r\n", trailer + "\r\n")[0], 400)


class Stalled(Case):
    settings = ("--handshake-timeout", "1s", "--http-idle-timeout", "2s")

    def test_a_stalled_header_is_cut(self):
        with RawSocket(self.server) as raw:
            started = time.monotonic()
            raw.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: ")
            status, headers, body = raw.response()
            self.assertEqual((status, json.loads(body)["error"]["code"]), (408, "request_timeout"))
            self.assertIn("application/json", headers["content-type"])
            self.assertGreater(time.monotonic() - started, 0.7)
            self.assertTrue(raw.at_end())

    def test_dripping_does_not_help(self):
        with RawSocket(self.server) as raw:
            raw.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: ")
            deadline = time.monotonic() + 3 * support.WAIT_S
            raw.socket.settimeout(0.2)
            while True:
                self.assertLess(time.monotonic(), deadline, "the connection was not cut")
                try:
                    raw.send(b"x")
                    raw.fill()
                except (support.socket.timeout, TimeoutError):
                    continue
                except (EOFError, ConnectionError):
                    break

    def test_saying_nothing_is_cut(self):
        with RawSocket(self.server) as raw:
            self.assertTrue(raw.at_end(3 * support.WAIT_S))

    def test_an_idle_connection_is_closed(self):
        with RawSocket(self.server) as raw:
            raw.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            self.assertEqual(raw.response()[0], 200)
            self.assertTrue(raw.at_end(3 * support.WAIT_S))

    def test_a_stalled_body_is_cut(self):
        with RawSocket(self.server) as raw:
            raw.send(b"POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\nabc")
            self.assertTrue(raw.at_end(3 * support.WAIT_S))

    def test_a_websocket_is_not_idle_http(self):
        with RawSocket(self.server) as raw:
            raw.upgrade("/ws/ann")
            raw.read_event("connected")
            time.sleep(3)
            raw.command(type="ping")
            raw.read_event("pong")


class SlowAnswers(Case):
    settings = ("--http-idle-timeout", "300ms", "--close-timeout", "10s")

    def test_the_idle_timer_does_not_cut_answers_off(self):
        count = 40000
        with RawSocket(self.server, receive_buffer=4096) as raw:
            speaker = threading.Thread(target=raw.send, args=(b"GET /nope HTTP/1.1\r\nHost: x\r\n\r\n" * count,))
            speaker.start()
            self.addCleanup(speaker.join)
            # While nothing is read the answers queue, reading stops and the idle timer comes.
            self.assertEqual(raw.response()[0], 404)
            time.sleep(1 * support.SLOWNESS)
            answers = 1
            try:
                while raw.response()[0] == 404:
                    answers += 1
            except (EOFError, ConnectionError):
                pass
            # Cut between two answers, not within one.
            self.assertEqual(raw.buffer, b"")
            self.assertGreater(answers, 1)


class Echo(Case):
    settings = ("--test-echo", "--message-max-bytes", "64MiB", "--out-queue-bytes", "256MiB")

    def test_more_than_the_echo_may_queue_closes_it(self):
        size = 64 * 1024 * 1024
        with RawSocket(self.server) as raw:
            self.assertEqual(raw.upgrade("/echo")[0], 101)
            raw.send(b"\x82\xff" + size.to_bytes(8, "big") + bytes(4) + bytes(size))
            left = 10 + size - len(raw.buffer)
            while left > 0:
                left -= len(raw.socket.recv(min(left, 1 << 20)))
            raw.buffer = b""
            first, payload = raw.read_frame()
            self.assertEqual((first, int.from_bytes(payload[:2], "big")), (0x88, 4001))


if __name__ == "__main__":
    support.main()
