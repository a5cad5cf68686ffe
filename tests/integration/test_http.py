import json
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
            self.assertIn("GET", headers["allow"])

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


if __name__ == "__main__":
    support.main()
