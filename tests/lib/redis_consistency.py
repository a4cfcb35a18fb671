"""What daemons answer, judged by what Redis did, in the manner of Jepsen.

Workers ask two daemons at random and write down every request with its answer. Redis
writes down every change in its append-only file, in the order in which it was done; so
afterwards it is known for each record which states it had, and in which order. Every
write carries a `version` that no other write has: it names the state that it made.

An answer names a state, or says that a record is none that was asked for. It is right if
there is such a state that is not older than

 - what any answer of that daemon had shown, or acknowledged, before the request was sent,
 - what the same connection had written before it, acknowledged yet or not,
 - what anybody had written a second before, while the link to Redis is trusted,

and not newer than what had been sent when the answer came. The checker knows nothing of
servers: who has several gives it the append-only files of all (`History`).
"""

import bisect
import collections
import dataclasses
import glob
import itertools
import json
import os
import random
import threading
import time

import msgpack

import relata_test
from redis_server import LinkLost, RedisError

FIELDS = ("id", "version", "name", "group_id", "count")
GROUPS = (1, 2, 3)
NAMES = ("Ada", "Bob", "Cid", "Dot", "Eve", "Fay")
TEAM_COUNT = 3  # of each team, always: what `busy` compares with
FOREIGN_S = 1.0

_FIELDS = "fields: {id: integer, version: integer, name: string, group_id: integer, count: integer}"


def _resource(name, encoding, writers, more="", **redis):
    redis = {"use": "main", "key": f"{name}:{{id}}", "encoding": encoding, "writers": writers,
             **redis}
    return f"  {name}:\n    layer: redis\n    redis: {json.dumps(redis)}\n    {_FIELDS}\n{more}"


ANYONE = ("version: 1\nresources:\n"
          + _resource("page", "hash", "anyone") + _resource("doc", "json", "anyone")
          + _resource("blob", "msgpack", "anyone")
          + _resource("board", "hash", "anyone", resident=True))
SCHEMA = ANYONE + _resource(
    "team", "hash", "relata", """
    relationships:
      persons: {has_many: person, destination_field: group_id}
      held: {has_many: person, destination_field: group_id, cache: {ttl: 1h}}
      busy:
        has_many: person
        manual: {filter: group_id == parent.id and count > parent.count}
        batch: {max_in_flight: 2}
      kept:
        has_many: person
        manual: {filter: group_id == parent.id and count > parent.count}
        cache: {ttl: 1h}
      skills: {many_to_many: skill, through: membership, source_field_on_through: group_id,
               destination_field_on_through: count}
""") + _resource("person", "json", "relata", """
    identities: {name: [name]}
    indexes: [[group_id, count]]
    relationships:
      team: {belongs_to: team, source_field: group_id}
      skill: {has_one: skill, source_field: name, destination_field: name, cache: {ttl: 1h}}
""") + _resource("membership", "msgpack", "relata", """
    indexes: [[group_id], [count]]
""") + _resource("skill", "msgpack", "relata", """
    identities: {name: [name]}
""") + _resource("cell", "hash", "relata", """
    identities: {name: [name]}
    indexes: [[group_id]]
""", resident=True)

ENCODINGS = {"page": "hash", "doc": "json", "blob": "msgpack", "board": "hash", "team": "hash",
             "person": "json", "membership": "msgpack", "skill": "msgpack", "cell": "hash"}
FOREIGN = ("page", "doc", "blob", "board")
RESIDENT = ("board", "cell")
INDEXED = ("person", "membership", "board", "cell")  # by group_id
UNIQUE = ("person", "skill", "cell")                  # by name
COUNTED = ("page", "doc", "blob", "board", "person", "cell", "skill")


# ---- What Redis did ----

def resource_key(name):
    """(resource, id) of a key in Redis, or None."""
    resource, _, number = name.decode(errors="replace").partition(":")
    return (resource, int(number)) if resource in ENCODINGS and number.isdigit() else None


