import re

import support
from support import Case, with_shards

ISO_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")


@with_shards(1, 2)
class Presence(Case):
    async def query(self, client, *names):
        users = [self.user(name) for name in names]
        ack = await client.ok(type="presence_query", user_ids=users)
        self.assertEqual((ack["type"], ack["count"]), ("ack", len(users)))
        return [await client.expect("presence", user_id=user) for user in users]

    async def test_query(self):
        ann, bob = await self.client("ann"), await self.client("bob")
        online, never = await self.query(ann, "bob", "nobody")
        self.assertEqual(online["status"], "online")
        self.assertRegex(online["last_seen"], ISO_TIME)
        self.assertEqual((never["status"], never["last_seen"]), ("offline", None))
        await ann.ok(type="presence_watch", user_ids=[self.user("bob")])
        await ann.expect("presence", user_id=self.user("bob"), status="online")
        await bob.close()
        await ann.expect("presence", user_id=self.user("bob"), status="offline")
        gone, = await self.query(ann, "bob")
        self.assertEqual(gone["status"], "offline")
        self.assertRegex(gone["last_seen"], ISO_TIME)

    async def test_query_without_an_id_has_no_ack(self):
        ann = await self.client("ann")
        await ann.send(type="presence_query", user_ids=[self.user("x")])
        await ann.expect("presence")
        await ann.silent("ack")

    async def test_watch_tells_now_and_later(self):
        ann = await self.client("ann")
        bob_id = self.user("bob")
        self.assertEqual((await ann.ok(type="presence_watch", user_ids=[bob_id]))["type"], "ack")
        await ann.expect("presence", user_id=bob_id, status="offline")
        bob = await self.client("bob")
        await ann.expect("presence", user_id=bob_id, status="online")
        self.assertEqual((await bob.ok(type="set_status", status="busy"))["type"], "ack")
        await ann.expect("presence", user_id=bob_id, status="busy")
        await bob.ok(type="set_status", status="away")
        await ann.expect("presence", user_id=bob_id, status="away")
        await bob.close()
        await ann.expect("presence", user_id=bob_id, status="offline")
        await ann.ok(type="presence_unwatch", user_ids=[bob_id])
        await self.client("bob")
        await ann.silent("presence")

    async def test_a_user_is_what_the_best_session_is(self):
        ann, bob1 = await self.client("ann"), await self.client("bob")
        bob_id = self.user("bob")
        await ann.ok(type="presence_watch", user_ids=[bob_id])
        await ann.expect("presence", status="online")
        bob2 = await self.client("bob")
        await bob1.ok(type="set_status", status="away")
        await ann.silent("presence")  # the other session is online
        await bob2.ok(type="set_status", status="busy")
        await ann.expect("presence", user_id=bob_id, status="busy")
        await bob2.close()
        await ann.expect("presence", user_id=bob_id, status="away")
        await bob1.close()
        await ann.expect("presence", user_id=bob_id, status="offline")

    async def test_what_is_not_a_status(self):
        ann = await self.client("ann")
        for status in ("offline", "sleeping", "", 1):
            error = await ann.refused("bad_field", type="set_status", status=status)
            self.assertEqual(error["field"], "status")
        await ann.refused("missing_field", type="set_status")
        for users in ("x", [1], [""], ["\x01"], {}):
            error = await ann.refused("bad_field", type="presence_query", user_ids=users)
            self.assertEqual(error["field"], "user_ids")


class WatchLimit(Case):
    settings = ("--max-watches-per-session", "3", "--shards", "2")

    async def test_too_many_watches(self):
        ann = await self.client("ann")
        await ann.ok(type="presence_watch", user_ids=["a", "b", "c"])
        await ann.refused("too_many_watches", type="presence_watch", user_ids=["d"])
        await ann.ok(type="presence_unwatch", user_ids=["a"])
        await ann.ok(type="presence_watch", user_ids=["d"])


@with_shards(1, 2)
class Typing(Case):
    settings = ("--typing-ttl", "1s")

    async def test_started_once_and_stopped(self):
        ann, bob = await self.members("ann", "bob")
        for _ in range(3):
            await ann.send(type="typing_start", room_id=self.room)
        event = await bob.expect("typing_start")
        self.assertEqual((event["user_id"], event["room_id"]), (self.user("ann"), self.room))
        self.assertIsNone(bob.take("typing_start"))
        await ann.ok(type="typing_stop", room_id=self.room)
        await bob.expect("typing_stop", user_id=self.user("ann"), room_id=self.room)
        await bob.silent("typing_start")
        await ann.ok(type="typing_stop", room_id=self.room)
        await bob.silent("typing_stop")

    async def test_it_stops_by_itself(self):
        ann, bob = await self.members("ann", "bob")
        started = support.time.monotonic()
        await ann.send(type="typing_start", room_id=self.room)
        await bob.expect("typing_start")
        await bob.expect("typing_stop", timeout=1 + support.WAIT_S, user_id=self.user("ann"))
        self.assertGreater(support.time.monotonic() - started, 0.95)

    async def test_a_message_ends_it(self):
        ann, bob = await self.members("ann", "bob")
        await ann.send(type="typing_start", room_id=self.room)
        await bob.expect("typing_start")
        await ann.send(type="room_message", room_id=self.room, content="done")
        await bob.expect("message")
        self.assertIsNotNone(bob.take("typing_stop"))  # it came before the message
        await bob.silent("typing_stop")

    async def test_leaving_ends_it(self):
        ann, bob = await self.members("ann", "bob")
        await ann.send(type="typing_start", room_id=self.room)
        await bob.expect("typing_start")
        await ann.close()
        await bob.expect("typing_stop", user_id=self.user("ann"))
        await bob.expect("user_left", user_id=self.user("ann"))


@with_shards(1, 2)
class LongTyping(Case):
    settings = ("--typing-ttl", f"{int(2000 * support.SLOWNESS)}ms")

    async def test_repeating_prolongs_it(self):
        ann, bob = await self.members("ann", "bob")
        ttl = 2 * support.SLOWNESS
        started = support.time.monotonic()
        await ann.send(type="typing_start", room_id=self.room)
        await bob.expect("typing_start")
        while support.time.monotonic() - started < 1.2 * ttl:
            await support.asyncio.sleep(0.1 * ttl)
            repeated = support.time.monotonic()
            await ann.ok(type="typing_start", room_id=self.room)
        await bob.expect("typing_stop", timeout=ttl + support.WAIT_S)
        self.assertGreater(support.time.monotonic() - repeated, 0.95 * ttl)
        await bob.silent("typing_start")


if __name__ == "__main__":
    support.main()
