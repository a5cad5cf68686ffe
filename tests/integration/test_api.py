"""The HTTP API for backends, by Python's http.client, and what sessions hear of it."""

import asyncio
import concurrent.futures
import http.client
import json
import time

import support
from support import WAIT_S, Case, quoted, with_shards


class Backend:
    """A keep-alive connection of a backend."""

    def __init__(self, server, **headers):
        self.http = http.client.HTTPConnection("127.0.0.1", server.port, timeout=WAIT_S * 2)
        self.headers = headers

    def close(self):
        self.http.close()

    def ask(self, method, path, body=None, raw=None, **headers):
        """(status, decoded body, headers in lower case)."""
        if body is not None:
            raw = json.dumps(body)
        self.http.request(method, path, body=raw, headers={**self.headers, **headers})
        response = self.http.getresponse()
        text = response.read()
        return response.status, json.loads(text), {k.lower(): v for k, v in response.getheaders()}


class ApiCase(Case):
    def setUp(self):
        super().setUp()
        self.backend = Backend(self.server)
        self.addCleanup(self.backend.close)

    def ask(self, method, path, body=None, **more):
        return self.backend.ask(method, path, body, **more)

    def ok(self, method, path, body=None, **more):
        status, answer, _ = self.ask(method, path, body, **more)
        self.assertEqual(status, 200, answer)
        return answer

    def refused(self, status, code, method, path, body=None, **more):
        got, answer, headers = self.ask(method, path, body, **more)
        self.assertEqual((got, answer.get("error", {}).get("code")), (status, code), answer)
        self.assertTrue(answer["error"]["message"])
        return headers

    def room_path(self, rest=""):
        return f"/api/rooms/{quoted(self.room)}{rest}"

    def user_path(self, name, rest=""):
        return f"/api/users/{quoted(self.user(name))}{rest}"

    async def later(self, call, *args, **more):
        """Runs a blocking call while sessions go on."""
        return await asyncio.get_running_loop().run_in_executor(None, lambda: call(*args, **more))


@with_shards(1, 2)
class Notifications(ApiCase):
    async def test_a_notification_reaches_all_sessions_and_is_kept(self):
        one, two = await self.client("ann"), await self.client("ann")
        path = "/notify/" + quoted(self.user("ann"))
        answer = self.ok("POST", path, raw='{"title":"Paid","n": 1.50,"id":"mine","type":"mine","seq":9}')
        self.assertEqual((answer["status"], answer["seq"], answer["sessions"]), ("sent", 1, 2))
        for client in (one, two):
            event = await client.expect("notification")
            self.assertEqual(event, {"type": "notification", "id": answer["id"], "seq": 1, "title": "Paid", "n": 1.5})
            self.assertIn('"n":1.50', client.raw[-1])
        history = await one.ok(type="history")
        self.assertEqual([e["title"] for e in history["messages"]], ["Paid"])

    async def test_one_who_is_away_finds_it(self):
        path = "/notify/" + quoted(self.user("ann"))
        self.assertEqual(self.ok("POST", path, {})["sessions"], 0)
        self.assertEqual(self.ok("POST", path, {"a": 1})["seq"], 2)
        ann = await self.client("ann")
        self.assertEqual([e["seq"] for e in (await ann.ok(type="history"))["messages"]], [1, 2])

    async def test_send_takes_the_type_that_the_body_has(self):
        ann = await self.client("ann")
        path = "/send/" + quoted(self.user("ann"))
        for given, got in (("order.paid", "order.paid"), (None, "message"), (7, "message"), ("connected", "message"),
                           ("presence", "message"), ("a b", "message"), ("x" * 65, "message"), ("", "message"),
                           ("message", "message"), ("notification", "notification"), ("A-z_0.9", "A-z_0.9")):
            body = {"n": 1} if given is None else {"type": given, "n": 1}
            answer = self.ok("POST", path, body)
            event = await ann.expect(got, id=answer["id"])
            self.assertEqual(event["n"], 1)

    async def test_what_is_no_object_is_refused(self):
        for path in ("/notify/ann", "/send/ann", self.room_path("/messages"), "/api/batch", "/api/broadcast"):
            for raw in ("", "[]", "1", '{"a":}', '{"a":1}x', "\x00"):
                self.refused(400, "bad_json", "POST", path, raw=raw)
        self.refused(400, "bad_request", "POST", "/notify/%zz", {})
        self.refused(400, "bad_request", "POST", "/notify/%00", {})
        self.refused(400, "bad_request", "POST", "/notify/" + "x" * 257, {})