def decode(encoding, value):
    """A record as it is answered. `value`: bytes, or the dict of a hash."""
    if encoding == "hash":
        found = {field.decode(): text.decode() for field, text in value.items()
                 if not field.startswith(b"_")}
        found = {field: text if field == "name" else int(text) for field, text in found.items()}
    elif encoding == "json":
        found = json.loads(value)
    else:
        found = msgpack.unpackb(value, strict_map_key=False)
    return {field: found.get(field) for field in FIELDS}


def encode(encoding, record):
    """The bytes of a value that is no hash, as another program would write them."""
    return json.dumps(record) if encoding == "json" else msgpack.packb(record)


def aof_paths(server):
    return sorted(glob.glob(os.path.join(server.folder, "appendonlydir", "*.incr.aof")),
                  key=lambda path: int(path.split(".")[-3]))


def aof_commands(path):
    """The commands; what a crash left half written at the end is left out."""
    with open(path, "rb") as file:
        data = file.read()
    at = 0
    while at < len(data):
        end = data.find(b"\r\n", at)
        if data[at:at + 1] == b"#":  # a comment
            at = end + 2
            continue
        if end < 0:
            return
        words, count, at = [], int(data[at + 1:end]), end + 2
        for _ in range(count):
            end = data.find(b"\r\n", at)
            if end < 0:
                return
            size = int(data[at + 1:end])
            words.append(data[end + 2:end + 2 + size])
            at = end + 2 + size + 2
            if at > len(data):
                return
        yield words


@dataclasses.dataclass
class State:
    record: dict        # None: absent
    position: int       # among all changes
    begun: float = 0    # not before
    ended: float = 0    # not after


class History:
    """The states that each record had."""

    def __init__(self):
        self.states = collections.defaultdict(lambda: [State(None, 0)])
        self.versions = {}  # version -> (key, index)
        self.twice = []     # versions that became current twice
        self.stored = {}    # by name, as it is in Redis now
        self.position = 0

    def read(self, paths):
        for path in paths:
            group = None
            for words in aof_commands(path):
                verb = words[0].upper()
                if verb == b"MULTI":
                    group = set()
                elif verb == b"EXEC":
                    self._note(group)
                    group = None
                else:
                    changed = self._apply(verb, words[1:])
                    # A key that is found expired in a transaction goes there, before.
                    if group is None or verb in (b"DEL", b"UNLINK"):
                        self._note(changed)
                    else:
                        group |= changed
        return self

    def _apply(self, verb, words):
        if verb in (b"FLUSHALL", b"FLUSHDB"):
            changed = set(self.stored)
            self.stored.clear()
            return changed
        if not words or resource_key(words[0]) is None:
            return set()
        name = words[0]
        if verb == b"SET":
            self.stored[name] = words[1]
        elif verb in (b"HSET", b"HMSET"):
            self.stored.setdefault(name, {})
            self.stored[name] = {**self.stored[name], **dict(zip(words[1::2], words[2::2]))}
        elif verb == b"HDEL":
            left = {field: value for field, value in self.stored.get(name, {}).items()
                    if field not in words[1:]}
            self.stored[name] = left
            if not left:
                del self.stored[name]
        elif verb in (b"DEL", b"UNLINK"):
            for other in words:
                self.stored.pop(other, None)
            return set(words)
        elif verb not in (b"PEXPIREAT", b"PERSIST"):
            raise AssertionError(f"what does this do? {verb} {words}")
        return {name}

    def _note(self, names):
        """What one command, or one transaction, changed is changed at once."""
        self.position += 1
        for name in sorted(names):
            key = resource_key(name)
            if key is None:
                continue
            value = self.stored.get(name)
            record = None if value is None else decode(ENCODINGS[key[0]], value)
            states = self.states[key]
            if record == states[-1].record:
                continue
            states.append(State(record, self.position))
            if record is not None:
                if record["version"] in self.versions:
                    self.twice.append(record)
                self.versions[record["version"]] = (key, len(states) - 1)


# ---- What was asked, and answered ----

