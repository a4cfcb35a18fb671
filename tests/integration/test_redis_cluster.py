"""Records at home in a Redis Cluster of three masters and three replicas: calls over all
slots, and what two daemons show while slots move and while a master is replaced.

The seed is printed, and RELATA_SEED repeats the choices, though not the timing.
"""

import bisect
import collections
import os
import random
import threading
import time
import unittest

import msgpack

import redis_server
import relata_test
from redis_server import slot_of
from relata_test import Refused, wait_until

SANITIZED = bool(os.environ.get("RELATA_SANITIZE"))
HOME_TIMEOUT_S = 5 if SANITIZED else 2
FOREIGN_S = 3.0 if SANITIZED else 1.0  # what others wrote shows by then

CALLS = """
version: 1
resources:
  team:
    layer: redis
    redis: {key: "team:{id}", encoding: json}
    fields: {id: integer, name: string}
    relationships:
      persons: {has_many: person}
      oldest: {has_one: person, sort: -age}
      grown_up:
        has_many: person
        manual: {filter: team_id == parent.id and age >= 18}
      skills: {many_to_many: skill, through: person_skill, source_field_on_through: team_id,
               destination_field_on_through: skill_id}
  person:
    layer: redis
    redis: {key: "person:{id}", writers: relata}
    fields: {id: integer, team_id: integer, age: integer, name: string}
    identities: {name: [name]}
    indexes: [[team_id, age]]
    relationships:
      team: {belongs_to: team}
  person_skill:
    layer: redis
    primary_key: [team_id, skill_id]
    redis: {key: "ps:{team_id}:{skill_id}", writers: relata, encoding: msgpack}
    fields: {team_id: integer, skill_id: string}
  skill:
    layer: redis
    redis: {key: "skill:{id}", encoding: msgpack}
    fields: {id: string, level: integer}
  note:
    layer: redis
    primary_key: [team_id, id]
    redis: {key: "note:{{{team_id}}}:{id}", writers: relata}
    fields: {team_id: integer, id: integer, text: string}
    identities: {text: [text]}
  board:
    layer: redis
    redis: {key: "board:{id}", resident: true}
    fields: {id: integer, rank: integer}
    indexes: [[rank]]
  seat:
    layer: redis
    redis: {key: "seat:{id}", writers: relata, resident: true, encoding: json}
    fields: {id: integer, person_id: integer, rank: integer}
    identities: {person: [person_id]}
"""

CLUSTER = None


def setUpModule():
    global CLUSTER  # it takes some seconds, and all tests leave it whole
    CLUSTER = redis_server.RedisCluster()
    unittest.addModuleCleanup(CLUSTER.remove)


def by_id(records):
    return sorted(records, key=lambda record: record["id"])


class Case(redis_server.RedisCase):
    @classmethod
    def setUpClass(cls):
        cls.seed = int(os.environ.get("RELATA_SEED") or random.SystemRandom().randrange(1 << 32))
        print(f"RELATA_SEED={cls.seed}", flush=True)

    def begin(self, schema):
        """Two daemons over an empty Cluster."""
        for node in CLUSTER.masters():
            CLUSTER.call_node(node, "FLUSHALL")
        home = {"url": CLUSTER.url, "cluster": True, "timeout": f"{HOME_TIMEOUT_S}s"}
        self.daemons = [self.start_relatad(schema, {"main": home}) for _ in range(2)]
        self.clients = [daemon.connect() for daemon in self.daemons]
        for client in self.clients:
            client.call("hello", {"errors": "map"})
        self.rng = random.Random(f"{self.seed} {self.id()}")