@with_shards(1, 2)
class RoomMessages(ApiCase):
    async def test_it_reaches_the_room_byte_for_byte(self):
        (ann, bob) = await self.members("ann", "bob")
        content = '[ 1.50 ,"\\u00e9" , {}  ,1e2]'
        answer = self.ok("POST", self.room_path("/messages"), raw='{"content":' + content + ',"message_id":"m1"}')
        self.assertEqual((answer["room_id"], answer["seq"], answer["sessions"]), (self.room, 1, 2))
        for client in (ann, bob):
            event = await client.expect("message")
            self.assertEqual((event["id"], event["from"], event["message_id"]), (answer["id"], "server", "m1"))
            self.assertIn('"content":' + content + ",", client.raw[-1])

    async def test_from_is_anyone(self):
        (ann,) = await self.members("ann")
        self.ok("POST", self.room_path("/messages"), {"content": 1, "from": "système"})
        self.assertEqual((await ann.expect("message"))["from"], "système")

    async def test_a_repeated_message_id_is_stored_once(self):
        body = {"content": 1, "message_id": "m"}
        first = self.ok("POST", self.room_path("/messages"), body)
        again = self.ok("POST", self.room_path("/messages"), body)
        self.assertEqual((again["seq"], again["id"], again["duplicate"]), (1, first["id"], True))
        self.assertNotIn("duplicate", first)
        self.assertEqual(self.ok("POST", self.room_path("/messages"), {**body, "from": "other"})["seq"], 2)

    async def test_an_excluded_user_gets_it_neither_now_nor_later(self):
        (ann, ann2, bob) = await self.members("ann", "ann", "bob")
        self.ok("POST", self.room_path("/messages"), {"content": 1, "exclude_user": self.user("ann")})
        self.ok("POST", self.room_path("/messages"), {"content": 2})
        self.assertEqual((await bob.expect("message"))["content"], 1)
        for client in (ann, ann2):
            self.assertEqual((await client.expect("message"))["content"], 2)
        late = await self.client("ann")
        await late.join(self.room, since=0)
        self.assertEqual((await late.expect("message"))["content"], 2)
        self.assertEqual((await bob.expect("message"))["content"], 2)
        bob2 = await self.client("bob")
        await bob2.join(self.room, since=0)
        self.assertEqual((await bob2.expect("message"))["content"], 1)

    async def test_an_ephemeral_message_is_not_kept(self):
        (ann, bob) = await self.members("ann", "bob")
        self.ok("POST", self.room_path("/messages"), {"content": 1})
        answer = self.ok("POST", self.room_path("/messages"),
                         {"content": 2, "ephemeral": True, "exclude_user": self.user("bob")})
        self.assertEqual(answer, {"room_id": self.room, "ephemeral": True, "sessions": 2})
        self.assertEqual(self.ok("POST", self.room_path("/messages"), {"content": 3})["seq"], 2)
        for _ in range(1):
            await ann.expect("message", content=1)
        event = await ann.expect("message")
        self.assertEqual({k: v for k, v in event.items() if k != "timestamp"},
                         {"type": "message", "room_id": self.room, "from": "server", "content": 2, "ephemeral": True})
        await ann.expect("message", content=3)
        await bob.expect("message", content=3)
        self.assertIsNone(bob.take("message", content=2))
        self.assertEqual([m["content"] for m in self.ok("GET", self.room_path("/messages"))["messages"]], [1, 3])

    async def test_history_by_pages(self):
        for n in range(1, 8):
            self.ok("POST", self.room_path("/messages"), {"content": n})
        path = self.room_path("/messages")

        def seqs(query):
            answer = self.ok("GET", path + query)
            self.assertEqual(answer["room_id"], self.room)
            self.assertEqual([m["type"] for m in answer["messages"]], ["message"] * len(answer["messages"]))
            return [m["seq"] for m in answer["messages"]], answer["more"]

        self.assertEqual(seqs(""), ([1, 2, 3, 4, 5, 6, 7], False))
        self.assertEqual(seqs("?limit=3"), ([5, 6, 7], True))
        self.assertEqual(seqs("?before_seq=5&limit=2"), ([3, 4], True))
        self.assertEqual(seqs("?since_seq=5"), ([6, 7], False))
        self.assertEqual(seqs("?since_seq=0&limit=2"), ([1, 2], True))
        self.assertEqual(seqs("?since_seq=7"), ([], False))
        self.assertEqual(self.ok("GET", "/api/rooms/nobody%20was%20here/messages")["messages"], [])
        for query in ("?limit=0", "?limit=1001", "?limit=x", "?since_seq=-1", "?since_seq=1&before_seq=2", "?limit="):
            self.refused(400, "bad_request", "GET", path + query)

    async def test_wrong_fields(self):
        path = self.room_path("/messages")
        self.refused(400, "missing_field", "POST", path, {})
        for field, value in (("from", 1), ("from", ""), ("from", "a\x01"), ("message_id", ""), ("message_id", "x" * 129),
                             ("message_id", 1), ("exclude_user", ""), ("ephemeral", 1), ("ephemeral", "true"),
                             ("report", "later"), ("ack_within_ms", -1), ("ack_within_ms", 60001),
                             ("ack_within_ms", "1")):
            with self.subTest(field=field, value=value):
                self.refused(400, "bad_field", "POST", path, {"content": 1, field: value})
        self.assertEqual(self.ok("POST", path, {"content": None, "unknown": 1})["seq"], 1)

    async def test_a_large_body_is_refused(self):
        self.refused(413, "payload_too_large", "POST", self.room_path("/messages"), {"content": "x" * 1100000})