@dataclasses.dataclass
class Op:
    method: str
    resource: str
    params: list
    writes: list = dataclasses.field(default_factory=list)  # records, or changes
    key: object = None      # of an update, a destroy
    condition: int = None   # what `count` was to be
    looks_for: object = None  # (what it says of which record) -> of what it asks
    daemon: object = None
    connection: object = None
    number: int = 0         # in the connection
    sent: float = 0
    received: float = 0
    error: object = None
    result: object = None

    @property
    def is_write(self):
        return bool(self.writes) or self.method in ("destroy", "destroy_many")

    @property
    def is_open(self):
        """Whether nobody knows if it was done."""
        return self.error is not None and (
            self.error["code"] in ("timeout", "closed")
            or (self.error.get("details") or {}).get("outcome") == "unknown")

    def __str__(self):
        return (f"{self.method}({self.resource}, {self.params}) at {self.daemon} "
                f"[{self.sent:.4f}..{self.received:.4f}] -> {self.error or self.result}")


class Versions:
    def __init__(self):
        self.lock = threading.Lock()
        self.last = 0

    def next(self):
        with self.lock:
            self.last += 1
            return self.last


class Choices:
    """Random requests. The same seed asks the same, but for what was seen meanwhile."""

    def __init__(self, rng, versions, resources=tuple(ENCODINGS), keys=6,
                 writes=0.35):
        self.rng = rng
        self.writes = writes  # their share
        self.versions = versions
        self.resources = resources
        self.keys = keys
        self.seen = {}  # (resource, id) -> record

    def id(self):
        return self.rng.randint(1, self.keys)

    def ids(self):
        return [self.id() for _ in range(self.rng.randint(1, self.keys))]

    def fields(self, resource, all_of_them):
        rng = self.rng
        values = {"name": rng.choice(NAMES + (None,)) if resource in UNIQUE
                  else rng.choice(NAMES) + "é" * rng.randint(0, 3),
                  "group_id": rng.choice(GROUPS + (None,)),
                  "count": self.id() if resource == "membership" else rng.randint(0, 9)}
        if resource == "team":
            values["count"] = TEAM_COUNT
        if not all_of_them:
            values = {field: value for field, value in values.items() if rng.random() < 0.5}
            if resource == "team":
                values.pop("count", None)
        return {"version": self.versions.next(), **values}

    def record(self, resource):
        return {"id": self.id(), **self.fields(resource, True)}

    def options(self):
        return {"fresh": True} if self.rng.random() < 0.05 else {}

    def op(self):
        roll = self.rng.random()
        resource = self.rng.choice(self.resources)
        if roll < self.writes:
            return self.write(resource)
        if roll < self.writes * 1.05:
            keys = self.ids() if self.rng.random() < 0.5 else None
            return Op("invalidate", resource, [resource, keys])
        return self.read(resource)

    def read(self, resource):
        rng = self.rng
        ways = ["get", "get", "get_many"]
        ways += ["index", "index", "indexes"] * (resource in INDEXED)
        ways += ["identity"] * (resource in UNIQUE)
        ways += ["scan"] * (resource in RESIDENT)
        ways += ["load", "load", "nested"] * (resource in ("team", "person"))
        return getattr(self, "_" + rng.choice(ways))(resource)

    def _get(self, resource):
        key = self.id()
        return Op("get", resource, [resource, key, self.options()], looks_for=("keys", [key]))

    def _get_many(self, resource):
        keys = self.ids()
        return Op("get_many", resource, [resource, keys, self.options()],
                  looks_for=("keys", keys))

    def _index(self, resource):
        group = self.rng.choice(GROUPS)
        return Op("read", resource, [resource, {"filter": "group_id == $g", "params":
                                                {"g": group}}, self.options()],
                  looks_for=("where", lambda record: record["group_id"] == group))

    def _indexes(self, resource):
        groups = self.rng.sample(GROUPS, 2)
        # A record that changes over from one set to the other while both are read may
        # be missed: nothing is said of those that are not answered.
        return Op("read", resource, [resource, {"filter": "group_id in $g", "params":
                                                {"g": groups}}, self.options()],
                  looks_for=("some", lambda record: record["group_id"] in groups))

    def _scan(self, resource):
        least = self.rng.randint(0, 9)
        return Op("read", resource, [resource, {"filter": "count > $n", "params": {"n": least}},
                                     self.options()],
                  looks_for=("where", lambda record: record["count"] is not None
                             and record["count"] > least))

    def _identity(self, resource):
        name = self.rng.choice(NAMES)
        return Op("get", resource, [resource, name, {"identity": "name", **self.options()}],
                  looks_for=("where", lambda record: record["name"] == name))

    def _load(self, resource):
        keys = sorted(set(self.ids()))
        name = self.rng.choice(["team", "skill"] if resource == "person" else
                               ["persons", "held", "held", "busy", "kept", "kept", "skills"])
        return Op("load", resource, [resource, keys, name, self.options()],
                  looks_for=("load", name, keys))

    def _nested(self, resource):
        key = self.id()
        name = self.rng.choice(["team", "skill"] if resource == "person" else
                               ["persons", "held", "kept"])
        return Op("get", resource, [resource, key, {"load": [name], **self.options()}],
                  looks_for=("nested", name, key))

    def write(self, resource):
        rng = self.rng
        key = self.id()
        way = rng.choice(["create", "create", "upsert", "update", "update", "destroy",
                          "create_many", "upsert_many", "destroy_many"]
                         + ["count"] * 4 * (resource in COUNTED)
                         + ["found"] * (resource in UNIQUE))
        if way == "create":
            record = self.record(resource)
            return Op(way, resource, [resource, record], [record])
        if way == "upsert":
            record = {"id": key, **self.fields(resource, rng.random() < 0.5 or
                                               resource == "team")}
            return Op(way, resource, [resource, record], [record])
        if way == "found":
            record = {**self.record(resource), "name": rng.choice(NAMES)}
            return Op("upsert", resource, [resource, record, {"identity": "name"}], [record])
        if way == "update":
            changes = self.fields(resource, False)
            return Op(way, resource, [resource, key, changes], [changes], key)
        if way == "count":
            seen = self.seen.get((resource, key))
            count = (seen or {}).get("count") or 0
            changes = {"version": self.versions.next(), "count": count + 1}
            return Op("update", resource, [resource, key, changes,
                                           {"if": "count == $n", "params": {"n": count}}],
                      [changes], key, count)
        if way == "destroy":
            return Op(way, resource, [resource, key], key=key)
        if way == "destroy_many":
            keys = rng.sample(range(1, self.keys + 1), min(2, self.keys))
            return Op(way, resource, [resource, keys], key=keys)
        records = [{"id": number, **self.fields(resource, True)}
                   for number in rng.sample(range(1, self.keys + 1), rng.randint(1, min(3, self.keys)))]
        return Op(way, resource, [resource, records], records)

    def note(self, op):
        for record in records_of(op.result):
            self.seen[op.resource, record["id"]] = record