class Calls(Case):
    def setUp(self):
        self.begin(CALLS)
        self.a, self.b = self.clients

    def test_records(self):
        persons = [{"id": i, "team_id": i % 5, "age": i % 40, "name": f"p{i}"} for i in range(300)]
        masters = {CLUSTER.owner_of(f"person:{i}") for i in range(300)}
        self.assertEqual(len(masters), 3)
        self.assertEqual(self.a.call("create_many", "person", persons), 300)
        keys = [299, 0, 7, 7, 1000, *range(100)]
        for client in self.b, self.a, self.b:
            self.assertEqual(client.call("get_many", "person", keys),
                             [persons[key] if key < 300 else None for key in keys])
        changed = self.b.call("update", "person", 7, {"team_id": 1, "age": None})
        self.assertEqual(changed, {"id": 7, "team_id": 1, "age": None, "name": "p7"})
        self.assertEqual(self.b.call("get", "person", 7), changed)
        self.assertEqual(self.a.call("upsert", "person", {"id": 8, "name": "p8", "age": 90},
                                     {"identity": "name"}),
                         {"id": 8, "team_id": 3, "age": 90, "name": "p8"})
        self.assertEqual(self.a.call("destroy_many", "person", [*range(200, 300), 1000]), 100)
        self.assertEqual(self.a.call("get_many", "person", [200, 199]), [None, persons[199]])
        self.assert_refused("not_found", self.b.call, "destroy", "person", 200)
        self.assertEqual(self.a.call("upsert_many", "person", persons[150:250]), 100)
        self.assertEqual(self.a.call("get", "person", "p249", {"identity": "name"}), persons[249])

    def test_loads_and_indexes(self):
        self.a.call("upsert_many", "team", [{"id": i, "name": f"t{i}"} for i in range(30)])
        persons = [{"id": i, "team_id": i % 30, "age": i * 7 % 50, "name": f"p{i}"}
                   for i in range(240)]
        self.a.call("create_many", "person", persons)
        self.a.call("upsert_many", "skill", [{"id": f"s{i}", "level": i} for i in range(20)])
        self.a.call("create_many", "person_skill",
                    [{"team_id": i, "skill_id": f"s{(i + j) % 20}"} for i in range(30)
                     for j in range(3)])
        for client in self.b, self.a:
            self.check_loads(client, persons)
        self.b.call("update", "person", 33, {"team_id": 4})
        persons[33]["team_id"] = 4
        self.check_loads(self.b, persons)
        # The other daemon hears of it from the nodes.
        deadline = time.monotonic() + FOREIGN_S
        while not any(person["id"] == 33 for person in
                      self.a.call("load", "team", [4], "persons")[0]):
            self.assertLess(time.monotonic(), deadline)
        self.check_loads(self.a, persons)

    def check_loads(self, client, persons):
        def of(team, least=0):
            return [person for person in persons
                    if person["team_id"] == team and person["age"] >= least]
        teams = [*range(30), 99]
        self.assertEqual([records and by_id(records) for records in
                          client.call("load", "team", teams, "persons")],
                         [of(team) for team in range(30)] + [None])
        self.assertEqual([by_id(records) for records in
                          client.call("load", "team", teams[:30], "grown_up")],
                         [of(team, 18) for team in range(30)])
        self.assertEqual(client.call("load", "team", [3], "oldest"),
                         [max(of(3), key=lambda person: (person["age"], -person["id"]))])
        self.assertEqual([[skill["id"] for skill in skills] for skills in
                          client.call("load", "team", [0, 18], "skills")],
                         [["s0", "s1", "s2"], ["s0", "s18", "s19"]])
        self.assertEqual(client.call("load", "person", [5, 36], "team"),
                         [{"id": 5, "name": "t5"}, {"id": 6, "name": "t6"}])
        self.assertEqual(by_id(client.call("read", "person", {
            "filter": "team_id in $t and age < 30", "params": {"t": [1, 2, 17]}})),
            [person for person in persons
             if person["team_id"] in (1, 2, 17) and person["age"] < 30])
        self.assertEqual(client.call("count", "person", {"filter": "team_id == 2"}), len(of(2)))
        self.assert_refused("invalid_request", client.call, "read", "person",
                            {"filter": "age == 3"})

    def test_many_are_whole_in_each_slot(self):
        self.a.call("create", "person", {"id": 50, "name": "there"})
        persons = [{"id": i, "team_id": 1, "name": f"p{i}"} for i in range(100)]
        slots = collections.Counter(slot_of(f"person:{i}") for i in range(100))
        left_out = {i for i in range(100) if slot_of(f"person:{i}") == slot_of("person:50")}
        self.assertGreater(len(slots), 90)
        error = self.assert_refused("conflict", self.b.call, "create_many", "person", persons)
        self.assertEqual(error["details"]["written"], 100 - len(left_out))
        self.assertIn(f"{100 - len(left_out)} of 100 were written", error["message"])
        for client in self.a, self.b:
            self.assertEqual([record["id"] for record in client.call(
                "read", "person", {"filter": "team_id == 1"})],
                [i for i in range(100) if i not in left_out])
            self.assertEqual([record and record["id"] for record in client.call(
                "get_many", "person", [f"p{i}" for i in range(100)], {"identity": "name"})],
                [None if i in left_out else i for i in range(100)])
        # What was left out left nothing behind.
        self.assertEqual(self.b.call("create", "person", {"id": 200, "name": "p50"})["id"], 200)

    def test_a_tag_puts_records_into_one_slot(self):
        notes = [{"team_id": team, "id": i, "text": f"{team}.{i}"}
                 for team in range(4) for i in range(10)]
        self.assertEqual(self.a.call("create_many", "note", notes), 40)
        for team in range(4):
            slot = slot_of(str(team))
            keys = CLUSTER.call_node(CLUSTER.owner_of_slot(slot), "CLUSTER", "GETKEYSINSLOT",
                                     slot, 100)
            self.assertEqual({key for key in keys if key.startswith(b"note")},
                             {b"note:{%d}:%d" % (team, i) for i in range(10)})
        # In one slot it is all or nothing.
        error = self.assert_refused("conflict", self.b.call, "create_many", "note", [
            {"team_id": 1, "id": i, "text": f"new {i}"} for i in range(9, 30)])
        self.assertFalse(error["details"].get("written"), error)
        self.assertEqual(self.b.call("get_many", "note", [[1, 9], [1, 10], [1, 29]]),
                         [notes[19], None, None])
        self.assertIsNone(self.b.call("get", "note", "new 12", {"identity": "text"}))

    def test_resident(self):
        for i in range(60):
            CLUSTER.call(f"board:{i}", "HSET", f"board:{i}", "id", i, "rank", i % 7)
        self.a.call("create_many", "seat", [{"id": i, "person_id": 100 + i, "rank": i % 7}
                                            for i in range(60)])
        for client in self.clients:
            for resource in "board", "seat":
                def read(client=client, resource=resource):
                    return [record["id"] for record in client.call(
                        "read", resource, {"filter": "rank > 2 and rank < 5"})]
                wait_until(lambda: read() == [i for i in range(60) if 2 < i % 7 < 5], resource)
        self.assert_refused("conflict", self.b.call, "create", "seat",
                            {"id": 99, "person_id": 100})
        self.assertEqual(self.b.call("get", "seat", 111, {"identity": "person"})["id"], 11)
        # A daemon that starts finds it all.
        late = self.start_relatad(CALLS, {"main": CLUSTER}).connect()
        self.assertEqual(late.call("count", "board", {}), 60)
        self.assertEqual(late.call("count", "seat", {}), 60)

    def test_others_are_heard_on_each_master(self):
        skills = [f"s{i}" for i in range(30)]
        self.assertEqual(len({CLUSTER.owner_of(f"skill:{skill}") for skill in skills}), 3)
        for level in range(4):
            for skill in skills:
                CLUSTER.call(f"skill:{skill}", "SET", f"skill:{skill}",
                             msgpack.packb({"id": skill, "level": level}))
                CLUSTER.call(f"board:{skill[1:]}", "HSET", f"board:{skill[1:]}", "rank", level)
            deadline = time.monotonic() + FOREIGN_S
            for client in self.clients:
                while not (self.levels(client, skills) == {level}
                           and self.ranks(client) == {level}):
                    self.assertLess(time.monotonic(), deadline)
        stats = self.a.call("stats")
        self.assertEqual(stats["redis"]["main"]["nodes"], 3)
        self.assertTrue(stats["redis"]["main"]["trusted"])
        self.assertGreater(stats["resources"]["skill"]["invalidations"], 0)

    def test_what_others_make_in_slots_that_moved(self):
        """That a record is absent is known too, and no node tells when its slot moves."""
        for round_ in range(4):
            skill = f"new{self.rng.randrange(1000)}"
            name = f"skill:{skill}"
            for client in self.clients:
                for _ in range(2):
                    self.assertEqual(self.levels(client, [skill]), {None})
            time.sleep(self.rng.random())  # the daemons look at the map now and then
            owner = CLUSTER.owner_of(name)
            CLUSTER.move_slot(slot_of(name), self.rng.choice(
                [node for node in CLUSTER.masters() if node is not owner]))
            CLUSTER.call(name, "SET", name, msgpack.packb({"id": skill, "level": round_}))
            begun = time.monotonic()
            for client in self.clients:
                while self.levels(client, [skill]) != {round_}:
                    self.assertLess(time.monotonic(), begun + FOREIGN_S)

    def levels(self, client, skills):
        return {record and record["level"] for record in client.call("get_many", "skill", skills)}

    def ranks(self, client):
        return {record["rank"] for record in client.call("read", "board", {})}


