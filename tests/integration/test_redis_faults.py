"""Records in Redis where something is wrong beside them: a user who may not do all, records
that contradict one another, a server that is busy, silent or slow, masters that come and go.

What is answered is what Redis has, or an error that says what is the matter.
"""

import os
import resource
import signal
import threading
import time
import unittest

import redis_server
import relata_test
from redis_server import slot_of
from relata_test import Refused, request, wait_until

SANITIZED = bool(os.environ.get("RELATA_SANITIZE"))
FOREIGN_S = 6.0 if SANITIZED else 1.5  # what others wrote shows by then, in any case
HALF_DONE = "a write may have been done"


def schema(redis="", more="", fields="id: integer, name: string"):
    return f"""version: 1
resources:
  team:
    layer: redis
    redis: {{key: "team:{{id}}"{redis}}}
    fields: {{{fields}}}
{more}"""


RESIDENT = schema(", resident: true")
IDENTITY = "    identities: {name: [name]}\n"


class Case(redis_server.RedisCase):
    def serve(self, config=""):
        """One Redis, and a proxy before it."""
        self.server = self.redis(config=config)
        self.raw = self.server.client()
        self.proxied = self.proxy(self.server)

    def begin(self, text, config="", daemon="", **home):
        """The same, and a daemon behind it."""
        self.serve(config)
        self.start_daemon(text, daemon, **home)

    def start_daemon(self, text, config="", limit=None, **home):
        home = {"url": self.proxied.url, **home}
        self.daemon = self.start_relatad(text, {"main": home}, config=config, limit=limit)
        self.client = self.daemon.connect()
        return self.client

    def hset(self, key, name):
        self.raw.call("HSET", f"team:{key}", "id", key, "name", name)

    def link(self):
        return self.client.call("stats")["redis"]["main"]

    @staticmethod
    def get(client, key, *options):
        """The team's name, or the error."""
        try:
            found = client.call("get", "team", key, *options)
        except Refused as refused:
            return refused
        return found and found["name"]

    def wait_name(self, key, name, client=None):
        wait_until(lambda: self.get(client or self.client, key) == name, f"{key} to be {name}")

    def refused_as_map(self, code, *params):
        client = self.daemon.connect()
        client.call("hello", {"errors": "map"})
        return self.assert_refused(code, client.call, *params)

    def reads(self):
        """How often records were read from Redis."""
        stats = self.raw.call("INFO", "commandstats").decode()
        return sum(int(line.split("calls=")[1].split(",")[0]) for line in stats.splitlines()
                   if line.startswith(("cmdstat_hgetall:", "cmdstat_scan:")))

    def sent(self, client, *params):
        """The daemon has read this request when this returns; it is not answered."""
        client.send(request(1, *params) + request(2, "ping"))
        self.assertEqual(client.receive(), [1, 2, None, "pong"])


# ---- Users who may not do all ----

BESIDE = """  note:
    layer: redis
    redis: {}
    fields: {id: integer, text: string}
"""