def records_of(result):
    if isinstance(result, dict) and "version" in result:
        yield result
    elif isinstance(result, list):
        for one in result:
            yield from records_of(one)


class Log:
    def __init__(self):
        self.ops = []
        self.answered = 0  # without an error
        self.lock = threading.Lock()
        self.connections = itertools.count()
        self.failed = []

    def add(self, ops):
        with self.lock:
            self.ops.extend(ops)
            self.answered += sum(op.error is None for op in ops)


class Asker(threading.Thread):
    """One connection to a daemon. Sends some requests at once, now and then, and takes
    their answers in whatever order they come."""

    def __init__(self, log, daemon, name, choices, ends, burst=6):
        super().__init__(daemon=True)
        self.log = log
        self.name = name
        self.choices = choices
        self.ends = ends
        self.burst = burst
        self.connection = next(log.connections)
        self.client = daemon.connect()
        self.client.call("hello", {"errors": "map"})
        self.number = 0

    def run(self):
        try:
            while not self.ends():
                rng = self.choices.rng
                self.ask([self.choices.op() for _ in range(
                    rng.randint(1, self.burst) if rng.random() < 0.5 else 1)])
        except BaseException as error:  # told by the test's own thread
            self.log.failed.append(error)
            raise

    def ask(self, ops):
        data = b""
        for op in ops:
            self.number += 1
            op.daemon, op.connection, op.number = self.name, self.connection, self.number
            data += relata_test.request(self.number, op.method, *op.params)
        by_number = {op.number: op for op in ops}
        sent = time.monotonic()
        for op in ops:
            op.sent = sent
        self.client.send(data)
        for _ in ops:
            _, number, error, result = self.client.receive()
            op = by_number.pop(number)
            op.received = time.monotonic()
            op.error, op.result = error, result
            self.choices.note(op)
        self.log.add(ops)
        if all(op.error is not None for op in ops):
            time.sleep(0.001)  # it may be that Redis is away


