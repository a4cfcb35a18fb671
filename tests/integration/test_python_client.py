"""clients/python, both faces, against the daemon."""

import asyncio
import datetime
import gc
import inspect
import os
import pickle
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import uuid
import warnings

import msgpack

import fake_peer
import helpdesk
import relata_test
from relata_test import wait_until

CLIENT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "clients", "python")
sys.path.insert(0, os.path.join(CLIENT, "src"))

import relata  # noqa: E402
import relata.asyncio  # noqa: E402

SANITIZED = bool(os.environ.get("RELATA_SANITIZE"))
LEAK_CALLS = 10_000 if SANITIZED else 100_000
MANUAL = "representative.tickets_above_threshold"

SCHEMA = """
version: 1
resources:
  thing:
    fields:
      id: integer
      name: string
      at: datetime
      whole: integer
      bytes: binary
      ident: uuid
      any: any
    identities: {name: [name]}
    relationships:
      parts: {has_many: part, destination_field: thing_id}
  part:
    primary_key: [thing_id, number]
    fields:
      thing_id: integer
      number: integer
      label: string
    relationships:
      thing: {belongs_to: thing}
"""


class Faces(relata_test.Case):
    """What a test says of both faces: `self.faces(address)` gives for each a client
    whose methods answer at once, the one for asyncio through an event loop."""

    def client(self, address, **options):
        client = relata.Client(address, **options)
        self.addCleanup(client.close)
        return client

    def faces(self, address, **options):
        yield self.client(address, **options)
        with asyncio.Runner() as runner:
            client = relata.asyncio.Client(address, **options)
            try:
                yield Awaited(client, runner)
            finally:
                runner.run(client.close())


class Awaited:
    def __init__(self, target, runner):
        self.target, self.runner = target, runner

    def __getattr__(self, name):
        method = getattr(self.target, name)

        async def run(*args, **options):
            result = method(*args, **options)
            return await result if inspect.isawaitable(result) else result

        def call(*args, **options):
            result = self.runner.run(run(*args, **options))
            return Awaited(result, self.runner) if hasattr(result, "load") else result
        return call


class TheSameNames(unittest.TestCase):
    def test_both_faces_have_the_same_names(self):
        def names(kind):
            return {name for name in dir(kind) if not name.startswith("_")}
        self.assertEqual(names(relata.Client) - names(relata.asyncio.Client), {"pipeline"})
        self.assertEqual(names(relata.asyncio.Client) - names(relata.Client), set())
        self.assertEqual(names(relata.Request) - names(relata.asyncio.Request), set())

    def test_and_parameters(self):
        for name in ("get", "get_many", "read", "count", "load", "create", "upsert", "update",
                     "destroy", "create_many", "upsert_many", "destroy_many", "invalidate",
                     "stats", "call", "ping", "hello", "schema", "provide", "provider",
                     "unprovide", "request", "loader", "resource", "connect", "close",
                     "__init__"):
            parameters = [list(inspect.signature(getattr(kind, name)).parameters)
                          for kind in (relata.Client, relata.asyncio.Client)]
            self.assertEqual(*parameters, name)


