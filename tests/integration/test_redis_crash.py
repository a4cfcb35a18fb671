"""kill -9 at any point of any write to Redis: what was acknowledged is there, what was not
is whole or not there at all, and indexes and identities say what the records say.

One Redis, or a Cluster, lives through all rounds. In each a new daemon starts; it shows what the last one
left, several connections write through it without a pause, and it is killed some
milliseconds later. The seed is printed, and RELATA_SEED repeats the choices, though not the
timing.
"""

import itertools
import json
import os
import random
import select
import time
import unittest

import msgpack

import redis_server
import relata_test

SANITIZED = bool(os.environ.get("RELATA_SANITIZE"))
ROUNDS = 60 if SANITIZED else 200
CLUSTER_ROUNDS = 15 if SANITIZED else 40
WRITERS = 6
KEYS = 24             # of a writer
GROUPS = "ash", "birch", "cedar"
IN_FLIGHT_MAX = 3     # of a writer
WRITING_MAX_S = 0.012
# A claim of a write that never ended is anybody's after 2 s.
LEASE_S = 2.05
LONG = 3000           # of some records
FREE_TRIES_MAX = 4

SCHEMA = """
version: 1
resources:
  item:
    layer: redis
    redis: {key: "item:{id}", writers: relata}
    fields: {id: integer, kind: string, rank: integer, code: string, note: string}
    identities: {code: [code]}
    indexes: [[kind, rank], [rank]]
  part:
    layer: redis
    primary_key: [area, id]
    redis: {key: "part:{area}:{id}", writers: relata, encoding: json}
    fields: {area: string, id: integer, kind: string, rank: integer, code: string, note: string}
    identities: {place: [area, code]}
    indexes: [[kind, rank]]
  spot:
    layer: redis
    redis: {key: "spot:{id}", writers: relata, encoding: msgpack, resident: true}
    fields: {id: integer, kind: string, rank: integer, code: string, note: string}
    identities: {code: [code]}
  leaf:
    layer: redis
    redis: {key: "leaf:{id}", writers: relata, encoding: msgpack}
    fields: {id: integer, kind: string, rank: integer, code: string, note: string}
    indexes: [[kind, rank]]
"""


class Write:
    """One request, what it changes, and what it is to answer."""

    def __init__(self, words, changes, answer, codes=()):
        self.words = words
        self.changes = changes  # key -> record or None
        self.answer = answer    # a value; or the code of an error, as ("error", code)
        self.codes = codes      # that it takes or gives up
        self.msgid = 0