@with_shards(1, 2)
class UserMessages(ApiCase):
    async def test_a_message_to_a_user(self):
        one, two = await self.client("ann"), await self.client("ann")
        answer = self.ok("POST", self.user_path("ann", "/messages"), {"content": {"hi": 1}, "from": "shop"})
        self.assertEqual((answer["seq"], answer["sessions"]), (1, 2))
        for client in (one, two):
            event = await client.expect("direct_message")
            self.assertEqual((event["id"], event["from"], event["to_user"], event["content"]),
                             (answer["id"], "shop", self.user("ann"), {"hi": 1}))

    async def test_an_ephemeral_one_is_only_for_who_is_there(self):
        self.assertEqual(self.ok("POST", self.user_path("ann", "/messages"), {"content": 1, "ephemeral": True})
                         ["sessions"], 0)
        ann = await self.client("ann")
        self.ok("POST", self.user_path("ann", "/messages"), {"content": 2, "ephemeral": True})
        event = await ann.expect("direct_message")
        self.assertEqual((event["content"], event["ephemeral"]), (2, True))
        self.assertNotIn("seq", event)
        self.assertEqual((await ann.ok(type="history"))["messages"], [])

    async def test_to_many_users(self):
        clients = [await self.client(f"u{n}") for n in range(4)]
        users = [self.user(f"u{n}") for n in range(6)]
        results = self.ok("POST", "/api/users/messages", {"user_ids": users, "content": "x"})["results"]
        self.assertEqual([(r["user_id"], r["seq"], r["sessions"]) for r in results],
                         [(user, 1, 1 if n < 4 else 0) for n, user in enumerate(users)])
        for n, client in enumerate(clients):
            self.assertEqual((await client.expect("direct_message"))["to_user"], users[n])
        self.assertEqual(self.ok("POST", "/api/users/messages", {"user_ids": [], "content": 1})["results"], [])
        self.refused(400, "missing_field", "POST", "/api/users/messages", {"content": 1})
        self.refused(400, "bad_field", "POST", "/api/users/messages", {"user_ids": [1], "content": 1})
        self.refused(413, "payload_too_large", "POST", "/api/users/messages",
                     {"user_ids": ["u"] * 1001, "content": 1})

    async def test_a_batch(self):
        (ann,) = await self.members("ann")
        publishes = [{"room_id": self.room, "content": 1}, {"to_user": self.user("ann"), "content": 2},
                     {"content": 3}, {"room_id": self.room}, {"room_id": self.room, "to_user": "x", "content": 4}, 5,
                     {"room_id": self.room, "content": 6, "ephemeral": True}, {"room_id": self.room, "content": 7}]
        results = self.ok("POST", "/api/batch", {"publishes": publishes})["results"]
        self.assertEqual(len(results), len(publishes))
        self.assertEqual((results[0]["room_id"], results[0]["seq"], results[0]["sessions"]), (self.room, 1, 1))
        self.assertEqual((results[1]["user_id"], results[1]["seq"]), (self.user("ann"), 1))
        self.assertEqual([results[n]["error"]["code"] for n in (2, 3, 4, 5)],
                         ["bad_field", "missing_field", "bad_field", "bad_json"])
        self.assertEqual(results[6], {"room_id": self.room, "ephemeral": True, "sessions": 1})
        self.assertEqual(results[7]["seq"], 2)
        self.assertEqual([(await ann.expect("message"))["content"] for _ in range(3)], [1, 6, 7])
        await ann.expect("direct_message", content=2)

    async def test_a_large_batch_in_order_over_many_rooms(self):
        rooms = [f"{n} {self.room}" for n in range(10)]
        publishes = [{"room_id": rooms[n % 10], "content": n} for n in range(1000)]
        results = self.ok("POST", "/api/batch", {"publishes": publishes})["results"]
        self.assertEqual([(r["room_id"], r["seq"]) for r in results],
                         [(rooms[n % 10], n // 10 + 1) for n in range(1000)])
        contents = [m["content"] for m in self.ok("GET", f"/api/rooms/{quoted(rooms[3])}/messages")["messages"]]
        self.assertEqual(contents, list(range(3, 1000, 10)))
        self.refused(413, "payload_too_large", "POST", "/api/batch", {"publishes": publishes + publishes[:1]})
        self.assertEqual(self.ok("POST", "/api/batch", {"publishes": []})["results"], [])
        self.refused(400, "missing_field", "POST", "/api/batch", {})

    async def test_a_broadcast_reaches_every_session_once(self):
        (ann, bob) = await self.members("ann", "bob")
        carl = await self.client("carl")
        answer = self.ok("POST", "/api/broadcast", {"content": {"down": "soon"}, "from": "ops"})
        self.assertGreaterEqual(answer["sessions"], 3)
        for client in (ann, bob, carl):
            event = await client.expect("broadcast")
            self.assertEqual((event["from"], event["content"]), ("ops", {"down": "soon"}))
            self.assertIn("timestamp", event)
            await client.silent("broadcast")

    async def test_a_broadcast_waits_for_a_poller(self):
        user = quoted(self.user("ann"))
        cursor = self.ok("GET", f"/poll/{user}?timeout=5")["cursor"]  # with `connected`: now a broadcast finds it
        self.ok("POST", "/api/broadcast", {"content": 1, "from": self.mark})
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            answer = self.ok("GET", f"/poll/{user}?timeout=1&cursor={quoted(cursor)}")
            if any(e["type"] == "broadcast" and e["from"] == self.mark for e in answer["messages"]):
                return
            cursor = answer["cursor"]
        self.fail("the broadcast did not come")


@with_shards(1, 2)
class Rooms(ApiCase):
    async def test_rooms_by_pages(self):
        ann, bob = await self.client("ann"), await self.client("bob")
        prefix = self.room + "/"
        names = [f"{prefix}{n:02}" for n in range(25)]
        for name in names:
            await ann.join(name)
        await bob.join(names[3])
        self.ok("POST", f"/api/rooms/{quoted(names[3])}/messages", {"content": 1})
        seen = []
        after = ""
        for _ in range(10):
            page = self.ok("GET", f"/api/rooms?limit=10&prefix={quoted(prefix)}&after={quoted(after)}")
            seen += page["rooms"]
            after = page["next"]
            if after is None:
                break
        self.assertEqual([r["room_id"] for r in seen], names)
        self.assertEqual(seen[3], {"room_id": names[3], "members": 2, "sessions": 2, "seq": 1})
        page = self.ok("GET", f"/api/rooms?limit=25&prefix={quoted(prefix)}")
        self.assertEqual((len(page["rooms"]), page["next"]), (25, None))
        self.assertEqual(self.ok("GET", "/api/rooms?prefix=no%20such"), {"rooms": [], "next": None})
        for query in ("limit=0", "limit=1001", "limit=a"):
            self.refused(400, "bad_request", "GET", "/api/rooms?" + query)

    async def test_one_room(self):
        self.refused(404, "not_found", "GET", self.room_path())
        (ann, ann2, _) = await self.members("ann", "ann", "bob")
        room = self.ok("GET", self.room_path())
        self.assertEqual((room["room_id"], room["members"], room["sessions"], room["seq"]), (self.room, 2, 3, 0))
        await ann.ok(type="room_message", room_id=self.room, content=1)
        self.assertEqual(self.ok("GET", self.room_path())["seq"], 1)
        self.assertEqual((await ann2.ok(type="history", room_id=self.room))["epoch"], room["epoch"])

    async def test_a_room_without_members_that_keeps_something(self):
        self.ok("POST", self.room_path("/messages"), {"content": 1})
        room = self.ok("GET", self.room_path())
        self.assertEqual((room["members"], room["sessions"], room["seq"]), (0, 0, 1))

    async def test_members_by_pages(self):
        names = [f"m{n:02}" for n in range(23)]
        await self.members(*reversed(names), "m07")
        users = sorted(self.user(name) for name in names)
        seen = []
        after = ""
        for _ in range(10):
            page = self.ok("GET", self.room_path(f"/members?limit=10&after={quoted(after)}"))
            self.assertEqual((page["member_count"], page["room_id"]), (23, self.room))
            seen += page["members"]
            after = page["next"]
            if after is None:
                break
        self.assertEqual(seen, users)
        self.assertEqual(self.ok("GET", "/api/rooms/nobody/members"),
                         {"room_id": "nobody", "members": [], "member_count": 0, "next": None})

    async def test_who_types(self):
        (ann, bob) = await self.members("ann", "bob")
        self.assertEqual(self.ok("GET", self.room_path("/typing")), {"room_id": self.room, "users": []})
        await ann.ok(type="typing_start", room_id=self.room)
        await bob.expect("typing_start")
        self.assertEqual(self.ok("GET", self.room_path("/typing"))["users"], [self.user("ann")])

    async def test_a_user_is_put_into_a_room_and_taken_out(self):
        (bob,) = await self.members("bob")
        one, two = await self.client("ann"), await self.client("ann")
        path = self.room_path("/members/" + quoted(self.user("ann")))
        self.assertEqual(self.ok("PUT", path), {"sessions": 2})
        # Whoever publishes after the answer reaches them.
        self.ok("POST", self.room_path("/messages"), {"content": 1})
        for client in (one, two):
            joined = await client.expect("joined")
            self.assertEqual((joined["room_id"], joined["member_count"]), (self.room, 2))
            self.assertNotIn("id", joined)
            await client.expect("message", content=1)
        await bob.expect("user_joined", user_id=self.user("ann"))
        await one.ok(type="room_message", room_id=self.room, content=2)
        self.assertEqual(self.ok("PUT", path), {"sessions": 2})  # again: nothing changes
        await one.silent("joined")
        self.assertEqual(self.ok("DELETE", path), {"sessions": 2})
        for client in (one, two):
            self.assertEqual(await client.expect("removed"), {"type": "removed", "room_id": self.room})
        await bob.expect("user_left", user_id=self.user("ann"))
        await one.refused("not_in_room", type="room_message", room_id=self.room, content=3)
        self.assertEqual(self.ok("DELETE", path), {"sessions": 0})
        self.assertEqual(self.ok("PUT", self.room_path("/members/nobody")), {"sessions": 0})

    async def test_a_deleted_room(self):
        clients = await self.members("ann", "ann", "bob", "carl")
        for n in range(3):
            await clients[0].ok(type="room_message", room_id=self.room, content=n)
        before = self.ok("GET", self.room_path())
        self.assertEqual(self.ok("DELETE", self.room_path()), {"sessions": 4})
        self.refused(404, "not_found", "GET", self.room_path())
        for client in clients:
            self.assertEqual(await client.expect("removed"), {"type": "removed", "room_id": self.room})
            await client.refused("not_in_room", type="room_message", room_id=self.room, content=3)
        # It may come back: as another one.
        joined = await clients[1].join(self.room, since=2, epoch=before["epoch"])
        self.assertEqual((joined["seq"], joined["recovered"], joined["member_count"]), (0, False, 1))
        self.assertNotEqual(joined["epoch"], before["epoch"])
        self.assertEqual(self.ok("POST", self.room_path("/messages"), {"content": "new"})["seq"], 1)
        await clients[1].expect("message", content="new", seq=1)
        self.assertEqual([m["content"] for m in self.ok("GET", self.room_path("/messages"))["messages"]], ["new"])
        self.assertEqual(self.ok("DELETE", "/api/rooms/never%20was"), {"sessions": 0})

    async def test_rooms_deleted_while_people_come_and_go(self):
        clients = await self.members("a", "b", "c", "d")

        async def storm(client):
            for n in range(30):
                await client.call(type="join_room", room_id=self.room)
                await client.call(type="room_message", room_id=self.room, content=n)
                if n % 3 == 0:
                    await client.call(type="leave_room", room_id=self.room)

        def erase():
            backend = Backend(self.server)
            for _ in range(40):
                backend.ask("DELETE", self.room_path())
            backend.close()

        await asyncio.gather(*(storm(client) for client in clients), self.later(erase))
        self.ok("DELETE", self.room_path())
        self.refused(404, "not_found", "GET", self.room_path())  # nobody was counted twice, or forgotten
        for client in clients:
            client.events.clear()
            await client.join(self.room)
        self.assertEqual(self.ok("GET", self.room_path())["sessions"], 4)
        self.ok("POST", self.room_path("/messages"), {"content": "after"})
        for client in clients:
            await client.expect("message", content="after", seq=1)


@with_shards(1, 2)
class Users(ApiCase):
    async def test_users_by_pages_and_their_number(self):
        before = self.ok("GET", "/api/users/count")
        clients = [await self.client(f"u{n}") for n in range(7)]
        extra = await self.client("u0")
        await clients[1].ok(type="set_status", status="busy")
        count = self.ok("GET", "/api/users/count")
        self.assertGreaterEqual(count["count"], 7)
        self.assertGreaterEqual(count["sessions"], 8)
        self.assertEqual(set(before), {"count", "sessions"})
        seen = []
        after = "u"
        while after is not None:
            page = self.ok("GET", f"/api/users?limit=2&after={quoted(after)}")
            seen += page["users"]
            after = page["next"]
        ours = [u for u in seen if u["user_id"].endswith(self.mark)]
        self.assertEqual([(u["user_id"], u["status"], u["sessions"]) for u in ours],
                         [(self.user(f"u{n}"), "busy" if n == 1 else "online", 2 if n == 0 else 1) for n in range(7)])
        self.assertEqual(seen, sorted(seen, key=lambda user: user["user_id"].encode()))
        await extra.close()

    async def test_presence(self):
        ann = await self.client("ann")
        presence = self.ok("GET", self.user_path("ann", "/presence"))
        self.assertEqual((presence["user_id"], presence["status"]), (self.user("ann"), "online"))
        self.assertTrue(presence["last_seen"])
        await ann.ok(type="set_status", status="away")
        users = [self.user("ann"), self.user("bob"), self.user("ann")]
        answer = self.ok("POST", "/api/presence/query", {"user_ids": users})
        self.assertEqual([(u["user_id"], u["status"]) for u in answer["users"]],
                         [(users[0], "away"), (users[1], "offline"), (users[0], "away")])
        self.assertEqual(answer["online"], [users[0], users[0]])
        self.assertIsNone(answer["users"][1]["last_seen"])
        self.assertEqual(self.ok("POST", "/api/presence/query", {"user_ids": []}), {"users": [], "online": []})
        self.refused(400, "missing_field", "POST", "/api/presence/query", {})

    async def test_sessions_and_their_end(self):
        clients = [await self.client("ann") for _ in range(3)]
        bob = await self.client("bob")
        await clients[0].ok(type="set_status", status="busy")
        sessions = self.ok("GET", self.user_path("ann", "/sessions"))["sessions"]
        self.assertEqual(sorted((s["session_id"], s["status"]) for s in sessions),
                         sorted((c.connected["session_id"], "busy" if c is clients[0] else "online") for c in clients))
        self.assertEqual(self.ok("POST", self.user_path("ann", "/disconnect")), {"sessions": 3})
        for client in clients:
            self.assertEqual(await client.closed(), 4005)
        deadline = time.monotonic() + WAIT_S
        while self.ok("GET", self.user_path("ann", "/sessions"))["sessions"]:  # the server has yet to see the close
            self.assertLess(time.monotonic(), deadline)
            await asyncio.sleep(0.02)
        await bob.ok(type="ping")
        self.assertEqual(self.ok("POST", self.user_path("ann", "/disconnect")), {"sessions": 0})


@with_shards(1, 2)
class Idempotency(ApiCase):
    async def test_the_same_key_is_one_publish(self):
        for n in range(8):  # keys on both shards
            path = self.room_path(f"{n}/messages")
            first = self.ask("POST", path, {"content": n}, **{"Idempotency-Key": f"key {n}"})
            again = self.ask("POST", path, {"content": "another"}, **{"Idempotency-Key": f"key {n}"})
            self.assertEqual(first[:2], again[:2])
            self.assertEqual((first[2].get("idempotent-replayed"), again[2].get("idempotent-replayed")), (None, "true"))
            self.assertEqual([m["content"] for m in self.ok("GET", path)["messages"]], [n])

    async def test_keys_are_of_one_path(self):
        for room in ("a", "b"):
            answer = self.ok("POST", f"/api/rooms/{room}%20{quoted(self.mark)}/messages", {"content": 1},
                             **{"Idempotency-Key": "same"})
            self.assertEqual(answer["seq"], 1)

    async def test_every_publish_knows_it(self):
        user, room = quoted(self.user("ann")), quoted(self.room)
        message = {"content": 1}
        for path, body in ((f"/notify/{user}", {}), (f"/send/{user}", {}), (f"/api/rooms/{room}/messages", message),
                           (f"/api/users/{user}/messages", message), ("/api/broadcast", message),
                           ("/api/users/messages", {"user_ids": [self.user("ann")], "content": 1}),
                           ("/api/batch", {"publishes": [{"room_id": self.room, "content": 1}]})):
            key = {"Idempotency-Key": self.mark}
            self.assertEqual(self.ok("POST", path, body, **key), self.ok("POST", path, body, **key))
        self.assertEqual(len(self.ok("GET", self.room_path("/messages"))["messages"]), 2)

    async def test_a_refusal_is_remembered_too(self):
        key = {"Idempotency-Key": "k"}
        self.refused(400, "missing_field", "POST", self.room_path("/messages"), {}, **key)
        self.refused(400, "missing_field", "POST", self.room_path("/messages"), {"content": 1}, **key)

    async def test_a_long_key_is_refused(self):
        self.refused(400, "bad_request", "POST", self.room_path("/messages"), {"content": 1},
                     **{"Idempotency-Key": "k" * 256})

    async def test_those_who_come_meanwhile_share_the_answer(self):
        ann = await self.client("ann")

        def publish():
            backend = Backend(self.server)
            answer = backend.ask("POST", self.user_path("ann", "/messages"),
                                 {"content": 1, "report": "sync", "ack_within_ms": 20000},
                                 **{"Idempotency-Key": "k"})
            backend.close()
            return answer

        with concurrent.futures.ThreadPoolExecutor(5) as pool:
            answers = [asyncio.wrap_future(pool.submit(publish)) for _ in range(5)]
            event = await ann.expect("direct_message")
            await ann.settle()
            await ann.ok(type="received", seq=event["seq"])
            answers = await asyncio.gather(*answers)
        self.assertEqual({json.dumps(a[1]) for a in answers}.__len__(), 1)
        self.assertEqual((answers[0][0], answers[0][1]["status"], answers[0][1]["seq"]), (200, "acked", 1))
        await ann.silent("direct_message")


@with_shards(1, 2)
class Bounds(ApiCase):
    settings = ("--idempotency-bytes", "8KiB", "--dedupe-window", "1s", "--reports-max", "2")

    async def test_old_answers_are_forgotten(self):
        path = self.room_path("/messages")
        for n in range(100):
            self.ok("POST", path, {"content": n}, **{"Idempotency-Key": f"k{n}"})
        self.assertEqual(self.ok("POST", path, {"content": "x"}, **{"Idempotency-Key": "k0"})["seq"], 101)

    async def test_the_window_ends(self):
        path = self.room_path("/messages")
        key = {"Idempotency-Key": "k"}
        self.assertEqual(self.ok("POST", path, {"content": 1}, **key)["seq"], 1)
        deadline = time.monotonic() + WAIT_S * 2
        while self.ok("POST", path, {"content": 1}, **key)["seq"] == 1:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.1)

    async def test_no_more_reports_wait_than_may(self):
        users = [self.user(f"u{n}") for n in range(3)]
        clients = [await self.client(f"u{n}") for n in range(3)]
        asked = asyncio.ensure_future(self.later(self.ok, "POST", "/api/users/messages",
                                                 {"user_ids": users, "content": 1, "report": "sync",
                                                  "ack_within_ms": 60000}))
        reading = {asyncio.ensure_future(client.expect("direct_message", timeout=4 * WAIT_S)): client
                   for client in clients}
        waiting = set(reading)
        while len(waiting) > 1:
            reached, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in reached:
                await reading[task].ok(type="received", seq=task.result()["seq"])
        results = (await asked)["results"]
        codes = sorted(r.get("status") or r["error"]["code"] for r in results)
        self.assertEqual(codes, ["acked", "acked", "overloaded"])
        for task in waiting:  # no more than two were to be told
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            self.assertIn("error", results[clients.index(reading[task])])
            await reading[task].silent("direct_message")


@with_shards(1, 2)
class Reports(ApiCase):
    sync = {"report": "sync", "ack_within_ms": 20000}

    async def test_acked(self):
        one, two = await self.client("ann"), await self.client("ann")
        for path, event_type in ((self.user_path("ann", "/messages"), "direct_message"),
                                 ("/notify/" + quoted(self.user("ann")), "notification"),
                                 ("/send/" + quoted(self.user("ann")), "message")):
            waiting = asyncio.ensure_future(self.later(self.ok, "POST", path, {"content": 1, **self.sync}))
            event = await one.expect(event_type)
            self.assertNotIn("report", event)
            self.assertNotIn("ack_within_ms", event)
            await two.ok(type="received", seq=event["seq"])
            self.assertEqual(await waiting, {"user_id": self.user("ann"), "id": event["id"], "seq": event["seq"],
                                             "sessions": 2, "status": "acked"})

    async def test_reached_when_nobody_says_so(self):
        ann = await self.client("ann")
        await ann.ok(type="received", seq=99)  # before the report was asked for
        started = time.monotonic()
        answer = await self.later(self.ok, "POST", self.user_path("ann", "/messages"),
                                  {"content": 1, "report": "sync", "ack_within_ms": 300})
        self.assertEqual((answer["status"], answer["sessions"]), ("reached", 1))
        self.assertGreater(time.monotonic() - started, 0.25)
        answer = self.ok("POST", self.user_path("ann", "/messages"),
                         {"content": 1, "report": "sync", "ack_within_ms": 0})
        self.assertEqual(answer["status"], "reached")

    async def test_an_earlier_seq_is_not_enough(self):
        ann = await self.client("ann")
        self.ok("POST", self.user_path("ann", "/messages"), {"content": 1})
        waiting = asyncio.ensure_future(self.later(self.ok, "POST", self.user_path("ann", "/messages"),
                                                   {"content": 2, "report": "sync", "ack_within_ms": 700}))
        await ann.expect("direct_message", content=2)
        await ann.ok(type="received", seq=1)
        await ann.ok(type="received", seq=2, room_id="elsewhere")
        self.assertEqual((await waiting)["status"], "reached")

    async def test_offline_is_answered_at_once(self):
        started = time.monotonic()
        answer = self.ok("POST", self.user_path("ann", "/messages"), {"content": 1, **self.sync})
        self.assertEqual((answer["status"], answer["sessions"], answer["seq"]), ("offline", 0, 1))
        self.assertLess(time.monotonic() - started, 10)

    async def test_each_of_many(self):
        ann, bob = await self.client("ann"), await self.client("bob")
        users = [self.user(name) for name in ("ann", "bob", "carl")]
        message = {"content": 1, "report": "sync", "ack_within_ms": int(3000 * support.SLOWNESS)}
        waiting = []
        for path, body in (("/api/users/messages", {"user_ids": users, **message}),
                           ("/api/batch", {"publishes": [{"to_user": user, **message} for user in users]})):
            backend = Backend(self.server)
            self.addCleanup(backend.close)
            waiting.append(asyncio.ensure_future(self.later(backend.ask, "POST", path, body)))
        for _ in waiting:
            event = await ann.expect("direct_message")
            await ann.ok(type="received", seq=event["seq"])
            await bob.expect("direct_message")
        for answer in waiting:
            _, body, _ = await answer
            self.assertEqual([(r["user_id"], r["status"]) for r in body["results"]],
                             list(zip(users, ("acked", "reached", "offline"))))

    async def test_over_events_and_poll(self):
        # `received` by POST /sessions/{id}/commands does as well.
        ann = await self.client("ann")
        waiting = asyncio.ensure_future(self.later(self.ok, "POST", self.user_path("ann", "/messages"),
                                                   {"content": 1, **self.sync}))
        event = await ann.expect("direct_message")
        other = Backend(self.server)  # the first one's connection waits for its report
        self.addCleanup(other.close)
        status, _, _ = other.ask(
            "POST", f"/sessions/{ann.connected['session_id']}/commands", {"type": "received", "seq": event["seq"]},
            **{"X-Session-Key": ann.connected["session_key"]})
        self.assertEqual(status, 200)
        self.assertEqual((await waiting)["status"], "acked")


@with_shards(1, 2)
class Stop(ApiCase):
    async def test_stopping_answers_the_reports_that_wait(self):
        server = support.Server("--shards", self.shards)
        self.addCleanup(server.process.kill)
        users = [f"u{n}" for n in range(4)]
        for user in users:
            client = await support.Client.connect(server, user)
            self.addAsyncCleanup(client.close)
        sync = {"content": 1, "report": "sync", "ack_within_ms": 60000}
        asked = [("/api/users/u0/messages", sync), ("/notify/u1", sync),
                 ("/api/users/messages", {"user_ids": [*users, "away"], **sync})]
        backends = [Backend(server) for _ in asked]
        for backend in backends:
            self.addCleanup(backend.close)
        waiting = [asyncio.ensure_future(self.later(backend.ask, "POST", path, body))
                   for backend, (path, body) in zip(backends, asked)]
        deadline = time.monotonic() + WAIT_S
        watcher = Backend(server)
        self.addCleanup(watcher.close)
        while watcher.ask("GET", "/api/stats")[1]["total"]["waiting_reports"] != 2 + len(users):
            self.assertLess(time.monotonic(), deadline)
            await asyncio.sleep(0.02)
        await self.later(server.stop)
        self.assertNotIn("did not close in time", server.log())
        answers = [await each for each in waiting]
        self.assertEqual([status for status, _, _ in answers], [200] * len(asked))
        self.assertEqual([answer["status"] for _, answer, _ in answers[:2]], ["reached"] * 2)
        self.assertEqual([r["status"] for r in answers[2][1]["results"]], ["reached"] * len(users) + ["offline"])
        self.assertEqual({headers["connection"] for _, _, headers in answers}, {"close"})


ALL = (("GET", "/api/rooms"), ("GET", "/api/rooms/r"), ("GET", "/api/users"), ("GET", "/api/users/count"),
       ("GET", "/api/stats"), ("POST", "/notify/u"), ("POST", "/send/u"), ("POST", "/api/batch"),
       ("POST", "/api/rooms/r/messages"), ("DELETE", "/api/rooms/r"), ("PUT", "/api/rooms/r/members/u"))


class Keys(ApiCase):
    settings = ("--api-keys", "first-key", "--api-keys", "second-key")

    def test_a_key_is_needed(self):
        for method, path in ALL:
            body = "{}" if method == "POST" else None
            for headers in ({}, {"Authorization": "Bearer wrong"}, {"X-API-Key": "first-ke"}, {"X-API-Key": ""},
                            {"Authorization": "Basic first-key"}, {"X-API-Key": "first-key2"},
                            {"Authorization": "Bearer"}, {"Authorization": "Bearer  "}):
                with self.subTest(path=path, headers=headers):
                    got = self.refused(401, "unauthorized", method, path, raw=body, **headers)
                    self.assertTrue(got["www-authenticate"].startswith("Bearer"))

    def test_each_key_is_good(self):
        for headers in ({"Authorization": "Bearer first-key"}, {"X-API-Key": "second-key"},
                        {"Authorization": "bearer second-key"}):
            self.ok("GET", "/api/rooms", **headers)

    async def test_sessions_need_none(self):
        ann = await self.client("ann")
        await ann.join(self.room)
        self.assertEqual(self.ok("GET", "/healthz"), {"status": "ok"})

    def test_keys_are_never_shown(self):
        result = support.run("print-config", "--api-keys", "first-key", env={"HUBBUB_LOG_LEVEL": "info"})
        self.assertEqual(result.returncode, 0)
        self.assertNotIn("first-key", result.stdout + result.stderr)
        self.assertIn('api_keys = ["***"]', result.stdout)
        bad = support.run("check-config", "--api-keys", "a secret\twith blanks")
        self.assertEqual(bad.returncode, 2)
        self.assertNotIn("secret", bad.stdout + bad.stderr)
        self.assertNotIn("first-key", self.server.log())


class Open(ApiCase):
    """On an address that others can reach, and without a key."""

    settings = ("--insecure-open", "--listen", "0.0.0.0:0")

    async def test_the_api_is_closed(self):
        for method, path in ALL:
            self.refused(403, "forbidden", method, path, raw="{}" if method == "POST" else None)
        ann = await self.client("ann")
        await ann.join(self.room)


if __name__ == "__main__":
    support.main()
