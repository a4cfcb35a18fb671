"""clients/python as a provider, both faces, at the daemon and at a double of it."""

import asyncio
import concurrent.futures
import inspect
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
import unittest

import msgpack

import fake_peer
import relata_test
from relata_test import PATIENCE_S, wait_until

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "clients",
                                "python", "src"))

import relata  # noqa: E402
import relata.asyncio  # noqa: E402

SCHEMA = """
version: 1
resources:
  owner:
    fields: {id: integer, level: {type: integer, default: 5}}
    relationships:
      tickets:
        has_many: ticket
        actor: [id]
        manual: {remote: {options: {flavour: plain}}}
        batch: {timeout: 60s}
      hasty:
        has_many: ticket
        actor: none
        batch: {timeout: 100ms}
        manual: remote
      hinted:
        has_many: ticket
        actor: none
        query: hint
        manual: remote
      best: {has_one: ticket, actor: none, manual: remote}
      plain: {has_many: ticket}
  ticket:
    fields: {id: integer, owner_id: integer, priority: integer, at: datetime}
    relationships:
      peers: {has_many: ticket, actor: none, manual: remote}
  pair:
    primary_key: [a, b]
    fields: {a: integer, b: string}
    relationships:
      tickets: {has_many: ticket, actor: none, manual: remote}
"""

# Enough for providers that wait for each other.
THREADS = concurrent.futures.ThreadPoolExecutor(64)
OWNERS = 20
TICKETS = [{"id": 1 + n, "owner_id": 1 + n % OWNERS, "priority": n % 7} for n in range(100)]