# ---- Consistency ----

GROUPS = 3
KEYS = 12       # that are written, of each resource
STILL = 6       # that are not, behind them
WATCHED = 3     # that only others write, of those that others may write
CODES = 8
CHURN = 8

MOVING = """
version: 1
resources:
"""
for _name, _more, _index in (
        ("page", "encoding: hash", ""),
        ("board", "encoding: hash, resident: true", "indexes: [[group]]"),
        ("person", "encoding: json, writers: relata", "indexes: [[group, n]]"),
        ("seat", "encoding: msgpack, writers: relata, resident: true", "indexes: [[group]]")):
    MOVING += f"""
  {_name}:
    layer: redis
    redis: {{key: "{_name}:{{id}}", {_more}}}
    fields: {{id: integer, n: integer, group: integer}}
    {_index}
"""
MOVING += """
  tag:
    layer: redis
    redis: {key: "tag:{id}", writers: relata}
    fields: {id: integer, code: string}
    identities: {code: [code]}
  part:
    layer: redis
    primary_key: [owner, id]
    redis: {key: "part:{{{owner}}}:{id}", writers: relata}
    fields: {owner: integer, id: integer, n: integer}
    indexes: [[owner]]
"""
COUNTED = "page", "board", "person", "seat"
INDEXED = "board", "person", "seat"
RESIDENT = "board", "seat"
IDS = {name: KEYS + STILL + (WATCHED if name in ("page", "board") else 0) for name in COUNTED}
FOREIGN = "page", "board"

