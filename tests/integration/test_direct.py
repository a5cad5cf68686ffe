import re

import support
from support import Case, with_shards


@with_shards(1, 2)
class DirectMessages(Case):
    async def test_it_reaches_all_sessions_of_both_but_the_senders_own(self):
        ann1, ann2 = await self.client("ann"), await self.client("ann")
        bob1, bob2 = await self.client("bob"), await self.client("bob")
        carl = await self.client("carl")
        ack = await ann1.ok(type="direct_message", to_user=self.user("bob"), content={"hi": 1})
        self.assertEqual(ack["sessions"], 2)
        for client in (ann2, bob1, bob2):
            event = await client.expect("direct_message")
            self.assertEqual((event["from"], event["to_user"]), (self.user("ann"), self.user("bob")))
            self.assertEqual((event["content"], event["id"], event["seq"]), ({"hi": 1}, ack["message"], ack["seq"]))
            await client.silent("direct_message")
        await ann1.silent("direct_message")
        await carl.silent("direct_message")

    async def test_the_event_byte_for_byte(self):
        ann, bob = await self.client("ann"), await self.client("bob")
        await ann.ok(type="direct_message", to_user=self.user("bob"), content=[1, 2])
        await bob.expect("direct_message")
        self.assertTrue(re.match(
            r'\{"type":"direct_message","id":"\d{13}-1","seq":1,"from":"%s","to_user":"%s","content":\[1, 2\],'
            r'"timestamp":"[^"]*Z"\}$' % (re.escape(self.user("ann")), re.escape(self.user("bob"))), bob.raw[-1]),
            bob.raw[-1])

    async def test_to_oneself_each_session_once(self):
        first, second = await self.client("ann"), await self.client("ann")
        await first.ok(type="direct_message", to_user=self.user("ann"), content="note")
        await second.expect("direct_message", content="note")
        await second.silent("direct_message")
        await first.settle()
        self.assertLessEqual(len([e for e in first.events if e["type"] == "direct_message"]), 1)

    async def test_who_was_away_finds_it_in_the_inbox(self):
        ann = await self.client("ann")
        for n in range(1, 4):
            ack = await ann.ok(type="direct_message", to_user=self.user("bob"), content=n)
            self.assertEqual((ack["sessions"], ack["seq"]), (0, n))
        bob = await self.client("bob")
        history = await bob.ok(type="history")
        self.assertEqual(history["type"], "history")
        self.assertEqual([(e["type"], e["seq"], e["content"], e["from"]) for e in history["messages"]],
                         [("direct_message", n, n, self.user("ann")) for n in range(1, 4)])
        self.assertNotIn("room_id", history)
        self.assertIs(history["more"], False)
        self.assertTrue(history["epoch"])

    async def test_an_inbox_is_ones_own(self):
        ann = await self.client("ann")
        await ann.ok(type="direct_message", to_user=self.user("bob"), content=1)
        carl = await self.client("carl")
        self.assertEqual((await carl.ok(type="history"))["messages"], [])

    async def test_a_repeated_message_id_is_delivered_once(self):
        ann, bob = await self.client("ann"), await self.client("bob")
        first = await ann.ok(type="direct_message", to_user=self.user("bob"), content=1, message_id="x")
        again = await ann.ok(type="direct_message", to_user=self.user("bob"), content=1, message_id="x")
        self.assertEqual((again["duplicate"], again["seq"], again["message"]), (True, first["seq"], first["message"]))
        await bob.expect("direct_message")
        await bob.silent("direct_message")

    async def test_received_is_acknowledged(self):
        ann, bob = await self.client("ann"), await self.client("bob")
        await ann.ok(type="direct_message", to_user=self.user("bob"), content=1)
        event = await bob.expect("direct_message")
        self.assertEqual((await bob.ok(type="received", seq=event["seq"]))["type"], "ack")
        await bob.join(self.room)
        self.assertEqual((await bob.ok(type="received", room_id=self.room, seq=0))["type"], "ack")


@with_shards(1, 2)
class Signals(Case):
    async def test_all_sessions_of_the_user_are_signalled(self):
        ann, bob1, bob2 = await self.client("ann"), await self.client("bob"), await self.client("bob")
        data = {"sdp": "v=0\r\n", "type": "offer"}
        await ann.ok(type="signal", to_user=self.user("bob"), data=data)
        for client in (bob1, bob2):
            event = await client.expect("signal")
            self.assertEqual((event["from"], event["from_session"], event["data"]),
                             (self.user("ann"), ann.connected["session_id"], data))
        await ann.silent("signal")

    async def test_one_session_can_be_named(self):
        ann, bob1, bob2 = await self.client("ann"), await self.client("bob"), await self.client("bob")
        await ann.ok(type="signal", to_user=self.user("bob"), data=1, to_session=bob2.connected["session_id"])
        await bob2.expect("signal", data=1)
        await bob1.silent("signal")

    async def test_nobody_there(self):
        ann, bob = await self.client("ann"), await self.client("bob")
        await ann.refused("user_offline", type="signal", to_user=self.user("nobody"), data=1)
        await ann.refused("user_offline", type="signal", to_user=self.user("bob"), data=1, to_session="no such session")
        # A session of somebody else is not one of this user's.
        await ann.refused("user_offline", type="signal", to_user=self.user("nobody"), data=1,
                          to_session=bob.connected["session_id"])
        await bob.silent("signal")


if __name__ == "__main__":
    support.main()
