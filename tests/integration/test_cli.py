import asyncio
import contextlib
import os
import resource
import signal
import socket
import subprocess
import tempfile
import time
import unittest
from pathlib import Path

import support
from support import Client, RawSocket, Server, run


class CommandLine(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def config(self, text):
        path = self.folder / "hubbub.toml"
        path.write_text(text)
        return str(path)

    def bad_use(self, word, *args, env=None):
        done = run(*args, env=env)
        self.assertEqual(done.returncode, 2, done.stderr + done.stdout)
        lines = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        self.assertIn(word, "\n".join(lines))
        self.assertLessEqual(len(lines), 2, "one clear line was wanted")

    def test_version_and_help(self):
        done = run("--version")
        self.assertEqual(done.returncode, 0)
        self.assertRegex(done.stdout, r"^hubbub \d+\.\d+\.\d+\n$")
        done = run("serve", "--help")
        self.assertEqual(done.returncode, 0)
        for flag in ("--listen", "--shards", "--message-max-bytes", "--config"):
            self.assertIn(flag, done.stdout)

    def test_bad_use_is_2_and_named(self):
        self.bad_use("nonsense", "serve", "--nonsense")
        self.bad_use("dance", "dance")
        self.bad_use("shards", "serve", "--shards", "many")
        self.bad_use("shards", "serve", "--shards", "257")
        self.bad_use("listen", "serve", "--listen", "nowhere")
        self.bad_use("listen", "serve", "--listen", "127.0.0.1:70000")
        self.bad_use("heartbeat", "serve", "--heartbeat", "soon")
        self.bad_use("message", "serve", "--message-max-bytes", "1GiB")
        self.bad_use("HUBBUB_SHARDS", "serve", env={"HUBBUB_SHARDS": "x"})
        self.bad_use("log", "serve", "--log-level", "loud")
        self.bad_use("node1", "healthcheck", "http://node1:8080/healthz")
        self.bad_use("room:x count=many", "serve", "--retain", "inbox:* age=7d", "--retain", "room:x count=many")
        self.bad_use("HUBBUB_RETAIN", "check-config", env={"HUBBUB_RETAIN": "news-* count=1"})

    def test_bad_files_are_2_and_the_key_is_named(self):
        self.bad_use("no_such_key", "serve", "--config", self.config("no_such_key = 1\n"))
        self.bad_use("no_such_key", "check-config", "--config", self.config("no_such_key = 1\n"))
        self.bad_use("shards", "check-config", "--config", self.config('shards = "x"\n'))
        self.bad_use("typing_ttl", "check-config", "--config", self.config('typing_ttl = "fast"\n'))
        self.bad_use("absent.toml", "serve", "--config", str(self.folder / "absent.toml"))

    def test_a_good_file(self):
        path = self.config('listen = ["127.0.0.1:0"]\nshards = 1\nheartbeat = "5s"\nout_queue_bytes = "2MiB"\n')
        self.assertEqual(run("check-config", "--config", path).returncode, 0)
        shown = run("print-config", "--config", path)
        self.assertEqual(shown.returncode, 0)
        self.assertRegex(shown.stdout, r"(?m)^shards\s*=\s*1\b")

    def test_the_example_file_is_good(self):
        example = Path(__file__).resolve().parents[2] / "config/hubbub.toml"
        self.assertEqual(run("check-config", "--config", str(example)).returncode, 0)

    def test_flag_before_environment_before_file_before_default(self):
        path = self.config("shards = 3\nretain_count = 33\nmax_rooms_per_session = 333\n")
        env = {"HUBBUB_SHARDS": "4", "HUBBUB_RETAIN_COUNT": "44", "HUBBUB_CONFIG": path}
        for args in (("--config", path), ()):
            shown = run("print-config", *args, "--shards", "5", env=env).stdout
            for line in (r"shards\s*=\s*5", r"retain_count\s*=\s*44", r"max_rooms_per_session\s*=\s*333",
                         r"dedupe_max\s*=\s*1000"):
                self.assertRegex(shown, rf"(?m)^{line}\b")

    def test_what_print_config_prints_can_be_read(self):
        shown = run("print-config", "--shards", "2", "--heartbeat", "500ms")
        again = run("print-config", "--config", self.config(shown.stdout))
        self.assertEqual(again.returncode, 0, again.stderr)
        # Behind each value stands where it comes from, which is now the file.
        values = [[line.split(" #")[0].rstrip() for line in text.stdout.splitlines()] for text in (shown, again)]
        self.assertEqual(values[1], values[0])
        self.assertGreater(len(values[0]), 30)

    def test_healthcheck_asks_a_running_node(self):
        server = Server()
        url = f"http://127.0.0.1:{server.port}"
        try:
            for args, env in (((url,), {}), ((url + "/readyz",), {}), ((f"http://localhost:{server.port}/healthz",), {}),
                              (("--listen", f"127.0.0.1:{server.port}"), {}),
                              ((), {"HUBBUB_LISTEN": f"0.0.0.0:{server.port}"})):
                done = run("healthcheck", *args, env=env)
                self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""), args)
            done = run("healthcheck", url + "/nowhere")
            self.assertEqual(done.returncode, 1)
            self.assertIn("404", done.stderr)
        finally:
            server.stop()
        done = run("healthcheck", url)
        self.assertEqual(done.returncode, 1)
        self.assertIn(f"cannot connect to 127.0.0.1:{server.port}", done.stderr)

    def test_healthcheck_tells_what_is_no_good_answer(self):
        answers = (b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 2",
                   b"", b"x" * 5000, None)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            for answer, word in zip(answers, ("503", "SSH", "no answer", "no answer", "no answer", "timed out")):
                with self.subTest(answer=answer and answer[:20]):
                    process = subprocess.Popen(
                        [support.binary_path(), "healthcheck", "http://127.0.0.1:%d/readyz" % listener.getsockname()[1]],
                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
                    self.addCleanup(process.kill)
                    listener.settimeout(4 * support.WAIT_S)
                    peer, _ = listener.accept()
                    with peer:
                        peer.settimeout(support.WAIT_S)
                        self.assertTrue(peer.recv(4096).startswith(b"GET /readyz HTTP/1.1\r\nHost: 127.0.0.1:"))
                        if answer is not None:
                            peer.sendall(answer)
                            with contextlib.suppress(OSError):  # it does not wait for the end of a wrong answer
                                peer.shutdown(socket.SHUT_WR)
                        out, err = process.communicate(timeout=4 * support.WAIT_S)
                    self.assertEqual((process.returncode, out), (1, ""), err)
                    self.assertIn(word, err)
                    self.assertEqual(err.count("\n"), 1)

    def test_a_port_in_use_is_1(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            address = "127.0.0.1:%d" % taken.getsockname()[1]
            done = run("serve", "--listen", address)
            self.assertEqual(done.returncode, 1, done.stderr)
            self.assertIn(address, done.stderr + done.stdout)

    def test_beyond_loopback_only_in_so_many_words(self):
        done = run("serve", "--listen", "0.0.0.0:0")
        self.assertIn(done.returncode, (1, 2))
        self.assertIn("insecure", (done.stderr + done.stdout).lower())
        server = Server("--insecure-open", listen="0.0.0.0:0")
        server.stop()

    def test_several_addresses(self):
        server = Server("--listen", "[::1]:0")
        try:
            deadline = time.monotonic() + support.WAIT_S
            while "listening on [::1]:" not in server.log() and time.monotonic() < deadline:
                time.sleep(0.02)
            port = int(server.log().split("listening on [::1]:")[1].split()[0])
            with socket.create_connection(("::1", port), support.WAIT_S) as other:
                other.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
                self.assertIn(b" 200 ", other.recv(4096))
        finally:
            server.stop()

    def test_the_limit_of_open_files_is_raised_and_logged(self):
        server = Server()
        server.stop()
        self.assertRegex(server.log().lower(), r"open.?files?|nofile|file descriptors")

    def test_many_shards_start_under_a_low_soft_limit_of_open_files(self):
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.assertGreaterEqual(limits[1], 4096, "the hard limit is too low for this test")
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, limits[1]))  # the server inherits it
        try:
            server = Server("--shards", 64)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        # Not stop(): a sanitizer may hold a signal back that comes while 64 threads start. Other tests stop it.
        server.process.kill()
        server.wait()

    def test_a_log_that_nobody_reads_any_more_does_not_end_it(self):
        read_end, write_end = os.pipe()
        process = subprocess.Popen([support.binary_path(), "serve", "--listen", "127.0.0.1:0"],
                                   stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=write_end)
        self.addCleanup(process.kill)
        os.close(write_end)
        with os.fdopen(read_end, errors="replace") as log:
            for line in log:
                if "listening on" in line:
                    break
        process.send_signal(signal.SIGTERM)  # it logs that
        self.assertEqual(process.wait(4 * support.WAIT_S), 0)

    def test_json_logs(self):
        server = Server("--log-format", "json")
        server.stop()
        for line in server.lines:
            self.assertIsInstance(support.json.loads(line), dict, line)

    def test_sighup_reopens_the_log(self):
        log = self.folder / "hubbub.log"
        server = Server("--log-file", str(log), wait=False)
        try:
            deadline = time.monotonic() + 4 * support.WAIT_S
            while not (log.exists() and "listening on" in log.read_text()):
                self.assertLess(time.monotonic(), deadline, server.log())
                time.sleep(0.02)
            log.rename(self.folder / "old.log")
            server.process.send_signal(signal.SIGHUP)
            while not log.exists():
                self.assertLess(time.monotonic(), deadline, "the log was not opened again")
                time.sleep(0.02)
        finally:
            server.stop()
        self.assertTrue(log.read_text().strip(), "nothing is written to the new log")