# n counts the writes of a record, and says its group.
FOREIGN_WRITE = """
local n = redis.call('HINCRBY', KEYS[1], 'n', 1)
redis.call('HSET', KEYS[1], 'group', n % 3)
return n
"""


class Story:
    """What has been seen and done. n of a record only grows; so whoever asks a daemon sees
    no less than what it had shown before, or acknowledged, and than what others had written
    a second ago."""

    def __init__(self):
        self.lock = threading.Lock()
        self.shown = [collections.defaultdict(int), collections.defaultdict(int)]
        self.made = {}                                   # (key, n) -> who
        self.foreign = collections.defaultdict(lambda: ([], []))  # key -> times, values of n
        self.faults = []
        self.errors = collections.Counter()
        self.answers = collections.Counter()
        self.stopped = threading.Event()
        self.writing = threading.Condition(self.lock)
        self.writes_held = False
        self.writes_out = 0

    def fault(self, text):
        with self.lock:
            self.faults.append(text)

    def least(self, daemon):
        """By record, before a request is sent."""
        now = time.monotonic()
        with self.lock:
            least = dict(self.shown[daemon])
            for key, (times, values) in self.foreign.items():
                last = bisect.bisect_right(times, now - FOREIGN_S) - 1
                if last >= 0:
                    least[key] = max(least.get(key, 0), values[last])
        return least

    def saw(self, daemon, what, key, record, least):
        if record is None:
            self.fault(f"{what}: {key} is not there")
            return
        if record["n"] < least.get(key, 0) or record["group"] != record["n"] % GROUPS:
            self.fault(f"{what} of daemon {daemon}: {key} {record}, but {least.get(key)} is known")
        with self.lock:
            self.shown[daemon][key] = max(self.shown[daemon][key], record["n"])

    def wrote(self, who, key, n):
        with self.lock:
            other = self.made.setdefault((key, n), who)
        if other is not who:
            self.fault(f"{who} and {other} both made {key} {n}")

    def wrote_foreign(self, key, n):
        self.wrote("a stranger", key, n)
        with self.lock:
            times, values = self.foreign[key]
            times.append(time.monotonic())
            values.append(n)

    # -- A gate for writes --

    def begin_write(self):
        with self.lock:
            while self.writes_held and not self.stopped.is_set():
                self.writing.wait(0.1)
            self.writes_out += 1

    def end_write(self):
        with self.lock:
            self.writes_out -= 1
            self.writing.notify_all()

    def hold_writes(self):
        with self.lock:
            self.writes_held = True
            while self.writes_out > 0:
                self.writing.wait()

    def let_writes_go(self):
        with self.lock:
            self.writes_held = False
            self.writing.notify_all()