class Rights(Case):
    TEXT = schema(", resident: true", BESIDE)

    def begin_as_user(self, text, *rights):
        self.serve()
        self.raw.call("ACL", "SETUSER", "app", "on", ">pw", "~*", "&*", "+@all", *rights)
        self.start_daemon(text, url=self.proxied.url.replace("//", "//app:pw@"))

    def tracking_is_refused(self):
        def is_said():
            answer = self.get(self.client, 1)
            return isinstance(answer, Refused) and "refuses tracking" in answer.error
        wait_until(is_said, "the refusal")
        for params in (("get", "team", 1, {"fresh": True}), ("get_many", "team", [1, 2]),
                       ("read", "team", {}), ("count", "team", {})):
            with self.subTest(params=params):
                error = self.assert_refused("unavailable", self.client.call, *params)
                self.assertIn("tracking", error)
        self.assertEqual(self.link()["tracking"], "refused")
        # What is not resident is read from Redis each time.
        for text in "two", "three":
            self.raw.call("HSET", "note:1", "text", text)
            self.assertEqual(self.client.call("get", "note", 1)["text"], text)
        self.assertEqual(self.client.call("update", "note", 1, {"text": "four"})["text"], "four")

    def note(self):
        try:
            return self.client.call("get", "note", 1)
        except Refused:
            return None

    def test_tracking_was_never_granted(self):
        self.begin_as_user(self.TEXT, "-client|tracking")
        self.tracking_is_refused()

    def test_no_protocol_for_it(self):
        self.begin(self.TEXT, config='rename-command HELLO ""')
        self.tracking_is_refused()

    def test_tracking_is_taken_away(self):
        self.begin_as_user(self.TEXT)
        self.raw.call("HSET", "note:1", "text", "one")
        self.hset(1, "one")
        self.wait_name(1, "one")
        self.raw.call("ACL", "SETUSER", "app", "-client|tracking")
        self.raw.call("CLIENT", "KILL", "USER", "app")
        wait_until(self.note, "the new link")
        self.tracking_is_refused()
        self.hset(1, "five")
        self.raw.call("ACL", "SETUSER", "app", "+client|tracking")
        self.raw.call("CLIENT", "KILL", "USER", "app")
        self.wait_name(1, "five")

    def test_a_script_that_fails_half_way(self):
        """The record was changed by then, so what leads to it must stay."""
        text = schema(", writers: relata", "    indexes: [[name]]\n",
                      "id: integer, name: string, note: string")
        self.begin_as_user(text, "-hdel")
        self.client.call("create", "team", {"id": 1, "name": "a", "note": "n"})
        error = self.refused_as_map("unavailable", "update", "team", 1,
                                    {"name": "b", "note": None})
        self.assertEqual(error["details"]["outcome"], "unknown")
        self.assertIn(HALF_DONE, error["message"])
        self.assertEqual(self.raw.call("HGET", "team:1", "name"), b"b")
        self.assertEqual(self.raw.call("ZCARD", "relata:ix:team:name:b"), 1)
        self.assertEqual(self.client.call("read", "team", {"filter": "name == 'b'"}),
                         [{"id": 1, "name": "b", "note": "n"}])


# ---- Two records with one identity ----

class Twice(Case):
    TEXT = schema(", writers: relata, resident: true", IDENTITY)

    def one_is_shown(self, shown, left_out):
        wait_until(lambda: self.get(self.client, shown) == "same"
                   and isinstance(self.get(self.client, left_out), Refused), "which is shown")
        self.is_calm()
        for params in (left_out,), (left_out, {"fresh": True}):
            with self.subTest(params=params):
                error = self.assert_refused("invalid_value", self.client.call, "get", "team",
                                            *params)
                self.assertIn(f"team:{left_out}", error)
        found = self.client.call("get", "team", "same", {"identity": "name"})
        self.assertEqual(found["id"], shown)
        self.assertEqual(self.client.call("count", "team", {"filter": "name == 'same'"}), 1)

    def is_calm(self):
        """It is settled: they are not read again and again."""
        def read_lately():
            before = self.reads()
            time.sleep(0.2)
            return self.reads() - before
        wait_until(lambda: read_lately() == 0, "no more reads")

    def test_from_the_beginning(self):
        self.begin(self.TEXT)
        for key, name in ((2, "same"), (1, "same"), (3, "other")):
            self.hset(key, name)
        late = self.daemon
        self.start_daemon(self.TEXT)
        self.wait_name(3, "other")
        self.one_is_shown(1, 2)
        # All daemons show the same, whichever they saw first.
        self.client = late.connect()
        self.one_is_shown(1, 2)
        self.hset(1, "renamed")
        self.wait_name(2, "same")
        self.wait_name(1, "renamed")

    def test_afterwards(self):
        self.begin(self.TEXT)
        wait_until(lambda: self.get(self.client, 2) is None, "the load")
        self.client.call("create", "team", {"id": 2, "name": "same"})
        self.hset(1, "same")
        self.one_is_shown(1, 2)
        notices = self.link()["notices"]
        self.hset(2, "same")
        wait_until(lambda: self.link()["notices"] > notices, "the notice")
        self.one_is_shown(1, 2)
        self.raw.call("DEL", "team:1")
        self.wait_name(2, "same")
        self.assertIsNone(self.get(self.client, 1))
        self.hset(3, "same")
        self.one_is_shown(2, 3)

    def test_three(self):
        """Whoever is left out comes when nobody has the identity any more, whatever way."""
        for gone in ([2], [1]), ([2, 1],), ([1], [2]), ([1, 2],):
            with self.subTest(gone=gone):
                self.begin(self.TEXT)
                wait_until(lambda: self.get(self.client, 9) is None, "the load")
                for key in (2, 3, 1):
                    self.hset(key, "same")
                    self.is_calm()
                self.one_is_shown(1, 3)
                for keys in gone:
                    self.raw.call("DEL", *(f"team:{key}" for key in keys))
                self.wait_name(3, "same")
                self.assertIsNone(self.get(self.client, 1))
                self.assertIsNone(self.get(self.client, 2))

    def test_one_that_loses_gives_up_what_it_had(self):
        self.begin(self.TEXT)
        for key, name in ((1, "a"), (2, "same"), (3, "same")):
            self.hset(key, name)
        self.one_is_shown(2, 3)
        self.hset(2, "a")
        self.wait_name(3, "same")
        self.wait_name(1, "a")
        self.assertIsInstance(self.get(self.client, 2), Refused)

    def test_writes_of_the_other_do_not_matter(self):
        self.begin(self.TEXT)
        self.hset(1, "same")
        self.hset(2, "same")
        self.one_is_shown(1, 2)
        for _ in range(100):
            self.hset(2, "same")
            for _ in range(3):
                self.assertEqual(self.get(self.client, 1), "same")
                self.assertIsInstance(self.get(self.client, 2), Refused)


