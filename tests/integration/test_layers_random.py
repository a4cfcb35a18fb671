"""The same random calls to daemons with their records in memory and in Redis, fetched on
demand and resident: all answer the same, errors with their messages and details included.

Three resources, each in an encoding of its own, with keys, identities and indexes of every
type; writes of all kinds, conditions, reads by key, identity and index; and much that is
wrong. Some calls are sent together. The seed is printed, and RELATA_SEED repeats a run.
"""

import os
import random
import unittest
import uuid

import msgpack

import layers
import relata_test
from redis_server import RedisCase
from relata_test import request

FIELDS = """
      n: integer
      f: float
      o: boolean
      s: {type: string, required: true, default: new}
      y: binary
      t: datetime
      u: uuid
      e: {type: {enum: [red, green, "it's blue"]}, default: green}
      x: any
      name: string
    identities:
      name: [name]
      pair: [n, e]
      when: [t]
    indexes: [[s, n], [t, s], [u], [e, t], [y, e], [n]]
"""
RESOURCES = {
    "hashed": ("hash", "[a, b]", "a: integer\n      b: string"),
    "packed": ("msgpack", "id", "id: uuid"),
    "texted": ("json", "[k, at, raw]",
               "k: {enum: [up, down]}\n      at: datetime\n      raw: binary"),
}
KEYS = {"hashed": {"a": "integer", "b": "string"}, "packed": {"id": "uuid"},
        "texted": {"k": "direction", "at": "datetime", "raw": "binary"}}
TYPES = {"n": "integer", "f": "float", "o": "boolean", "s": "string", "y": "binary",
         "t": "datetime", "u": "uuid", "e": "color", "x": "any", "name": "string"}
IDENTITIES = {"name": ["name"], "pair": ["n", "e"], "when": ["t"]}
READS = ["get", "get_many", "read", "count"]
INDEXED = ["s", "t", "u", "e", "y", "n"]

TEXTS = ["", "a", "ab", "é", "日本", "a:b", "100%", "{x}", "%41", "it's", 'say "b"', "new\nline",
         "\x00", "\x7f", " "]
INTEGERS = [0, 1, 2, -1, 7, 2**31, 2**53 + 1, -2**63, 2**63 - 1]
UUIDS = [str(uuid.UUID(int=number * 7919)) for number in range(6)]
MOMENTS = [msgpack.Timestamp(0, 0), msgpack.Timestamp(1, 1), msgpack.Timestamp(-1, 999999999),
           msgpack.Timestamp(1700000000, 0), msgpack.Timestamp(1700000000, 120000000),
           msgpack.Timestamp(-2208988800, 5), msgpack.Timestamp(253402300799, 999999999)]
VALUES = {
    "integer": INTEGERS + [3.0],
    "float": [0.0, -0.0, 1.5, -2.25, 1e300, 5e-324, 0.1, 3, 2**53, 1 / 3],
    "boolean": [True, False],
    "string": TEXTS + [b"text"],
    "binary": [b"", b"\x00", b"\xff\xfe", b"a:b", b"%", b"\r\n", "text"],
    "datetime": MOMENTS + ["2026-02-03T04:05:06Z", "2026-02-03T04:05:06.789+01:00"],
    "uuid": UUIDS + [UUIDS[3].upper()],
    "color": ["red", "green", "it's blue"],
    "direction": ["up", "down"],
    # What is JSON too: as that it stands in hashes and in JSON.
    "any": [1, -5, 1.5, 1.0, "text", True, [], {}, [None, [1, {"a": []}]],
            {"b": 1, "a": [2.5, "é"]}, 2**64 - 1, {"": None}, "\x00", 1e300, -0.0],
}
WRONG = {
    "integer": ["1", 1.5, 2**64 - 1, True, [], 1e30],
    "float": ["1.5", float("nan"), float("inf"), False, {}],
    "boolean": [0, "true", []],
    "string": [1, b"\xff", None, ["a"], True],
    "binary": [1, [], {}],
    "datetime": ["yesterday", 5, "2026-13-01T00:00:00Z", msgpack.Timestamp(2**60, 0), 1.5],
    "uuid": ["x", UUIDS[1][:-1], 5, b"\x00" * 16],
    "color": ["yellow", "Red", 1, ""],
    "direction": ["left", None, 3],
    "any": [msgpack.ExtType(5, b"x"), [msgpack.ExtType(1, b"x")]],
}
ROUNDS = 400 if os.environ.get("RELATA_SANITIZE") else 1500


def schema(**redis):
    text = "version: 1\nresources:\n"
    for name, (encoding, key, fields) in RESOURCES.items():
        text += f"  {name}:\n    primary_key: {key}\n"
        if redis:
            resident = str(redis["resident"]).lower()
            text += ("    layer: redis\n    redis: {writers: relata, "
                     f"encoding: {encoding}, resident: {resident}}}\n")
        text += f"    fields:\n      {fields}{FIELDS}"
    return text


