"""Runs cases of the Autobahn test suite, as a client, against one WebSocket echo server.

The suite's cases are Python 2 and its own driver's reporter throws on bytes. The cases are what judges us, so they are
translated as they were installed, line for line, and driven from here with Python 3's autobahn. In them a `str` is a
row of bytes: here it is one character a byte (Latin-1), turned into bytes where it meets autobahn's protocol.
"""

import argparse
import importlib
import json
import re
import sys
import time
from pathlib import Path

COMPAT = '''
import binascii as _binascii
import os as _os
from autobahn.websocket.utf8validator import Utf8Validator as _Utf8Validator

def raw(text):
    return text.encode("latin-1") if isinstance(text, str) else text

def b2a_hex(data):
    return _binascii.b2a_hex(raw(data)).decode()

hexlify = b2a_hex

def resource_filename(package, path):
    return _os.path.join(SUITE, path)

class Utf8Validator(_Utf8Validator):
    def validate(self, data):
        return super().validate(raw(data))
'''

TRANSLATIONS = [
    (r"^# coding.*$", ""),
    (r"^from case(\w*) import", r"from .case\1 import"),
    (r"^from \.case9_9_1 import \*$", ""),  # not in the suite's list of cases
    (r"^import copy, os, pkg_resources, hashlib, binascii$",
     "import copy, os, hashlib\nfrom . import compat as pkg_resources, compat as binascii"),
    (r"^import binascii$", "from . import compat as binascii"),
    (r"^from autobahn\.websocket\.utf8validator import", "from .compat import"),
    (r"\bxrange\b", "range"),
    (r"^(\s*)print\b.*$", r"\1pass"),
    (r"\(object, Case, \)", "(Case,)"),
    # Renamed in autobahn since: requestNoContextTakeover, acceptMaxWindowBits, ...
    (r"\b(request|accept)NoContextTakeover\b", r"\1_no_context_takeover"),
    (r"\b(request|accept)MaxWindowBits\b", r"\1_max_window_bits"),
    (r"len\(self\.payload\) / self", "len(self.payload) // self"),
]


