"""The same tests on other layers: every daemon that they start has its resources in Redis.

    tests/lib/layers.py redis test_loaders

runs the tests of tests/integration/test_loaders.py on a variant: the schemas that they write
become their twins in Redis, and each daemon has a Redis of its own. What a test must know of
the variant, such as that it may refuse a search, is asked here.

    memory          as the schemas stand
    redis           fetched on demand, with indexes and identities in Redis
    redis-resident  wholly in the daemon's memory, and followed
    mixed           each resource in one of these ways
"""

import json
import os
import re
import sys
import unittest
import zlib

import relata_test
from redis_server import RedisServer

ENCODINGS = ["hash", "msgpack", "json"]
# How a resource is kept; its name says which of them it is.
PLACES = {"memory": ["memory"], "redis": ["fetched"], "redis-resident": ["resident"],
          "mixed": ["fetched", "memory", "resident"]}
# What is said of a search that nothing in Redis leads to.
REFUSAL = "no key and no index leads"

MemoryDaemon = relata_test.Daemon

_variant = "memory"
_idle = []  # servers that no daemon has


def variant():
    return _variant


def place(resource):
    return _one_of(PLACES[_variant], resource)


def _one_of(choices, resource):
    return choices[zlib.crc32(resource.encode()) % len(choices)]


def is_fetched(resource=None):
    """Whether this resource (or any) is fetched on demand, so that some searches are refused."""
    return "fetched" in (PLACES[_variant] if resource is None else [place(resource)])


def rounds(count):
    """How many rounds of a random test there are: fewer where the memory layer is not alone."""
    return count if _variant == "memory" else max(1, count // 2)


def leave_out(*variants, why):
    """Leaves a test out where it cannot be as it is in memory."""
    return unittest.skipIf(_variant in variants, why)


def wait_until_quiet(client):
    """Until nothing is out to Redis. A write is answered before what it leaves behind in
    index sets is taken out; a load that runs meanwhile is answered, and not kept."""
    def is_quiet():
        homes = client.call("stats").get("redis", {}).values()
        return all(home["waiting"] == 0 for home in homes)
    relata_test.wait_until(is_quiet, "Redis to have answered all")


def is_refusal(error):
    """Whether a call was refused since no key and no index leads to what it asks for: that
    is right only where resources are fetched on demand, and must say what would help."""
    if isinstance(error, dict):
        code, message = error["code"], error["message"]
    else:
        code, _, message = error.partition(": ")
    if not (is_fetched() and code == "invalid_request" and REFUSAL in message):
        return False
    assert "resident: true" in message, message
    return True


def twin(schema):
    """The schema's text with its resources where the variant has them. It is taken as the
    tests write it: resources are two spaces deep, as maps of either form."""
    before, head, after = schema.partition("resources:\n")
    return before + head + re.sub(r"^  (\w+):( *\{|$)", _moved, after, flags=re.MULTILINE)


def _moved(match):
    name, brace = match.groups()
    kept = place(name)
    if kept == "memory":
        return match.group()
    redis = {"writers": "relata", "encoding": _one_of(ENCODINGS, name + _variant),
             "resident": kept == "resident"}
    lines = ["layer: redis", f"redis: {json.dumps(redis)}"]
    return f"  {name}:" + (f" {{{', '.join(lines)}, " if brace
                           else "".join(f"\n    {line}" for line in lines))


class RedisDaemon(MemoryDaemon):
    """A relatad whose schema is the twin of what it is given."""

    def __init__(self, schema, config="", **options):
        self.redis = _idle.pop() if _idle else RedisServer()
        self.redis.call("FLUSHALL")
        super().__init__(schema, config=config, **options)

    def write(self, name, text):
        if name.startswith("schema"):
            text = twin(text)
        elif name == "relata.yaml":
            text += f"redis: {json.dumps({'main': {'url': self.redis.url}})}\n"
        return super().write(name, text)

    def remove(self):
        super().remove()
        if self.redis not in _idle:
            _idle.append(self.redis)


def use(name):
    """From here on daemons are of this variant."""
    global _variant  # pylint: disable=global-statement
    _variant = name
    relata_test.Daemon = MemoryDaemon if name == "memory" else RedisDaemon


def run(name, module, *tests):
    """Runs the tests of a module (or some of them) on a variant."""
    use(name)
    sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "integration"))
    try:
        unittest.main(module=module, argv=[module, *tests])
    finally:
        for server in _idle:
            server.remove()


if __name__ == "__main__":
    import layers  # the one that the tests import
    layers.run(*sys.argv[1:])