# ---- Servers that are busy, silent, slow or odd ----

class Servers(Case):
    def test_busy(self):
        """That a record was written is heard; its new value is refused, since a script runs."""
        self.begin(RESIDENT, config="lua-time-limit 20")
        self.hset(1, "old")
        self.wait_name(1, "old")
        notices = self.link()["notices"]
        self.daemon.signal(signal.SIGSTOP)
        self.hset(1, "new")
        runs = self.server.client()
        runs.send(redis_server.encode("EVAL", "while true do end", 0))
        wait_until(self.is_busy, "the script to run for long")
        self.daemon.signal(signal.SIGCONT)
        wait_until(lambda: self.link()["notices"] > notices and self.link()["waiting"] == 0,
                   "the refusal")
        answers = set()
        for _ in range(100):
            answers.add(str(self.get(self.client, 1)).split(":")[0])
        self.raw.call("SCRIPT", "KILL")
        self.assertIsInstance(runs.receive(), redis_server.RedisError)
        self.assertEqual(answers, {"unavailable"})
        wait_until(lambda: not isinstance(self.get(self.client, 1), Refused), "the end")
        self.assertEqual(self.get(self.client, 1), "new")

    def is_busy(self):
        try:
            self.raw.call("PING")
        except redis_server.RedisError as error:
            return error.code == "BUSY"
        return False

    def test_silent(self):
        """Nobody joins a read that has been out for long: what it brings may be old."""
        self.begin(schema(), timeout="30s")
        self.hset(1, "old")
        first, second, fresh = [self.daemon.connect() for _ in range(3)]
        self.proxied.stall("down")
        self.sent(first, "get", "team", 1)
        wait_until(lambda: self.reads() == 1, "it to be answered")
        self.hset(1, "new")
        wait_until(lambda: not self.link()["trusted"], "the silence to be noticed")
        self.sent(second, "get", "team", 1)
        self.sent(fresh, "get", "team", 1, {"fresh": True})
        self.proxied.go_on()
        for client in first, second, fresh:
            _, _, error, found = client.receive()
            self.assertIsNone(error)
            if client is not first:
                self.assertEqual(found["name"], "new")

    def fill(self, count, size):
        for first in range(0, count, 100):
            self.raw.pipeline([("HSET", f"team:{key}", "id", key, "name", "x" * size)
                               for key in range(first, min(first + 100, count))])

    def test_slow(self):
        """Answers that come all the time may take longer than `timeout` together."""
        count, size, timeout_s = 600, 10000, 0.3
        for what, text in ("on demand", schema()), ("resident", RESIDENT):
            with self.subTest(what):
                self.begin(text, timeout=f"{int(1000 * timeout_s)}ms")
                wait_until(lambda: self.link()["trusted"], "the link")
                self.proxied.slow(6e6)
                before = self.proxied.connections, self.link()["reconnects"]
                begun = time.monotonic()
                self.fill(count, size)
                if what == "resident":
                    wait_until(lambda: self.counted() == count, "all of them")
                else:
                    client = self.daemon.connect()
                    client.send(request(1, "get_many", "team", list(range(count))))
                    written = self.client.call("update", "team", count - 1, {"name": "short"})
                    self.assertEqual(written["name"], "short")
                    _, _, error, found = client.receive()
                    self.assertIsNone(error)
                    self.assertEqual({len(team["name"]) for team in found[:-1]}, {size})
                self.assertGreater(time.monotonic() - begun, 2 * timeout_s)
                self.assertEqual((self.proxied.connections, self.link()["reconnects"]), before)
                self.assertEqual(self.link()["timeouts"], 0)

    def counted(self):
        try:
            return self.client.call("count", "team", {})
        except Refused:
            return None

    def test_large(self):
        """What a call holds of answers is bounded, however much it asks for."""
        count, size = 1500, 50000
        self.begin(schema(", writers: relata", "    max_bytes: 1MiB\n    indexes: [[kind]]\n",
                          "id: integer, kind: integer, name: string"),
                   daemon="limits: {work_bytes: 4MiB, answer_bytes: 1MiB}\n", timeout="20s")
        for first in range(0, count, 50):
            self.client.call("create_many", "team", [
                {"id": key, "kind": 1, "name": "x" * size} for key in range(first, first + 50)])
        few = [1, count - 1]
        for _ in range(2):  # it sees how large they are
            self.assertEqual(self.client.call("get_many", "team", few, {"select": ["id"]}),
                             [{"id": key} for key in few])
        before = self.daemon.resident_kib("VmHWM")
        for method, query in (("read", {"filter": "kind == 1", "select": ["kind"]}),
                              ("count", {"filter": "kind == 1"})):
            with self.subTest(method):
                error = self.refused_as_map("overloaded", method, "team", query)
                self.assertEqual(error["details"]["limit"], "work_bytes")
                self.assertIn("work_bytes", error["message"])
        grown = self.daemon.resident_kib("VmHWM") - before
        print(f"{count * size >> 10} KiB asked for, {grown} KiB held at most")
        if not SANITIZED:
            self.assertLess(grown, 100 << 10)
        self.assertEqual(self.client.call("get_many", "team", few, {"select": ["id"]}),
                         [{"id": key} for key in few])

    def test_odd_answers(self):
        """A script's answer that says neither that it was done nor that it was not."""
        self.begin(schema())
        self.hset(1, "a")
        self.proxied.change_answer(b":1\r\n", b"_\r\n")  # it found another record
        error = self.refused_as_map("unavailable", "create", "team", {"id": 1, "name": "b"})
        self.assertIsNone(self.proxied.change)
        self.assertEqual(error["details"]["outcome"], "unknown")
        self.assertIn(HALF_DONE, error["message"])
        self.assertEqual(self.get(self.client, 1), "a")


