import support
from support import Case, with_shards


@with_shards(1, 2)
class History(Case):
    async def filled(self, count):
        ann, = await self.members("ann")
        for n in range(1, count + 1):
            await ann.send(type="room_message", room_id=self.room, content=n)
        await ann.expect("message", seq=count, timeout=4 * support.WAIT_S)
        return ann

    async def page(self, client, **options):
        page = await client.ok(type="history", room_id=self.room, **options)
        self.assertEqual((page["type"], page["room_id"]), ("history", self.room))
        return [e["seq"] for e in page["messages"]], page["more"]

    async def test_the_newest_when_nothing_is_said(self):
        ann = await self.filled(120)
        self.assertEqual(await self.page(ann), (list(range(71, 121)), True))
        self.assertEqual(await self.page(ann, limit=3), ([118, 119, 120], True))
        self.assertEqual(await self.page(ann, limit=500), (list(range(1, 121)), False))

    async def test_forward_from_since(self):
        ann = await self.filled(25)
        seen, since, pages = [], 0, 0
        while True:
            page, more = await self.page(ann, since_seq=since, limit=10)
            seen += page
            pages += 1
            if not more:
                break
            since = page[-1]
        self.assertEqual((seen, pages), (list(range(1, 26)), 3))
        self.assertEqual(await self.page(ann, since_seq=25), ([], False))

    async def test_backward_from_before(self):
        ann = await self.filled(25)
        seen, before = [], 26
        while True:
            page, more = await self.page(ann, before_seq=before, limit=10)
            seen = page + seen
            if not more:
                break
            before = page[0]
        self.assertEqual(seen, list(range(1, 26)))
        self.assertEqual(await self.page(ann, before_seq=1), ([], False))

    async def test_entries_are_the_events_that_were_sent(self):
        ann, bob = await self.members("ann", "bob")
        await ann.ok(type="room_message", room_id=self.room, content={"a": [1.50]}, message_id="m")
        event = await bob.expect("message")
        page = await bob.ok(type="history", room_id=self.room)
        self.assertEqual(page["messages"], [event])
        self.assertIn(bob.raw[-2] if '"type":"message"' in bob.raw[-2] else bob.raw[-3], bob.raw[-1])

    async def test_an_empty_room(self):
        ann, = await self.members("ann")
        self.assertEqual(await self.page(ann), ([], False))

    async def test_bad_limits(self):
        ann, = await self.members("ann")
        for limit in (0, -1, 501, "10", 1.5, [1]):
            error = await ann.refused("bad_field", type="history", room_id=self.room, limit=limit)
            self.assertEqual(error["field"], "limit")
        for key in ("since_seq", "before_seq"):
            error = await ann.refused("bad_field", type="history", room_id=self.room, **{key: -1})
            self.assertEqual(error["field"], key)


class Retention(Case):
    settings = ("--retain-count", "10", "--retain-age", "1s", "--shards", "2")

    async def test_count_and_age(self):
        ann, = await self.members("ann")
        for n in range(30):
            await ann.ok(type="room_message", room_id=self.room, content=n)
        page = await ann.ok(type="history", room_id=self.room, limit=500)
        count = len(page["messages"])  # on a slow machine some are too old already
        self.assertLessEqual(count, 10)
        self.assertEqual([e["seq"] for e in page["messages"]], list(range(31 - count, 31)))
        deadline = support.time.monotonic() + 2 * support.WAIT_S
        while (await ann.ok(type="history", room_id=self.room))["messages"]:
            self.assertLess(support.time.monotonic(), deadline, "messages outlive retain_age")
            await support.asyncio.sleep(0.1)
        self.assertEqual((await ann.ok(type="room_message", room_id=self.room, content=0))["seq"], 31)


class RetainedBytes(Case):
    settings = ("--retain-bytes", "16KiB",)

    async def test_bytes(self):
        ann, = await self.members("ann")
        for n in range(20):
            await ann.ok(type="room_message", room_id=self.room, content="x" * 2000)
        page = await ann.ok(type="history", room_id=self.room, limit=500)
        self.assertEqual(page["messages"][-1]["seq"], 20)
        self.assertLessEqual(len(page["messages"]), 8)
        self.assertGreaterEqual(len(page["messages"]), 4)


class RetentionRules(Case):
    settings = ("--retain", "room:few* count=3", "--retain", r"room:tea\ room? count=0", "--retain", "room:short* age=1s",
                "--retain", "inbox:bob* count=2", "--retain-count", "8", "--shards", "2")

    async def kept(self, client, room, count=12):
        await client.join(room)
        for n in range(count):
            await client.ok(type="room_message", room_id=room, content=n)
        return await self.history(client, room_id=room)

    async def history(self, client, **options):
        return [e["seq"] for e in (await client.ok(type="history", limit=500, **options))["messages"]]

    async def test_the_first_rule_that_fits_a_room(self):
        ann = await self.client("ann")
        self.assertEqual(await self.kept(ann, "few"), [10, 11, 12])
        self.assertEqual(await self.kept(ann, "few-\u00fc"), [10, 11, 12])
        self.assertEqual(await self.kept(ann, "tea room\u00fc"), [])
        self.assertEqual(await self.kept(ann, "tea room"), list(range(5, 13)))
        self.assertEqual(await self.kept(ann, "a few"), list(range(5, 13)))
        self.assertEqual((await ann.ok(type="room_message", room_id="tea room\u00fc", content=0))["seq"], 13)

    async def test_an_age(self):
        ann = await self.client("ann")
        await self.kept(ann, "long", 1)
        await self.kept(ann, "short", 1)
        deadline = support.time.monotonic() + 2 * support.WAIT_S
        while await self.history(ann, room_id="short"):
            self.assertLess(support.time.monotonic(), deadline, "messages outlive their rule's age")
            await support.asyncio.sleep(0.1)
        self.assertEqual(await self.history(ann, room_id="long"), [1])

    async def test_an_inbox(self):
        ann, bob = await self.client("ann"), await self.client("bob")
        cat, room = await self.client("cat"), "bob"
        for to in (bob, cat):
            for n in range(5):
                await ann.ok(type="direct_message", to_user=to.connected["user_id"], content=n)
            await to.expect("direct_message", content=4)
        self.assertEqual(await self.history(bob), [4, 5])
        self.assertEqual(await self.history(cat), [1, 2, 3, 4, 5])
        self.assertEqual(await self.kept(ann, room), list(range(5, 13)))


if __name__ == "__main__":
    support.main()