class Methods(Faces):
    def setUp(self):
        self.daemon = helpdesk.start(self)
        self.raw = self.daemon.connect()

    def plain(self, method, *params):
        """What the wire says, datetimes as Python's."""
        self.raw.unpacker = msgpack.Unpacker(strict_map_key=False, timestamp=3)
        return self.raw.call(method, *params)

    def test_reads_are_what_the_wire_says(self):
        query = {"filter": "priority > $min", "params": {"min": 7}, "sort": "-priority",
                 "limit": 3, "load": {"representative": {"load": "team"}}}
        for client in self.faces(self.daemon.address):
            self.assertEqual(client.ping(), "pong")
            self.assertEqual(client.hello(client="again")["server"], "relata")
            self.assertEqual(client.schema(), self.plain("schema"))
            self.assertIn(MANUAL, client.stats()["relationships"])
            self.assertEqual(client.get("ticket", 5), self.plain("get", "ticket", 5))
            self.assertIsNone(client.get("ticket", 0))
            self.assertEqual(client.get("team", "billing", identity="name")["name"], "billing")
            self.assertEqual(client.get_many("ticket", (3, 0, 1), select=["subject"]),
                             self.plain("get_many", "ticket", [3, 0, 1],
                                        {"select": ["subject"]}))
            self.assertEqual(client.read("ticket", query), self.plain("read", "ticket", query))
            self.assertEqual(client.read("ticket", **query), client.read("ticket", query))
            self.assertEqual(client.count("ticket", filter="priority > 7"),
                             self.plain("count", "ticket", {"filter": "priority > 7"}))
            self.assertEqual(client.call("get", "team", 1), self.plain("get", "team", 1))
            self.assertEqual(client.invalidate(MANUAL, [1]), 0)

    def test_loads_are_what_the_wire_says(self):
        query = {"limit": 2, "select": ["priority"]}
        loads = {"tickets": {**query, "as": "some"}, "team": None, "latest_ticket": None}
        for client in self.faces(self.daemon.address):
            for name in ("tickets", "team", "latest_ticket", "skills", "tickets_above_threshold"):
                self.assertEqual(client.load("representative", [1, 0, 2, 1], name),
                                 self.plain("load", "representative", [1, 0, 2, 1], name), name)
            self.assertEqual(client.load("representative", [1], "tickets", query),
                             self.plain("load", "representative", [1], "tickets",
                                        {"query": query}))
            self.assertEqual(client.load("representative", [1, 0], loads),
                             self.plain("load", "representative", [1, 0], loads))
            self.assertEqual(client.load("representative", [1], ["team", "skills"]),
                             self.plain("load", "representative", [1], ["team", "skills"]))
            nested = client.get("team", 1, load={"representatives": {
                "limit": 2, "load": {"tickets": query, "team": None}}})
            self.assertEqual(nested, self.plain("get", "team", 1, {"load": {
                "representatives": {"limit": 2, "load": {"tickets": query, "team": None}}}}))
            self.assertTrue(nested["representatives"][0]["tickets"])

    def test_writes(self):
        for number, client in enumerate(self.faces(self.daemon.address)):
            key = 900 + number
            self.assertEqual(client.create("team", {"id": key, "name": f"n{key}"})["id"], key)
            self.assertEqual(client.upsert("team", {"id": key, "name": f"m{key}"})["name"],
                             f"m{key}")
            self.assertEqual(client.update("team", key, {"name": f"k{key}"},
                                           if_="name == $old", params={"old": f"m{key}"}),
                             {"id": key, "name": f"k{key}"})
            with self.assertRaises(relata.Conflict):
                client.update("team", key, {"name": "x"}, if_="name == 'nobody'")
            self.assertIs(client.destroy("team", key), True)
            some = [{"id": key * 10 + n, "name": f"s{key * 10 + n}"} for n in range(3)]
            self.assertEqual(client.create_many("team", some), 3)
            self.assertEqual(client.upsert_many("team", some), 3)
            self.assertEqual(client.destroy_many("team", [one["id"] for one in some] + [1 << 40]),
                             3)

    def test_exceptions_by_code(self):
        ticket = {"id": 1, "subject": "taken"}
        wrong = [
            (relata.UnknownResource, "get", ("tickt", 1), {}),
            (relata.UnknownField, "get", ("ticket", 1), {"select": ["subjct"]}),
            (relata.UnknownRelationship, "load", ("ticket", [1], "team"), {}),
            (relata.InvalidValue, "get", ("ticket", "one"), {}),
            (relata.InvalidFilter, "read", ("ticket", {"filter": "priority >"}), {}),
            (relata.InvalidRequest, "get", ("ticket", 1), {"nonsense": 1}),
            (relata.NotFound, "update", ("ticket", 0, {"priority": 1}), {}),
            (relata.Conflict, "create", ("ticket", ticket), {}),
            (relata.UnknownMethod, "call", ("nothing",), {}),
        ]
        for client in self.faces(self.daemon.address):
            for kind, method, params, options in wrong:
                with self.assertRaises(kind) as caught:
                    getattr(client, method)(*params, **options)
                error = caught.exception
                self.assertEqual(error.code, kind.code)
                self.assertEqual(str(error), f"{error.code}: {error.message}")
                again = pickle.loads(pickle.dumps(error))
                self.assertEqual((type(again), again.message, again.details),
                                 (kind, error.message, error.details))
            with self.assertRaises(relata.InvalidFilter) as caught:
                client.read("ticket", filter="priority > $x +")
            self.assertIn("position", caught.exception.details)
            with self.assertRaises(relata.InvalidValue) as caught:
                client.create_many("team", [{"id": 500, "name": "x"}, {"id": 501}])
            self.assertEqual(caught.exception.details["index"], 1)

    def test_typed_resources(self):
        for client in self.faces(self.daemon.address):
            teams = client.resource("team", dict)
            self.assertEqual(teams.get(1), client.get("team", 1))
            self.assertEqual(len(teams.read(limit=2)), 2)

    def test_actor_and_tenant(self):
        for client in self.faces(self.daemon.address):
            request = client.request(actor={"team": 1}, tenant="acme")
            read = request.read("team", filter="id == actor.team and tenant == 'acme'")
            self.assertEqual([team["id"] for team in read], [1])

    def test_pipeline(self):
        client = self.client(self.daemon.address)
        with client.pipeline() as pipe:
            write = pipe.create("team", {"id": 700, "name": "pipe"})
            read = pipe.get("team", 700)
            wrong = pipe.get("nothing", 1)
            with self.assertRaises(relata.InvalidRequest):
                read.result()
        self.assertEqual(read.result(), {"id": 700, "name": "pipe"})
        self.assertEqual(write.result(), read.result())
        with self.assertRaises(relata.UnknownResource):
            wrong.result()

    def test_a_pipeline_larger_than_any_buffer(self):
        """The daemon does not take everything before somebody takes its answers."""
        client = self.client(self.daemon.address, timeout=None)
        with client.pipeline() as pipe:
            for _ in range(1000):
                pipe.get_many("ticket", range(1, 200), select=["subject"])
            answers = pipe.send()
        self.assertTrue(all(len(answer.result()) == 199 for answer in answers))
        self.assertIs(answers[0].result(), answers[0].result())

    def test_many_threads_share_one_connection(self):
        client = self.client(self.daemon.address).connect()
        before = client.stats()["daemon"]["connections"]
        wrong = []

        def work(first):
            for key in range(first, 20000, 157):
                if client.get("ticket", key)["id"] != key:
                    wrong.append(key)
        threads = [threading.Thread(target=work, args=[1 + n]) for n in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(wrong, [])
        self.assertEqual(client.stats()["daemon"]["connections"], before)


class Values(Faces):
    def setUp(self):
        self.daemon = self.start(SCHEMA)

    def test_values_come_back(self):
        utc = datetime.timezone.utc
        east = datetime.timezone(datetime.timedelta(hours=2))
        ident = uuid.uuid4()
        for client in self.faces(self.daemon.address):
            stored = client.upsert("thing", {
                "id": -(1 << 63), "whole": (1 << 63) - 1, "bytes": b"\x00\xff",
                "at": datetime.datetime(2026, 11, 22, 12, 0, 0, 123456, east), "ident": ident,
                "name": "Zoë \U0001f600", "any": {"a": [1, None, {"b": b""}], "c": (1, 2)}})
            self.assertEqual(stored, {
                "id": -(1 << 63), "whole": (1 << 63) - 1, "bytes": b"\x00\xff",
                "at": datetime.datetime(2026, 11, 22, 10, 0, 0, 123456, utc),
                "ident": str(ident), "name": "Zoë \U0001f600",
                "any": {"a": [1, None, {"b": b""}], "c": [1, 2]}})
            self.assertIsNotNone(stored["at"].tzinfo)

    def test_what_cannot_be_sent(self):
        for client in self.faces(self.daemon.address):
            for wrong in ({"whole": 1 << 64}, {"at": datetime.datetime(2026, 1, 1)},
                          {"name": "\ud800"}):
                with self.assertRaises(relata.InvalidValue, msg=wrong):
                    client.create("thing", {"id": 1, **wrong})
            with self.assertRaises(TypeError):
                client.create("thing", {"id": 1, "any": object()})
            self.assertEqual(client.ping(), "pong")

    def test_nanoseconds_are_kept_for_who_wants_them(self):
        stamp = msgpack.Timestamp(1_700_000_000, 123_456_789)
        for client in self.faces(self.daemon.address, exact_datetimes=True):
            stored = client.upsert("thing", {"id": 1, "at": stamp})
            self.assertEqual(stored["at"], stamp)
            self.assertEqual(client.upsert("thing", stored), stored)
        for client in self.faces(self.daemon.address):
            self.assertEqual(client.get("thing", 1)["at"].microsecond, 123_456)

    def test_what_python_has_no_value_for(self):
        """A datetime beyond its years, a map whose keys are lists; others are not harmed."""
        far = msgpack.Timestamp(10 ** 12, 5)
        near = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)
        raw = self.daemon.connect()
        for client in self.faces(self.daemon.address):
            client.upsert("thing", {"id": 1, "at": far, "any": [near, far]})
            raw.send(b"\x94\x00\x01\xa6upsert\x92\xa5thing\x82\xa2id\x02\xa3any\x81\x92\x01\x02\x05")
            raw.socket.recv(1 << 16)
            client.upsert("thing", {"id": 3, "at": near, "name": "x" * 300_000})
            both = client.get_many("thing", [1, 3, 2, 1])
            self.assertEqual(both[0]["at"], far)
            self.assertEqual(both[0]["any"], [near, far])
            self.assertEqual(both[1]["at"], near)
            self.assertEqual(both[2]["any"], {(1, 2): 5})
            self.assertEqual(client.get("thing", 3)["at"], near)

    def test_composite_keys(self):
        for client in self.faces(self.daemon.address):
            client.upsert("thing", {"id": 7})
            client.upsert_many("part", [{"thing_id": 7, "number": n, "label": str(n)}
                                        for n in range(3)])
            self.assertEqual(client.get("part", (7, 2))["label"], "2")
            self.assertEqual(client.get("part", {"thing_id": 7, "number": 1})["label"], "1")
            request = client.request()
            parts = client.read("part", filter="thing_id == 7")
            self.assertEqual(request.load("part.thing", parts[0])["id"], 7)
            self.assertEqual([thing["id"] for thing in
                              request.load_many("part.thing", [parts[1], (7, 2), [7, 0]])],
                             [7, 7, 7])