class Foreigner(threading.Thread):
    """Another program that writes to Redis."""

    def __init__(self, log, redis, choices, ends):
        super().__init__(daemon=True)
        self.log = log
        self.redis = redis  # a client, or something alike
        self.choices = choices
        self.ends = ends

    def run(self):
        try:
            while not self.ends():
                self.write()
                time.sleep(self.choices.rng.random() * 0.004)
        except BaseException as error:
            self.log.failed.append(error)
            raise

    def write(self):
        rng = self.choices.rng
        resource = rng.choice([name for name in FOREIGN if name in self.choices.resources])
        record = self.choices.record(resource)
        name = f"{resource}:{record['id']}"
        if rng.random() < 0.15:
            record, words = None, ("DEL", name)
        elif ENCODINGS[resource] == "hash":
            if rng.random() < 0.5:
                del record["name"], record["group_id"]
            words = ["HSET", name]
            for field, value in record.items():
                words += [field, value] if value is not None else []
        else:
            words = ("SET", name, encode(ENCODINGS[resource], record))
        op = Op("raw", resource, list(words), [record] if record else [])
        op.sent = time.monotonic()
        try:
            self.redis.call(*words)
        except (LinkLost, RedisError) as error:
            op.error = {"code": "closed", "message": str(error)}
            self.reconnect()
        op.received = time.monotonic()
        self.log.add([op])

    def reconnect(self):
        while not self.ends():
            try:
                self.redis.reconnect()
                return
            except (LinkLost, RedisError):
                time.sleep(0.01)


# ---- The judge ----

class Bounds:
    """What answers have shown of a record, by the time at which they came."""

    def __init__(self):
        self.times = []
        self.indexes = []

    def add(self, when, index):
        # They come by time.
        self.times.append(when)
        self.indexes.append(max(index, self.indexes[-1] if self.indexes else 0))

    def at(self, when):
        place = bisect.bisect_left(self.times, when)
        return self.indexes[place - 1] if place else 0