class Threaded:
    """A client for asyncio in a thread with a loop of its own; its methods answer at
    once, and functions that it provides are made async."""

    def __init__(self, address, **options):
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        self.client = self.wait(self.make(address, options))

    async def make(self, address, options):
        return relata.asyncio.Client(address, **options)

    def wait(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(PATIENCE_S)

    def provide(self, name, function, **limits):
        async def provide():
            await self.client.provide(name, self.made_async(function), **limits)
        self.wait(provide())

    def provider(self, name, **limits):
        def decorate(function):
            async def register():
                self.client.provider(name, **limits)(self.made_async(function))
            self.wait(register())
            return function
        return decorate

    @staticmethod
    def made_async(function):
        async def run(records, context):
            face = context.client

            class Reads:
                def __getattr__(self, method):
                    def call(*args, **options):
                        return asyncio.run_coroutine_threadsafe(
                            getattr(face, method)(*args, **options), loop).result(PATIENCE_S)
                    return call
            loop = asyncio.get_running_loop()
            context.client = Reads()
            return await loop.run_in_executor(THREADS, function, records, context)
        return run

    def connect(self):
        self.wait(self.client.connect())

    def unprovide(self, name):
        return self.wait(self.client.unprovide(name))

    def ping(self):
        return self.wait(self.client.ping())

    def close(self):
        if self.loop.is_closed():
            return
        self.wait(self.client.close())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


def by_owner(records, context):
    ids = {record["id"] for record in records}
    return relata.group_by([one for one in TICKETS if one["owner_id"] in ids], "owner_id")


def wanted(key):
    return [one["id"] for one in TICKETS if one["owner_id"] == key]


def ids(records):
    return [record["id"] for record in records]


class Providers(relata_test.Case):
    def setUp(self):
        self.daemon = self.start(SCHEMA)
        self.asking = self.client(relata.Client)
        self.asking.create_many("owner", [{"id": 1 + n} for n in range(OWNERS)])
        self.asking.create_many("ticket", TICKETS)
        self.asking.create_many("pair", [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}])

    def client(self, kind, address=None, **options):
        client = kind(address or self.daemon.address, **options)
        self.addCleanup(client.close)
        return client

    def faces(self):
        for kind in (relata.Client, Threaded):
            with self.subTest(kind.__name__):
                yield self.client(kind)

    def loaded(self, keys, name="tickets", **options):
        return self.asking.load("owner", keys, name, **options)

    def test_a_map_or_a_list_or_whatever_can_be_one(self):
        def as_list(records, context):
            groups = by_owner(records, context)
            return [groups.get(record["id"]) for record in records]

        def as_generator(records, context):
            return (group for group in as_list(records, context))

        def as_texts(records, context):
            return {str(key): group for key, group in by_owner(records, context).items()}
        for client in self.faces():
            for function in (by_owner, as_list, as_generator, as_texts):
                client.provide("owner.tickets", function)
                answers = self.loaded([3, 1, 3, 999])
                self.assertEqual([answer and ids(answer) for answer in answers],
                                 [wanted(3), wanted(1), wanted(3), None], function)
            client.unprovide("owner.tickets")

    def test_has_one_and_composite_keys(self):
        for client in self.faces():
            client.provide("owner.best", lambda records, context: [
                {"id": 1000 + record["id"], "at": "2026-01-01T00:00:00Z"} for record in records])
            self.assertEqual(self.loaded([2, 1], "best", query={"select": ["id"]}),
                             [{"id": 1002}, {"id": 1001}])
            client.provide("pair.tickets", lambda records, context: {
                (record["a"], record["b"]): [TICKETS[record["a"]]] for record in records})
            answers = self.asking.load("pair", [(2, "y"), (1, "x")], "tickets")
            self.assertEqual([ids(answer) for answer in answers], [[3], [2]])
            client.unprovide("owner.best")
            client.unprovide("pair.tickets")

    def test_what_a_provider_is_told(self):
        seen = []

        def function(records, context):
            seen.append((records, context))
            return {}
        for client in self.faces():
            seen.clear()
            client.provide("owner.tickets", function)
            client.provide("owner.hinted", function)
            self.loaded([1], actor={"id": 7, "name": "not for it"}, tenant="acme")
            self.loaded([1], "hinted", query={"filter": "priority > $p", "params": {"p": 3},
                                              "sort": "-priority", "limit": 2})
            (records, plain), (_, hinted) = seen
            self.assertEqual(records, [{"id": 1, "level": 5}])
            self.assertEqual(plain.relationship, "owner.tickets")
            self.assertEqual(plain.options, {"flavour": "plain"})
            self.assertEqual(plain.actor, {"id": 7})
            self.assertEqual(plain.tenant, "acme")
            self.assertEqual(plain.query, {})
            self.assertTrue(0 < plain.left <= plain.timeout <= 60)
            self.assertEqual(hinted.query["limit"], 2)
            self.assertIn("priority > 3", hinted.query["filter"])
            client.unprovide("owner.tickets")
            client.unprovide("owner.hinted")

    def test_an_error_for_one_source(self):
        def function(records, context):
            groups = by_owner(records, context)
            groups[2] = relata.NotFound("the shelf is empty", details={"key": 2})
            groups[3] = ValueError("odd")
            return groups
        for client in self.faces():
            client.provide("owner.tickets", function)
            one, two, three = self.loaded([1, 2, 3])
            self.assertEqual(ids(one), wanted(1))
            self.assertIsInstance(two, relata.LoaderFailed)
            self.assertIn("the shelf is empty", two.message)
            self.assertEqual(two.details["code"], "not_found")
            self.assertIn("ValueError: odd", three.message)
            nested = self.asking.get_many("owner", [1, 2], load="tickets")
            self.assertIsInstance(nested[1]["tickets"], relata.LoaderFailed)
            with self.assertRaises(relata.LoaderFailed):
                self.loaded([2])
            client.unprovide("owner.tickets")

    def test_errors_of_a_batch(self):
        def raises(records, context):
            raise KeyError("nowhere")

        def refuses(records, context):
            raise relata.Forbidden("not for you")
        wrong = [(raises, "KeyError: 'nowhere'"), (refuses, "forbidden: not for you"),
                 (lambda records, context: 5, "a list or a map"),
                 (lambda records, context: [[]] * 7, ""),
                 (lambda records, context: {1: [{"id": object()}]}, "cannot be sent"),
                 (lambda records, context: {1: [{"priority": 1}], 2: [{"priority": 1}]}, "")]
        for client in self.faces():
            with self.assertLogs("relata", "ERROR"):
                for function, words in wrong:
                    client.provide("owner.tickets", function)
                    with self.assertRaises(relata.LoaderFailed) as caught:
                        self.loaded([1])
                    self.assertIn(words, caught.exception.message)
            client.provide("owner.tickets", by_owner)
            self.assertEqual(ids(self.loaded([1])[0]), wanted(1))
            client.unprovide("owner.tickets")

    def test_what_may_not_be_provided(self):
        for client in self.faces():
            for name in ("owner.plain", "owner.nothing", "nobody.tickets", "owner"):
                with self.assertRaises(relata.RelataError):
                    client.provide(name, by_owner)
            with self.assertRaises(relata.InvalidRequest):
                client.provide("owner.tickets", by_owner, max_size=0)
            with self.assertRaises(relata.Unavailable):
                self.loaded([1])

    def test_unprovide(self):
        for client in self.faces():
            client.provide("owner.tickets", by_owner)
            self.assertEqual(ids(self.loaded([1])[0]), wanted(1))
            self.assertIs(client.unprovide("owner.tickets"), True)
            with self.assertRaises(relata.Unavailable):
                self.loaded([1])

    def test_reads_on_behalf_of_the_batch(self):
        def function(records, context):
            found = context.client.read("ticket", filter="owner_id in $ids and actor.id == 7",
                                        params={"ids": ids(records)})
            return relata.group_by(found, "owner_id")
        for client in self.faces():
            client.provide("owner.tickets", function)
            self.assertEqual(ids(self.loaded([1], actor={"id": 7})[0]), wanted(1))
            self.assertEqual(self.loaded([1], actor={"id": 8}), [[]])
            client.unprovide("owner.tickets")

    def test_a_load_for_the_key_that_it_computes_is_refused(self):
        def function(records, context):
            return {record["id"]: context.client.load("owner", [record["id"]], "tickets")[0]
                    for record in records}
        for client in self.faces():
            client.provide("owner.tickets", function)
            with self.assertRaises(relata.LoaderFailed):
                self.loaded([1])
            client.unprovide("owner.tickets")

    def test_providers_that_read_each_other(self):
        """Five levels deep in one client, with one batch at a time for each level."""
        def tickets(records, context):
            level = records[0]["id"]
            if level < 5:
                peers = context.client.load("ticket", [level], "peers")
                assert ids(peers[0]) == [level + 1], peers
            return {record["id"]: [TICKETS[record["id"] - 1]] for record in records}

        def peers(records, context):
            return {record["id"]: context.client.load("owner", [record["id"] + 1], "tickets")[0]
                    for record in records}
        for client in self.faces():
            client.provide("owner.tickets", tickets, max_in_flight=1)
            client.provide("ticket.peers", peers, max_in_flight=1)
            self.assertEqual(ids(self.loaded([1])[0]), [1])
            client.unprovide("owner.tickets")
            client.unprovide("ticket.peers")

    def test_limits_of_a_provider(self):
        lock, busy, most, sizes = threading.Lock(), [0], [0], []

        def function(records, context):
            with lock:
                busy[0] += 1
                most[0] = max(most[0], busy[0])
                sizes.append(len(records))
            time.sleep(0.01)
            with lock:
                busy[0] -= 1
            return by_owner(records, context)
        for client in self.faces():
            sizes.clear()
            client.provide("owner.tickets", function, max_size=3, max_in_flight=2)
            answers = self.loaded(range(1, OWNERS + 1))
            self.assertEqual([ids(answer) for answer in answers],
                             [wanted(key) for key in range(1, OWNERS + 1)])
            self.assertEqual(sum(sizes), OWNERS)
            self.assertLessEqual(max(sizes), 3)
            self.assertLessEqual(most[0], 2)
            client.unprovide("owner.tickets")

    def test_other_threads_go_on_while_a_provider_works(self):
        client = self.client(relata.Client)
        at_work, go = threading.Event(), threading.Event()
        threads = set()

        def function(records, context):
            threads.add(threading.current_thread())
            at_work.set()
            go.wait(PATIENCE_S)
            return by_owner(records, context)
        client.provide("owner.tickets", function)
        loads = []
        thread = threading.Thread(target=lambda: loads.append(
            client.load("owner", [1], "tickets")))
        thread.start()
        self.assertTrue(at_work.wait(PATIENCE_S))
        for key in range(1, 100):
            self.assertEqual(client.get("ticket", key)["id"], key)
        self.assertEqual(loads, [])
        go.set()
        thread.join()
        self.assertEqual(ids(loads[0][0]), wanted(1))
        self.assertNotIn(threading.main_thread(), threads)

    def test_a_late_answer_harms_nobody(self):
        go = threading.Event()

        def late(records, context):
            go.wait(PATIENCE_S)
            return by_owner(records, context)
        for client in self.faces():
            go.clear()
            client.provide("owner.hasty", late)
            with self.assertRaises(relata.Timeout):
                self.loaded([1], "hasty")
            go.set()
            wait_until(lambda: self.is_loaded("hasty"), "an answer in time")
            self.assertEqual(client.ping(), "pong")
            client.unprovide("owner.hasty")

    def is_loaded(self, name="tickets"):
        try:
            return ids(self.loaded([1], name)[0]) == wanted(1)
        except relata.RelataError:
            return False

    def test_provided_again_after_a_restart(self):
        for client in self.faces():
            client.provide("owner.tickets", by_owner)
            self.daemon.stop()
            self.daemon.lines = []
            self.daemon.start()
            self.asking.upsert("owner", {"id": 1})
            wait_until(self.is_loaded, "the provider to be there again")
            client.unprovide("owner.tickets")

    def test_a_decorator_for_a_daemon_that_comes_later(self):
        for kind in (relata.Client, Threaded):
            self.daemon.stop()
            client = self.client(kind, connect_timeout=0.05)
            with self.assertLogs("relata") if kind is relata.Client else self.subTest():
                client.provider("owner.tickets")(by_owner)
            self.daemon.lines = []
            self.daemon.start()
            if kind is Threaded:
                client.connect()
            self.asking.upsert("owner", {"id": 1})
            wait_until(self.is_loaded, "the provider to come")
            client.close()

    def test_a_provider_killed_in_mid_batch(self):
        """Its batch goes to another one; without one the load is unavailable."""
        for others in (1, 0):
            at_work, wrote = os.pipe()
            child = os.fork()
            if child == 0:
                def dies(records, context):
                    os.write(wrote, b"x")
                    time.sleep(PATIENCE_S)
                relata.Client(self.daemon.address).provide("owner.tickets", dies)
                os.write(wrote, b"p")
                time.sleep(PATIENCE_S)
                os._exit(1)
            os.close(wrote)
            self.assertEqual(os.read(at_work, 1), b"p")
            result = []

            def load():
                try:
                    result.append(ids(self.loaded([1])[0]))
                except relata.Unavailable as error:
                    result.append(error.code)
            thread = threading.Thread(target=load)
            thread.start()
            self.assertEqual(os.read(at_work, 1), b"x")
            if others:
                other = self.client(relata.Client)
                other.provide("owner.tickets", by_owner)
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            os.close(at_work)
            thread.join()
            self.assertEqual(result, [wanted(1) if others else "unavailable"])
            if others:
                other.unprovide("owner.tickets")

    def test_both_faces_answer_alike_and_share_the_batches(self):
        counts = {}
        for kind in (relata.Client, Threaded):
            def function(records, context, kind=kind):
                counts[kind] = counts.get(kind, 0) + len(records)
                time.sleep(0.005)
                return by_owner(records, context)
            self.client(kind).provide("owner.tickets", function, max_size=2, max_in_flight=1)
        answers = self.loaded(range(1, OWNERS + 1))
        self.assertEqual([ids(answer) for answer in answers],
                         [wanted(key) for key in range(1, OWNERS + 1)])
        self.assertEqual(sum(counts.values()), OWNERS)
        self.assertEqual(len(counts), 2)