class Outcomes(Case):
    """What is said of a write whose answer does not come."""

    def setUp(self):
        self.begin(schema(), timeout="200ms")
        self.write_once()

    def write_once(self):
        """The first write of a session asks for the marks of indexes before."""
        self.client.call("upsert", "team", {"id": 99})

    def test_of_many(self):
        self.proxied.stall("down")
        error = self.refused_as_map("unavailable", "create_many", "team",
                                    [{"id": key} for key in range(10)])
        self.assertEqual(error["details"]["outcome"], "unknown")
        self.assertNotIn("written", error["details"])
        self.assertIn(HALF_DONE, error["message"])
        self.assertNotIn("were written", error["message"])
        wait_until(lambda: self.raw.call("DBSIZE") == 11, "all of them")

    def test_in_words(self):
        for direction in "down", "up":
            self.proxied.stall(direction)
            error = self.assert_refused("unavailable", self.client.call, "create", "team",
                                        {"id": 1 if direction == "down" else 2})
            self.assertIn(HALF_DONE, error)
            self.proxied.cut()
            self.proxied.go_on()
            wait_until(lambda: self.link()["trusted"], "the link")
            self.write_once()
        self.assertEqual(self.raw.call("EXISTS", "team:1", "team:2"), 1)
        self.proxied.stall("down")
        error = self.assert_refused("timeout", self.client.call, "create", "team", {"id": 3},
                                    {"timeout_ms": 50})
        self.assertIn(HALF_DONE, error)
        self.proxied.refuse()
        self.proxied.cut()
        wait_until(lambda: self.link()["state"] == "down", "the loss")
        error = self.assert_refused("unavailable", self.client.call, "create", "team", {"id": 4})
        self.assertNotIn(HALF_DONE, error)


