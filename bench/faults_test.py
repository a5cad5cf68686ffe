#!/usr/bin/env python3
"""The generator must see what goes wrong: it meets a floor that drops, doubles, swaps or spoils messages."""
import json
import subprocess
import sys

BENCH, FLOOR, HTTP_FLOOR = sys.argv[1:4]
# fault -> the counters that must not be zero; all others must be.
CASES = {None: [], "drop": ["lost"], "duplicate": ["duplicates"], "swap": ["reordered"], "corrupt": ["corrupt", "lost"]}
COUNTERS = ["lost", "duplicates", "reordered", "corrupt", "misrouted"]


def run_against(floor, load):
    """(exit code, report) of one run."""
    server = subprocess.Popen(floor, stdout=subprocess.PIPE, text=True)
    try:
        address = server.stdout.readline().split()[-1]
        run = subprocess.run([BENCH, "--url", "ws://" + address, *load, "--rooms", "2", "--warmup", "0", "--duration",
                              "200ms", "--stall-timeout", "500ms", "--json"],
                             stdout=subprocess.PIPE, text=True, timeout=60)
    finally:
        server.terminate()
        server.wait(10)
    return run.returncode, json.loads(run.stdout)


failed = False
for mode in ("send", "coalesce"):
    for fault, wanted in CASES.items():
        code, report = run_against([FLOOR, "--mode", mode] + (["--fault", fault] if fault else []),
                                   ["--connections", "20", "--window", "64"])
        seen = [name for name in COUNTERS if report[name] > 0]
        if fault == "swap" and "lost" in seen:  # the run may end between the two that change places
            seen.remove("lost")
        good = sorted(seen) == sorted(wanted) and code == (1 if fault else 0) and report["deliveries"] > 0
        failed |= not good
        print(f"{mode:9} {fault or 'none':10} exit {code}, saw {seen}: {'ok' if good else 'WRONG'}")

# An open loop sends all that fell due, also during its last turn.
code, report = run_against([FLOOR, "--mode", "coalesce"], ["--connections", "20", "--rate", "20000"])
good = (code, report["messages_sent"], report["unsent"]) == (0, 4000, 0)
failed |= not good
print(f"open loop exit {code}, {report['messages_sent']} sent, {report['unsent']} unsent: {'ok' if good else 'WRONG'}")

# By HTTP each answer counts: its status, its place, and that it tells of every message.
for batch in ([], ["--batch", "10"]):
    for fault in (None, "status", "miscount", "close"):
        code, report = run_against([HTTP_FLOOR] + (["--fault", fault] if fault else []),
                                   ["--connections", "0", "--publish-http", "--window", "4", *batch])
        seen = [name for name in ("errors", "disconnects") if report[name] > 0]
        wanted = {None: [], "close": ["errors", "disconnects"]}.get(fault, ["errors"])
        good = seen == wanted and code == (1 if fault else 0) and report["messages_sent"] > 0
        failed |= not good
        print(f"http {' '.join(batch) or 'single':10} {fault or 'none':10} exit {code}, saw {seen}: {'ok' if good else 'WRONG'}")
sys.exit(1 if failed else 0)
