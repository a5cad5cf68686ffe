"""Long polling by Python's http.client and urllib."""

import asyncio
import http.client
import json
import threading
import time
import urllib.request

from support import WAIT_S, Case, quoted, with_shards
from test_sse import command, request


def answer_in_thread(server, path):
    """(thread, list that gets (status, answer, seconds))"""
    result = []

    def run():
        began = time.monotonic()
        status, answer = request(server, "GET", path)
        result.append((status, answer, time.monotonic() - began))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread, result


@with_shards(1, 2)
class Poll(Case):
    def path(self, name, **query):
        return f"/poll/{quoted(self.user(name))}?" + "&".join(f"{k}={quoted(str(v))}" for k, v in query.items())

    def poll(self, name, **query):
        status, answer = request(self.server, "GET", self.path(name, **query))
        self.assertEqual(status, 200, answer)
        return answer

    def poll_for(self, name, cursor, type_, **fields):
        """Polls by cursor until such an event comes: (event, cursor)."""
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            answer = self.poll(name, timeout=0.2, cursor=cursor)
            cursor = answer["cursor"]
            for event in answer["messages"]:
                if event["type"] == type_ and all(event.get(k) == v for k, v in fields.items()):
                    return event, cursor
        raise AssertionError(f"no {type_} {fields}")

    async def test_the_first_answer_connects(self):
        answer = self.poll("ann", timeout=5)
        self.assertEqual(answer["messages"][0]["type"], "connected")
        self.assertTrue(answer["cursor"])

    async def test_nothing_comes_after_the_timeout(self):
        cursor = self.poll("ann", timeout=5)["cursor"]
        began = time.monotonic()
        answer = self.poll("ann", timeout=0.4, cursor=cursor)
        self.assertEqual(answer["messages"], [])
        self.assertGreaterEqual(time.monotonic() - began, 0.35)
        self.assertEqual(self.poll("ann", timeout=0, cursor=answer["cursor"])["messages"], [])

    async def test_a_waiting_poll_is_answered_at_once(self):
        cursor = self.poll("ann", timeout=5)["cursor"]
        thread, result = answer_in_thread(self.server, self.path("ann", timeout=30, cursor=cursor))
        bob = await self.client("bob")
        await bob.ok(type="direct_message", to_user=self.user("ann"), content="now")
        await asyncio.get_running_loop().run_in_executor(None, thread.join, 2 * WAIT_S)
        self.assertEqual(result[0][0], 200)
        self.assertEqual([e["content"] for e in result[0][1]["messages"]], ["now"])

    async def test_what_comes_between_two_polls_waits(self):
        first = self.poll("ann", timeout=5, rooms=self.room)
        cursor = first["cursor"]
        if all(e["type"] != "joined" for e in first["messages"]):  # else it came together with `connected`
            _, cursor = self.poll_for("ann", cursor, "joined")
        bob = await self.client("bob")
        await bob.join(self.room)
        for n in range(1, 4):
            await bob.ok(type="room_message", room_id=self.room, content=n)
        got = []
        while len(got) < 3:
            answer = self.poll("ann", timeout=5, cursor=cursor)
            cursor = answer["cursor"]
            got += [e["content"] for e in answer["messages"] if e["type"] == "message"]
        self.assertEqual(got, [1, 2, 3])

    async def test_with_a_cursor_a_lost_answer_is_given_again(self):
        cursor = self.poll("ann", timeout=5)["cursor"]
        bob = await self.client("bob")
        await bob.ok(type="direct_message", to_user=self.user("ann"), content=1)
        for _ in range(3):  # as often as it is asked for
            answer = self.poll("ann", timeout=5, cursor=cursor)
            self.assertEqual([e["content"] for e in answer["messages"]], [1])
        self.assertEqual(self.poll("ann", timeout=0, cursor=answer["cursor"])["messages"], [])

    async def test_with_a_cursor_what_was_for_this_session_alone_is_given_again(self):
        bob = await self.client("bob")
        cursor = self.poll("ann", timeout=5)["cursor"]
        quiet = self.poll("ann", timeout=0, cursor=cursor)
        self.assertEqual((quiet["messages"], quiet["cursor"]), ([], cursor))
        room = f"/api/rooms/{quoted(self.room)}/members/{quoted(self.user('ann'))}"

        def told(cursor):
            answer = self.poll("ann", timeout=5, cursor=cursor)
            return [e["type"] for e in answer["messages"] if e["type"] != "user_joined" and "already" not in e], answer

        await bob.ok(type="signal", to_user=self.user("ann"), data=1)
        for _ in range(3):  # as often as it is asked for
            self.assertEqual(told(cursor)[0], ["signal"])
        request(self.server, "PUT", room)
        lost, answer = told(cursor)  # with what has come meanwhile, behind what was lost
        self.assertEqual(lost[:1], ["signal"])
        deadline = time.monotonic() + WAIT_S
        while lost != ["signal", "joined"]:
            self.assertLess(time.monotonic(), deadline)
            lost, answer = told(cursor)
        cursor = answer["cursor"]
        request(self.server, "DELETE", room)
        for _ in range(2):
            types, answer = told(cursor)
            self.assertEqual(types, ["removed"])
        self.assertEqual(self.poll("ann", timeout=0, cursor=answer["cursor"])["messages"], [])
        await bob.ok(type="signal", to_user=self.user("ann"), data=2)
        self.assertEqual([e.get("data") for e in self.poll("ann", timeout=5, cursor=answer["cursor"])["messages"]], [2])

    async def test_without_a_cursor_what_was_answered_counts_as_delivered(self):
        self.poll("ann", timeout=5)
        bob = await self.client("bob")
        await bob.ok(type="direct_message", to_user=self.user("ann"), content=1)
        self.assertEqual([e["content"] for e in self.poll("ann", timeout=5)["messages"]], [1])
        self.assertEqual(self.poll("ann", timeout=0)["messages"], [])
        await bob.ok(type="direct_message", to_user=self.user("ann"), content=2)
        self.assertEqual([e["content"] for e in self.poll("ann", timeout=5)["messages"]], [2])

    async def test_a_second_poll_ends_the_first(self):
        cursor = self.poll("ann", timeout=5)["cursor"]
        thread, result = answer_in_thread(self.server, self.path("ann", timeout=30, cursor=cursor))
        deadline = time.monotonic() + WAIT_S
        while not result and time.monotonic() < deadline:
            request(self.server, "GET", self.path("ann", timeout=0, cursor=cursor))  # it may be the one that is replaced
            await asyncio.sleep(0.02)
        thread.join(WAIT_S)
        status, answer, _ = result[0]
        self.assertEqual((status, answer["error"]["code"]), (409, "replaced"))

    async def test_two_clients_of_one_user_each_get_everything(self):
        one = self.poll("ann", timeout=5)["cursor"]
        one = self.poll("ann", timeout=0, cursor=one)["cursor"]  # now it has a session of its own
        two = self.poll("ann", timeout=5)["cursor"]
        bob = await self.client("bob")
        await bob.ok(type="direct_message", to_user=self.user("ann"), content="both")
        for cursor in (one, two):
            self.assertEqual(self.poll_for("ann", cursor, "direct_message")[0]["content"], "both")

    async def test_it_speaks_by_commands(self):
        answer = self.poll("ann", timeout=5)
        connected = answer["messages"][0]
        answers = command(self.server, connected, {"type": "join_room", "room_id": self.room},
                          {"type": "room_message", "room_id": self.room, "content": "mine"})
        self.assertEqual([a["type"] for a in answers], ["joined", "ack"])
        event, cursor = self.poll_for("ann", answer["cursor"], "message")
        self.assertEqual(event["content"], "mine")

    async def test_a_client_that_goes_away_while_it_waits_leaves_nothing(self):
        cursor = self.poll("ann", timeout=5)["cursor"]
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port)
        connection.request("GET", self.path("ann", timeout=30, cursor=cursor))
        connection.close()
        bob = await self.client("bob")
        await bob.ok(type="direct_message", to_user=self.user("ann"), content="x")
        self.assertEqual(self.poll_for("ann", cursor, "direct_message")[0]["content"], "x")

    async def test_polls_on_one_connection_one_after_the_other(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=2 * WAIT_S)
        self.addCleanup(connection.close)
        cursor = None
        for _ in range(5):
            connection.request("GET", self.path("ann", timeout=0, **({"cursor": cursor} if cursor else {})))
            response = connection.getresponse()
            self.assertEqual(response.status, 200)
            cursor = json.loads(response.read())["cursor"]

    async def test_urllib_polls(self):
        url = f"http://127.0.0.1:{self.server.port}{self.path('ann', timeout=5)}"
        with urllib.request.urlopen(url, timeout=2 * WAIT_S) as response:
            self.assertEqual(json.load(response)["messages"][0]["type"], "connected")

    async def test_bad_requests(self):
        for query in ({"timeout": "soon"}, {"timeout": "-1"}, {"timeout": "nan"}, {"cursor": "x"}, {"rooms": "a,,b"}):
            status, answer = request(self.server, "GET", self.path("ann", **query))
            self.assertEqual(status, 400, answer)
        for method in ("POST", "DELETE"):
            status, _ = request(self.server, method, self.path("ann"))
            self.assertEqual(status, 405)

    async def test_stopping_answers_who_waits(self):
        from support import Server
        server = Server("--shards", self.shards)
        first = request(server, "GET", "/poll/ann?timeout=5")[1]
        thread, result = answer_in_thread(server, f"/poll/ann?timeout=30&cursor={first['cursor']}")
        deadline = time.monotonic() + WAIT_S
        while request(server, "GET", "/api/stats")[1]["total"]["waiting_polls"] != 1:
            self.assertLess(time.monotonic(), deadline)
            await asyncio.sleep(0.02)
        server.stop()
        thread.join(WAIT_S)
        self.assertEqual(result[0][0], 200)
        self.assertEqual([e["type"] for e in result[0][1]["messages"]], ["closed"])


if __name__ == "__main__":
    import support
    support.main()
