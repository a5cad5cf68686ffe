#!/usr/bin/python3
"""Proves the include order of the layers, without exceptions, and where third-party headers may appear.

  layers.py [ROOT]        checks include/hubbub and src
  layers.py --self-test   proves that planted violations are seen
"""

import os
import re
import sys
import tempfile
from pathlib import Path

# Each layer may include itself and those before it.
LAYERS = ["base", "protocol", "runtime", "broker", "hub", "security", "transport", "api", "app"]

# Header (a pattern) and the folders below src/ and include/hubbub/ that may include it.
CONFINED = [
    (r"hiredis", ["broker/redis"]),
    (r"boost/beast", ["transport"]),
    (r"nlohmann/", ["api", "app"]),
    (r"CLI/", ["app"]),
    (r"prometheus/", ["api", "app"]),
]
# The protocol is bytes in, values out.
BANNED = {"protocol": r"boost/asio|thread$|mutex$|atomic$|condition_variable$|sys/|netinet/|poll\.h|spdlog/",
          "base": r"boost/asio|sys/socket|netinet/"}

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^">]+)[">]', re.MULTILINE)


def without_comments(text):
    text = re.sub(r"/\*.*?\*/", lambda m: "\n" * m.group().count("\n"), text, flags=re.DOTALL)
    return re.sub(r"^[ \t]*//.*$", "", text, flags=re.MULTILINE)


def sources(root):
    for top in (root / "include/hubbub", root / "src"):
        for folder, _, names in os.walk(top):
            for name in names:
                if name.endswith((".hpp", ".cpp", ".h", ".ipp", ".inc")):
                    yield top, Path(folder) / name


def check(root):
    """(violations, files seen)"""
    violations = []
    count = 0
    for top, path in sources(root):
        count += 1
        inside = path.relative_to(top)
        layer = inside.parts[0]
        where = path.relative_to(root)
        if len(inside.parts) < 2 or layer not in LAYERS:
            violations.append(f"{where}: not in a layer")
            continue
        for match in INCLUDE.finditer(without_comments(path.read_text(encoding="utf-8"))):
            name = match.group(2)
            target = None
            if name.startswith("hubbub/"):
                target = name.split("/")[1]
            elif match.group(1) == '"':
                resolved = (path.parent / name).resolve()
                for base in (root / "include/hubbub", root / "src"):
                    if resolved.is_relative_to(base.resolve()):
                        target = resolved.relative_to(base.resolve()).parts[0]
            if target is not None:
                if target not in LAYERS:
                    violations.append(f"{where}: includes {name}, which is in no layer")
                elif LAYERS.index(target) > LAYERS.index(layer):
                    violations.append(f"{where}: {layer} may not include {name}: {target} is above it")
                continue
            for pattern, folders in CONFINED:
                if re.match(pattern, name) and not any(
                        inside.parts[:len(f.split("/"))] == tuple(f.split("/")) for f in folders):
                    violations.append(f"{where}: includes {name}, which belongs to {' and '.join(folders)} only")
            if layer in BANNED and re.match(BANNED[layer], name):
                violations.append(f"{where}: {layer} may not include {name}")
    return sorted(violations), count


def self_test():
    planted = {
        "include/hubbub/base/up.hpp": ('#include "hubbub/hub/session.hpp"', True),
        "src/hub/http.cpp": ("#  include <hubbub/transport/listener.hpp>", True),
        "src/hub/relative.cpp": ('#include "../transport/private.hpp"', True),
        "src/transport/redis.cpp": ("#include <hiredis/hiredis.h>", True),
        "src/broker/redis.cpp": ("#include <hiredis/hiredis.h>", True),
        "src/api/beast.cpp": ("#include <boost/beast/http.hpp>", True),
        "src/protocol/json.cpp": ("#include <nlohmann/json.hpp>", True),
        "src/transport/flags.cpp": ("#include <CLI/CLI.hpp>", True),
        "src/protocol/threads.cpp": ("#include <mutex>", True),
        "src/misc/thing.cpp": ("", True),
        "src/stray.cpp": ("", True),
        "src/app/main.cpp": ('#include "hubbub/base/result.hpp"\n#include <CLI/CLI.hpp>\n#include <nlohmann/json.hpp>',
                             False),
        "src/broker/redis/connection.cpp": ("#include <hiredis/hiredis.h>", False),
        "src/transport/private.hpp": ("#include <boost/beast/http.hpp>", False),
        "src/hub/room.cpp": ('#include "hubbub/hub/room.hpp"\n// #include "hubbub/app/server.hpp"\n'
                             '/*\n#include "hubbub/api/x.hpp"\n*/', False),
    }
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for name, (text, _) in planted.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text + "\n")
        found, count = check(root)
    assert count == len(planted), count
    for name, (_, bad) in planted.items():
        seen = [v for v in found if v.startswith(name + ":")]
        assert len(seen) == (1 if bad else 0), f"{name}: {seen}"
    print(f"layers: all {sum(bad for _, bad in planted.values())} planted violations were seen, and nothing else")


def main():
    if sys.argv[1:] == ["--self-test"]:
        return self_test()
    root = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).resolve().parents[2])
    violations, count = check(root)
    for violation in violations:
        print(violation)
    print(f"layers: {count} files, {len(violations)} violations")
    sys.exit(1 if violations or count == 0 else 0)


if __name__ == "__main__":
    main()