class Worker(threading.Thread):
    def __init__(self, story, rng):
        super().__init__(daemon=True)
        self.story = story
        self.rng = rng

    def run(self):
        try:
            while not self.story.stopped.is_set():
                self.step()
        except BaseException as error:
            self.story.fault(f"{self}: {error!r}")
            raise


class Asker(Worker):
    """One connection to a daemon."""

    def __init__(self, story, rng, daemon, number, client):
        super().__init__(story, rng)
        self.daemon_number = daemon
        self.owner = number
        self.client = client
        self.parts = {}        # its own, by id; those that are None are not known
        self.doubtful = False  # whether they are to be looked at anew
        self.known = {}

    def step(self):
        self.rng.choice((self.get, self.get_many, self.read, self.update, self.update, self.tag,
                         self.find_tag, self.churn))()

    def call(self, *words, writes=False):
        """The answer, or the error (which is no answer)."""
        if writes:
            self.story.begin_write()
        try:
            self.story.answers[words[0]] += 1
            return self.client.call(*words)
        except Refused as refused:
            if refused.code != "conflict":
                self.story.errors[words[1], refused.code] += 1
            return refused
        finally:
            if writes:
                self.story.end_write()

    def saw(self, what, resource, record, id_, least):
        self.story.saw(self.daemon_number, what, (resource, id_), record, least)
        if record is not None:
            self.known[resource, id_] = record["n"]

    def get(self):
        resource = self.rng.choice(COUNTED)
        self._get(resource, self.rng.randrange(IDS[resource]))

    def _get(self, resource, id_):
        least = self.story.least(self.daemon_number)
        record = self.call("get", resource, id_)
        if not isinstance(record, Refused):
            self.saw("get", resource, record, id_, least)

    def get_many(self):
        resource = self.rng.choice(COUNTED)
        ids = self.rng.sample(range(IDS[resource]), 8)
        least = self.story.least(self.daemon_number)
        records = self.call("get_many", resource, ids)
        if not isinstance(records, Refused):
            for id_, record in zip(ids, records, strict=True):
                self.saw("get_many", resource, record, id_, least)

    def read(self):
        resource = self.rng.choice(INDEXED)
        group = self.rng.randrange(GROUPS)
        least = self.story.least(self.daemon_number)
        records = self.call("read", resource, {"filter": f"group == {group}"})
        if isinstance(records, Refused):
            return
        for record in records:
            if record["group"] != group:
                self.story.fault(f"{resource} of group {group}: {record}")
            self.saw("read", resource, record, record["id"], least)
        still = [record["id"] for record in records if KEYS <= record["id"] < KEYS + STILL]
        if still != [id_ for id_ in range(KEYS, KEYS + STILL) if id_ % GROUPS == group]:
            self.story.fault(f"{resource} of group {group} has {still}")

    def update(self):
        resource, id_ = self.rng.choice(COUNTED), self.rng.randrange(KEYS)
        n = self.known.get((resource, id_), 0)
        changes = {"n": n + 1, "group": (n + 1) % GROUPS}
        record = self.call("update", resource, id_, changes,
                           {"if": "n == $n", "params": {"n": n}}, writes=True)
        if isinstance(record, Refused):
            self._get(resource, id_)
            return
        self.story.wrote(self, (resource, id_), n + 1)
        self.saw("update", resource, record, id_, {(resource, id_): n + 1})
        if self.rng.random() < 0.5:
            self._get(resource, id_)

    # -- Identities --

    def tag(self):
        code = f"c{self.rng.randrange(CODES)}" if self.rng.random() < 0.7 else None
        words = ("upsert", "tag", {"id": self.rng.randrange(KEYS), "code": code})
        self.call(*words, writes=True)

    def find_tag(self):
        code = f"c{self.rng.randrange(CODES)}"
        record = self.call("get", "tag", code, {"identity": "code"})
        if not isinstance(record, Refused) and record is not None and record["code"] != code:
            self.story.fault(f"the tag {code} is {record}")

    # -- Records that come and go, of one slot, and nobody else's --

    def churn(self):
        if self.doubtful:
            self.look_anew()
            return
        absent = [id_ for id_ in range(CHURN) if id_ not in self.parts]
        if not absent or (self.parts and self.rng.random() < 0.3):
            ids = self.rng.sample(sorted(self.parts), self.rng.randint(1, len(self.parts)))
            words = "destroy_many", "part", [[self.owner, id_] for id_ in ids]
            after = {id_: record for id_, record in self.parts.items() if id_ not in ids}
        else:
            ids = self.rng.sample(absent, self.rng.randint(1, len(absent)))
            new = {id_: {"owner": self.owner, "id": id_, "n": self.rng.randrange(100)}
                   for id_ in ids}
            words = "create_many", "part", list(new.values())
            after = {**self.parts, **new}
        count = self.call(*words, writes=True)
        if isinstance(count, Refused):
            if count.code == "conflict":
                self.story.fault(f"{words} of its own: {count}")
            self.doubtful = True
            return
        if count != len(ids):
            self.story.fault(f"{words}: {count}")
        self.parts = after
        self.check_parts()

    def check_parts(self):
        keys = [[self.owner, id_] for id_ in range(CHURN)]
        expected = [self.parts.get(id_) for id_ in range(CHURN)]
        found = self.call("get_many", "part", keys)
        if not isinstance(found, Refused) and found != expected:
            self.story.fault(f"get_many of part {self.owner}: {found}, not {expected}")
        found = self.call("read", "part", {"filter": f"owner == {self.owner}"})
        if not isinstance(found, Refused) and found != [part for part in expected if part]:
            self.story.fault(f"read of part {self.owner}: {found}, not {expected}")

    def look_anew(self):
        """A write may be done or not; but not in parts, all being of one slot."""
        found = self.call("get_many", "part", [[self.owner, id_] for id_ in range(CHURN)],
                          {"fresh": True})
        if not isinstance(found, Refused):
            self.parts = {record["id"]: record for record in found if record is not None}
            self.doubtful = False