def exact(value):
    """A value such that 1, 1.0 and True differ, and the order in maps does not count."""
    if isinstance(value, dict):
        return {(type(name), name): exact(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [exact(inner) for inner in value]
    if isinstance(value, msgpack.ExtType) and value.code == 1:
        return ("error", exact(msgpack.unpackb(value.data, strict_map_key=False)))
    return type(value), repr(value)


class Calls:
    """Makes them."""

    def __init__(self, rng):
        self.rng = rng

    def value(self, kind):
        roll = self.rng.random()
        if roll < 0.02:
            return self.rng.choice(WRONG[kind])
        return None if roll < 0.12 else self.rng.choice(VALUES[kind][:self.wide])

    def key_values(self, resource):
        """Few, so that they meet."""
        values = {name: self.rng.choice(VALUES[kind][:3]) for name, kind in KEYS[resource].items()}
        if self.rng.random() < 0.02:
            name = self.rng.choice(sorted(values))
            values[name] = self.rng.choice(WRONG[KEYS[resource][name]] + [None])
        return values

    def key(self, resource):
        values = self.key_values(resource)
        if self.rng.random() < 0.02:
            return self.rng.choice([None, 1, "x", [], [1], [1, 2, 3, 4], {}, {"a": 1}, {"id": 1}])
        if len(values) == 1 and self.rng.random() < 0.8:
            return next(iter(values.values()))
        return list(values.values()) if self.rng.random() < 0.7 else values

    def changes(self):
        names = self.rng.sample(sorted(TYPES), self.rng.randrange(0, 6))
        changes = {name: self.value(TYPES[name]) for name in names}
        if self.rng.random() < 0.02:
            changes[self.rng.choice(["nmae", "N", "", "id", "a", "at"])] = 1
        return changes

    def record(self, resource):
        record = {**self.key_values(resource), **self.changes()}
        if self.rng.random() < 0.02:
            del record[self.rng.choice(sorted(record))]
        if self.rng.random() < 0.005:
            return self.rng.choice([None, [], 5, "x"])
        return record

    def condition(self):
        name = self.rng.choice(sorted(TYPES))
        filter = self.rng.choice([
            f"{name} == $v", f"{name} != $v", f"is_nil({name})", f"not is_nil({name})", "true",
            "n > 0 or o", "s == 'a' and n >= 1", "nmae == 1", "n ==", "s > 1"])
        options = {"if": filter}
        if "$v" in filter:
            options["params"] = {"v": self.value(TYPES[name])}
        return options

    def options(self, *names):
        options = {}
        if "if" in names and self.rng.random() < 0.4:
            options.update(self.condition())
        if "select" in names and self.rng.random() < 0.2:
            options["select"] = self.rng.sample(["n", "s", "x", "t", "f"], 2)
        if "identity" in names and self.rng.random() < 0.3:
            options["identity"] = self.rng.choice(list(IDENTITIES))
        if self.rng.random() < 0.01:
            options[self.rng.choice(["selekt", "identity", "if", "load"])] = "x"
        return options

    def identity_key(self, identity):
        values = [self.rng.choice(VALUES[TYPES[name]][:3]) for name in IDENTITIES[identity]]
        return values[0] if len(values) == 1 else values

    def some(self, make):
        return [make() for _ in range(self.rng.choice([0, 1, 2, 3, 5, 9]))]

    def write(self, resource):
        method = self.rng.choice(["create", "create", "upsert", "upsert", "update", "update",
                                  "destroy", "create_many", "upsert_many", "upsert_many",
                                  "destroy_many"])
        if method == "create":
            return method, resource, self.record(resource), self.options("select")
        if method == "upsert":
            return method, resource, self.record(resource), self.options("select", "if", "identity")
        if method == "update":
            return (method, resource, self.key(resource), self.changes(),
                    self.options("select", "if"))
        if method == "destroy":
            return method, resource, self.key(resource), self.options("if")
        if method == "destroy_many":
            return method, resource, self.some(lambda: self.key(resource))
        records = self.some(lambda: self.record(resource))
        if method == "create_many":
            return method, resource, records, self.options()
        # Whether an element may have what a later one gives up is not the same in Redis.
        for record in records[1:]:
            if isinstance(record, dict):
                for name in ["name", "n", "e", "t"]:
                    record.pop(name, None)
        return method, resource, records, self.options("identity")

    def query(self):
        """By an equality that an index or an identity serves, mostly."""
        name = self.rng.choice(INDEXED)
        value = self.rng.choice(VALUES[TYPES[name]][:4])
        parts = [self.rng.choice([f"{name} == $v", f"{name} in [$v, $w]"])]
        params = {"v": value, "w": self.rng.choice(VALUES[TYPES[name]][:4])}
        if self.rng.random() < 0.4:
            parts.append(self.rng.choice(["n > 0", "o", "not is_nil(t)", "s >= 'a'", "f < 2.5",
                                          "e == 'red'", "is_nil(name) or n < 5"]))
        if self.rng.random() < 0.1:
            parts[0] = self.rng.choice(["n > $v", "is_nil(t)", "f == 1.5", "x == $v", "true"])
        self.rng.shuffle(parts)
        query = {"filter": " and ".join(f"({part})" for part in parts), "params": params}
        if self.rng.random() < 0.4:
            query["sort"] = self.rng.choice(["n", "-t", "s,-e", "--u", "++y", "f", "x", "-name"])
        if self.rng.random() < 0.3:
            query["limit"] = self.rng.randrange(4)
        if self.rng.random() < 0.2:
            query["offset"] = self.rng.randrange(3)
        return query

    def read(self, resource):
        roll = self.rng.random()
        if roll < 0.35:
            options = self.options("select", "identity")
            identity = options.get("identity")
            if identity in IDENTITIES:
                return "get", resource, self.identity_key(identity), options
            return "get", resource, self.key(resource), options
        if roll < 0.6:
            options = self.options("select", "identity")
            identity = options.get("identity")
            if identity in IDENTITIES:
                return ("get_many", resource, self.some(lambda: self.identity_key(identity)),
                        options)
            return "get_many", resource, self.some(lambda: self.key(resource)), options
        return self.rng.choice(["read", "read", "count"]), resource, self.query()

    def wrong(self, resource):
        return self.rng.choice([
            ("get",), ("create", resource), ("reed", resource), ("get", resource, 1, []),
            ("update", resource, 1), ("get", "hashd", 1), ("create_many", resource, {}),
            ("create_many", resource, None), ("get_many", resource, 5),
            ("destroy_many", resource, 1), ("read", resource, {"filer": 1}), ("upsert_many", resource, [1, 2])])

    def call(self):
        self.wide = self.rng.choice([2, 4, None])
        resource = self.rng.choice(list(RESOURCES))
        roll = self.rng.random()
        if roll < 0.01:
            return self.wrong(resource)
        return self.write(resource) if roll < 0.6 else self.read(resource)


class SameAnswers(RedisCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.seed = int(os.environ.get("RELATA_SEED") or random.SystemRandom().randrange(1 << 32))
        print(f"RELATA_SEED={cls.seed}", flush=True)

    def begin(self):
        self.daemons = {"memory": self.start(schema())}
        for name, resident in (("fetched", False), ("resident", True)):
            self.daemons[name] = self.start_relatad(schema(resident=resident),
                                                    {"main": self.redis()})
        self.clients = {}
        for name, daemon in self.daemons.items():
            self.clients[name] = daemon.connect()
            self.clients[name].call("hello", {"errors": "map"})

    def answers(self, name, calls):
        client = self.clients[name]
        client.send(b"".join(request(number, *call) for number, call in enumerate(calls)))
        answers = client.receive_answers(len(calls))
        return [answers[number] for number in range(len(calls))]

    def compare(self, calls):
        expected = self.answers("memory", calls)
        for name in ("fetched", "resident"):
            for call, right, answer in zip(calls, expected, self.answers(name, calls)):
                if (name == "fetched" and call[0] in ("read", "count") and answer[0] is not None
                        and layers.REFUSAL in answer[0]["message"]):
                    self.check_refused(call)
                    continue
                if not self.names_another_fault(call, right[0], answer[0]):
                    self.assertEqual(exact(answer), exact(right), f"{name}: {call}")
        for call, (error, _) in zip(calls, expected):
            code = "ok" if error is None else error["code"]
            self.outcomes[call[0]] = self.outcomes.get(call[0], {})
            self.outcomes[call[0]][code] = self.outcomes[call[0]].get(code, 0) + 1

    @staticmethod
    def names_another_fault(call, right, answer):
        """Of writes with several faults: what is wrong with the records themselves, and
        between them, is seen before any is compared with what is there in Redis; and which
        of several keys that are taken is named may differ."""
        if not (right and answer and right["code"] == "conflict"):
            return False
        if call[0] in ("create_many", "upsert_many"):
            return answer["code"] in ("conflict", "invalid_request", "invalid_value",
                                      "unknown_field")
        return answer["code"] == "conflict" and "another" in right["message"] + answer["message"]

    def check_refused(self, call):
        parts = call[2]["filter"].split(" and ")
        led = [f"({name} {how}" for name in INDEXED for how in ("== $v", "in [")]
        self.assertFalse(any(part.startswith(tuple(led)) for part in parts), call)

    def test_random(self):
        self.begin()
        self.outcomes = {}
        make = Calls(random.Random(self.seed))
        for _ in range(ROUNDS):
            calls = [make.call() for _ in range(make.rng.choice([1, 1, 1, 2, 5]))]
            # Reads last: one that is out when a later write of the connection is done may show it.
            self.compare(sorted(calls, key=lambda call: call[0] in READS))
        print(self.outcomes, flush=True)
        for method in ("create", "upsert", "update", "destroy", "create_many", "upsert_many"):
            self.assertGreater(self.outcomes[method].get("ok", 0), 0, method)


if __name__ == "__main__":
    unittest.main()
