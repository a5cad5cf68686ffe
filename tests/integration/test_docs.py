"""What docs/http-api.md and README.md have curl do, done: each answer must be of the documented form."""

import asyncio
import json
import os
import re
import unittest

import support
from support import WAIT_S, Client, Server

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
KEY = "YOUR-KEY"

# What is another one each time. Everything else in an answer must be as it is in the document.
CHANGING = [re.compile(pattern) for pattern in (
    r"\d{13}-\d+",  # id of an event
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z",
    r"[0-9a-f]{16}",  # session_id, epoch
)]


def examples(path):
    """(command, what the document says is answered or None) of each `$ curl` in the page's console blocks."""
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        page = file.read()
    found = []
    for block in re.findall(r"^```console\n(.*?)^```", page, re.M | re.S):
        for part in re.split(r"^\$ ", block, flags=re.M)[1:]:
            command, *answer = part.rstrip("\n").split("\n")
            if command.startswith("curl "):
                found.append((command, "\n".join(answer) or None))
    return found


def difference(wanted, got, where="the answer"):
    """How `got` is not of the form of `wanted`, or None."""
    if isinstance(wanted, str) and isinstance(got, str):
        if "…" in wanted or any(p.fullmatch(wanted) and p.fullmatch(got) for p in CHANGING):
            return None
    if isinstance(wanted, dict) and isinstance(got, dict):
        if list(wanted) != list(got):
            return f"{where} has the members {list(got)}, not {list(wanted)}"
        return next(filter(None, (difference(wanted[k], got[k], f"{where}.{k}") for k in wanted)), None)
    if isinstance(wanted, list) and isinstance(got, list):
        if len(wanted) != len(got):
            return f"{where} has {len(got)} elements, not {len(wanted)}"
        return next(filter(None, (difference(w, g, f"{where}[{n}]") for n, (w, g) in enumerate(zip(wanted, got)))),
                    None)
    return None if (type(wanted), wanted) == (type(got), got) else f"{where} is {got!r}, not {wanted!r}"


async def run(command, port):
    """What the command of a document prints, against a server on `port`."""
    command, count = re.subn(r"\b(localhost|127\.0\.0\.1):8080\b", f"127.0.0.1:{port}", command)
    if count != 1:
        raise AssertionError(f"no address of the documents' server in: {command}")
    command = re.sub(r'("ack_within_ms":\d+)', r"\g<1>0", command)  # a busy machine is no reason for another answer
    process = await asyncio.create_subprocess_exec(
        "bash", "-c", f'curl() {{ exec curl --silent --show-error --fail-with-body --max-time {4 * WAIT_S:.0f} "$@"; }}; '
        + command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT)
    if re.search(r"\s-N\b", command):  # a stream has no end
        text = await asyncio.wait_for(process.stdout.readuntil(b"\n\n"), 4 * WAIT_S)
        process.terminate()
        await process.wait()
        return text.decode()
    text, _ = await process.communicate()
    if process.returncode != 0:
        raise AssertionError(f"{command}: {process.returncode}, {text.decode()}")
    return text.decode()


class Documents(unittest.IsolatedAsyncioTestCase):
    maxDiff = None

    def serve(self, *flags):
        server = Server("--shards", "2", *flags)
        self.addCleanup(server.stop)
        return server

    async def online(self, server, user, room):
        """A user in a room whose client confirms whatever comes to the inbox."""
        client = await Client.connect(server, user)
        await client.join(room)

        async def confirm():
            async for text in client.socket:
                event = json.loads(text)
                if "seq" in event and "room_id" not in event:
                    await client.send(type="received", seq=event["seq"])
        task = asyncio.ensure_future(confirm())
        self.addAsyncCleanup(client.close)
        self.addCleanup(task.cancel)

    async def check(self, path, server, keyed=None):
        count = 0
        for command, wanted in examples(path):
            with self.subTest(command=command):
                count += 1
                text = await run(command, (keyed if KEY in command else server).port)
                if text.startswith(("event:", "retry:")):
                    continue
                got = json.loads(text)
                if wanted is not None:
                    wrong = difference(json.loads(wanted), got)
                    self.assertIsNone(wrong, f"{path} is not what happens: {command}\n{text}")
        return count

    async def test_http_api(self):
        server = self.serve()
        await self.online(server, "ann", "lobby")
        self.assertGreater(await self.check("docs/http-api.md", server, self.serve("--api-keys", KEY)), 25)

    async def test_readme(self):
        self.assertEqual(await self.check("README.md", self.serve()), 4)

    def test_forms_are_told_apart(self):
        wanted = {"id": "1795553377427-1", "n": [1, "…"], "next": None}
        self.assertIsNone(difference(wanted, {"id": "1895553377427-9", "n": [1, "any"], "next": None}))
        for got in ({"id": "x", "n": [1, "a"], "next": None}, {"id": "1895553377427-9", "n": [2, "a"], "next": None},
                    {"id": "1895553377427-9", "n": [True, "a"], "next": None}, {"id": "1895553377427-9", "n": [1]},
                    {"n": [1, "a"], "id": "1895553377427-9", "next": None}, []):
            self.assertIsNotNone(difference(wanted, got), got)


if __name__ == "__main__":
    support.main()
