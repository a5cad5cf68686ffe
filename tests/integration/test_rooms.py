import asyncio
import json
import re

import support
from support import Case, Client, with_shards


@with_shards(1, 2)
class Rooms(Case):
    async def test_joined_tells_of_the_room_and_the_joiner_is_told_of_itself(self):
        ann = await self.client("ann")
        joined = await ann.join(self.room)
        self.assertEqual(joined["type"], "joined")
        self.assertEqual(joined["room_id"], self.room)
        self.assertEqual(joined["seq"], 0)
        self.assertTrue(joined["epoch"])
        self.assertEqual((joined["members"], joined["member_count"]), ([self.user("ann")], 1))
        self.assertNotIn("already", joined)
        self.assertNotIn("recovered", joined)
        await ann.expect("user_joined", user_id=self.user("ann"), room_id=self.room)

    async def test_joined_comes_before_user_joined_for_the_joiner(self):
        ann = await self.client("ann")
        await ann.send(type="join_room", room_id=self.room)
        await ann.expect("user_joined")
        order = [json.loads(text)["type"] for text in ann.raw]
        self.assertLess(order.index("joined"), order.index("user_joined"))

    async def test_others_are_told_of_joining_and_leaving(self):
        ann, = await self.members("ann")
        bob = await self.client("bob")
        joined = await bob.join(self.room)
        self.assertEqual(sorted(joined["members"]), sorted([self.user("ann"), self.user("bob")]))
        self.assertEqual(joined["member_count"], 2)
        await ann.expect("user_joined", user_id=self.user("bob"), room_id=self.room)
        answer = await bob.ok(type="leave_room", room_id=self.room)
        self.assertEqual((answer["type"], answer["room_id"]), ("ack", self.room))
        await ann.expect("user_left", user_id=self.user("bob"), room_id=self.room)
        await bob.silent("user_left")

    async def test_a_cut_connection_leaves(self):
        ann, bob = await self.members("ann", "bob")
        bob.socket.transport.abort()
        await ann.expect("user_left", user_id=self.user("bob"))

    async def test_a_user_with_three_sessions_joins_once_and_leaves_once(self):
        ann, = await self.members("ann")
        sessions = [await self.client("bob") for _ in range(3)]
        for session in sessions:
            joined = await session.join(self.room)
            self.assertEqual(joined["member_count"], 2)
        await ann.expect("user_joined", user_id=self.user("bob"))
        await ann.silent("user_joined")
        await sessions[0].ok(type="leave_room", room_id=self.room)
        await sessions[1].close()
        await ann.silent("user_left")
        await sessions[2].ok(type="leave_room", room_id=self.room)
        await ann.expect("user_left", user_id=self.user("bob"))
        await ann.silent("user_left")

    async def test_joining_twice_is_answered(self):
        ann, = await self.members("ann")
        joined = await ann.join(self.room)
        self.assertIs(joined["already"], True)
        self.assertEqual(joined["member_count"], 1)
        await ann.silent("user_joined")
        await ann.ok(type="leave_room", room_id=self.room)
        await ann.refused("not_in_room", type="leave_room", room_id=self.room)

    async def test_not_in_room(self):
        ann = await self.client("ann")
        await ann.refused("not_in_room", type="room_message", room_id=self.room, content=1)
        await ann.refused("not_in_room", type="leave_room", room_id=self.room)
        await ann.refused("not_in_room", type="history", room_id=self.room)
        await ann.refused("not_in_room", type="typing_start", room_id=self.room)
        bob, = await self.members("bob")
        await ann.refused("not_in_room", type="room_message", room_id=self.room, content=1)
        await bob.silent("message")

    async def test_leave_without_an_id_is_not_answered(self):
        ann, = await self.members("ann")
        await ann.send(type="leave_room", room_id=self.room)
        await ann.silent("ack")

    async def test_a_message_reaches_everybody_once_and_the_sender_too(self):
        ann, bob, carl = await self.members("ann", "bob", "carl")
        bob2 = await self.client("bob")
        await bob2.join(self.room)
        ack = await ann.ok(type="room_message", room_id=self.room, content={"text": "hello"})
        self.assertEqual(ack["seq"], 1)
        self.assertNotIn("duplicate", ack)
        for client in (ann, bob, bob2, carl):
            event = await client.expect("message")
            self.assertEqual(event["from"], self.user("ann"))
            self.assertEqual(event["content"], {"text": "hello"})
            self.assertEqual((event["room_id"], event["seq"]), (self.room, 1))
            self.assertEqual(event["id"], ack["message"])
            await client.silent("message")

    async def test_the_message_event_byte_for_byte(self):
        ann, bob = await self.members("ann", "bob")
        content = '{"b": 1.0e5,  "a":[1,2 ,null], "\\u00e9":"\\/\u00e9\\ud83d\\ude00"}'
        await ann.send_raw('{"content":%s,"type":"room_message","room_id":%s}' % (content, json.dumps(self.room)))
        await bob.expect("message")
        text = bob.raw[-1]
        pattern = (r'\{"type":"message","id":"(\d{13})-1","seq":1,"room_id":"%s","from":"%s","content":(.*),'
                   r'"timestamp":"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z)"\}$')
        found = re.match(pattern % (re.escape(self.room), re.escape(self.user("ann"))), text)
        self.assertTrue(found, text)
        self.assertEqual(found.group(2), content)
        await ann.ok(type="room_message", room_id=self.room, content=2, message_id="m-1")
        await bob.expect("message", seq=2)
        self.assertRegex(bob.raw[-1], r'"timestamp":"[^"]*","message_id":"m-1"\}$')

    async def test_any_json_is_content(self):
        ann, bob = await self.members("ann", "bob")
        values = [None, True, 0, -1.5e300, "", "\u2028 \x00 \ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16"),
                  [], {}, [[[{"a": [1, {"type": "message"}]}]]], "x" * 60000]
        for value in values:
            await ann.ok(type="room_message", room_id=self.room, content=value)
            self.assertEqual((await bob.expect("message"))["content"], value)

    async def test_one_order_for_all_and_no_gap(self):
        clients = await self.members("ann", "bob", "carl")
        count = 100

        async def speak(client, name):
            for n in range(count):
                await client.send(type="room_message", room_id=self.room, content=[name, n])

        await asyncio.gather(*(speak(c, i) for i, c in enumerate(clients)))
        logs = []
        for client in clients:
            log = [await client.expect("message", timeout=15 * support.SLOWNESS) for _ in range(3 * count)]
            self.assertEqual([e["seq"] for e in log], list(range(1, 3 * count + 1)))
            logs.append([(e["id"], e["content"]) for e in log])
            for speaker in range(3):
                self.assertEqual([n for who, n in (e["content"] for e in log) if who == speaker], list(range(count)))
        self.assertEqual(logs[0], logs[1])
        self.assertEqual(logs[0], logs[2])

    async def test_ids_of_commands_come_back_as_sent(self):
        ann, = await self.members("ann")
        for raw in ('"a\\u00e9b"', "17", "-1", "1.50", "12345678901234567890123", '""'):
            await ann.send_raw('{"type":"room_message","room_id":%s,"content":1,"id":%s}' % (json.dumps(self.room), raw))
            await ann.expect("ack")
            text = next(t for t in reversed(ann.raw) if '"type":"ack"' in t)
            self.assertIn('"id":' + raw, text)
        await ann.send_raw('{"type":"nonsense","id":1.50}')
        await ann.expect("error")
        self.assertIn('"id":1.50', ann.raw[-1])

    async def test_without_an_id_no_ack(self):
        ann, = await self.members("ann")
        await ann.send(type="room_message", room_id=self.room, content=1)
        await ann.expect("message")
        await ann.silent("ack")

    async def test_a_repeated_message_id_is_stored_once(self):
        ann, bob = await self.members("ann", "bob")
        first = await ann.ok(type="room_message", room_id=self.room, content="one", message_id="m")
        again = await ann.ok(type="room_message", room_id=self.room, content="one", message_id="m")
        self.assertIs(again["duplicate"], True)
        self.assertEqual((again["message"], again["seq"]), (first["message"], first["seq"]))
        event = await bob.expect("message")
        self.assertEqual(event["message_id"], "m")
        await bob.silent("message")
        other = await ann.ok(type="room_message", room_id=self.room, content="two", message_id="m2")
        self.assertEqual(other["seq"], 2)

    async def test_rooms_are_apart_and_their_names_opaque(self):
        rooms = [self.room + suffix for suffix in ("", ":", " ", "/", "\u00e9", "#", "%20", '"', "\\", "*")]
        clients = []
        for index, room in enumerate(rooms):
            client = await self.client(f"u{index}")
            await client.join(room)
            clients.append(client)
        for index, client in enumerate(clients):
            await client.ok(type="room_message", room_id=rooms[index], content=index)
        for index, client in enumerate(clients):
            event = await client.expect("message")
            self.assertEqual((event["room_id"], event["content"], event["seq"]), (rooms[index], index, 1))
            await client.silent("message")

    async def test_after_leaving_no_more_messages(self):
        ann, bob = await self.members("ann", "bob")
        await bob.ok(type="leave_room", room_id=self.room)
        await ann.ok(type="room_message", room_id=self.room, content=1)
        await bob.silent("message")

    async def test_one_session_in_many_rooms(self):
        ann, bob = await self.client("ann"), await self.client("bob")
        rooms = [f"{self.room} {n}" for n in range(50)]
        for client in (ann, bob):
            for room in rooms:
                await client.join(room)
        for room in rooms:
            await ann.send(type="room_message", room_id=room, content=room)
        got = {(await bob.expect("message"))["room_id"] for _ in rooms}
        self.assertEqual(got, set(rooms))


