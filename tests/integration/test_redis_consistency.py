"""Two daemons and a stranger over one Redis: every answer is checked against what Redis
did (lib/redis_consistency.py), without faults and under them.

The seed is printed, and RELATA_SEED repeats the choices, though not the timing.
"""

import os
import random
import threading
import time
import unittest

import redis_consistency as consistency
import redis_server
import relata_test
from relata_test import Refused, wait_until

KEYS = 6
SLOW = 4 if os.environ.get("RELATA_SANITIZE") else 1
# What a daemon may say while Redis is away.
AWAY = ("unavailable", "timeout", "overloaded")
CONFIG = "auto-aof-rewrite-percentage 0\n"


class Case(redis_server.RedisCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.seed = int(os.environ.get("RELATA_SEED") or random.SystemRandom().randrange(1 << 32))
        print(f"RELATA_SEED={cls.seed}", flush=True)

    def begin(self, schema=consistency.SCHEMA, resources=tuple(consistency.ENCODINGS),
              config="appendfsync no"):
        self.resources = resources
        self.server = self.redis(appendonly=True, config=CONFIG + config)
        home = {"url": self.server.url, "timeout": "1s"}
        self.daemons = [self.start_relatad(schema, {"main": home}) for _ in range(2)]
        self.log = consistency.Log()
        self.rng = random.Random(f"{self.seed} {self.id()}")
        self.versions = consistency.Versions()
        self.ended = threading.Event()

    def choices(self, writes=0.35):
        return consistency.Choices(random.Random(self.rng.random()), self.versions,
                                   self.resources, KEYS, writes)

    def run_askers(self, faults, per_daemon=3, writes=(0.35, 0.35)):
        """They ask while `faults` runs. `writes`: what share of it at each daemon."""
        threads = [consistency.Asker(self.log, daemon, number, self.choices(writes[number]),
                                     self.ended.is_set)
                   for number, daemon in enumerate(self.daemons) for _ in range(per_daemon)]
        threads.append(consistency.Foreigner(self.log, self.server.client(), self.choices(),
                                             self.ended.is_set))
        for thread in threads:
            thread.start()
        try:
            faults()
        finally:
            self.ended.set()
            for thread in threads:
                thread.join()
        self.ended.clear()
        self.assertEqual(self.log.failed, [])

    def asked(self, count):
        """Waits for so many more answers that are no errors."""
        goal = self.log.answered + count // SLOW
        wait_until(lambda: self.log.answered >= goal or self.log.failed, "answers")

    def judge(self, errors=(), **options):
        history = consistency.History().read(consistency.aof_paths(self.server))
        checker = consistency.Checker(history, self.log.ops, KEYS, errors=errors, **options)
        faults = checker.check()
        refused = sum(op.error is not None for op in self.log.ops)
        print(f"{self.id().rpartition('.')[2]}: {len(self.log.ops)} requests, {refused} refused, "
              f"{history.position} changes, {checker.checked} records checked", flush=True)
        self.assertEqual(len(faults), 0, "\n".join(faults[:5]))
        self.assertGreater(checker.checked, 1000 // SLOW ** 2)

    def settle(self, exact=True):
        """Every cache and every index equals Redis."""
        clients = [daemon.connect() for daemon in self.daemons]
        for client in clients:
            wait_until(lambda: self.answers(client), "the home")
        call = self.server.client().call
        stored = consistency.stored_records([call])
        for options in ({}, {"fresh": True}):
            for client in clients:
                deadline = time.monotonic() + consistency.FOREIGN_S * SLOW
                while True:
                    late = time.monotonic() > deadline
                    faults = consistency.differences(client, stored, KEYS, options,
                                                     self.resources)
                    if not faults or late:
                        break
                self.assertEqual(faults, [])
        expected = consistency.expected_members_and_claims(stored)
        if exact:
            wait_until(lambda: consistency.members_and_claims([call])[0] == expected[0],
                       "old members to go")
        for found, least in zip(consistency.members_and_claims([call]), expected):
            self.assertGreaterEqual(found, least)

    def answers(self, client):
        try:
            for resource in self.resources:
                client.call("get", resource, 1)
                if resource in consistency.INDEXED:
                    client.call("read", resource, {"filter": "group_id == 1"})
            return True
        except Refused:
            return False


class WithoutFaults(Case):
    def test_everything(self):
        self.begin()
        self.run_askers(lambda: self.asked(6000))
        # One that does not write keeps what it has for longer.
        self.run_askers(lambda: self.asked(10000), writes=(0.15, 0))
        self.judge()
        self.settle()


class UnderFaults(Case):
    def test_redis_stands_still(self):
        self.begin()

        def faults():
            for pause_s in (0.3, 0.8, 1.3):
                self.asked(600)
                self.server.pause()
                time.sleep(pause_s)
                self.server.resume()
            self.asked(600)
        self.run_askers(faults)
        self.judge(AWAY, trusted=False)
        self.settle(exact=False)

    def test_redis_is_killed(self):
        self.begin(config="appendfsync always")

        def faults():
            for _ in range(3):
                self.asked(600)
                self.server.kill()
                self.server.start()
                wait_until(self.are_back, "the daemons' links")
            self.asked(600)
        self.run_askers(faults)
        self.judge(AWAY, trusted=False)
        self.settle(exact=False)

    def are_back(self):
        return all(daemon.connect().call("stats")["redis"]["main"]["trusted"]
                   for daemon in self.daemons)

    def test_links_are_cut(self):
        self.begin()

        def faults():
            call = self.server.client().call
            for _ in range(20):
                self.asked(200)
                call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            self.asked(200)
        self.run_askers(faults)
        self.judge(AWAY, trusted=False)
        self.settle(exact=False)

    def test_redis_is_emptied(self):
        """What was acknowledged before is gone. An index is not whole beside records that
        came before anybody looked; in a home that stays empty it is whole again."""
        self.begin()

        def faults():
            self.asked(800)
            self.server.call("FLUSHALL")
            self.asked(300)
        for _ in range(3):
            self.run_askers(faults)
            self.server.call("FLUSHALL")
            self.settle()
        self.judge(("was not built in Redis", "is being loaded"))

    def test_keys_go_by_themselves(self):
        """Redis evicts them, and they expire."""
        self.begin(consistency.ANYONE, consistency.FOREIGN, "maxmemory-policy allkeys-lru\n"
                   "appendfsync no")

        def faults():
            client = self.server.client()
            used = int(self.server.info("memory")["used_memory"])
            client.call("CONFIG", "SET", "maxmemory", used + (1 << 20))
            for number in range(60):
                self.asked(60)
                client.pipeline(("SET", f"junk:{number}:{piece}", "x" * 4000)
                                for piece in range(30))
                for _ in range(3):
                    client.call("PEXPIRE", f"{self.rng.choice(consistency.FOREIGN)}:"
                                f"{self.rng.randint(1, KEYS)}", self.rng.randint(1, 50))
        self.run_askers(faults)
        stats = self.server.info("stats")
        self.assertGreater(int(stats["evicted_keys"]), 100)
        self.assertGreater(int(stats["expired_keys"]), 0)
        self.judge(("overloaded",))
        self.server.call("CONFIG", "SET", "maxmemory", 0)
        wait_until(lambda: not any(self.server.call("PTTL", name) > 0
                                   for name in self.server.call("KEYS", "*:[0-9]")),
                   "what expires to go")
        self.settle()


FOUND = """
version: 1
resources:
  person:
    layer: redis
    redis: {use: main, key: "person:{id}", encoding: hash, writers: relata}
    fields: {id: integer, name: string, group_id: integer}
    identities: {name: [name]}
    indexes: [[group_id]]
    relationships:
      group: {has_many: person, source_field: group_id, destination_field: group_id,
              cache: {ttl: 1h}}
      skill: {has_one: skill, source_field: name, destination_field: name, cache: {ttl: 1h}}
  skill:
    layer: redis
    redis: {use: main, key: "skill:{id}", encoding: hash, writers: relata}
    fields: {id: integer, name: string}
    identities: {name: [name]}
  cell:
    layer: redis
    redis: {use: main, key: "cell:{id}", encoding: hash, writers: relata, resident: true}
    fields: {id: integer, name: string}
    identities: {name: [name]}
  page:
    layer: redis
    redis: {use: main, key: "page:{id}", encoding: hash}
    fields: {id: integer, name: string}
"""


class Found(redis_server.RedisCase):
    """What the tests above have found once, as small as it can be."""

    def setUp(self):
        self.server = self.redis()
        self.one, self.two = (self.start_relatad(FOUND, {"main": self.server}).connect()
                              for _ in range(2))

    def names(self, client, resource, names):
        found = (client.call("get", resource, name, {"identity": "name"}) for name in names)
        return [record and record["id"] for record in found]

    def test_create_in_vain_keeps_the_identity(self):
        for resource in ("skill", "cell"):
            self.one.call("create", resource, {"id": 1, "name": "a"})
            for client in (self.one, self.two):
                self.assert_refused("conflict", client.call, "create", resource,
                                    {"id": 1, "name": "a"})
                self.assert_refused("conflict", client.call, "create", resource,
                                    {"id": 2, "name": "a"})
                wait_until(lambda: self.names(client, resource, "a") == [1], "the record")

    def test_one_name_by_two_daemons(self):
        """Both give one record the same name at once; one of them is too late, and is done
        again."""
        self.one.call("create", "skill", {"id": 1, "name": "a"})
        for number in range(300):
            name = f"b{number}"
            for client in (self.one, self.two):
                client.send(relata_test.request(1, "update", "skill", 1, {"name": name}))
            for client in (self.one, self.two):
                self.assertEqual(client.receive()[2], None)
            self.assertEqual(self.names(self.one, "skill", [name]), [1])

    def test_names_that_are_exchanged(self):
        for resource in ("skill", "cell"):
            self.one.call("create_many", resource, [{"id": 1, "name": "a"},
                                                    {"id": 2, "name": "b"},
                                                    {"id": 3, "name": "c"}])
            # Not in one write: for a moment one might be had by two, or found by none.
            for names in ({1: "b", 2: "a"}, {1: "d", 3: "a"}, {3: "a", 1: "d"}, {1: "c", 2: "a"}):
                self.assert_refused("conflict", self.one.call, "upsert_many", resource,
                                    [{"id": number, "name": name}
                                     for number, name in names.items()])
                self.assertEqual(self.names(self.one, resource, "abc"), [1, 2, 3])
            for number, name in ((1, "x"), (2, "a"), (1, "b")):
                self.one.call("update", resource, number, {"name": name})
            self.assertEqual(self.names(self.one, resource, "abc"), [2, 1, 3])
            wait_until(lambda: self.names(self.two, resource, "abc") == [2, 1, 3], "the names")

    def test_a_write_that_is_tried_again_keeps_its_place(self):
        for number in range(50):
            self.server.call("HSET", "page:1", "id", 1, "name", number)
            self.one.send(relata_test.request(1, "create", "page", {"id": 1, "name": "x"})
                          + relata_test.request(2, "destroy", "page", 1)
                          + relata_test.request(3, "get", "page", 1))
            answers = self.one.receive_answers(3)
            self.assertEqual(answers[1][0].split(":")[0], "conflict")
            self.assertEqual((answers[2], answers[3]), ((None, True), (None, None)))

    def test_results_kept_between_a_member_and_its_record(self):
        """As another daemon does it, step by step."""
        self.one.call("create", "person", {"id": 1, "name": "a", "group_id": 1})
        self.two.call("create", "person", {"id": 2, "name": "b", "group_id": 1})
        self.two.call("create", "skill", {"id": 5, "name": "a"})
        raw = self.server.client()
        group, claim = "relata:ix:person:group_id:1", "relata:id:skill:name:a"
        person, skill = raw.call("HGETALL", "person:2"), raw.call("HGETALL", "skill:5")
        members, owner = set(raw.call("ZRANGE", group, 0, -1)), raw.call("GET", claim)
        self.two.call("destroy", "person", 2)
        self.two.call("destroy", "skill", 5)
        wait_until(lambda: len(raw.call("ZRANGE", group, 0, -1)) == 1
                   and raw.call("GET", claim) is None, "what was left to go")
        (member,) = members - set(raw.call("ZRANGE", group, 0, -1))

        def loaded():
            answer = self.one.call("load", "person", [1], ["group", "skill"])[0]
            return ([record["id"] for record in answer["group"]],
                    answer["skill"] and answer["skill"]["id"])
        wait_until(lambda: loaded() == ([1], None), "the one that is left")
        raw.call("ZADD", group, 0, member)
        raw.call("SET", claim, owner)
        # Its notices come before the answer to what is asked of Redis afterwards.
        self.one.call("get", "page", 1, {"fresh": True})
        self.assertEqual(loaded(), ([1], None))
        raw.call("HSET", "person:2", *person)
        raw.call("HSET", "skill:5", *skill)
        wait_until(lambda: loaded() == ([1, 2], 5), "what was set")

    def test_all_indexes_are_whole_in_an_emptied_home(self):
        for _ in range(3):
            self.server.call("FLUSHALL")
            for client in (self.one, self.two):
                wait_until(lambda: self.is_whole(client), "the indexes")

    def is_whole(self, client):
        try:
            for resource in ("person", "skill", "cell"):
                client.call("get", resource, "a", {"identity": "name"})
            return client.call("read", "person", {"filter": "group_id == 1"}) == []
        except Refused:
            return False


if __name__ == "__main__":
    unittest.main()