class Writer:
    """Writes to keys and codes of its own over one connection, and knows what follows."""

    RESOURCES = "item", "part", "spot", "leaf"

    def __init__(self, number, rng):
        self.number = number
        self.rng = rng
        self.resource = self.RESOURCES[number % len(self.RESOURCES)]
        self.area = f"area:{number}"  # as a part of a key it is percent-encoded
        self.has_codes = self.resource != "leaf"
        self.identity = {"part": "place", "leaf": None}.get(self.resource, "code")
        self.ids = [number * 1000 + i for i in range(KEYS)]
        self.sure = {}          # key -> record: what is acknowledged
        self.pending = []       # writes
        self.touched = set()    # keys, since the last check
        self.codes_touched = set()
        self.free = []          # codes that nobody has, nor claims
        self.left = {}          # code -> since when nobody can be about to take it
        self.last_code = 0
        self.client = None
        self.sent = self.acknowledged = 0

    # ---- Keys ----

    def key_of(self, record):
        return (record["area"], record["id"]) if self.resource == "part" else record["id"]

    def key_to_send(self, key):
        return list(key) if isinstance(key, tuple) else key

    def name_of(self, key):
        return (f"part:{key[0].replace(':', '%3A')}:{key[1]}" if self.resource == "part"
                else f"{self.resource}:{key}")

    def packed(self, key):
        parts = key if isinstance(key, tuple) else (key,)
        return b"".join(msgpack.packb(part) for part in parts)

    def identity_to_send(self, code):
        return [self.area, code] if self.resource == "part" else code

    def claim_of(self, code):
        return (f"relata:id:part:place:{self.area.replace(':', '%3A')}:{code}"
                if self.resource == "part" else f"relata:id:{self.resource}:code:{code}")

    # ---- Writes ----

    def expected(self):
        """What stands there once all that is out is done."""
        state = dict(self.sure)
        for write in self.pending:
            apply(state, write.changes)
        return state

    def new_code(self):
        if self.free and self.rng.random() < 0.5:
            return self.free.pop(self.rng.randrange(len(self.free)))
        self.last_code += 1
        return f"w{self.number}-{self.last_code}"

    def new_fields(self):
        rng = self.rng
        return {"kind": rng.choice(GROUPS) if rng.random() < 0.9 else None,
                "rank": rng.randrange(-5, 300), "note": rng.choice(("", "few", "few", "n" * LONG))}

    def new_record(self, id_, code=None):
        record = {"area": self.area} if self.resource == "part" else {}
        record.update(id=id_, **self.new_fields())
        record["code"] = code or self.new_code() if self.has_codes else None
        return record

    def choose(self):
        state = self.expected()
        there = sorted(state)
        absent = [id_ for id_ in self.ids
                  if ((self.area, id_) if self.resource == "part" else id_) not in state]
        kinds = ["create", "update", "update", "upsert", "destroy", "create_many",
                 "upsert_many", "destroy_many", "taken"]
        if self.has_codes:
            kinds += ["by_identity", "by_identity", "by_new_identity", "taken_code"]
        while True:
            write = getattr(self, "_" + self.rng.choice(kinds))(state, there, absent)
            if write is not None:
                return write

    def _create(self, state, there, absent):
        if not absent:
            return None
        record = self.new_record(self.rng.choice(absent))
        return self._write("create", record, {self.key_of(record): record}, record, state)

    def _taken(self, state, there, absent):
        if not there:
            return None
        record = self.new_record(state[self.rng.choice(there)]["id"])
        return self._write("create", record, {}, ("error", "conflict"), state, record["code"])

    def _taken_code(self, state, there, absent):
        if not there or not absent:
            return None
        record = self.new_record(self.rng.choice(absent), state[self.rng.choice(there)]["code"])
        return self._write("create", record, {}, ("error", "conflict"), state)

    def _update(self, state, there, absent):
        if not there:
            return None
        key = self.rng.choice(there)
        fields = self.new_fields()
        if self.has_codes and self.rng.random() < 0.4:
            fields["code"] = self.new_code()
        changes = {name: fields[name] for name in
                   self.rng.sample(sorted(fields), self.rng.randint(1, len(fields)))}
        after = {**state[key], **changes}
        write = self._write("update", None, {key: after}, after, state, fields.get("code"))
        write.words = ["update", self.resource, self.key_to_send(key), changes]
        return write

    def _upsert(self, state, there, absent):
        record = self.new_record(self.rng.choice(self.ids))
        return self._write("upsert", record, {self.key_of(record): record}, record, state)

    def _by_identity(self, state, there, absent):
        if not there:
            return None
        before = state[self.rng.choice(there)]
        after = {**before, **self.new_fields()}
        return self._write("upsert", after, {self.key_of(after): after}, after, state,
                           options={"identity": self.identity})

    def _by_new_identity(self, state, there, absent):
        if not absent:
            return None
        record = self.new_record(self.rng.choice(absent))
        return self._write("upsert", record, {self.key_of(record): record}, record, state,
                           options={"identity": self.identity})

    def _destroy(self, state, there, absent):
        if not there:
            return None
        key = self.rng.choice(there)
        write = self._write("destroy", None, {key: None}, True, state)
        write.words = ["destroy", self.resource, self.key_to_send(key)]
        return write

    def _destroy_many(self, state, there, absent):
        if not there or self.rng.random() < 0.5:
            return None
        keys = self.rng.sample(there, min(len(there), self.rng.randint(2, 8)))
        write = self._write("destroy_many", None, dict.fromkeys(keys), len(keys), state)
        write.words = ["destroy_many", self.resource, [self.key_to_send(key) for key in keys]]
        return write

    def _create_many(self, state, there, absent):
        if not absent:
            return None
        ids = self.rng.sample(absent, min(len(absent), self.rng.randint(1, 8)))
        return self._many("create_many", [self.new_record(id_) for id_ in ids], state)

    def _upsert_many(self, state, there, absent):
        ids = self.rng.sample(self.ids, self.rng.randint(1, 8))
        return self._many("upsert_many", [self.new_record(id_) for id_ in ids], state)

    def _many(self, method, records, state):
        return self._write(method, records, {self.key_of(record): record for record in records},
                           len(records), state)

    def _write(self, method, what, changes, answer, state, *codes, options=None):
        codes = {*codes}
        for key, after in changes.items():
            codes |= {record["code"] for record in (state.get(key), after) if record}
        words = [method, self.resource, what] + ([options] if options else [])
        return Write(words, changes, answer, codes - {None})

    def send(self):
        write = self.choose()
        self.pending.append(write)
        self.sent += 1
        write.msgid = self.sent
        self.touched |= set(write.changes)
        self.codes_touched |= set(write.codes)
        self.client.send(relata_test.request(self.sent, *write.words))

    def answered(self, message):
        kind, msgid, error, result = message
        write = next(write for write in self.pending if write.msgid == msgid)
        if self.has_codes:
            assert write is self.pending[0], "the writes of a connection keep their order"
        self.pending.remove(write)
        answer = ("error", error.split(":")[0]) if error is not None else result
        if isinstance(answer, dict) and isinstance(write.answer, dict):
            answer = {name: answer[name] for name in write.answer}
        if (kind, answer) != (1, write.answer):
            raise AssertionError(f"{write.words} answered {error or result}, not {write.answer}\n"
                                 f"before {[write.words for write in self.pending]}")
        apply(self.sure, write.changes)
        self.acknowledged += 1

    # ---- After a crash ----

    def outcomes(self):
        """All that may stand there. Where identities order the writes, what was done is the
        beginning of what was sent; elsewhere each may have been done for itself."""
        if self.has_codes:
            some = (self.pending[:count] for count in range(len(self.pending) + 1))
        else:
            some = itertools.chain.from_iterable(
                itertools.combinations(self.pending, count)
                for count in range(len(self.pending) + 1))
        for done in some:
            state = dict(self.sure)
            for write in done:
                apply(state, write.changes)
            yield state

    def resolve(self, found, killed, in_parts):
        """`found`: what stands at the keys that were touched. Where a write may be of several
        slots it is whole in each only. Codes that are free now may still be claimed by what
        was killed."""
        found = {key: record for key, record in found.items() if record is not None}
        outcomes = list(self.outcomes())
        states = [{key: state[key] for key in self.touched if key in state} for state in outcomes]
        if in_parts:
            may_be = all(any(state.get(key) == found.get(key) for state in states)
                         for key in self.touched)
        else:
            may_be = found in states
        if not may_be:
            raise AssertionError(
                f"{self.resource}: {found}\nis none of what may be: {states}\n"
                f"pending: {[write.words for write in self.pending]}")
        self.sure = {**{key: record for key, record in self.sure.items()
                        if key not in self.touched}, **found}
        self.pending = []
        borne = {record["code"] for record in self.sure.values()}
        for code in self.codes_touched - borne:
            self.left[code] = killed + LEASE_S