class Stranger(Worker):
    """Another program that writes to the Cluster."""

    def __init__(self, story, rng, cluster):
        super().__init__(story, rng)
        self.cluster = cluster
        self.may_write = threading.Event()
        self.may_write.set()

    def stand_still(self):
        """Once writes are held."""
        self.may_write.clear()

    def go_on(self, cluster):
        self.cluster = cluster
        self.may_write.set()

    def step(self):
        if not self.may_write.wait(0.1):
            return
        resource, id_ = self.rng.choice(FOREIGN), self.rng.randrange(KEYS)
        if self.rng.random() < 0.1:
            id_ = KEYS + STILL + self.rng.randrange(WATCHED)
        name = f"{resource}:{id_}"
        self.story.begin_write()
        try:
            if not self.may_write.is_set():
                return
            n = self.cluster.call(name, "EVAL", FOREIGN_WRITE, 1, name)
        finally:
            self.story.end_write()
        self.story.wrote_foreign((resource, id_), n)
        time.sleep(self.rng.random() * 0.006)


class Moving(Case):
    ASKERS = 2  # of each daemon

    def setUp(self):
        self.begin(MOVING)
        client = self.clients[0]
        for resource in COUNTED:
            client.call("upsert_many", resource, [
                {"id": id_, "n": id_, "group": id_ % GROUPS} if KEYS <= id_ < KEYS + STILL else
                {"id": id_, "n": 0, "group": 0} for id_ in range(IDS[resource])])
        for client in self.clients:
            for resource in INDEXED:
                wait_until(lambda c=client, r=resource: len(c.call(
                    "read", r, {"filter": "group == 0"})) == IDS[r] - STILL + STILL // GROUPS,
                    "the records")
        self.story = Story()

    def run_workers(self, faults):
        self.stranger = Stranger(self.story, random.Random(self.rng.random()), CLUSTER.client())
        workers = [self.stranger]
        for number, daemon in enumerate(self.daemons):
            for place in range(self.ASKERS):
                client = daemon.connect()
                workers.append(Asker(self.story, random.Random(self.rng.random()), number,
                                     number * self.ASKERS + place, client))
        for worker in workers:
            worker.start()
        try:
            faults()
        finally:
            self.story.stopped.set()
            for worker in workers:
                worker.join()
        print(f"{self.id().rpartition('.')[2]}: {sum(self.story.answers.values())} calls, "
              f"{len(self.story.made)} counted writes, errors {dict(self.story.errors)}",
              flush=True)
        self.assertEqual(len(self.story.faults), 0, "\n".join(self.story.faults[:5]))

    def some_writes(self, count):
        goal = len(self.story.made) + count
        wait_until(lambda: len(self.story.made) >= goal or self.story.faults, "more writes")

    # ---- Slots move ----

    def test_slots_move(self):
        names = [f"{resource}:{id_}" for resource in COUNTED for id_ in range(KEYS)]
        names += [f"{resource}:{KEYS + STILL + id_}" for resource in FOREIGN
                  for id_ in range(WATCHED)] * 3
        names += [f"tag:{id_}" for id_ in range(KEYS)]
        names += [f"relata:id:tag:code:c{code}" for code in range(CODES)]
        names += [f"relata:ix:person:group,n:{group}" for group in range(GROUPS)]
        names += ["{%d}" % owner for owner in range(2 * self.ASKERS)] * 3
        rounds = 20 if SANITIZED else 25

        def move_some():
            for _ in range(rounds):
                slot = slot_of(self.rng.choice(names))
                source = CLUSTER.owner_of_slot(slot)
                target = self.rng.choice([node for node in CLUSTER.masters()
                                          if node is not source])
                CLUSTER.begin_move(slot, target)
                self.some_writes(3)
                while CLUSTER.move_keys(slot, target, 1):
                    self.some_writes(3)
                CLUSTER.end_move(slot, target)
                self.some_writes(self.rng.randrange(10))
                if self.story.faults:
                    return

        def faults():
            for _ in range(1 if SANITIZED else 3):
                move_some()
                time.sleep(1.5 * FOREIGN_S)  # what is stale now is found
        self.run_workers(faults)
        # What is resident is loaded anew when a slot has moved; nothing else notices.
        self.assertLessEqual(set(self.story.errors), {(resource, "unavailable")
                                                      for resource in RESIDENT})
        self.assertLess(sum(self.story.errors.values()), sum(self.story.answers.values()) / 20)
        self.check_end()

    # ---- A master is replaced ----

    def test_a_master_is_killed(self):
        def replace(master):
            killer = threading.Thread(target=CLUSTER.kill_master, args=[master])
            killer.start()
            wait_until(lambda: not master.is_running, "its end")
            self.story.let_writes_go()
            killer.join()
            CLUSTER.restart(master)
        self.replace_masters(replace, 1 if SANITIZED else 2)
        self.assertGreater(sum(self.story.errors.values()), 0)

    def test_a_master_falls_silent(self):
        """Nothing tells the daemons, but that it does not answer any more."""
        def replace(master):
            slot = CLUSTER.view.owners(master).index(master)
            others = [node for node in CLUSTER.nodes if node is not master]
            self.stranger.stand_still()
            master.pause()
            self.story.let_writes_go()
            wait_until(lambda: all(CLUSTER.view.owners(node)[slot] not in (master, None)
                                   for node in others), "a replica to take over")
            self.stranger.go_on(CLUSTER.client())
            wait_until(self.is_trusted, "the daemons' links")
            # What was sent to it by then is not waited for any more: it does not know yet
            # that it was replaced, and might say yes to it.
            time.sleep(HOME_TIMEOUT_S + 0.2)
            master.resume()
            CLUSTER.wait_whole()
        self.replace_masters(replace, 1)

    def replace_masters(self, replace, times):
        def faults():
            for _ in range(times):
                self.some_writes(300)
                master = self.rng.choice(CLUSTER.masters())
                wait_until(lambda: self.is_replicated(master), "its replica")
                self.story.hold_writes()
                # What was acknowledged is at the replica. So nothing is lost.
                wait_until(lambda: self.is_replicated(master), "its replica")
                replace(master)
                wait_until(self.is_trusted, "the daemons' links")
            self.some_writes(300)
            time.sleep(FOREIGN_S)
            self.some_writes(100)
        self.run_workers(faults)
        self.assertLessEqual({code for _, code in self.story.errors},
                             {"unavailable", "timeout", "overloaded"})
        self.check_end()

    def is_replicated(self, master):
        """What was written so far is at its replica."""
        slot = CLUSTER.view.owners(master).index(master)
        CLUSTER.call_node(master, "SET", redis_server.key_in(slot, "wait"), 1)
        return CLUSTER.call_node(master, "WAIT", 1, 500) >= 1

    def is_trusted(self):
        return all(client.call("stats")["redis"]["main"]["trusted"] for client in self.clients)

    # ---- The end ----

    def check_end(self):
        """Every cache and every index is what the Cluster holds."""
        CLUSTER.wait_whole()
        wait_until(self.is_trusted, "the daemons' links")
        stored = self.stored()
        for (key, n) in self.story.made:
            self.assertGreaterEqual(stored[key[0]][key[1]]["n"], n, key)
        codes = [tag["code"] for tag in stored["tag"].values() if tag["code"] is not None]
        self.assertEqual(len(codes), len(set(codes)), stored["tag"])
        for options in {}, {"fresh": True}:
            for client in self.clients:
                deadline = time.monotonic() + FOREIGN_S
                while (found := self.differences(client, stored, options)) is not None:
                    self.assertLess(time.monotonic(), deadline, found)

    def stored(self):
        """As a daemon that knows nothing yet reads it, each record by its key."""
        client = self.start_relatad(MOVING, {"main": CLUSTER}).connect()
        found = {resource: dict(enumerate(client.call(
            "get_many", resource, list(range(IDS[resource])), {"fresh": True})))
            for resource in COUNTED}
        found["tag"] = {id_: tag for id_, tag in enumerate(client.call(
            "get_many", "tag", list(range(KEYS)))) if tag is not None}
        return found

    def differences(self, client, stored, options):
        """The first one, or None."""
        for resource in COUNTED:
            expected = list(stored[resource].values())
            found = client.call("get_many", resource, list(stored[resource]), options)
            if found != expected:
                return resource, found, expected
        for resource in INDEXED:
            for group in range(GROUPS):
                expected = [record for record in stored[resource].values()
                            if record["group"] == group]
                found = client.call("read", resource, {"filter": f"group == {group}"}, options)
                if found != expected:
                    return resource, group, found, expected
        names = [f"c{code}" for code in range(CODES)]
        bearers = {tag["code"]: tag for tag in stored["tag"].values()}
        found = client.call("get_many", "tag", names, {"identity": "code", **options})
        if found != [bearers.get(name) for name in names]:
            return "tag", found, bearers
        return None


if __name__ == "__main__":
    unittest.main()