# ---- Much at once ----

class Many(Case):
    WRITERS = 2000

    def open_files(self, count):
        had = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, had)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(count, had[0]), had[1]))

    @staticmethod
    def small_stack():
        resource.setrlimit(resource.RLIMIT_STACK, (256 << 10, resource.RLIM_INFINITY))

    def test_writers_of_one_key_are_refused(self):
        """The first waits until it is known that there are no claims for what was there
        already; all others wait for the first."""
        self.open_files(self.WRITERS + 500)
        self.serve()
        self.hset(9, "there")
        self.start_daemon(schema(", writers: relata", IDENTITY), timeout="20s",
                          limit=None if SANITIZED else self.small_stack)
        clients = [self.daemon.connect() for _ in range(self.WRITERS)]
        wait_until(lambda: self.link()["trusted"], "the link")
        self.proxied.delay(1000 if SANITIZED else 300)
        notices = self.link()["notices"]
        self.raw.call("HSET", "relata:built:team", "other", 1)  # so that it is read again
        wait_until(lambda: self.link()["notices"] > notices, "the notice")
        for client in clients:
            client.send(request(1, "create", "team", {"id": 1, "name": "a"}))
        self.proxied.go_on()
        for client in clients:
            _, _, error, _ = client.receive()
            self.assertIn("relata reindex team", error)
        self.assertEqual(self.client.call("ping"), "pong")

    def test_bursts(self):
        count = 2000 if SANITIZED else 20000
        self.begin(RESIDENT)
        script = """
for round = 1, 5 do
    for key = 1, tonumber(ARGV[1]) do
        redis.call('HSET', 'team:' .. key, 'id', key, 'name', ARGV[2] .. round)
    end
end"""
        for name in "a", "b":
            self.raw.call("EVAL", script, 0, count, name)
            for key in 1, count // 2, count:
                self.wait_name(key, f"{name}5")
            wait_until(lambda name=name: self.named(name + "5") == count, "all of them")
        self.raw.call("FLUSHALL")
        wait_until(lambda: self.named("b5") == 0, "nothing")
        self.hset(1, "c")
        self.wait_name(1, "c")
        self.assertEqual(self.client.call("count", "team", {}), 1)

    def named(self, name):
        try:
            return self.client.call("count", "team", {"filter": "name == $n",
                                                      "params": {"n": name}})
        except Refused:
            return None

    def test_writes_during_a_load(self):
        """They do not begin it anew."""
        self.begin(RESIDENT)
        self.proxied.delay(20)  # so that there are some in each round trip
        for key in range(500):
            self.hset(key, "x")
        ended = threading.Event()
        others = self.server.client()
        written = [0]

        def write():
            while not ended.is_set():
                others.pipeline([("HSET", f"team:{(written[0] + i) % 500}", "name",
                                  written[0] + i) for i in range(50)])
                written[0] += 50
                time.sleep(0.002)
        writer = threading.Thread(target=write)
        writer.start()
        try:
            wait_until(lambda: written[0] > 1000, "some writes")
            for _ in range(2):
                self.start_daemon(RESIDENT)
                wait_until(lambda: self.get(self.client, 499) != "x"
                           and not isinstance(self.get(self.client, 499), Refused), "the load")
        finally:
            ended.set()
            writer.join()
        last = self.raw.call("HGET", "team:3", "name").decode()
        self.wait_name(3, last)