def apply(state, changes):
    for key, record in changes.items():
        if record is None:
            state.pop(key, None)
        else:
            state[key] = record


class Crash(redis_server.RedisCase):
    @classmethod
    def setUpClass(cls):
        cls.seed = int(os.environ.get("RELATA_SEED") or random.SystemRandom().randrange(1 << 32))
        print(f"RELATA_SEED={cls.seed}", flush=True)

    def setUp(self):
        self.rng = random.Random(f"{self.seed} {self.id()}")
        self.writers = [Writer(number, self.rng) for number in range(WRITERS)]
        self.killed = 0
        self.taken_over = 0

    def test_one_server(self):
        server = self.redis()
        client = server.client()
        self.crash(server, lambda verb, key, *words: client.call(verb, key, *words), ROUNDS)

    def test_a_cluster(self):
        cluster = self.cluster(replicas=0)
        self.crash(cluster, lambda verb, key, *words: cluster.call(key, verb, key, *words),
                   CLUSTER_ROUNDS, in_parts=True)

    def crash(self, home, raw, rounds, in_parts=False):
        self.raw = raw
        self.in_parts = in_parts
        self.daemon = relata_test.Daemon(
            SCHEMA, config=f"redis: {{main: {json.dumps(self.home(home))}}}\n")
        self.addCleanup(self.daemon.remove)
        for _ in range(rounds):
            self.start_daemon()
            self.check()
            self.write_until(time.monotonic() + self.rng.uniform(0, WRITING_MAX_S))
            self.kill()
        self.start_daemon()
        self.check()
        self.check_all()
        self.end(self.daemon)
        sent = sum(writer.sent for writer in self.writers)
        acknowledged = sum(writer.acknowledged for writer in self.writers)
        print(f"{sent} writes, {acknowledged} acknowledged, {self.taken_over} claims taken over",
              flush=True)
        # It was killed in the middle of writes.
        self.assertGreater(acknowledged, rounds)
        self.assertGreater(sent - acknowledged, rounds)
        self.assertGreater(self.taken_over, 0)

    def start_daemon(self):
        self.daemon.lines.clear()
        self.daemon.start()
        self.client = self.daemon.connect()
        for writer in self.writers:
            writer.client = self.daemon.connect()

    def kill(self):
        self.daemon.process.kill()
        self.killed = time.monotonic()
        self.daemon.wait()
        self.assertNotIn("Sanitizer", self.daemon.log())
        # What it had answered before counts.
        for writer in self.writers:
            for message in writer.client.receive_all():
                writer.answered(message)
        for client in self.daemon.clients:
            client.close()
        self.daemon.clients.clear()

    # ---- Writing ----

    def write_until(self, deadline):
        by_socket = {writer.client.socket: writer for writer in self.writers}
        for writer in self.writers:
            for _ in range(self.rng.randint(1, IN_FLIGHT_MAX)):
                writer.send()
        while (left := deadline - time.monotonic()) > 0:
            readable, _, _ = select.select(by_socket, [], [], left)
            for sock in readable:
                writer = by_socket[sock]
                writer.client.unpacker.feed(sock.recv(1 << 16))
                for message in writer.client.unpacker:
                    writer.answered(message)
                while len(writer.pending) < IN_FLIGHT_MAX and time.monotonic() < deadline:
                    writer.send()

    # ---- Checking ----

    def check(self):
        """What the last daemon left, as this one shows it."""
        for writer in self.writers:
            self.check_records(writer)
        for resource in Writer.RESOURCES:
            self.check_ranges(resource)
        for writer in self.writers:
            self.check_identities(writer)
            self.check_redis(writer, writer.touched)
            self.check_free(writer)
            writer.touched, writer.codes_touched = set(), set()

    def get_many(self, writer, keys, **options):
        """The records, with the fields that the writer wrote."""
        fields = {"select": list(writer.new_record(0, "c"))}
        return self.client.call("get_many", writer.resource, keys, {**fields, **options})

    def check_records(self, writer):
        keys = sorted(writer.touched)
        found = self.get_many(writer, [writer.key_to_send(key) for key in keys])
        writer.resolve(dict(zip(keys, found)), self.killed, self.in_parts)

    def check_ranges(self, resource):
        """An index answers exactly the records whose fields say so."""
        low = self.rng.randrange(300)
        high = low + self.rng.randrange(100)
        records = [(record, writer.key_of(record)) for writer in self.writers
                   if writer.resource == resource for record in writer.sure.values()]
        ranges = [(f'kind == "{kind}"', lambda record, kind=kind: record["kind"] == kind)
                  for kind in GROUPS]
        ranges.append((f'kind == "ash" and rank >= {low} and rank < {high}',
                       lambda record: record["kind"] == "ash" and low <= record["rank"] < high))
        if resource == "item" and records:
            rank = self.rng.choice(records)[0]["rank"]
            ranges.append((f"rank == {rank}", lambda record: record["rank"] == rank))
        for text, has in ranges:
            found = self.client.call("read", resource, {"filter": text})
            names = next(writer for writer in self.writers if writer.resource == resource)
            self.assertEqual(sorted((names.key_of(record), record["note"]) for record in found),
                             sorted((key, record["note"]) for record, key in records
                                    if has(record)), (resource, text))

    def check_identities(self, writer):
        if not writer.has_codes:
            return
        codes = sorted(writer.codes_touched)
        bearers = {record["code"]: record for record in writer.sure.values()}
        found = self.get_many(writer, [writer.identity_to_send(code) for code in codes],
                              identity=writer.identity)
        self.assertEqual(found, [bearers.get(code) for code in codes], writer.resource)

    def check_redis(self, writer, keys):
        """Each record is named by the sets and claims that its fields and its mark say."""
        for key in keys:
            record = writer.sure.get(key)
            if record is None:
                self.assertIsNone(self.raw_record(writer, key))
                continue
            mark = self.raw_record(writer, key)
            if writer.has_codes:
                claim = self.raw("GET", writer.claim_of(record["code"])) or b""
                self.assertTrue(claim.startswith(writer.packed(key)), (record, claim))
            if writer.resource == "spot":
                continue
            self.assert_named(writer, f"kind,rank:{record['kind']}", record, mark)
            if writer.resource == "item":
                self.assert_named(writer, f"rank:{record['rank']}", record, mark)

    def raw_record(self, writer, key):
        """The mark of what stands there, or None."""
        name = writer.name_of(key)
        if writer.resource == "item":
            return self.raw("HGET", name, "_relata")
        text = self.raw("GET", name)
        if text is None:
            return None
        read = json.loads if writer.resource == "part" else msgpack.unpackb
        return read(text)["_relata"].encode()

    def assert_named(self, writer, which, record, mark):
        if which.endswith(":None"):
            return
        members = self.raw("ZRANGE", f"relata:ix:{writer.resource}:{which}", 0, -1)
        end = writer.packed(writer.key_of(record)) + mark
        self.assertTrue(any(member.endswith(end) for member in members),
                        (writer.resource, which, record, members))

    def check_free(self, writer):
        """A code that nobody bears is refused for a while at most, if what was killed claimed it."""
        due = [code for code, when in writer.left.items() if time.monotonic() > when]
        early = [code for code in writer.left if code not in due]
        if early and self.rng.random() < 0.2:
            self.try_code(writer, self.rng.choice(early), may_conflict=True)
        for code in due[:FREE_TRIES_MAX]:
            self.taken_over += self.raw("EXISTS", writer.claim_of(code))
            self.try_code(writer, code, may_conflict=False)
            del writer.left[code]
            writer.free.append(code)

    def try_code(self, writer, code, may_conflict):
        record = {**writer.new_record(writer.number * 1000 + 999, code)}
        try:
            self.client.call("create", writer.resource, record)
        except relata_test.Refused as refused:
            if may_conflict and refused.code == "conflict":
                return
            raise
        self.client.call("destroy", writer.resource, writer.key_to_send(writer.key_of(record)))

    def check_all(self):
        for writer in self.writers:
            self.check_redis(writer, writer.sure)
            found = self.get_many(writer, [writer.key_to_send(key) for key in writer.sure])
            self.assertEqual(found, list(writer.sure.values()))
        time.sleep(max(0, self.killed + LEASE_S - time.monotonic()))
        for writer in self.writers:
            while writer.left:
                self.check_free(writer)


if __name__ == "__main__":
    unittest.main()