@with_shards(1, 2)
class Recovery(Case):
    settings = ("--retain-count", "20")

    async def say(self, client, first, last):
        for n in range(first, last + 1):
            await client.ok(type="room_message", room_id=self.room, content=n)

    async def test_since_brings_what_was_missed_in_order(self):
        ann, bob = await self.members("ann", "bob")
        epoch = (await bob.join(self.room))["epoch"]
        await self.say(ann, 1, 3)
        await bob.close()
        await self.say(ann, 4, 10)
        back = await self.client("bob")
        joined = await back.join(self.room, since=3, epoch=epoch)
        self.assertIs(joined["recovered"], True)
        self.assertEqual((joined["seq"], joined["epoch"]), (10, epoch))
        await self.say(ann, 11, 12)
        got = [(await back.expect("message"))["seq"] for _ in range(9)]
        self.assertEqual(got, list(range(4, 13)))
        await back.silent("message")

    async def test_nothing_missed_is_recovered_too(self):
        ann, = await self.members("ann")
        await self.say(ann, 1, 2)
        bob = await self.client("bob")
        self.assertIs((await bob.join(self.room, since=2))["recovered"], True)
        await bob.silent("message")

    async def test_the_stream_outlives_the_last_member(self):
        ann, = await self.members("ann")
        epoch = (await ann.join(self.room))["epoch"]
        await self.say(ann, 1, 3)
        await ann.close()
        bob = await self.client("bob")
        joined = await bob.join(self.room, since=0, epoch=epoch)
        self.assertEqual((joined["recovered"], joined["seq"]), (True, 3))
        self.assertEqual([(await bob.expect("message"))["seq"] for _ in range(3)], [1, 2, 3])

    async def test_past_retention_it_is_not_recovered(self):
        ann, = await self.members("ann")
        await self.say(ann, 1, 40)
        bob = await self.client("bob")
        joined = await bob.join(self.room, since=5)
        self.assertIs(joined["recovered"], False)
        edge = await self.client("carl")
        self.assertIs((await edge.join(self.room, since=20))["recovered"], True)
        self.assertEqual([(await edge.expect("message"))["seq"] for _ in range(20)], list(range(21, 41)))

    async def test_another_epoch_is_not_recovered(self):
        ann, = await self.members("ann")
        await self.say(ann, 1, 3)
        bob = await self.client("bob")
        joined = await bob.join(self.room, since=1, epoch="not this one")
        self.assertIs(joined["recovered"], False)
        self.assertNotEqual(joined["epoch"], "not this one")

    async def test_missed_and_live_messages_merge_while_others_speak(self):
        ann, = await self.members("ann")
        await self.say(ann, 1, 10)

        async def speak():
            for n in range(11, 61):
                await ann.send(type="room_message", room_id=self.room, content=n)
                await asyncio.sleep(0)

        bob = await self.client("bob")
        speaking = asyncio.create_task(speak())
        joined = await bob.join(self.room, since=8)
        await speaking
        if joined["recovered"]:
            got = [(await bob.expect("message"))["seq"] for _ in range(52)]
            self.assertEqual(got, list(range(9, 61)))
        await bob.silent("message", seq=8)