def translate(suite, out):
    package = out / "autobahn_cases"
    package.mkdir(parents=True, exist_ok=True)
    (package / "compat.py").write_text(f"SUITE = {str(suite)!r}\n{COMPAT}")
    for path in sorted((suite / "case").glob("*.py")):
        if path.name == "case9_9_1.py":
            continue
        text = path.read_text(encoding="latin-1")
        for pattern, replacement in TRANSLATIONS:
            text = re.sub(pattern, replacement, text, flags=re.MULTILINE)
        (package / path.name).write_text("# coding=latin-1\n" + text, encoding="latin-1")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--suite", type=Path, required=True, help="the installed autobahntestsuite package")
    parser.add_argument("--work", type=Path, required=True, help="where the translated cases go")
    parser.add_argument("--url", required=True)
    parser.add_argument("--cases", required=True, help="comma-separated patterns: 1.*,9.1.1")
    parser.add_argument("--report", type=Path, required=True)
    args = parser.parse_args()

    translate(args.suite, args.work)
    sys.path.insert(0, str(args.work))

    from autobahn.twisted.websocket import WebSocketClientFactory, WebSocketClientProtocol
    from twisted.internet import reactor

    cases = importlib.import_module("autobahn_cases")
    Case = importlib.import_module("autobahn_cases.case").Case
    raw = importlib.import_module("autobahn_cases.compat").raw
    # The original compares pickles, in which Python 3 also records which strings are the same object.
    Case.compare = lambda self, left, right: left == right

    def case_id(case):
        return case.__name__[len("Case"):].replace("_", ".")

    patterns = [re.compile(re.escape(p).replace(r"\*", ".*") + "$") for p in args.cases.split(",")]
    chosen = [c for c in cases.Cases if any(p.match(case_id(c)) for p in patterns)]
    for pattern in patterns:
        if not any(pattern.match(case_id(c)) for c in chosen):
            sys.exit(f"no case matches {pattern.pattern}")
    results = {}

    class Fuzzer(WebSocketClientProtocol):
        def connectionMade(self):
            self.connectionWasOpen = False
            self.createWirelog = False
            self.txFrameStats = {}
            self.watchdog = reactor.callLater(getattr(self.case, "WAITSECS", 20) + 20, self.dropConnection, True)
            super().connectionMade()

        def onOpen(self):
            self.connectionWasOpen = True
            self.case.onOpen()

        def text(self, data):
            # The compression cases work on bytes in both versions of Python.
            return data if hasattr(self.case, "TESTDATA") else data.decode("latin-1")

        def onMessage(self, payload, isBinary):
            self.case.onMessage(self.text(payload), isBinary)

        def onPong(self, payload):
            self.case.onPong(self.text(payload))

        def onClose(self, wasClean, code, reason):
            self.case.onClose(wasClean, code, reason)

        def connectionLost(self, reason):
            super().connectionLost(reason)
            self.watchdog.cancel() if self.watchdog.active() else None
            self.case.onConnectionLost(self.failedByMe)
            results[case_id(type(self.case))] = {
                "behavior": self.case.behavior,
                "behaviorClose": self.case.behaviorClose,
                "remoteCloseCode": self.remoteCloseCode,
                "result": str(self.case.result),
                "resultClose": str(self.case.resultClose),
                "duration": int(1000 * (time.monotonic() - self.started)),
            }

        # What the cases call.

        def sendFrame(self, opcode, payload=b"", **options):
            super().sendFrame(opcode, raw(payload), **options)

        def sendMessage(self, payload, isBinary=False, **options):
            super().sendMessage(raw(payload), isBinary, **options)

        def sendMessageFrameData(self, payload, sync=False):
            return super().sendMessageFrameData(raw(payload), sync)

        def sendCloseFrame(self, code=None, reasonUtf8=None, isReply=False):
            super().sendCloseFrame(code, raw(reasonUtf8), isReply)

        def logTxFrame(self, frameHeader, payload, repeatLength, chopsize, sync):
            self.txFrameStats[frameHeader.opcode] = self.txFrameStats.get(frameHeader.opcode, 0) + 1

        def logRxFrame(self, frameHeader, payload):
            pass

        def enableWirelog(self, enable):
            pass

        def later(self, delay, call):
            def run():
                if self.state != self.STATE_CLOSED:
                    call()
            reactor.callLater(delay, run)

        def continueLater(self, delay, call, tag=None):
            self.later(delay, call)

        def killAfter(self, delay):
            self.later(delay, self._fail_connection)

        def closeAfter(self, delay):
            self.later(delay, self.sendClose)

    class Factory(WebSocketClientFactory):
        def __init__(self):
            super().__init__(args.url)
            self.logFrames = True
            self.setProtocolOptions(failByDrop=False)
            self.remaining = iter(chosen)
            self.current = next(self.remaining)

        def buildProtocol(self, addr):
            protocol = Fuzzer()
            protocol.factory = self
            protocol.started = time.monotonic()
            protocol.case = self.current(protocol)
            return protocol

        def clientConnectionLost(self, connector, reason):
            self.current = next(self.remaining, None)
            if self.current is None:
                reactor.stop()
            else:
                connector.connect()

        def clientConnectionFailed(self, connector, reason):
            print(f"cannot connect: {reason.getErrorMessage()}", file=sys.stderr)
            reactor.stop()

    factory = Factory()
    reactor.connectTCP(factory.host, factory.port, factory)
    reactor.run()
    args.report.parent.mkdir(parents=True, exist_ok=True)
    args.report.write_text(json.dumps({"chosen": [case_id(c) for c in chosen], "results": results}, indent=1))


if __name__ == "__main__":
    main()
