"""Several nodes that share a Redis act as one server."""

import asyncio
import json
import time

from redis_support import Redis, node, until
from support import SLOWNESS, WAIT_S, Case, Client, quoted
from test_sse import Stream, command, request

LEASE_S = 2


class Nodes(Case):
    """Tests with one Redis and three nodes a class."""

    node_count = 3

    @classmethod
    def setUpClass(cls):
        cls.redis = Redis()
        cls.nodes = [node(cls.redis, "--shards", 1 + i % 2, "--server-id", f"node-{i + 1}",
                          "--node-lease", f"{int(LEASE_S * SLOWNESS * 1000)}ms") for i in range(cls.node_count)]
        cls.server = cls.nodes[0]

    @classmethod
    def tearDownClass(cls):
        for each in cls.nodes:
            each.stop()
        cls.redis.close()

    async def on(self, index, name, **options):
        client = await Client.connect(self.nodes[index], self.user(name), **options)
        self.addAsyncCleanup(client.close)
        return client

    async def test_a_room_spans_nodes_in_one_order(self):
        clients = [await self.on(i, f"u{i}") for i in range(3)]
        for client in clients:
            await client.join(self.room)
        for i in range(30):
            await clients[i % 3].send(type="room_message", room_id=self.room, content=i)
        seen = []
        for client in clients:
            events = [await client.expect("message") for _ in range(30)]
            self.assertEqual([e["seq"] for e in events], list(range(1, 31)))
            seen.append([e["content"] for e in events])
        self.assertEqual(seen[0], seen[1])
        self.assertEqual(seen[0], seen[2])
        self.assertEqual(sorted(seen[0]), list(range(30)))

    async def test_a_user_joins_and_leaves_once_whatever_the_nodes(self):
        watcher = await self.on(0, "watcher")
        await watcher.join(self.room)
        one, two = await self.on(1, "ann"), await self.on(2, "ann")
        joined = await one.join(self.room)
        self.assertEqual((sorted(joined["members"]), joined["member_count"]),
                         (sorted([self.user("ann"), self.user("watcher")]), 2))
        self.assertEqual((await two.join(self.room))["member_count"], 2)
        await watcher.expect("user_joined", user_id=self.user("ann"))
        await one.expect("user_joined", user_id=self.user("ann"))  # its own, behind `joined`
        await watcher.silent("user_joined", user_id=self.user("ann"))
        await one.ok(type="leave_room", room_id=self.room)
        await watcher.silent("user_left", user_id=self.user("ann"))
        await two.close()
        await watcher.expect("user_left", user_id=self.user("ann"))

    async def test_direct_messages_and_signals_cross_nodes(self):
        ann, bob, ann2 = await self.on(0, "ann"), await self.on(1, "bob"), await self.on(2, "ann")
        ack = await ann.ok(type="direct_message", to_user=self.user("bob"), content="hi")
        self.assertEqual(ack["sessions"], 1)
        self.assertEqual((await bob.expect("direct_message"))["content"], "hi")
        self.assertEqual((await ann2.expect("direct_message"))["content"], "hi")  # the sender's other session
        await ann.silent("direct_message")
        ack = await bob.ok(type="signal", to_user=self.user("ann"), data={"sdp": 1})
        self.assertEqual(ack["sessions"], 2)
        signal = await ann2.expect("signal")
        self.assertEqual((signal["from"], signal["data"]), (self.user("bob"), {"sdp": 1}))
        await ann2.ok(type="signal", to_user=self.user("bob"), to_session=signal["from_session"], data=2)
        self.assertEqual((await bob.expect("signal"))["data"], 2)
        await ann.refused("user_offline", type="signal", to_user=self.user("nobody"), data=1)

    async def test_typing_crosses_nodes_and_ends(self):
        ann, bob = await self.on(0, "ann"), await self.on(1, "bob")
        await ann.join(self.room)
        await bob.join(self.room)
        await ann.ok(type="typing_start", room_id=self.room)
        await bob.expect("typing_start", user_id=self.user("ann"))
        await ann.ok(type="typing_start", room_id=self.room)
        status, answer = request(self.nodes[2], "GET", f"/api/rooms/{quoted(self.room)}/typing")
        self.assertEqual((status, answer["users"]), (200, [self.user("ann")]))
        await ann.ok(type="typing_stop", room_id=self.room)
        await bob.expect("typing_stop", user_id=self.user("ann"))
        await bob.silent("typing_start")
        await ann.ok(type="typing_start", room_id=self.room)
        await bob.expect("typing_start", user_id=self.user("ann"))
        await bob.expect("typing_stop", timeout=WAIT_S + 3, user_id=self.user("ann"))  # by itself

    async def test_presence_is_that_of_all_nodes(self):
        watcher = await self.on(0, "watcher")
        await watcher.ok(type="presence_watch", user_ids=[self.user("ann")])
        await watcher.expect("presence", user_id=self.user("ann"), status="offline")
        one = await self.on(1, "ann")
        await watcher.expect("presence", user_id=self.user("ann"), status="online")
        two = await self.on(2, "ann")
        await one.ok(type="set_status", status="away")
        await watcher.silent("presence", user_id=self.user("ann"))  # online by the other session
        await two.ok(type="set_status", status="busy")
        await watcher.expect("presence", user_id=self.user("ann"), status="busy")
        await two.close()
        await watcher.expect("presence", user_id=self.user("ann"), status="away")
        status, answer = request(self.nodes[2], "POST", "/api/presence/query",
                                 {"user_ids": [self.user("ann"), self.user("nobody")]})
        self.assertEqual((status, answer["online"]), (200, [self.user("ann")]))
        await one.close()
        await watcher.expect("presence", user_id=self.user("ann"), status="offline")
        found = until(lambda: (a := request(self.nodes[2], "GET", f"/api/users/{quoted(self.user('ann'))}/presence")[1])
                      ["status"] == "offline" and a, "offline")
        self.assertTrue(found["last_seen"])
        await watcher.ok(type="presence_query", user_ids=[self.user("ann"), self.user("watcher")])
        await watcher.expect("presence", user_id=self.user("watcher"), status="online")

    async def test_a_cursor_of_one_node_resumes_on_another(self):
        ann, bob = await self.on(0, "ann"), await self.on(1, "bob")
        await ann.join(self.room)
        await bob.join(self.room)
        await bob.ok(type="room_message", room_id=self.room, content=1)
        await ann.expect("message", content=1)
        cursor = (await ann.call(type="cursor"))["cursor"]
        await ann.close()
        await bob.ok(type="room_message", room_id=self.room, content=2)
        await bob.ok(type="direct_message", to_user=self.user("ann"), content=3)
        again = await self.on(2, "ann", path=f"/ws/{quoted(self.user('ann'))}?cursor={quoted(cursor)}")
        self.assertTrue((await again.expect("joined", room_id=self.room))["recovered"])
        await again.expect("message", content=2)
        await again.expect("direct_message", content=3)
        await bob.ok(type="room_message", room_id=self.room, content=4)
        await again.expect("message", content=4)
        await again.silent("message", content=1)

    async def test_an_event_stream_goes_on_at_another_node_without_a_leave(self):
        bob = await self.on(0, "bob")
        await bob.join(self.room)
        path = f"/events/{quoted(self.user('ann'))}?rooms={quoted(self.room)}"
        stream = Stream(self.nodes[1], path)
        self.addCleanup(stream.close)
        stream.next("joined")
        await bob.expect("user_joined", user_id=self.user("ann"))
        await bob.ok(type="room_message", room_id=self.room, content=1)
        stream.next("message", content=1)
        cursor = stream.next("cursor")
        stream.close()
        await bob.ok(type="room_message", room_id=self.room, content=2)
        other = Stream(self.nodes[2], path, {"Last-Event-ID": cursor})
        self.addCleanup(other.close)
        other.next("message", content=2)
        # The session at the old node has made way, long before its linger is over.
        url = f"/api/users/{quoted(self.user('ann'))}/sessions"
        until(lambda: len(request(self.nodes[0], "GET", url)[1]["sessions"]) == 1, "one session", 10 * SLOWNESS)
        await bob.silent("user_left", user_id=self.user("ann"))
        await bob.silent("user_joined", user_id=self.user("ann"))

    async def test_any_node_takes_the_commands_of_a_session(self):
        stream = Stream(self.nodes[0], f"/events/{quoted(self.user('ann'))}")
        self.addCleanup(stream.close)
        connected = stream.next("connected")
        for index in (1, 2, 0):
            answers = command(self.nodes[index], connected, {"type": "join_room", "room_id": self.room},
                              {"type": "room_message", "room_id": self.room, "content": index}, {"type": "nonsense"})
            self.assertEqual([a["type"] for a in answers], ["joined", "ack", "error"])
            stream.next("message", content=index)
        path = f"/sessions/{connected['session_id']}/commands"
        for index in range(3):
            status, answer = request(self.nodes[index], "POST", path, {"type": "ping"}, {"X-Session-Key": "wrong"})
            self.assertEqual((status, answer["error"]["code"]), (403, "forbidden"))
            status, _ = request(self.nodes[index], "POST", path[:10] + "ffffffff0000000000000001/commands",
                                {"type": "ping"}, {"X-Session-Key": "wrong"})
            self.assertEqual(status, 404)

    async def test_backends_reach_sessions_of_all_nodes(self):
        ann, ann2, bob = await self.on(0, "ann"), await self.on(1, "ann"), await self.on(2, "bob")
        user = quoted(self.user("ann"))
        room = quoted(self.room)
        status, answer = request(self.nodes[2], "PUT", f"/api/rooms/{room}/members/{user}")
        self.assertEqual((status, answer["sessions"]), (200, 2))
        await ann.expect("joined", room_id=self.room)
        await ann2.expect("joined", room_id=self.room)
        await bob.join(self.room)
        status, answer = request(self.nodes[1], "GET", f"/api/rooms/{room}")
        self.assertEqual((status, answer["members"], answer["sessions"]), (200, 2, 3))
        status, answer = request(self.nodes[1], "GET", f"/api/rooms?prefix={room}")
        self.assertEqual([(r["room_id"], r["members"], r["sessions"]) for r in answer["rooms"]], [(self.room, 2, 3)])
        first = request(self.nodes[0], "GET", f"/api/rooms/{room}/members?limit=1")[1]
        rest = request(self.nodes[0], "GET", f"/api/rooms/{room}/members?limit=1&after={quoted(first['next'])}")[1]
        self.assertEqual((first["members"] + rest["members"], first["member_count"], rest["next"]),
                         (sorted([self.user("ann"), self.user("bob")]), 2, None))
        sessions = request(self.nodes[2], "GET", f"/api/users/{user}/sessions")[1]["sessions"]
        self.assertEqual(sorted(s["session_id"] for s in sessions),
                         sorted(c.connected["session_id"] for c in (ann, ann2)))
        users = {u["user_id"]: u["sessions"] for u in request(self.nodes[2], "GET", "/api/users?limit=1000")[1]["users"]}
        self.assertEqual((users[self.user("ann")], users[self.user("bob")]), (2, 1))
        status, answer = request(self.nodes[2], "POST", "/api/broadcast", {"content": "all"})
        self.assertGreaterEqual(answer["sessions"], 3)
        for client in (ann, ann2, bob):
            await client.expect("broadcast", content="all")
        status, answer = request(self.nodes[1], "DELETE", f"/api/rooms/{room}")
        self.assertEqual((status, answer["sessions"]), (200, 3))
        for client in (ann, ann2, bob):
            await client.expect("removed", room_id=self.room)
        status, answer = request(self.nodes[2], "POST", f"/api/users/{user}/disconnect")
        self.assertEqual((status, answer["sessions"]), (200, 2))
        self.assertEqual((await ann.closed(), await ann2.closed()), (4005, 4005))
        until(lambda: request(self.nodes[0], "GET", f"/api/users/{user}/presence")[1]["status"] == "offline", "offline")

    async def test_a_delivery_report_hears_of_other_nodes(self):
        ann = await self.on(1, "ann")
        await self.on(2, "bob")
        names = [self.user(n) for n in ("ann", "bob", "nobody")]
        loop = asyncio.get_running_loop()
        body = {"user_ids": names, "content": "x", "from": "desk", "report": "sync", "ack_within_ms": 1500}
        report = loop.run_in_executor(None, request, self.nodes[0], "POST", "/api/users/messages", body)
        seq = (await ann.expect("direct_message"))["seq"]
        await ann.ok(type="received", seq=seq)
        status, answer = await report
        self.assertEqual((status, [r["status"] for r in answer["results"]]), (200, ["acked", "reached", "offline"]))

    async def test_plain_json_of_any_backend_is_delivered(self):
        ann = await self.on(1, "ann")
        await ann.join(self.room)
        self.assertEqual(self.redis.call("PUBLISH", f"ws:room:{self.room}", json.dumps(
            {"type": "message", "from": "job", "content": {"a": [1]}})), 1)
        event = await ann.expect("message")
        self.assertEqual((event["from"], event["content"], event.get("seq")), ("job", {"a": [1]}, None))
        self.redis.call("PUBLISH", f"ws:user:{self.user('ann')}", '{"title":"parcel"}')
        self.assertEqual((await ann.expect("notification"))["title"], "parcel")
        for bad in ("", "nonsense", "[1]", '{"a":', "\1K", "\1Kzz 1 2 x", "\1J", b"\xff\xfe"):
            self.redis.call("PUBLISH", f"ws:room:{self.room}", bad)
        await ann.ok(type="room_message", room_id=self.room, content="still here")
        await ann.expect("message", content="still here")

    async def test_odd_ids_work_across_nodes(self):
        for odd in ("a:b", "a b", "{x}", "}{", "*", "ü😀", "x" * 200):
            room = f"{odd} {self.mark}"[:256]
            one = await self.on(0, f"one {odd}")
            two = await self.on(1, f"two {odd}")
            await one.join(room)
            await two.join(room)
            await one.ok(type="room_message", room_id=room, content=odd)
            await two.expect("message", room_id=room, content=odd)
            await two.ok(type="direct_message", to_user=self.user(f"one {odd}"), content=odd)
            await one.expect("direct_message", content=odd)
            await one.close()
            await two.close()

    async def test_message_ids_are_known_on_all_nodes(self):
        one, two = await self.on(0, "ann"), await self.on(1, "ann")
        await one.join(self.room)
        await two.join(self.room)
        first = await one.ok(type="room_message", room_id=self.room, content=1, message_id="m")
        again = await two.ok(type="room_message", room_id=self.room, content=1, message_id="m")
        self.assertEqual((again["duplicate"], again["seq"]), (True, first["seq"]))

    async def test_lost_subscriptions_are_filled(self):
        ann, bob = await self.on(0, "ann"), await self.on(1, "bob")
        await ann.join(self.room)
        await bob.join(self.room)
        for i in range(200):
            if i % 20 == 10:
                self.redis.call("CLIENT", "KILL", "TYPE", "pubsub")
            await bob.send(type="room_message", room_id=self.room, content=i)
            await asyncio.sleep(0.002)
        for client in (ann, bob):
            got = [await client.expect("message", timeout=2 * WAIT_S) for _ in range(200)]
            self.assertEqual([e["content"] for e in got], list(range(200)))
        self.assertIsNone(ann.take("gap"))