class Requests(Faces):
    def setUp(self):
        self.daemon = helpdesk.start(self)
        self.watcher = self.daemon.connect()

    def loads(self, name=MANUAL):
        counters = self.watcher.call("stats")["relationships"][name]
        return counters["loads"], counters["keys"]

    def spent(self, before):
        return tuple(now - then for now, then in zip(self.loads(), before))

    def test_what_is_loaded_is_remembered_until_a_write(self):
        for client in self.faces(self.daemon.address):
            request = client.request()
            before = self.loads()
            one = request.load(MANUAL, 1, {"limit": 2})
            self.assertEqual(request.load(MANUAL, {"id": 1}, {"limit": 2}), one)
            self.assertEqual(request.load_many(MANUAL, [1, 2, 1], {"limit": 2})[0], one)
            self.assertEqual(self.spent(before), (2, 2))
            self.assertEqual(one, client.load("representative", [1],
                                              "tickets_above_threshold", {"limit": 2})[0])
            before = self.loads()
            request.load(MANUAL, 1, {"limit": 3})
            request.load(MANUAL, 1, {"limit": 3.0})
            self.assertEqual(self.spent(before), (2, 2))
            request.update("representative", 1, {"priority_threshold": 11})
            self.assertEqual(request.load(MANUAL, 1, {"limit": 2}), [])
            request.update("representative", 1, {"priority_threshold": 5})
            self.assertEqual(request.load(MANUAL, 1, {"limit": 2}), one)

    def test_the_whole_load_is_there_too(self):
        for client in self.faces(self.daemon.address):
            request = client.request()
            self.assertEqual(request.load("representative", [1, 2], "team"),
                             client.load("representative", [1, 2], "team"))

    def test_faults_of_names_and_records(self):
        for client in self.faces(self.daemon.address):
            request = client.request()
            with self.assertRaises(relata.UnknownResource):
                request.load("nobody.tickets", {"id": 1})
            with self.assertRaises(relata.InvalidValue):
                request.load(MANUAL, {"name": "no key"})
            with self.assertRaises(relata.UnknownRelationship):
                request.load("representative.nothing", 1)
            with self.assertRaises(TypeError):
                request.load(MANUAL, None)

    def test_a_loader(self):
        for client in self.faces(self.daemon.address):
            request = client.request()
            loader = request.loader(MANUAL, {"limit": 1})
            one = loader.load(1)
            self.assertEqual(request.load(MANUAL, 1, {"limit": 1}), one)
            loader.prime(2, ["primed"])
            self.assertEqual(loader.load(2), ["primed"])
            loader.clear(2)
            self.assertNotEqual(loader.load(2), ["primed"])
            loader.clear_all()
            before = self.loads()
            self.assertEqual(len(loader.load_many([1, 2])), 2)
            self.assertEqual(self.spent(before), (1, 2))

    def test_all_loads_of_a_turn_are_one_call_for_each_query(self):
        async def main():
            async with relata.asyncio.Client(self.daemon.address) as client:
                representatives = await client.read("representative", limit=50)
                before = self.loads()
                request = client.request()
                loaded = await asyncio.gather(
                    *[request.load(MANUAL, one, {"limit": 2, "sort": "id"})
                      for one in representatives],
                    *[request.load(MANUAL, one, {"sort": "id", "limit": 2})
                      for one in representatives],
                    *[request.loader(MANUAL).load(one["id"]) for one in representatives])
                self.assertEqual(self.spent(before), (2, 100))
                self.assertEqual(loaded[:50], loaded[50:100])
                self.assertEqual(loaded[100:], await client.load(
                    "representative", [one["id"] for one in representatives],
                    "tickets_above_threshold"))
        asyncio.run(main())

    def test_gets_of_a_turn_are_one_call(self):
        async def main():
            async with relata.asyncio.Client(self.daemon.address) as client:
                requests = (await client.stats())["daemon"]["requests"]
                request = client.request()
                teams = await asyncio.gather(*[request.get("team", key) for key in [1, 2, 1, 0]])
                self.assertEqual([team and team["id"] for team in teams], [1, 2, 1, None])
                self.assertEqual((await client.stats())["daemon"]["requests"], requests + 2)
        asyncio.run(main())