class AtADouble(unittest.TestCase):
    """What a real daemon does not do, or does not show."""

    def setUp(self):
        folder = tempfile.mkdtemp(prefix="relata-test-")
        self.addCleanup(shutil.rmtree, folder)
        self.fake = fake_peer.FakeDaemon(folder)
        self.addCleanup(self.fake.stop)

    def faces(self):
        for kind in (relata.Client, Threaded):
            client = kind(self.fake.address, name="tester", token="secret")
            self.addCleanup(client.close)
            count = len(self.fake.peers)
            client.ping()
            yield client, self.fake.peer(count + 1)

    def batch(self, records, **context):
        return ["a", "bs", records, {}, {"query": {}, **context}]

    def test_the_greeting(self):
        for _, peer in self.faces():
            self.assertEqual(peer.wait_for("hello"),
                             [{"client": "tester", "token": "secret", "errors": "map"}])

    def test_what_is_sent(self):
        for client, peer in self.faces():
            client.provide("a.bs", lambda records, context: [
                context.client.count("b") for _ in records] + [ValueError("x")], max_size=5)
            self.assertEqual(peer.wait_for("provide"), ["a.bs", {"max_size": 5}])
            error, result = peer.request("load_relationship", self.batch([{"id": 1}], batch=77))
            self.assertIsNone(error)
            self.assertIs(result[0], True)
            self.assertEqual(result[1].code, 1)
            self.assertEqual(msgpack.unpackb(result[1].data),
                             {"code": "loader_failed", "message": "ValueError: x", "details": {}})
            options = peer.wait_for("count")[2]
            self.assertEqual(options["batch"], 77)
            self.assertNotIn("actor", options)

    def test_requests_that_are_none_of_its(self):
        for client, peer in self.faces():
            client.provide("a.bs", lambda records, context: [])
            for method, params in [("nonsense", []), ("load_relationship", []),
                                   ("load_relationship", None),
                                   ("load_relationship", ["a", "bs", 5, {}, {}]),
                                   ("load_relationship", ["a", "other", [], {}, {}])]:
                error, result = peer.request(method, params)
                self.assertIsInstance(error, str)
                self.assertIsNone(result)
            self.assertEqual(peer.request("load_relationship", self.batch([])), (None, []))

    def test_a_connection_lost_in_mid_batch(self):
        """The answer is dropped, and the relationship is provided on the next one."""
        for client, peer in self.faces():
            at_work, go, done = threading.Event(), threading.Event(), threading.Event()

            def function(records, context):
                at_work.set()
                go.wait(PATIENCE_S)
                done.set()
                return []
            client.provide("a.bs", function)
            count = len(self.fake.peers)
            peer.ask("load_relationship", self.batch([{"id": 1}]))
            at_work.wait(PATIENCE_S)
            peer.close()
            self.fake.peer(count + 1).wait_for("provide")
            go.set()
            done.wait(PATIENCE_S)
            self.assertEqual(client.ping(), "pong")

    def test_closed_while_it_connects_again(self):
        """The connection that comes of it ends as well, and with it the thread that reads."""
        for client, peer in self.faces():
            client.provide("a.bs", lambda records, context: [])
            go, count = threading.Event(), len(self.fake.peers)
            usual = self.fake.answers["hello"]
            self.fake.answers["hello"] = lambda params, usual=usual, go=go: (
                go.wait(PATIENCE_S), usual(params))[1]
            peer.close()
            self.fake.peer(count + 1)
            closer = threading.Thread(target=client.close, daemon=True)
            closer.start()
            time.sleep(0.1)  # it has begun by then, or the test shows nothing
            self.fake.answers["hello"] = usual
            go.set()
            closer.join(PATIENCE_S / 4)
            self.assertFalse(closer.is_alive())
            self.assertTrue(self.fake.peers[count].closed.wait(PATIENCE_S))

    def test_bytes_that_are_no_message(self):
        for client, peer in self.faces():
            for garbage in (b"\xc1", b"\x93\x01\x02\x03", msgpack.packb([1, "id", None, None])):
                count = len(self.fake.peers)
                self.fake.peers[-1].send(garbage)
                wait_until(lambda: self.is_well(client), "a new connection")
                self.fake.peer(count + 1)
                self.assertTrue(self.fake.peers[-2].closed.wait(PATIENCE_S))

    def is_well(self, client):
        try:
            return client.ping() == "pong"
        except relata.Unavailable:
            return False

    def test_answers_that_nobody_waits_for_and_notifications(self):
        for client, peer in self.faces():
            peer.send(msgpack.packb([1, 999_999, None, "stray"]) + msgpack.packb([2, "news", []]))
            self.assertEqual(client.ping(), "pong")
            self.assertEqual(len([one for one in self.fake.peers if not one.closed.is_set()
                                  and one is peer]), 1)

    def test_a_child_provides_on_its_own_connection(self):
        client = relata.Client(self.fake.address)
        self.addCleanup(client.close)
        client.provide("a.bs", lambda records, context: [os.getpid()])
        child = os.fork()
        if child == 0:
            client.ping()
            time.sleep(PATIENCE_S)
            os._exit(0)
        try:
            parent, forked = self.fake.peer(1), self.fake.peer(2)
            forked.wait_for("ping")
            self.assertEqual(forked.methods(), ["hello", "provide", "ping"])
            self.assertEqual(forked.request("load_relationship", self.batch([1])),
                             (None, [child]))
            self.assertEqual(parent.request("load_relationship", self.batch([1])),
                             (None, [os.getpid()]))
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)

    def test_many_batches_leave_no_threads(self):
        client = relata.Client(self.fake.address)
        self.addCleanup(client.close)
        client.provide("a.bs", lambda records, context: records)
        peer = self.fake.peer(1)
        for number in range(2000):
            self.assertEqual(peer.request("load_relationship", self.batch([number])),
                             (None, [number]))
        workers = [one for one in threading.enumerate() if one.name == "relata-provider"]
        self.assertLessEqual(len(workers), 2)
        client.close()
        for thread in workers:
            thread.join(PATIENCE_S)
            self.assertFalse(thread.is_alive())


class Grouping(unittest.TestCase):
    def test_group_by(self):
        items = [{"a": 1, "b": "x"}, {"a": 2, "b": "x"}, {"a": 1, "b": "y"}]
        self.assertEqual(relata.group_by(items, "a"), {1: [items[0], items[2]], 2: [items[1]]})
        self.assertEqual(relata.group_by(items, ["a", "b"])[(1, "y")], [items[2]])
        self.assertEqual(list(relata.group_by(items, lambda item: item["b"])), ["x", "y"])
        self.assertEqual(relata.group_by([], "a"), {})

    def test_both_faces_provide_alike(self):
        for name in ("provide", "provider", "unprovide"):
            self.assertEqual(*[list(inspect.signature(getattr(kind, name)).parameters)
                               for kind in (relata.Client, relata.asyncio.Client)])


if __name__ == "__main__":
    unittest.main()
