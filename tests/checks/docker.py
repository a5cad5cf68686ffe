#!/usr/bin/python3
"""docker/: the compose file by docker-compose itself, and what we promise of it and of the image.

Needs no engine and no network; building and running the image is not checked here.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = ROOT / "docker/docker-compose.yml"
NODES = ("node1", "node2", "node3")
found = []


def check(good, text):
    if not good:
        found.append(text)


def composed(**variables):
    """(exit code, the file as docker-compose understands it)"""
    env = {key: value for key, value in os.environ.items() if not key.startswith(("HUBBUB_", "COMPOSE_"))}
    with tempfile.NamedTemporaryFile() as empty:  # not the developer's own .env
        done = subprocess.run(["docker-compose", "--env-file", empty.name, "-f", str(COMPOSE), "config"],
                              env={**env, **variables}, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    if done.returncode == 0:
        check(not done.stderr.strip(), f"docker-compose config: {done.stderr.strip()}")
        return 0, yaml.safe_load(done.stdout)
    return done.returncode, done.stderr


def check_compose():
    code, error = composed()
    check(code != 0 and "HUBBUB_API_KEYS" in error, "it starts without keys for backends")
    code, config = composed(HUBBUB_API_KEYS="a,b")
    check(code == 0, f"docker-compose config: {config}")
    if code != 0:
        return
    services = config["services"]
    check(set(services) == {"haproxy", "redis", *NODES}, f"services: {sorted(services)}")
    for name, service in services.items():
        check(service.get("restart") == "unless-stopped", f"{name} has no restart policy")
        for key in ("mem_limit", "cpus", "pids_limit", "stop_grace_period", "logging"):
            check(service.get(key), f"{name} has no {key}")
        nofile = service.get("ulimits", {}).get("nofile", {})
        check(nofile.get("soft", 0) == nofile.get("hard", -1) >= 65536, f"{name} may open too few files")
        check(list(service.get("networks") or ()) == ["hubbub"], f"{name} is not on the network alone")
        published = service.get("ports", [])
        if name == "haproxy":
            check(len(published) == 1 and all(str(p).startswith("127.0.0.1:") for p in published),
                  f"haproxy is published beyond loopback: {published}")
        else:
            check(not published, f"{name} is published past HAProxy")

    settings = set(re.findall(r"(?m)^\| `([a-z_]+)` \|", (ROOT / "docs/configuration.md").read_text()))
    ids = set()
    for name in NODES:
        service = services[name]
        environment = service["environment"]
        for key in environment:
            check(key.removeprefix("HUBBUB_").lower() in settings, f"{name}: {key} is no setting")
        check(environment["HUBBUB_API_KEYS"] == "a,b", f"{name} has other keys than those given")
        check(environment["HUBBUB_INSECURE_OPEN"] == "true", f"{name} would not start in open mode")
        check(service["depends_on"] == {"redis": {"condition": "service_healthy"}}, f"{name} does not wait for Redis")
        check(service.get("read_only") is True and service.get("cap_drop") == ["ALL"], f"{name} may more than it needs")
        ids.add(environment["HUBBUB_SERVER_ID"])
    check(len(ids) == len(NODES), f"nodes share a server_id: {ids}")

    proxy = services["haproxy"]
    check(proxy["depends_on"] == {name: {"condition": "service_healthy"} for name in NODES}, "haproxy waits for no nodes")
    check("/proxyz" in str(proxy["healthcheck"]["test"]), "haproxy has no health check")
    check(any("config/haproxy.cfg:" in v and v.endswith(":ro") for v in proxy["volumes"]), "haproxy lacks config/haproxy.cfg")
    known = set(re.findall(r'"\$\{(HUBBUB_[A-Z0-9_]+)-', (ROOT / "config/haproxy.cfg").read_text()))
    check(set(proxy["environment"]) == known, f"variables of haproxy.cfg: {sorted(known ^ set(proxy['environment']))}")

    redis = services["redis"]
    command = " ".join(redis["command"])
    check("--appendonly yes" in command and "--maxmemory-policy noeviction" in command, "Redis forgets: no AOF")
    check(any(v.split(":")[:2] == ["redis-data", "/data"] for v in redis["volumes"]), "Redis has no volume")
    check("redis-cli" in redis["healthcheck"]["test"], "Redis has no health check")
    check(redis["image"].split(":")[1].split(".")[0] == "7", "Redis is not of version 7")


def check_image():
    text = re.sub(r"(?m)^#.*\n", "", (ROOT / "docker/Dockerfile").read_text())
    stages = re.split(r"(?m)^FROM ", text)[1:]
    check(len(stages) == 2, f"{len(stages)} stages")
    check(all(stage.startswith("debian:bookworm-slim") for stage in stages), "a stage is not Debian 12")
    final = stages[-1]
    for line in ("USER 10001:10001", "EXPOSE 8080", "STOPSIGNAL SIGTERM", 'ENTRYPOINT ["hubbub"]', "HEALTHCHECK "):
        check(re.search(rf"(?m)^{re.escape(line)}", final), f"the image lacks {line}")
    check("-dev" not in final and "curl" not in final, "the image has more than the server needs")
    check("INSECURE_OPEN" not in final, "the image would start open to everybody without being told")
    for stage in stages:
        for sources in re.findall(r"(?m)^COPY (?!--from)(.*) \S+$", stage):
            for source in sources.split():
                check((ROOT / source).exists(), f"COPY {source}: there is none")
                top = re.search(rf"(?m)^!{re.escape(source)}$", (ROOT / ".dockerignore").read_text())
                check(top, f".dockerignore keeps {source} out")


check_compose()
check_image()
print("\n".join(found + [f"docker: {len(found)} findings"]))
sys.exit(1 if found else 0)
