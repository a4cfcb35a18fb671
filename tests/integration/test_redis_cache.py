"""What a daemon keeps of records that are at home in Redis: how few commands reads take,
what bounds the near-cache, and what goes on while Redis is away."""

import json
import os
import signal
import threading
import time
import unittest

import msgpack

import redis_server
import relata_test
from relata_test import Refused, wait_until

SLOW = 10 if os.environ.get("RELATA_SANITIZE") else 1


def schema(name="page", encoding="hash", more="", **redis):
    redis = {"use": "main", "key": f"{name}:{{id}}", "encoding": encoding, **redis}
    return (f"version: 1\nresources:\n  {name}:\n    layer: redis\n    redis: {json.dumps(redis)}\n"
            f"    fields: {{id: integer, text: string}}\n{more}")


class Case(redis_server.RedisCase):
    def begin(self, text, config="", **home):
        self.server = self.redis(config=config)
        self.raw = self.server.client()
        self.daemon = self.start_relatad(text, {"main": {"url": self.server.url, **home}})
        self.client = self.daemon.connect()

    def fill(self, count, text="x"):
        self.raw.pipeline([("HSET", f"page:{key}", "id", key, "text", text)
                           for key in range(count)])

    def link(self):
        return self.client.call("stats")["redis"]["main"]

    def counters(self):
        return self.client.call("stats")["resources"]["page"]

    def commands(self):
        """How often each command was called."""
        found = {}
        for line in self.raw.call("INFO", "commandstats").decode().splitlines():
            name, _, rest = line.partition(":")
            if name.startswith("cmdstat_"):
                found[name[8:]] = int(rest.split(",")[0].split("=")[1])
        return found

    def asks(self, reads, *params):
        """The answer, for which so many keys must have been read from Redis."""
        before = self.commands()
        answer = self.client.call(*params)
        after = self.commands()
        for name in ("hgetall", "pttl"):
            self.assertEqual(after.get(name, 0) - before.get(name, 0), reads, name)
        return answer

    def changes(self, key, expected):
        """Waits until the answer is this, as it must be within a second."""
        begun = time.monotonic()
        wait_until(lambda: self.client.call("get", "page", key) == expected, f"{expected}")
        self.assertLess(time.monotonic() - begun, 1 * SLOW)