class RoomLimits(Case):
    settings = ("--joined-members-max", "2", "--room-announce-max", "3", "--max-rooms-per-session", "5",
                "--shards", "2")

    async def test_a_large_room_lists_some_members_and_tells_counts(self):
        clients = await self.members("a", "b", "c")
        late = await self.client("d")
        joined = await late.join(self.room)
        self.assertEqual((len(joined["members"]), joined["member_count"]), (2, 4))
        event = await clients[0].expect("members", room_id=self.room)
        self.assertEqual(event["member_count"], 4)
        await clients[0].silent("user_joined", user_id=self.user("d"))

    async def test_too_many_rooms(self):
        ann = await self.client("ann")
        for n in range(5):
            await ann.join(f"{self.room} {n}")
        await ann.refused("too_many_rooms", type="join_room", room_id=f"{self.room} 5")
        await ann.ok(type="leave_room", room_id=f"{self.room} 0")
        await ann.join(f"{self.room} 5")


class Churn(Case):
    settings = ("--shards", "2")

    async def test_members_after_many_joins_and_cuts(self):
        ann, = await self.members("ann")
        for turn in range(10):
            clients = await asyncio.gather(*(Client.connect(self.server, self.user(f"u{n}")) for n in range(10)))
            await asyncio.gather(*(c.join(self.room) for c in clients))
            for index, client in enumerate(clients):
                if index % 2:
                    client.socket.transport.abort()
                else:
                    await client.close()
            # Before they come again: with a second session a user has not left, and does not join.
            for n in range(10):
                await ann.expect("user_joined", user_id=self.user(f"u{n}"))
                await ann.expect("user_left", user_id=self.user(f"u{n}"))
        again = await ann.join(self.room)
        self.assertEqual((again["members"], again["member_count"]), ([self.user("ann")], 1))


if __name__ == "__main__":
    support.main()