class Checker:
    """`trusted`: what others wrote must show within a second. `errors`: what
    stands in those that are allowed. The faults are told as a list of texts; none is right."""

    ALWAYS = ("conflict", "not_found")

    def __init__(self, history, ops, keys, trusted=True, errors=(), ordered=True):
        self.history = history
        self.ops = sorted(ops, key=lambda op: op.received)
        self.keys = keys
        self.trusted = trusted
        self.errors = set(errors) | set(self.ALWAYS)
        self.ordered = ordered  # positions of several records compare
        self.faults = []
        self.bounds = collections.defaultdict(Bounds)  # (daemon, key)
        self.own = collections.defaultdict(list)  # (connection, key) -> (number, index)
        self.checked = 0  # what was said of records

    def check(self):
        self._place()
        for op in self.ops:
            if op.daemon is not None:
                self._check(op)
        self._check_changes()
        if self.ordered:
            self._check_unique()
        for record in self.history.twice:
            self.faults.append(f"became current twice: {record}")
        return self.faults

    def _fault(self, op, text, key=None):
        story = "" if self.faults or key is None else "\n" + self.story(op, key)
        self.faults.append(f"{text}\n    {op}{story}")

    def story(self, op, key, before_s=0.02):
        """What happened to a record before an answer, for whoever must find out why."""
        lines = [f"        state {index}: {state.record}, {state.begun:.4f}..{state.ended:.4f}"
                 for index, state in enumerate(self.history.states[key])
                 if state.begun <= op.received and state.ended >= op.sent - before_s]
        lines += [f"        {other.connection}.{other.number} {other}" for other in self.ops
                  if other.resource == key[0] and other.received >= op.sent - before_s
                  and other.sent <= op.received and self._speaks_of(other, key[1])]
        return "\n".join(lines)

    @staticmethod
    def _speaks_of(op, number):
        return (any(record["id"] == number for record in records_of(op.result))
                or any(record.get("id") == number for record in op.writes)
                or op.key == number or (isinstance(op.key, list) and number in op.key)
                or (op.looks_for is not None and op.looks_for[0] == "keys"
                    and number in op.looks_for[1])
                or op.method == "raw" and op.params[1].endswith(f":{number}"))

    # -- When each state can have been --

    def _place(self):
        begun = {}
        ended = {}
        for op in self.ops:
            for record in op.writes:
                begun[record["version"]] = op.sent
                if op.error is None:
                    ended[record["version"]] = op.received
                    found = self.history.versions.get(record["version"])
                    if found is not None and op.connection is not None:
                        self.own[op.connection, found[0]].append((op.number, found[1]))
        for states in self.history.states.values():
            latest = 0
            for state in states:
                if state.record is not None:
                    latest = max(latest, begun[state.record["version"]])
                state.begun = latest
            earliest = float("inf")
            for state in reversed(states):
                if state.record is not None:
                    earliest = min(earliest, ended.get(state.record["version"], earliest))
                state.ended = earliest

    def _least(self, op, key):
        """No answer may show an older state than this one."""
        least = self.bounds[op.daemon, key].at(op.sent)
        for number, index in self.own.get((op.connection, key), ()):
            if number < op.number:
                least = max(least, index)
        if self.trusted:
            states = self.history.states[key]
            place = bisect.bisect_left(states, op.sent - FOREIGN_S, key=lambda state: state.ended)
            least = max(least, place - 1)
        return least

    # -- What is said --

    def _shows(self, op, resource, record):
        """A record stands in the answer."""
        self.checked += 1
        found = self.history.versions.get(record["version"])
        if found is None:
            self._fault(op, f"never was there: {record}")
            return
        key, index = found
        state = self.history.states[key][index]
        if key != (resource, record["id"]) or state.record != {
                field: record[field] for field in FIELDS}:
            self._fault(op, f"{record} is not what was stored: {key} {state.record}")
            return
        least = self._least(op, key)
        if index < least:
            self._fault(op, f"{key} went back: state {index} of version {record['version']}, but "
                            f"state {least} was known: {self.history.states[key][least].record}", key)
        if state.begun > op.received:
            self._fault(op, f"{record} before it was written")
        self.bounds[op.daemon, key].add(op.received, index)

    def _hides(self, op, key, asked):
        """A record does not stand there: it was none that `asked` is true for."""
        self.checked += 1
        states = self.history.states[key]
        least = self._least(op, key)
        for index in range(least, len(states)):
            state = states[index]
            if state.begun > op.received:
                break
            if state.record is None or not asked(state.record):
                self.bounds[op.daemon, key].add(op.received, index)
                return
        self._fault(op, f"{key} is missing: state {least} was known, which has it, as have all "
                        f"since: {states[least].record}", key)

    def _shows_all(self, op, resource, records, asked, whole=True):
        found = set()
        for record in records:
            if not asked(record):
                self._fault(op, f"not asked for: {record}")
            if record["id"] in found:
                self._fault(op, f"twice: {record}")
            found.add(record["id"])
            self._shows(op, resource, record)
        for number in range(1, self.keys + 1):
            if whole and number not in found:
                self._hides(op, (resource, number), asked)

    def _shows_one(self, op, resource, number, record):
        if record is None:
            self._hides(op, (resource, number), lambda _: True)
        elif record["id"] != number:
            self._fault(op, f"not asked for: {record}")
        else:
            self._shows(op, resource, record)

    # -- Answers --

    def _check(self, op):
        if op.error is not None:
            self._check_error(op)
        elif op.looks_for is not None:
            getattr(self, "_check_" + op.looks_for[0])(op, *op.looks_for[1:])
        elif op.method == "destroy":
            # It was done on what was there; afterwards it was absent.
            self._hides(op, (op.resource, op.key), lambda _: True)
        elif op.method == "destroy_many":
            for key in op.key:
                self._hides(op, (op.resource, key), lambda _: True)
        elif isinstance(op.result, dict):
            if op.result["version"] != op.writes[0]["version"]:
                self._fault(op, "answered with another write's record")
            self._shows(op, op.resource, op.result)
        else:
            for record in op.writes:
                found = self.history.versions.get(record["version"])
                if found is None:
                    self._fault(op, f"acknowledged, but never was there: {record}")
                else:
                    self.bounds[op.daemon, found[0]].add(op.received, found[1])

    def _check_error(self, op):
        if not any(known in self._words(op.error) for known in self.errors):
            self._fault(op, "an error that nothing explains")
        if not op.is_open:
            for record in op.writes:
                if record["version"] in self.history.versions:
                    self._fault(op, f"refused, but it was done: {record}")
        if op.error["code"] == "not_found":
            self._hides(op, (op.resource, op.key), lambda _: True)

    @staticmethod
    def _words(error):
        return f"{error['code']}: {error['message']}"

    def _check_keys(self, op, keys):
        results = [op.result] if op.method == "get" else op.result
        for number, record in zip(keys, results, strict=True):
            if isinstance(record, msgpack.ExtType):
                error = msgpack.unpackb(record.data)
                if not any(known in self._words(error) for known in self.errors):
                    self._fault(op, f"an error that nothing explains: {error}")
            else:
                self._shows_one(op, op.resource, number, record)

    def _check_where(self, op, asked):
        records = op.result if isinstance(op.result, list) else [op.result] * bool(op.result)
        self._shows_all(op, op.resource, records, asked)

    def _check_some(self, op, asked):
        self._shows_all(op, op.resource, op.result, asked, whole=False)

    def _related(self, op, name, key, related):
        if isinstance(related, msgpack.ExtType):
            error = msgpack.unpackb(related.data)
            if not any(known in self._words(error) for known in self.errors):
                self._fault(op, f"an error that nothing explains: {error}")
        elif name in ("team", "skill"):
            if related is not None:
                self._shows(op, name, related)
        elif name == "skills":
            for record in related:
                self._shows(op, "skill", record)
        elif name in ("persons", "held"):
            self._shows_all(op, "person", related, lambda record: record["group_id"] == key)
        else:
            self._shows_all(op, "person", related, lambda record: record["group_id"] == key
                            and record["count"] is not None and record["count"] > TEAM_COUNT)

    def _check_load(self, op, name, keys):
        for key, related in zip(keys, op.result, strict=True):
            if related is not None:
                self._related(op, name, key, related)
            elif op.resource == "team":  # of a person, nil also says that there is none such
                self._hides(op, (op.resource, key), lambda _: True)

    def _check_nested(self, op, name, key):
        self._shows_one(op, op.resource, key, op.result)
        if op.result is not None:
            self._related(op, name, key, op.result[name])

    # -- Changes --

    def _check_changes(self):
        """Each was made of the one before: no write lost what another one had written."""
        for op in self.ops:
            for changes in op.writes if op.method != "raw" else ():
                found = self.history.versions.get(changes["version"])
                if found is None:
                    if op.error is None:
                        self._fault(op, f"acknowledged, but never was there: {changes}")
                    continue
                key, index = found
                states = self.history.states[key]
                before = states[index - 1].record
                if op.method.startswith("create") and before is not None:
                    self._fault(op, f"created over {before}")
                if op.method == "update" and before is None:
                    self._fault(op, "updated what was not there")
                if op.condition is not None and before and before["count"] != op.condition:
                    self._fault(op, f"not allowed on {before}")
                if op.method == "upsert" and before and "identity" in str(op.params[2:]) and \
                        before["name"] != changes["name"]:
                    self._fault(op, f"its identity does not find {before}")
                after = {**(before or dict.fromkeys(FIELDS)), "id": key[1], **changes}
                if after != states[index].record:
                    self._fault(op, f"lost what was there: {before} became "
                                    f"{states[index].record}")

    def _check_unique(self):
        changes = sorted((state.position, key, index)
                         for key, states in self.history.states.items() if key[0] in UNIQUE
                         for index, state in enumerate(states) if index > 0)
        owners = {}  # (resource, name) -> key
        for _, group in itertools.groupby(changes, key=lambda change: change[0]):
            group = [(key, self.history.states[key][index - 1].record,
                      self.history.states[key][index].record) for _, key, index in group]
            for key, before, _ in group:
                if before is not None and owners.get((key[0], before["name"])) == key:
                    del owners[key[0], before["name"]]
            for key, _, record in group:
                if record is None or record["name"] is None:
                    continue
                owner = owners.setdefault((key[0], record["name"]), key)
                if owner != key:
                    self.faults.append(f"{owner} had the name when this came: {record}")


