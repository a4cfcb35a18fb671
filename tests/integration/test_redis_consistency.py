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
from relata_test import Closed, Refused, wait_until

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

    def choices(self):
        return consistency.Choices(random.Random(self.rng.random()), self.versions,
                                   self.resources, KEYS)

    def run_askers(self, faults, per_daemon=3):
        """They ask while `faults` runs."""
        threads = [consistency.Asker(self.log, daemon, number, self.choices(),
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
        self.assertGreater(checker.checked, 1000)

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
        self.run_askers(lambda: self.asked(10000))
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


if __name__ == "__main__":
    unittest.main()