class Stopping(unittest.IsolatedAsyncioTestCase):
    async def test_term_and_int_tell_1001_and_exit_0(self):
        for how in (signal.SIGTERM, signal.SIGINT):
            for shards in (1, 2):
                with self.subTest(how=how, shards=shards):
                    server = Server("--shards", shards)
                    clients = [await Client.connect(server, f"u{n}") for n in range(5)]
                    server.process.send_signal(how)
                    for client in clients:
                        self.assertEqual(await client.closed(), 1001)
                    server.stop()

    async def test_under_load(self):
        for shards in (1, 2):
            with self.subTest(shards=shards):
                # Who is slow to read what is on its way is no failure.
                server = Server("--shards", shards, "--close-timeout", "60s")
                clients = [await Client.connect(server, f"u{n}") for n in range(20)]
                for client in clients:
                    await client.join("load")

                async def speak(client):
                    try:
                        while True:
                            await client.send(type="room_message", room_id="load", content="x" * 500)
                            await asyncio.sleep(0)
                    except support.websockets.ConnectionClosed:
                        return

                async def listen(client):
                    return await client.closed(4 * support.WAIT_S)

                speakers = [asyncio.create_task(speak(c)) for c in clients[:5]]
                listeners = [asyncio.create_task(listen(c)) for c in clients]
                await asyncio.sleep(0.5)
                server.process.send_signal(signal.SIGTERM)
                codes = await asyncio.wait_for(asyncio.gather(*listeners), 6 * support.WAIT_S)
                self.assertEqual(set(codes), {1001})
                await asyncio.wait_for(asyncio.gather(*speakers), support.WAIT_S)
                server.stop()

    async def test_a_stuck_client_does_not_hold_it_up(self):
        server = Server("--close-timeout", "1s")
        with RawSocket(server) as stuck, RawSocket(server) as half:
            stuck.upgrade("/ws/stuck")
            half.send(b"GET /hea")
            server.stop()

    def test_a_second_signal_does_not_wait_for_sessions(self):
        server = Server("--close-timeout", "60s")
        with RawSocket(server) as stuck:
            stuck.upgrade("/ws/stuck")
            stuck.read_event("connected")
            server.process.send_signal(signal.SIGTERM)
            while stuck.read_frame()[0] != 0x88:
                pass
            # It does not answer the close frame, so the server waits.
            self.assertIsNone(server.process.poll())
            server.stop(signal.SIGTERM)

    async def test_the_port_is_free_again(self):
        server = Server()
        client = await Client.connect(server, "ann")
        port = server.port
        server.stop()
        await client.closed()
        again = Server(listen=f"127.0.0.1:{port}")
        self.assertEqual(again.port, port)
        again.stop()

    def test_no_leftovers(self):
        server = Server()
        pid = server.process.pid
        self.assertTrue(os.path.exists(f"/proc/{pid}"))
        server.stop()
        self.assertFalse(os.path.exists(f"/proc/{pid}"))


if __name__ == "__main__":
    support.main()
