#!/usr/bin/env python3
"""The generator must see what goes wrong: it meets a floor that drops, doubles, swaps or spoils messages."""
import json
import subprocess
import sys

BENCH, FLOOR = sys.argv[1:3]
# fault -> the counters that must not be zero; all others must be.
CASES = {None: [], "drop": ["lost"], "duplicate": ["duplicates"], "swap": ["reordered"], "corrupt": ["corrupt", "lost"]}
COUNTERS = ["lost", "duplicates", "reordered", "corrupt", "misrouted"]
failed = False
for mode in ("send", "coalesce"):
    for fault, wanted in CASES.items():
        server = subprocess.Popen([FLOOR, "--mode", mode] + (["--fault", fault] if fault else []),
                                  stdout=subprocess.PIPE, text=True)
        try:
            address = server.stdout.readline().split()[-1]
            run = subprocess.run([BENCH, "--url", "ws://" + address, "--connections", "20", "--rooms", "2", "--window",
                                  "64", "--warmup", "0", "--duration", "200ms", "--stall-timeout", "500ms", "--json"],
                                 stdout=subprocess.PIPE, text=True, timeout=60)
        finally:
            server.terminate()
            server.wait(10)
        report = json.loads(run.stdout)
        seen = [name for name in COUNTERS if report[name] > 0]
        if fault == "swap" and "lost" in seen:  # the run may end between the two that change places
            seen.remove("lost")
        good = sorted(seen) == sorted(wanted) and run.returncode == (1 if fault else 0) and report["deliveries"] > 0
        failed |= not good
        print(f"{mode:9} {fault or 'none':10} exit {run.returncode}, saw {seen}: {'ok' if good else 'WRONG'}")
sys.exit(1 if failed else 0)