class Few(Case):
    KEYS = 10000
    CONNECTIONS = 50

    def get_all(self, clients):
        """Each connection gets its own keys, all sent at once."""
        each = self.KEYS // len(clients)

        def ask(number):
            client = clients[number]
            keys = range(number * each, (number + 1) * each)
            client.send(b"".join(relata_test.request(key, "get", "page", key) for key in keys))
            self.answers.update(client.receive_answers(each))
        self.answers = {}
        threads = [threading.Thread(target=ask, args=(number,)) for number in range(len(clients))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(self.answers, {key: (None, {"id": key, "text": "x"})
                                        for key in range(self.KEYS)})

    def test_cold_and_warm(self):
        self.begin(schema())
        self.fill(self.KEYS)
        clients = [self.daemon.connect() for _ in range(self.CONNECTIONS)]
        before = self.link()
        self.get_all(clients)
        after = self.link()
        commands = self.commands()
        trips = after["round_trips"] - before["round_trips"]
        print(f"{self.KEYS} cold gets of {self.CONNECTIONS} connections: {trips} round trips")
        # A thousand keys or fewer go at once, as they come in; pings are few.
        self.assertLess(trips, self.KEYS // 20)
        # Each key once, with the time that it has to live.
        self.assertEqual(commands["hgetall"], self.KEYS)
        self.assertEqual(commands["pttl"], self.KEYS)

        self.get_all(clients)
        self.assertEqual({name: count for name, count in self.commands().items()
                          if name not in ("ping", "info")},
                         {name: count for name, count in commands.items()
                          if name not in ("ping", "info")})
        counters = self.counters()
        self.assertEqual((counters["records"], counters["hits"], counters["misses"]),
                         (self.KEYS, self.KEYS, self.KEYS))

    def test_one_key_of_many_connections(self):
        self.begin(schema())
        self.fill(1)
        clients = [self.daemon.connect() for _ in range(self.CONNECTIONS)]
        before = self.commands()
        self.server.pause()  # so that all of them wait
        for client in clients:
            client.send(relata_test.request(1, "get", "page", 0))
        time.sleep(0.05)
        self.server.resume()
        for client in clients:
            self.assertEqual(client.receive()[2:], [None, {"id": 0, "text": "x"}])
        after = self.commands()
        self.assertEqual(after["pttl"] - before.get("pttl", 0), 1)


class Kept(Case):
    def test_what_is_not_there(self):
        self.begin(schema())
        self.assertIsNone(self.asks(1, "get", "page", 1))
        self.assertIsNone(self.asks(0, "get", "page", 1))
        self.assertEqual(self.asks(0, "get_many", "page", [1, 1]), [None, None])
        self.fill(2)
        self.changes(1, {"id": 1, "text": "x"})

    def test_fresh(self):
        self.begin(schema())
        self.fill(2)
        page = {"id": 1, "text": "x"}
        self.assertEqual(self.asks(1, "get", "page", 1), page)
        self.assertEqual(self.asks(1, "get", "page", 1, {"fresh": True}), page)
        self.assertEqual(self.asks(0, "get", "page", 1), page)

    def test_a_flush_of_another_database(self):
        """Its notice names none: all is read again."""
        self.begin(schema())
        self.fill(2)
        page = {"id": 1, "text": "x"}
        self.asks(1, "get", "page", 1)
        self.raw.call("SELECT", 1)
        self.raw.call("FLUSHDB")
        wait_until(lambda: self.counters()["records"] == 0, "the notice")
        self.assertEqual(self.asks(1, "get", "page", 1), page)

    def test_invalidate(self):
        self.begin(schema())
        self.fill(4)
        self.client.call("get_many", "page", [0, 1, 2, 9])
        self.assertEqual(self.client.call("invalidate", "page", [1, 3]), 1)
        self.asks(1, "get", "page", 1)
        self.assertEqual(self.client.call("invalidate", "page"), 4)
        self.assertEqual(self.client.call("invalidate", "page"), 0)
        self.assertEqual(self.counters()["records"], 0)

    def test_bound(self):
        self.begin(schema(more="    max_bytes: 256KiB\n"))
        self.fill(2000, "x" * 400)
        for first in range(0, 2000, 100):
            keys = list(range(first, first + 100))
            self.assertEqual([page["id"] for page in self.client.call("get_many", "page", keys)],
                             keys)
        wait_until(lambda: self.counters()["bytes"] <= 256 << 10, "the bound")
        counters = self.counters()
        self.assertGreater(counters["records"], 100)
        self.assertGreater(counters["evictions"], 1000)

    def test_ttl(self):
        self.begin(schema(more="    ttl: 200ms\n"))
        self.fill(1)
        self.client.call("get", "page", 0)
        self.asks(0, "get", "page", 0)
        time.sleep(0.3)
        self.asks(1, "get", "page", 0)

    def test_keys_that_expire(self):
        """Nobody is answered one that has, and never again once it was missed."""
        self.begin(schema())
        for life_ms in (30, 200, 500):
            self.fill(1)
            self.changes(0, {"id": 0, "text": "x"})
            begun = time.monotonic()
            self.raw.call("PEXPIRE", "page:0", life_ms)
            end = time.monotonic() + life_ms / 1000 + 0.1
            asked, missed = begun, None
            while asked < end:
                asked = time.monotonic()
                found = self.client.call("get", "page", 0)
                if found is None and missed is None:
                    missed = asked
                    self.assertGreaterEqual(time.monotonic() - begun, life_ms / 1000 - 0.002)
                self.assertFalse(found and missed, "it came back")
            self.assertIsNotNone(missed, "it is answered still")
        # A write keeps its key's time.
        self.fill(1)
        self.raw.call("PEXPIRE", "page:0", 60000)
        self.client.call("update", "page", 0, {"text": "y"})
        self.assertGreater(self.raw.call("PTTL", "page:0"), 1000)


TEAMS = """version: 1
resources:
  team:
    layer: redis
    redis: {writers: relata}
    fields: {id: integer, name: string}
    identities: {name: [name]}
    relationships: {reps: {has_many: rep}}
  rep:
    layer: redis
    redis: {writers: relata}
    fields: {id: integer, team_id: integer}
    relationships: {team: {belongs_to: team}}
  skill:
    layer: redis
    redis: {resident: true}
    fields: {id: integer, level: integer}
"""


class Counted(Case):
    def stats(self, resource):
        return self.client.call("stats")["resources"][resource]

    def counts(self, expected, *params):
        """Hits and misses of the call, by resource."""
        before = {name: self.stats(name) for name in ("team", "rep")}
        answer = self.client.call(*params)
        self.assertEqual(
            {name: tuple(self.stats(name)[which] - before[name][which]
                         for which in ("hits", "misses")) for name in before},
            {"team": (0, 0), "rep": (0, 0), **expected}, params)
        return answer

    def test_hits_and_misses(self):
        """Whatever a key is looked up for, it counts."""
        self.begin(TEAMS)
        self.client.call("create_many", "team", [{"id": key, "name": f"t{key}"}
                                                 for key in range(5)])
        self.client.call("create_many", "rep", [{"id": key, "team_id": key % 5}
                                                for key in range(20)])
        cold = {"rep": (0, 10), "team": (0, 5)}
        warm = {"rep": (10, 0), "team": (5, 0)}
        for expected in (cold, warm):
            self.counts(expected, "load", "rep", list(range(10)), "team")
        for expected in ({"team": (1, 0), "rep": (2, 2)}, {"team": (1, 0), "rep": (4, 0)}):
            self.counts(expected, "load", "team", [1], "reps")
        self.counts({"rep": (4, 0)}, "read", "rep", {"filter": "team_id == 1"})
        self.counts({"rep": (1, 0)}, "read", "rep", {"filter": "id == 1"})
        self.counts({"rep": (0, 1)}, "read", "rep", {"filter": "id == 100"})
        self.counts({"rep": (1, 0)}, "get", "rep", 100)  # that it is absent is known
        self.counts({"rep": (1, 1)}, "get_many", "rep", [1, 101])
        self.counts({"rep": (0, 1)}, "get", "rep", 1, {"fresh": True})
        for expected in ({"team": (1, 0)}, {}):
            name = "t1" if expected else "nobody"
            self.counts(expected, "get", "team", name, {"identity": "name"})
        self.client.call("invalidate", "team", None)
        self.counts({"team": (0, 1)}, "get", "team", "t1", {"identity": "name"})

    def test_a_key_that_is_on_its_way(self):
        """Who joins its fetch has not found it here."""
        self.begin(schema())
        self.fill(1)
        asking = self.daemon.connect()
        self.server.pause()
        for number in range(3):
            asking.send(relata_test.request(number, "get", "page", 0))
        wait_until(lambda: self.counters()["misses"] == 3, "all three")
        self.server.resume()
        self.assertEqual(len(asking.receive_answers(3)), 3)
        self.assertEqual((self.counters()["hits"], self.counters()["misses"]), (0, 3))

    def test_paths(self):
        """What a filter leads to is asked for ahead, and counts once."""
        self.begin(TEAMS)
        self.client.call("create_many", "team", [{"id": key, "name": f"t{key}"}
                                                 for key in range(5)])
        self.client.call("create_many", "rep", [{"id": key, "team_id": key % 5}
                                                for key in range(20)])
        read = ("read", "rep", {"filter": f'id in {list(range(20))} and team.name == "t1"'})
        self.assertEqual(len(self.counts({"rep": (0, 20), "team": (0, 5)}, *read)), 4)
        self.counts({"rep": (20, 0), "team": (5, 0)}, *read)
        self.counts({"rep": (1, 0), "team": (1, 0)},
                    "read", "rep", {"filter": 'id == 1 and team.name == "t1"'})

    def test_invalidations(self):
        """Others' writes, and none of one's own."""
        self.begin(TEAMS)
        self.raw.call("HSET", "skill:1", "id", 1, "level", 0)
        wait_until(lambda: self.level() == 0, "the load")
        begun = self.stats("skill")["invalidations"]
        for number in range(1, 4):
            self.client.call("update", "skill", 1, {"level": number})
            self.client.call("upsert", "skill", {"id": 2, "level": number})
        self.client.call("destroy", "skill", 2)
        self.client.call("create_many", "team", [{"id": 1, "name": "a"}])
        self.client.call("get", "team", 1)
        self.client.call("update", "team", 1, {"name": "b"})
        self.assertEqual(self.stats("team")["invalidations"], 0)
        # Notices come in their order: that of the last write is behind all others.
        self.raw.call("HSET", "skill:1", "level", 10)
        wait_until(lambda: self.level() == 10, "the notice")
        self.assertEqual(self.stats("skill")["invalidations"] - begun, 1)
        self.raw.call("HSET", "skill:1", "theme", "dark")  # nothing that the schema knows
        self.raw.call("HSET", "skill:3", "level", 1)
        wait_until(lambda: self.client.call("get", "skill", 3), "the notice")
        self.assertEqual(self.stats("skill")["invalidations"] - begun, 2)

    def level(self):
        return (self.client.call("get", "skill", 1) or {}).get("level")


class Misfits(Case):
    def test_elements_of_many(self):
        """Which one was not done, as every refusal of many says."""
        self.begin(schema(encoding="json"))
        self.client.call("hello", {"errors": "map"})
        self.raw.call("SET", "page:2", b'{"id": 2, "text": 7}')
        page = {"id": 1, "text": "x"}
        for call in (("create_many", "page", [page, {"id": 2}]),
                     ("upsert_many", "page", [page, {"id": 2}]),
                     ("destroy_many", "page", [1, 2])):
            with self.assertRaises(Refused) as refused:
                self.client.call(*call)
            error = refused.exception.error
            self.assertEqual((error["code"], error["details"]["index"], error["details"]["key"]),
                             ("invalid_value", 1, 2), call)
            self.assertRegex(error["message"], "^element 1: page:2 in Redis: ")
        self.assertEqual(self.raw.call("EXISTS", "page:1"), 0)
        with self.assertRaises(Refused) as refused:
            self.client.call("update", "page", 2, {"text": "y"})
        error = refused.exception.error
        self.assertNotIn("index", error["details"])
        self.assertRegex(error["message"], "^page:2 in Redis: ")

    def test_the_error_names_the_key(self):
        self.begin(schema(encoding="json"))
        self.raw.call("SET", "page:1", b'{"id": 1, "text": "x"}')
        self.raw.call("SET", "page:2", b'{"id": 2, "text": 7}')
        self.raw.call("SET", "page:3", b"no JSON")
        self.raw.call("HSET", "page:4", "a", "b")
        for key in (2, 3, 4):
            error = self.assert_refused("invalid_value", self.client.call, "get", "page", key)
            self.assertIn(f"page:{key}", error)
        error = self.assert_refused("invalid_value", self.client.call, "get_many", "page", [1, 3])
        self.assertIn("page:3", error)

        self.client.call("hello", {"errors": "map"})
        answers = self.client.call("get_many", "page", [1, 2, 5, 3])
        self.assertEqual((answers[0], answers[2]), ({"id": 1, "text": "x"}, None))
        for key, answer in ((2, answers[1]), (3, answers[3])):
            self.assertEqual(answer.code, 1)
            error = msgpack.unpackb(answer.data)
            self.assertEqual((error["code"], error["details"]["resource"]),
                             ("invalid_value", "page"))
            self.assertIn(f"page:{key}", error["message"])
        self.assertGreaterEqual(self.counters()["misfits"], 6)
        # It is read again when it is another.
        self.raw.call("SET", "page:2", b'{"id": 2}')
        self.changes(2, {"id": 2, "text": None})


class Away(Case):
    def test_stale_if_error(self):
        self.begin(schema(stale_if_error="1h"), timeout="200ms")
        self.fill(2)
        page = {"id": 1, "text": "x"}
        self.assertEqual(self.client.call("get", "page", 1), page)
        self.server.stop()
        self.daemon.wait_for("event=redis_lost")
        self.assertEqual(self.client.call("get", "page", 1), page)
        for key, options in ((0, {}), (1, {"fresh": True})):
            self.assert_refused("unavailable", self.client.call, "get", "page", key, options)
        self.assertEqual(self.client.call("invalidate", "page", [1]), 1)
        self.assert_refused("unavailable", self.client.call, "get", "page", 1)
        self.server.start()
        wait_until(lambda: self.link()["trusted"], "the link")
        self.assertIsNone(self.client.call("get", "page", 1))

    def test_unavailable_at_once(self):
        self.begin(schema())
        self.fill(2)
        self.assertEqual(self.link()["state"], "up")
        self.client.call("get", "page", 1)
        self.server.kill()
        self.daemon.wait_for("event=redis_lost")
        self.assertNotEqual(self.link()["state"], "up")
        took = []
        for number in range(200):
            for call in (("get", "page", number), ("get_many", "page", [1, 2]),
                         ("update", "page", 1, {"text": "y"})):
                begun = time.monotonic()
                self.assert_refused("unavailable", self.client.call, *call)
                took.append(time.monotonic() - begun)
        took.sort()
        # Others use the machine too: what all but a few took is the daemon's own.
        print(f"unavailable after {1000 * took[-10]:.1f} ms, {1000 * took[-1]:.1f} ms at most")
        self.assertLess(took[-10], 0.05 * SLOW)
        # Nothing has piled up.
        self.assertEqual(self.link()["waiting"], 0)
        lost = [line for line in self.daemon.lines if "event=redis_" in line]
        self.assertLess(len(lost), 5, "\n".join(lost))
        self.server.start()
        wait_until(lambda: self.link()["state"] == "up", "the link")
        self.assertIsNone(self.client.call("get", "page", 1))


class Refusals(Case):
    def test_no_tracking(self):
        """Without CLIENT TRACKING there is no near-cache, and that is said once."""
        self.begin(schema(), config="user default on nopass ~* &* +@all -client|tracking")
        self.fill(2)
        self.assertEqual(self.link()["tracking"], "refused")
        for _ in range(3):
            self.asks(1, "get", "page", 1)
        self.raw.call("HSET", "page:1", "text", "y")
        self.assertEqual(self.client.call("get", "page", 1), {"id": 1, "text": "y"})
        self.assertEqual(self.client.call("update", "page", 1, {"text": "z"})["text"], "z")
        self.assertEqual(self.client.call("get", "page", 1), {"id": 1, "text": "z"})
        reconnects = self.link()["reconnects"]
        self.raw.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        wait_until(lambda: self.link()["reconnects"] > reconnects
                   and self.link()["state"] == "up", "the link")
        self.assertEqual(self.client.call("get", "page", 1), {"id": 1, "text": "z"})
        said = [line for line in self.daemon.lines if "tracking" in line]
        self.assertEqual(len(said), 1, "\n".join(said))

    def test_eviction(self):
        """Index sets must not be evicted; records may be."""
        server = self.redis(config="maxmemory 100mb\nmaxmemory-policy allkeys-lru")
        kept = schema(writers="relata", more="    indexes: [[text]]\n")
        daemon = relata_test.Daemon(kept, config=f"redis: {{main: {{url: '{server.url}'}}}}\n")
        self.addCleanup(daemon.remove)
        with self.assertRaisesRegex(AssertionError, "evicts keys by allkeys-lru"):
            daemon.start()
        self.start_relatad(schema(), {"main": server})
        daemon = self.start_relatad(schema(writers="relata"), {"main": server})
        daemon.write("schema.yaml", kept)
        daemon.signal(signal.SIGHUP)
        self.assertIn("evicts keys by allkeys-lru", daemon.wait_for("event=reload_refused"))
        server.client().call("CONFIG", "SET", "maxmemory-policy", "noeviction")
        server.client().call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        client = daemon.connect()
        wait_until(lambda: client.call("stats")["redis"]["main"]["reconnects"] > 0
                   and client.call("stats")["redis"]["main"]["trusted"], "the link")
        daemon.signal(signal.SIGHUP)
        daemon.wait_for("event=reloaded")


PATHS = """version: 1
resources:
  rep:
    layer: redis
    redis: {writers: relata}
    fields: {id: integer, name: string, team_id: integer}
    relationships: {tickets: {has_many: ticket}}
  ticket:
    layer: redis
    redis: {writers: relata}
    fields: {id: integer, rep_id: integer, status: string}
    indexes: [[status]]
    relationships: {rep: {belongs_to: rep}}
"""


class LookingAhead(Case):
    """What the filters of many records lead to is asked for together."""

    def test_paths(self):
        self.begin(PATHS)
        self.client.call("create_many", "rep", [
            {"id": key, "name": f"rep {key:03}", "team_id": key % 5} for key in range(300)])
        self.client.call("create_many", "ticket", [
            {"id": key, "rep_id": key % 300, "status": "open"} for key in range(600)])
        open_ = 'status == "open"'
        for method, params, expected in (
                ("count", ["ticket", {"filter": open_ + " and rep.team_id == 3"}], 120),
                ("read", ["ticket", {"filter": open_, "sort": "-rep.name", "limit": 3,
                                     "select": ["id"]}], [{"id": 299}, {"id": 599}, {"id": 298}]),
                ("load", ["rep", list(range(300)), "tickets",
                          {"query": {"filter": "rep.team_id == 3", "select": ["id"]}}],
                 [[{"id": key}, {"id": key + 300}] if key % 5 == 3 else []
                  for key in range(300)])):
            with self.subTest(method):
                for resource in ("rep", "ticket"):
                    self.client.call("invalidate", resource, None)
                before = self.link()["round_trips"]
                self.assertEqual(self.client.call(method, *params), expected)
                self.assertLess(self.link()["round_trips"] - before, 30)


if __name__ == "__main__":
    unittest.main()