class Claims(Case):
    def test_others_build_them(self):
        """A daemon that knew that there are none hears that another one built them."""
        for resident in "false", "true":
            with self.subTest(resident=resident):
                self.serve()
                self.hset(1, "one")
                text = schema(f", writers: relata, resident: {resident}", IDENTITY)
                there = self.start_daemon(text)
                here = self.start_daemon(text)
                for client in here, there:
                    wait_until(lambda client=client: "relata reindex" in self.create(client, 10),
                               "the refusal")
                self.assertEqual(there.call("reindex", "team"), {"records": 1, "misfits": 0})
                self.assertEqual(self.create(there, 11), "done")
                begun = time.monotonic()
                wait_until(lambda: self.create(here, 12) == "done", "the other daemon")
                self.assertLess(time.monotonic() - begun, FOREIGN_S)
                self.assertEqual(here.call("get", "team", "one", {"identity": "name"})["id"], 1)

    @staticmethod
    def create(client, key):
        try:
            client.call("create", "team", {"id": key, "name": f"n{key}"})
        except Refused as refused:
            return refused.error
        return "done"


# ---- Clusters ----

MOVING = """version: 1
resources:
  team:
    layer: redis
    redis: {key: "team:{id}", resident: true}
    fields: {id: integer, name: string}
  home:
    layer: redis
    redis: {key: "home:{id}", writers: relata}
    fields: {id: integer, owner_name: string}
    relationships:
      persons: {has_many: person, destination_field: home_id, cache: {ttl: 1h}}
      owner:
        has_one: person
        source_field: owner_name
        destination_field: name
        cache: {ttl: 1h}
  person:
    layer: redis
    redis: {key: "person:{id}", writers: relata}
    fields: {id: integer, name: string, home_id: integer}
    identities: {name: [name]}
"""


