"""Slow readers and dead peers: sockets that a decent client would not be."""

import asyncio
import socket
import time

import support
from support import Case, RawSocket, WAIT_S, quoted, with_shards
from test_sse import request

SIZE = 8000
# Past what the kernel keeps for a connection (a send buffer grows to 4 MB), so that the server's own queue fills.
COUNT = 1000


async def in_thread(function, *args):
    return await asyncio.get_running_loop().run_in_executor(None, function, *args)


class Stuck(Case):
    async def stuck(self, name):
        """A member that joins and then reads nothing."""
        raw = RawSocket(self.server, receive_buffer=4096)
        self.addCleanup(raw.close)
        await in_thread(raw.upgrade, "/ws/" + quoted(self.user(name)))
        raw.command(type="join_room", room_id=self.room)
        await in_thread(raw.read_event, "user_joined")
        return raw

    async def flood(self, ann, bob, count=COUNT, typing_every=0):
        """ann speaks as fast as bob reads, so that only the stuck one falls behind; what bob got."""
        window = asyncio.Semaphore(5)

        async def speak():
            for n in range(count):
                await window.acquire()
                if typing_every and n % typing_every == 0:
                    await ann.send(type="typing_start", room_id=self.room)
                    await ann.send(type="typing_stop", room_id=self.room)
                await ann.send(type="room_message", room_id=self.room, content="x" * SIZE)

        speaking = asyncio.create_task(speak())
        seen = []
        while len(seen) < count:
            seen.append((await bob.expect("message", timeout=2 * WAIT_S))["seq"])
            window.release()
            for client in (ann, bob):
                client.raw.clear()
                client.events = [e for e in client.events if e["type"] == "user_left" or client is bob
                                 and e["type"] == "message"]
        await speaking
        return seen


@with_shards(1, 2)
class SlowConsumer(Stuck):
    settings = ("--out-queue-bytes", "64KiB", "--slow-consumer-grace", "1s", "--close-timeout", "10s",
                "--retain-bytes", "1MiB")

    async def test_others_do_not_suffer_and_the_stuck_one_is_closed(self):
        ann, bob = await self.members("ann", "bob")
        await self.stuck("stuck")
        seen = await self.flood(ann, bob)
        self.assertEqual(seen, list(range(1, COUNT + 1)))
        await bob.expect("user_left", timeout=15 + WAIT_S, user_id=self.user("stuck"))

    def slow_consumers_closed(self):
        return request(self.server, "GET", "/api/stats")[1]["total"]["slow_consumers_closed"]

    async def test_the_stuck_one_is_told_4001(self):
        ann, bob = await self.members("ann", "bob")
        raw = await self.stuck("stuck")
        closed = self.slow_consumers_closed()
        await self.flood(ann, bob)
        deadline = time.monotonic() + 2 * WAIT_S
        while self.slow_consumers_closed() == closed:
            self.assertLess(time.monotonic(), deadline)
            await asyncio.sleep(0.02)

        def read_to_the_end():
            raw.socket.settimeout(2 * WAIT_S)
            try:
                while True:
                    first, payload = raw.read_frame()
                    if first == 0x88:
                        return int.from_bytes(payload[:2], "big")
            except (EOFError, ConnectionError, socket.timeout) as error:
                return repr(error)

        self.assertEqual(await in_thread(read_to_the_end), 4001)