class Writes(Faces):
    """How many writes to the socket a turn makes, as a peer sees it."""

    def test_all_calls_of_a_turn_go_out_in_one_write(self):
        folder = tempfile.mkdtemp(prefix="relata-test-")
        self.addCleanup(shutil.rmtree, folder)
        fake = fake_peer.FakeDaemon(folder, {
            "load": lambda params: {"columns": [["x", "one", ["id"]]],
                                    "data": [[[key]] for key in params[1]]}})
        self.addCleanup(fake.stop)

        async def main():
            async with relata.asyncio.Client(fake.address) as client:
                await client.ping()
                peer = fake.peer()
                before = len(peer.received)
                request = client.request()
                await asyncio.gather(*[request.load(f"a.{name}", key)
                                       for name in "uvwxyz" for key in range(50)])
                self.assertEqual(peer.methods().count("load"), 6)
                self.assertEqual(len(peer.received), before + 1)
        asyncio.run(main())


class Faults(Faces):
    def setUp(self):
        self.daemon = self.start(SCHEMA)

    def restart(self):
        self.daemon.stop()
        self.daemon.lines = []
        self.daemon.start()

    def test_no_daemon(self):
        for client in self.faces("unix:/nonexistent/relata.sock", connect_timeout=0.1):
            with self.assertRaises(relata.Unavailable):
                client.ping()
            begun = time.monotonic()
            with self.assertRaises(ConnectionError):
                client.ping()
            self.assertLess(time.monotonic() - begun, 0.09, "it fails at once for a while")
        for wrong in ("nonsense", "tcp:host", "unix:", "tcp:host:99999"):
            with self.assertRaises(relata.InvalidRequest):
                relata.Client(wrong)

    def test_tcp(self):
        daemon = self.start(SCHEMA, args=["--listen", "tcp:127.0.0.1:0"])
        address = next(one for one in daemon.addresses() if one.startswith("tcp:"))
        for client in self.faces(address):
            self.assertEqual(client.ping(), "pong")

    def test_reconnect_after_a_restart(self):
        for client in self.faces(self.daemon.address):
            client.ping()
            self.restart()
            self.assertEqual(client.ping(), "pong")

    def test_a_call_waits_for_a_daemon_that_comes_soon(self):
        for client in self.faces(self.daemon.address, connect_timeout=relata_test.PATIENCE_S):
            client.ping()
            self.daemon.stop()
            starter = threading.Timer(0.2, self.daemon.start)
            starter.start()
            self.assertEqual(client.ping(), "pong")
            starter.join()

    def test_timeouts(self):
        for client in self.faces(self.daemon.address):
            client.ping()
            self.daemon.signal(signal.SIGSTOP)
            try:
                with self.assertRaises(TimeoutError) as caught:
                    client.get("thing", 1, timeout=0.05)
                self.assertIsInstance(caught.exception, relata.Timeout)
                self.assertEqual(caught.exception.details, {})
                with self.assertRaises(relata.Timeout) as caught:
                    client.create("thing", {"id": 1}, timeout=0.05)
                self.assertEqual(caught.exception.details, {"outcome": "unknown"})
            finally:
                self.daemon.signal(signal.SIGCONT)
            self.assertEqual(client.ping(), "pong")

    def test_timeout_of_many_threads(self):
        """Each in its time, though one of them reads for all."""
        client = self.client(self.daemon.address)
        client.ping()
        self.daemon.signal(signal.SIGSTOP)
        late = []

        def work(timeout):
            try:
                client.ping(timeout=timeout)
            except relata.Timeout:
                late.append(timeout)
        threads = [threading.Thread(target=work, args=[0.05 * n]) for n in range(1, 7)]
        for thread in threads:
            thread.start()
        for thread in threads[:3]:
            thread.join()
        self.assertLessEqual({0.05, 0.1, 0.05 * 3}, set(late))
        self.daemon.signal(signal.SIGCONT)
        for thread in threads:
            thread.join()
        self.assertEqual(client.ping(), "pong")

    def test_close_fails_what_is_out(self):
        client = self.client(self.daemon.address)
        client.ping()
        self.daemon.signal(signal.SIGSTOP)
        failed = []

        def work(call):
            try:
                call()
            except relata.Unavailable as error:
                failed.append(error)
        threads = [threading.Thread(target=work, args=[call]) for call in (
            client.ping, lambda: client.get("thing", 1),
            lambda: client.create("thing", {"id": 9}))]
        for thread in threads:
            thread.start()
        wait_until(lambda: client._process().connection._last_id >= 5, "the calls to be out")
        client.close()
        for thread in threads:
            thread.join()
        self.daemon.signal(signal.SIGCONT)
        self.assertEqual(sorted(error.details.get("outcome", "") for error in failed),
                         ["", "", "unknown"])
        with self.assertRaises(relata.Unavailable):
            client.ping()

    def test_close_fails_what_is_out_with_asyncio(self):
        async def main():
            client = await relata.asyncio.connect(self.daemon.address)
            self.daemon.signal(signal.SIGSTOP)
            out = [asyncio.ensure_future(one) for one in (client.ping(), client.get("thing", 1))]
            await asyncio.sleep(0)
            await client.close()
            self.daemon.signal(signal.SIGCONT)
            for one in await asyncio.gather(*out, return_exceptions=True):
                self.assertIsInstance(one, relata.Unavailable)
            with self.assertRaises(relata.Unavailable):
                await client.ping()
        asyncio.run(main())

    def test_the_daemon_goes_while_calls_are_out(self):
        for client in self.faces(self.daemon.address):
            client.ping()
            self.daemon.signal(signal.SIGSTOP)
            killer = threading.Timer(0.1, self.daemon.process.kill)
            killer.start()
            with self.assertRaises(relata.Unavailable) as caught:
                client.create("thing", {"id": 1})
            self.assertEqual(caught.exception.details["outcome"], "unknown")
            killer.join()
            self.daemon.process.wait()
            self.daemon.stop()
            self.daemon.lines = []
            self.daemon.start()
            self.assertEqual(client.ping(), "pong")

    def test_a_cancelled_call_leaves_the_connection_as_it_was(self):
        async def main():
            async with relata.asyncio.Client(self.daemon.address) as client:
                self.daemon.signal(signal.SIGSTOP)
                call = asyncio.ensure_future(client.get("thing", 1))
                await asyncio.sleep(0.01)
                call.cancel()
                self.daemon.signal(signal.SIGCONT)
                self.assertEqual(await client.ping(), "pong")
        asyncio.run(main())

    def test_fork(self):
        """A child makes a connection of its own; the parent's is not touched."""
        client = self.client(self.daemon.address)
        client.create("thing", {"id": 1, "name": "parent"})
        before = client.stats()["daemon"]["connections"]
        child = os.fork()
        if child == 0:
            status = 1
            try:
                client.update("thing", 1, {"name": "child"})
                status = 0 if client.stats()["daemon"]["connections"] == before + 1 else 2
                client.close()
            finally:
                os._exit(status)
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), 0)
        self.assertEqual(client.get("thing", 1)["name"], "child")
        wait_until(lambda: client.stats()["daemon"]["connections"] == before, "the child to go")

    def test_fork_while_another_thread_waits(self):
        client = self.client(self.daemon.address)
        stop = threading.Event()

        def work():
            while not stop.is_set():
                client.ping()
        thread = threading.Thread(target=work)
        thread.start()
        children = []
        for _ in range(10):
            child = os.fork()
            if child == 0:
                os._exit(0 if client.ping(timeout=relata_test.PATIENCE_S) == "pong" else 1)
            children.append(child)
        stop.set()
        thread.join()
        for child in children:
            self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), 0)

    def test_fork_with_asyncio(self):
        warnings.simplefilter("ignore", ResourceWarning)

        async def main(client):
            return await client.ping()
        client = relata.asyncio.Client(self.daemon.address)

        async def parent():
            await client.ping()
            child = os.fork()
            if child == 0:
                asyncio.events._set_running_loop(None)
                os._exit(0 if asyncio.run(main(client)) == "pong" else 1)
            self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), 0)
            self.assertEqual(await client.ping(), "pong")
            await client.close()
        asyncio.run(parent())

    def test_another_event_loop(self):
        warnings.simplefilter("ignore", ResourceWarning)  # the first one left it open
        client = relata.asyncio.Client(self.daemon.address)
        self.assertEqual(asyncio.run(client.ping()), "pong")
        self.assertEqual(asyncio.run(client.ping()), "pong")
        asyncio.run(client.close())