# ---- Afterwards ----

def stored_records(calls):
    """resource -> id -> record, as it is in Redis. `calls`: one client or several."""
    found = {resource: {} for resource in ENCODINGS}
    for call in calls:
        for name in call("KEYS", "*"):
            key = resource_key(name)
            if key is None:
                continue
            if ENCODINGS[key[0]] == "hash":
                words = call("HGETALL", name)
                value = words if isinstance(words, dict) else dict(zip(words[::2], words[1::2]))
            else:
                value = call("GET", name)
            found[key[0]][key[1]] = decode(ENCODINGS[key[0]], value)
    return found


def differences(client, stored, keys, options, resources=tuple(ENCODINGS)):
    """Where what a daemon answers is not what is stored."""
    faults = []

    def same(what, answer, expected):
        if answer != expected:
            faults.append(f"{what}: {answer}, but there is {expected}")

    def where(resource, test):
        return [record for _, record in sorted(stored[resource].items()) if test(record)]

    def by_id(records):
        return sorted(records, key=lambda record: record["id"])
    for resource in resources:
        numbers = list(range(1, keys + 1))
        same(f"get_many {resource}", client.call("get_many", resource, numbers, options),
             [stored[resource].get(number) for number in numbers])
        for group in GROUPS if resource in INDEXED else ():
            query = {"filter": "group_id == $g", "params": {"g": group}}
            same(f"read {resource} {group}", client.call("read", resource, query, options),
                 where(resource, lambda record: record["group_id"] == group))
        for name in NAMES if resource in UNIQUE else ():
            same(f"identity {resource} {name}",
                 client.call("get", resource, name, {"identity": "name", **options}),
                 next(iter(where(resource, lambda record: record["name"] == name)), None))
        if resource in RESIDENT:
            same(f"read {resource}", client.call("read", resource, {}, options),
                 where(resource, lambda record: True))
    for team in sorted(stored["team"]) if "team" in resources else ():
        members = where("person", lambda record: record["group_id"] == team)
        for name in ("persons", "held"):
            same(f"team {team} {name}",
                 by_id(client.call("load", "team", [team], name, options)[0]), members)
        busy = [record for record in members
                if record["count"] is not None and record["count"] > TEAM_COUNT]
        for name in ("busy", "kept"):
            same(f"team {team} {name}", client.call("load", "team", [team], name, options)[0],
                 busy)
        skills = {record["count"] for record in stored["membership"].values()
                  if record["group_id"] == team}
        same(f"team {team} skills",
             by_id(client.call("load", "team", [team], "skills", options)[0]),
             where("skill", lambda record: record["id"] in skills))
    for number, person in stored["person"].items() if "person" in resources else ():
        same(f"person {number} team", client.call("load", "person", [number], "team", options)[0],
             stored["team"].get(person["group_id"]))
        same(f"person {number} skill",
             client.call("load", "person", [number], "skill", options)[0],
             next(iter(where("skill", lambda record: person["name"] is not None
                             and record["name"] == person["name"])), None))
    return faults


def members_and_claims(calls):
    """How many there are in all index sets, and how many claims."""
    members = claims = 0
    for call in calls:
        for name in call("KEYS", "relata:*"):
            if name.startswith(b"relata:ix:"):
                members += call("ZCARD", name)
            elif name.startswith(b"relata:id:"):
                claims += 1
    return members, claims


def expected_members_and_claims(stored):
    members = sum(record["group_id"] is not None
                  for resource in ("person", "membership", "cell")
                  for record in stored[resource].values())
    members += sum(record["count"] is not None for record in stored["membership"].values())
    claims = sum(record["name"] is not None for resource in UNIQUE
                 for record in stored[resource].values())
    return members, claims