class Faults(Case):
    """What becomes of nodes and of Redis, each test with its own."""

    @classmethod
    def setUpClass(cls):
        pass

    @classmethod
    def tearDownClass(cls):
        pass

    def start(self, count, *args, lease=LEASE_S, **options):
        self.redis = Redis(**options)
        self.addCleanup(self.redis.close)
        nodes = []
        for i in range(count):
            nodes.append(node(self.redis, "--shards", 1, "--node-lease", f"{int(lease * SLOWNESS * 1000)}ms", *args))
            self.addCleanup(lambda n=nodes[-1]: n.process.poll() is None and n.stop())
        return nodes

    async def on(self, server, name, **options):
        client = await Client.connect(server, self.user(name), **options)
        self.addAsyncCleanup(client.close)
        return client

    async def test_a_killed_nodes_users_leave_once(self):
        one, two, three = self.start(3)
        watchers = [await self.on(one, "w1"), await self.on(two, "w2")]
        for watcher in watchers:
            await watcher.join(self.room)
            await watcher.ok(type="presence_watch", user_ids=[self.user("ann")])
        ann = await self.on(three, "ann")
        await ann.join(self.room)
        await ann.ok(type="typing_start", room_id=self.room)
        for watcher in watchers:
            await watcher.expect("typing_start", user_id=self.user("ann"))
            await watcher.expect("presence", user_id=self.user("ann"), status="online")
        three.process.kill()
        three.wait()
        for watcher in watchers:
            await watcher.expect("typing_stop", timeout=6 * SLOWNESS + WAIT_S, user_id=self.user("ann"))
            await watcher.expect("presence", timeout=20 * SLOWNESS, user_id=self.user("ann"), status="offline")
            await watcher.expect("user_left", timeout=20 * SLOWNESS, user_id=self.user("ann"))
        for watcher in watchers:
            await watcher.silent("user_left")
        answer = request(one, "GET", f"/api/rooms/{quoted(self.room)}/members")[1]
        self.assertEqual(answer["members"], sorted([self.user("w1"), self.user("w2")]))
        for watcher in watchers:
            await watcher.close()
        # Nothing is left behind but the nodes' lease and what has a time to live.
        def left():
            return [key for key in self.redis.keys() if self.redis.call("TTL", key) == -1 and b"}:nodes" not in key]
        until(lambda: not left(), "no keys", 10 * SLOWNESS)

    async def test_redis_restarts_with_its_file(self):
        one, two = self.start(2, persistent=True, lease=60)
        ann, bob = await self.on(one, "ann"), await self.on(two, "bob")
        await ann.join(self.room)
        await bob.join(self.room)
        sent = []
        for round_ in range(3):
            for i in range(50):
                sent.append((round_, i))
                await bob.send(type="room_message", room_id=self.room, content=[round_, i], id=len(sent))
            if round_ < 2:
                self.redis.kill()
                await asyncio.sleep(0.2)
                self.redis.restart()
        got = [tuple((await ann.expect("message", timeout=4 * WAIT_S))["content"]) for _ in sent]
        self.assertEqual(got, sent)
        await ann.silent("message")

    async def test_redis_without_its_data_begins_anew(self):
        one, two = self.start(2, lease=60)
        ann, bob = await self.on(one, "ann"), await self.on(two, "bob")
        await ann.join(self.room)
        await bob.join(self.room)
        await bob.ok(type="room_message", room_id=self.room, content="before")
        await ann.expect("message", content="before")
        self.redis.restart()
        await bob.ok(type="room_message", room_id=self.room, content="after")
        gap = await ann.expect("gap", timeout=2 * WAIT_S, room_id=self.room)
        self.assertTrue(gap["epoch"])
        event = await ann.expect("message", content="after")
        self.assertEqual(event["seq"], 1)
        # Who is here is said again.
        path = f"/api/rooms/{quoted(self.room)}/members"
        until(lambda: len(request(one, "GET", path)[1].get("members", [])) == 2, "members", 15 * SLOWNESS)
        until(lambda: request(one, "GET", "/api/users/count")[1].get("count") == 2, "online", 15 * SLOWNESS)

    async def test_a_short_freeze_is_only_slow(self):
        one, two = self.start(2, lease=60)
        ann, bob = await self.on(one, "ann"), await self.on(two, "bob")
        await ann.join(self.room)
        await bob.join(self.room)
        self.redis.freeze()
        asyncio.get_running_loop().call_later(1.5, self.redis.thaw)
        for i in range(20):
            answer = await bob.ok(type="room_message", room_id=self.room, content=i)
            self.assertEqual(answer["seq"], i + 1)
        for i in range(20):
            await ann.expect("message", content=i)

    async def test_a_long_freeze_is_told_and_ends(self):
        one, two = self.start(2, "--redis-wait", f"{int(1000 * SLOWNESS)}ms", lease=60)
        ann, bob = await self.on(one, "ann"), await self.on(two, "bob")
        await ann.join(self.room)
        await bob.join(self.room)
        self.redis.freeze()
        await bob.refused("broker_unavailable", type="room_message", room_id=self.room, content="lost?")
        until(lambda: request(two, "GET", "/readyz")[0] == 503, "not ready", 10 * SLOWNESS)
        self.redis.thaw()
        until(lambda: request(two, "GET", "/readyz")[0] == 200, "ready", 15 * SLOWNESS)
        deadline = time.monotonic() + 15 * SLOWNESS
        while (await bob.call(type="room_message", room_id=self.room, content="back"))["type"] == "error":
            self.assertLess(time.monotonic(), deadline)
        await ann.expect("message", content="back")

    async def test_a_node_that_stops_is_gone_at_once(self):
        one, two = self.start(2, lease=30)
        watcher = await self.on(one, "watcher")
        await watcher.join(self.room)
        await watcher.ok(type="presence_watch", user_ids=[self.user("ann")])
        ann = await self.on(two, "ann")
        await ann.join(self.room)
        await watcher.expect("presence", user_id=self.user("ann"), status="online")
        two.stop()
        await watcher.expect("user_left", timeout=25 * SLOWNESS, user_id=self.user("ann"))
        await watcher.expect("presence", timeout=25 * SLOWNESS, user_id=self.user("ann"), status="offline")


if __name__ == "__main__":
    import support
    support.main()