class Leaks(Faces):
    def setUp(self):
        self.daemon = self.start(SCHEMA)

    def assert_keeps_nothing(self, work):
        """After a first round, many more calls leave no block of memory behind: one
        for each call would be a hundred times what is allowed. The interpreter's lists
        of free objects fill by how answers happen to come, and then are full: a leak
        grows in every round, they do not."""
        work(2000)
        grown = []
        for _ in range(3):
            before = self.in_use()
            work(LEAK_CALLS)
            blocks, resident_kib = (now - then for now, then in zip(self.in_use(), before))
            if blocks < LEAK_CALLS // 100 and resident_kib < 16 << 10:
                return
            grown.append((blocks, resident_kib))
        self.fail(f"blocks and KiB more after each round: {grown}")

    @staticmethod
    def in_use():
        gc.collect()
        with open("/proc/self/status", encoding="ascii") as file:
            resident = next(line for line in file if line.startswith("VmRSS:"))
        return sys.getallocatedblocks(), int(resident.split()[1])

    def test_100000_calls(self):
        client = self.client(self.daemon.address)
        client.create("thing", {"id": 1, "name": "x"})

        def work(calls):
            for _ in range(calls // 100):
                with client.pipeline() as pipe:
                    for _ in range(49):
                        pipe.get("thing", 1, load="parts")
                    pipe.get("nothing", 1)
                for _ in range(49):
                    client.get("thing", 1)
                client.request().load("thing.parts", 1)
        self.assert_keeps_nothing(work)

    def test_100000_calls_with_asyncio(self):
        with asyncio.Runner() as runner:
            client = relata.asyncio.Client(self.daemon.address)
            runner.run(client.upsert("thing", {"id": 1, "name": "x"}))

            async def some(calls):
                for _ in range(calls // 100):
                    request = client.request()
                    await asyncio.gather(
                        *[client.get("thing", 1) for _ in range(49)],
                        client.get("nothing", 1), *[request.get("thing", 1, select=[])],
                        *[request.load("thing.parts", key) for key in range(49)],
                        return_exceptions=True)
            self.assert_keeps_nothing(lambda calls: runner.run(some(calls)))
            runner.run(client.close())


class Types(unittest.TestCase):
    def mypy(self, *args):
        if shutil.which("mypy") is None:
            self.skipTest("left out: there is no mypy")
        cache = tempfile.mkdtemp(prefix="relata-test-")
        self.addCleanup(shutil.rmtree, cache)
        return subprocess.run(
            ["mypy", "--config-file", "pyproject.toml", "--cache-dir", cache, *args], cwd=CLIENT,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def test_the_client_and_a_sample_are_clean(self):
        done = self.mypy("src", "samples/typed.py")
        self.assertEqual(done.returncode, 0, done.stdout)

    def test_a_sample_with_faults_has_them_all_found(self):
        done = self.mypy("samples/wrong.py")
        with open(os.path.join(CLIENT, "samples", "wrong.py"), encoding="utf-8") as file:
            wrong = {number for number, line in enumerate(file, 1) if "# wrong" in line}
        found = {int(line.split(":")[1]) for line in done.stdout.splitlines() if ": error:" in line}
        self.assertEqual(found, wrong, done.stdout)


if __name__ == "__main__":
    unittest.main()