@with_shards(1, 2)
class SlowButAlive(Stuck):
    settings = ("--out-queue-bytes", "64KiB", "--slow-consumer-grace", "60s", "--retain-bytes", "64MiB",
                "--retain-count", "100000")

    def read_all(self, raw, last):
        seqs, typing, gaps = [], 0, []
        raw.socket.settimeout(2 * WAIT_S)
        while not seqs or seqs[-1] < last:
            event = raw.next_event()
            if event["type"] == "message":
                seqs.append(event["seq"])
            elif event["type"] == "typing_start":
                typing += 1
            elif event["type"] == "gap":
                gaps.append(event)
        return seqs, typing, gaps

    async def test_it_misses_nothing_that_is_kept_and_ephemera_go_first(self):
        ann, bob = await self.members("ann", "bob")
        raw = await self.stuck("slow")
        seen = await self.flood(ann, bob, typing_every=5)
        self.assertEqual(seen, list(range(1, COUNT + 1)))
        seqs, typing, gaps = await in_thread(self.read_all, raw, COUNT)
        self.assertEqual(seqs, list(range(1, COUNT + 1)))
        self.assertEqual(gaps, [])
        self.assertLess(typing, COUNT // 5, "ephemera were not dropped")
        # And it goes on, live.
        await ann.send(type="room_message", room_id=self.room, content="live")
        live, _, _ = await in_thread(self.read_all, raw, COUNT + 1)
        self.assertEqual(live, [COUNT + 1])

    async def test_answers_are_not_lost_while_it_is_slow(self):
        ann, bob = await self.members("ann", "bob")
        raw = await self.stuck("slow")
        await self.flood(ann, bob)
        raw.command(type="ping", id="still here")
        raw.socket.settimeout(4 * WAIT_S)
        await in_thread(lambda: raw.read_event("pong", id="still here"))


class GapIsTold(Stuck):
    settings = ("--out-queue-bytes", "64KiB", "--slow-consumer-grace", "60s", "--retain-count", "50", "--shards", "2")

    async def test_what_retention_lost_is_told_as_a_gap(self):
        ann, bob = await self.members("ann", "bob")
        raw = await self.stuck("slow")
        await self.flood(ann, bob)

        def read_all():
            covered = []
            raw.socket.settimeout(2 * WAIT_S)
            while not covered or covered[-1] < COUNT:
                event = raw.next_event()
                if event["type"] == "message":
                    covered.append(event["seq"])
                elif event["type"] == "gap":
                    self.assertEqual(event["room_id"], self.room)
                    covered += range(event["from_seq"], event["to_seq"] + 1)
            return covered

        self.assertEqual(await in_thread(read_all), list(range(1, COUNT + 1)))


@with_shards(1, 2)
class Heartbeat(Case):
    settings = ("--heartbeat", "1s")

    def watch(self, raw, seconds, answer):
        """(pings seen, close code or None, ended)"""
        pings, code = 0, None
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            raw.socket.settimeout(max(deadline - time.monotonic(), 0.01))
            try:
                first, payload = raw.read_frame()
            except socket.timeout:
                break
            except (EOFError, ConnectionError):
                return pings, code, True
            if first == 0x89:
                pings += 1
                if answer:
                    raw.frame(10, payload)
            elif first == 0x88:
                code = int.from_bytes(payload[:2], "big")
        return pings, code, False

    def test_who_never_answers_is_closed(self):
        with RawSocket(self.server) as raw:
            raw.upgrade("/ws/silent")
            pings, code, ended = self.watch(raw, 2 + 2 * WAIT_S, answer=False)
            self.assertTrue(ended, "still open")
            self.assertIn(pings, (1, 2, 3))
            self.assertEqual(code, 4000)

    def test_who_answers_stays(self):
        with RawSocket(self.server) as raw:
            raw.upgrade("/ws/answering")
            pings, code, ended = self.watch(raw, 5, answer=True)
            self.assertEqual((code, ended), (None, False))
            self.assertGreaterEqual(pings, 2)
            raw.command(type="ping")
            raw.read_event("pong")

    async def test_the_interval_is_told_and_the_dead_one_leaves_the_room(self):
        ann, = await self.members("ann")
        self.assertEqual(ann.connected["heartbeat_ms"], 1000)
        with RawSocket(self.server) as raw:
            await in_thread(raw.upgrade, "/ws/" + quoted(self.user("dead")))
            raw.command(type="join_room", room_id=self.room)
            await ann.expect("user_joined", user_id=self.user("dead"))
            await ann.expect("user_left", user_id=self.user("dead"), timeout=4 + 2 * WAIT_S)


@with_shards(1, 2)
class SlowHeartbeat(Stuck):
    # A close frame would wait behind megabytes; after its short timeout the room hears of the close.
    # The interval leaves those who are to stay time to answer, also where they share a processor with the other tests.
    settings = ("--heartbeat", f"{int(800 * support.SLOWNESS)}ms", "--out-queue-bytes", "64MiB",
                "--close-timeout", "100ms")

    def read_slowly(self, raw, seconds):
        """Bytes read in a steady trickle, every ping answered."""
        taken, deadline = 0, time.monotonic() + seconds
        while time.monotonic() < deadline:
            first, payload = raw.read_frame()
            taken += len(payload)
            self.assertNotEqual(first, 0x88, "closed")
            if first == 0x89:
                raw.frame(10, payload)
            time.sleep(0.02)
        return taken

    async def test_who_reads_slowly_but_steadily_is_not_taken_for_dead(self):
        ann, bob = await self.members("ann", "bob")
        raw = await self.stuck("slow")
        reading = asyncio.create_task(in_thread(self.read_slowly, raw, 2 + 4 * support.SLOWNESS))
        await self.flood(ann, bob)
        self.assertGreater(await reading, 10 * SIZE)
        await bob.silent("user_left", user_id=self.user("slow"))

    async def test_who_reads_nothing_is(self):
        ann, bob = await self.members("ann", "bob")
        await self.stuck("dead")
        await self.flood(ann, bob)
        await bob.expect("user_left", timeout=2 * WAIT_S, user_id=self.user("dead"))


if __name__ == "__main__":
    support.main()