class Clusters(Case):
    @classmethod
    def setUpClass(cls):
        # Masters that stand still have no replacement, and the rest goes on.
        cls.nodes = redis_server.RedisCluster(replicas=0, timeout_ms=60000,
                                              config="cluster-require-full-coverage no")
        cls.addClassCleanup(cls.nodes.remove)

    def setUp(self):
        for node in self.nodes.masters():
            self.nodes.call_node(node, "FLUSHALL")

    def start_two(self, text, **home):
        home = {"url": self.nodes.url, "cluster": True, **home}
        self.daemons = [self.start_relatad(text, {"main": home}) for _ in range(2)]
        return [daemon.connect() for daemon in self.daemons]

    def hset_team(self, key, name):
        self.nodes.call(f"team:{key}", "HSET", f"team:{key}", "id", key, "name", name)

    def owner(self, key):
        return self.nodes.owner_of(f"team:{key}")

    def key_of(self, node, but=None):
        return next(key for key in range(1000) if self.owner(key) is node and key != but)

    def moving(self, name, to=None):
        """The key's slot is on the move from here on, and ends it when the test does."""
        slot = slot_of(name)
        owner = self.nodes.owner_of_slot(slot)
        to = to or next(node for node in self.nodes.masters() if node is not owner)
        self.nodes.begin_move(slot, to)
        self.addCleanup(self.end_move, slot, to)
        return slot

    def end_move(self, slot, to):
        if self.nodes.owner_of_slot(slot) is to:
            return
        self.nodes.move_keys(slot, to)
        self.nodes.end_move(slot, to)
        # The next move takes another epoch only when its master knows of this one's.
        wait_until(lambda: len({self.epoch(node) for node in self.nodes.nodes}) == 1, "the epoch")

    def epoch(self, node):
        lines = self.nodes.call_node(node, "CLUSTER", "INFO").decode().splitlines()
        return next(line for line in lines if line.startswith("cluster_current_epoch:"))

    def shows(self, expected, *params, client):
        begun = time.monotonic()
        wait_until(lambda: client.call(*params) == expected, f"{params} to be {expected}")
        self.assertLess(time.monotonic() - begun, FOREIGN_S)

    def test_foreign_write_within_one_of_many(self):
        """A call over two slots: somebody else writes in the first before the second is done."""
        client, _ = self.start_two(RESIDENT)
        first, other = (self.key_of(node) for node in self.nodes.nodes[:2])
        keys = (first, other)
        wait_until(lambda: self.get(client, first) is None, "the load")
        client.call("create_many", "team", [{"id": key, "name": "old"} for key in keys])
        paused = self.owner(other)
        self.nodes.call_node(paused, "CLIENT", "PAUSE", 60000, "WRITE")
        self.addCleanup(self.nodes.call_node, paused, "CLIENT", "UNPAUSE")
        client.send(request(77, "upsert_many", "team",
                            [{"id": key, "name": "own"} for key in keys]))
        name = f"team:{first}"
        wait_until(lambda: self.nodes.call(name, "HGET", name, "name") == b"own", "the first")
        self.hset_team(first, "foreign")
        beside = self.daemons[0].connect()
        self.wait_name(first, "foreign", beside)
        self.nodes.call_node(paused, "CLIENT", "UNPAUSE")
        self.assertEqual(client.receive(), [1, 77, None, 2])
        self.assertEqual(self.get(client, first), "foreign")
        self.assertEqual(self.get(client, other), "own")

    def test_absent_while_slots_move(self):
        """Where a record is made by ASK, nobody tells who read that it is absent."""
        here, there = self.start_two(MOVING)
        there.call("create", "home", {"id": 1, "owner_name": "Ada"})
        person = {"id": 7, "name": "Ada", "home_id": 1}
        wait_until(lambda: here.call("get", "home", 1), "the home")
        reads = ((person, ("get", "person", 7)), ([[person]], ("load", "home", [1], "persons")),
                 ([person], ("load", "home", [1], "owner")))
        for _ in range(2):
            self.assertEqual([here.call(*params) for _, params in reads], [None, [[]], [None]])
        for name in ("person:7", "relata:ix:person:home_id:1", "relata:id:person:name:Ada"):
            self.moving(name)
        there.call("create", "person", person)
        for expected, params in reads:
            self.shows(expected, *params, client=here)

    def test_a_new_master(self):
        """Slots move to a node that has none yet. Who has read there goes on listening."""
        here, there = self.start_two(MOVING, timeout="200ms")
        there.call("create", "home", {"id": 1, "owner_name": "Ada"})
        there.call("create", "person", {"id": 7, "name": "Ada", "home_id": 1})
        self.hset_team(1, "v0")
        self.wait_name(1, "v0", here)
        node = self.nodes.add_master()
        slots = []
        for name in "team:1", "relata:ix:person:home_id:1":
            slots.append(self.moving(name, node))
            self.nodes.move_keys(slots[-1], node)
        self.hset_team(1, "v1")
        self.wait_name(1, "v1", here)
        for _ in range(2):
            self.assertEqual(len(here.call("load", "home", [1], "persons")[0]), 1)
        time.sleep(2.5)  # a connection for one answer would have been closed by then
        self.hset_team(1, "v2")
        there.call("create", "person", {"id": 8, "name": "Bob", "home_id": 1})
        begun = time.monotonic()
        self.wait_name(1, "v2", here)
        wait_until(lambda: len(here.call("load", "home", [1], "persons")[0]) == 2, "both")
        self.assertLess(time.monotonic() - begun, FOREIGN_S)
        for slot in slots:
            self.end_move(slot, node)
        self.hset_team(1, "v3")
        self.wait_name(1, "v3", here)

    def test_stale_by_the_last_session(self):
        """What was read before the loss before the last is not known to be of any time."""
        known, lost, third = self.nodes.nodes[:3]
        key = self.key_of(known)
        beside = self.key_of(known, key)
        home = {"url": third.url, "cluster": True, "timeout": "300ms"}
        client = self.start_relatad(schema(", stale_if_error: 1h"), {"main": home}).connect()
        self.hset_team(key, "v0")
        self.wait_name(key, "v0", client)
        for node in lost, known:
            self.addCleanup(node.resume)

        def loses():
            known.pause()
            self.assert_refused("unavailable", client.call, "get", "team", beside,
                                {"fresh": True})
        lost.pause()  # and stays so: the daemon never has all of them again
        wait_until(lambda: client.call("stats")["redis"]["main"]["state"] == "down", "the loss")
        loses()
        self.assertEqual(self.get(client, key), "v0")
        known.resume()
        wait_until(lambda: self.get(client, beside, {"fresh": True}) is None, "the link")
        self.hset_team(key, "v1")
        loses()
        self.assert_refused("unavailable", client.call, "get", "team", key)
        known.resume()
        self.wait_name(key, "v1", client)


if __name__ == "__main__":
    unittest.main()
