"""Remote providers: clients that fill relationships, and what may go wrong."""

import signal
import threading
import time
import unittest

import msgpack

import relata_test
from provider import Provider
from relata_test import Refused, request, wait_until

SCHEMA = """
version: 1
resources:
  node:
    fields: {id: integer, parent_id: integer, name: string}
    relationships:
      children: {has_many: node, destination_field: parent_id}
      related:
        has_many: node
        manual: {remote: {options: {color: red, deep: [1, 2]}}}
        actor: [id]
        batch: {timeout: 5s}
      first: {has_one: node, manual: remote, actor: none, sort: -id}
      hasty: {has_many: node, manual: remote, actor: none, batch: {timeout: 300ms}}
      subtree: {has_many: node, manual: remote, actor: none, batch: {max_in_flight: 2}}
      even: {has_many: node, manual: remote, actor: none}
      odd: {has_many: node, manual: remote, actor: none}
      kept:
        has_many: node
        manual: remote
        actor: none
        cache: {ttl: 50ms, stale_if_error: 60s}
      keys: {has_many: node, manual: remote, actor: none, returns: keys}
"""

RELATED = "node.related"


def one_each(request):
    """The related node of each: the one with 1000 more."""
    return [[{"id": key + 1000, "name": f"of {key}"}] for key in request.keys]


def ids(answer):
    return [None if records is None else [record["id"] for record in records]
            for records in answer]


class Case(relata_test.Case):
    config = ""

    def setUp(self):
        self.daemon = self.start(SCHEMA, config=self.config)
        self.client = self.daemon.connect()
        self.client.call("create_many", "node",
                         [{"id": key, "name": f"node {key}"} for key in range(1, 601)])
        self.providers = []
        self.addCleanup(self.close_providers)

    def close_providers(self):
        for provider in self.providers:
            provider.close()

    def provider(self, name=RELATED, answer=None, **options):
        provider = Provider(self.daemon, name, answer, **options)
        self.providers.append(provider)
        return provider

    def load(self, keys, name="related", options=None):
        return self.client.call("load", "node", keys, name, options or {})

    def begin(self, keys, name="related", options=None, client=None):
        client = client or self.daemon.connect()
        client.send(request(1, "load", "node", keys, name, options or {}))
        return client

    def finish(self, client):
        """The answer of a load that was begun."""
        (error, result), = client.receive_answers(1).values()
        if error is not None:
            raise Refused(error)
        return result

    def failure(self, code, call, *args):
        return self.assert_refused(code, call, *args)


class Providing(Case):
    def test_request_and_answer(self):
        provider = self.provider()
        client = self.begin([3, 1, 3], options={"actor": {"id": 7, "role": "x"}, "query": {
            "filter": "id > $least", "params": {"least": 0}, "select": ["id"]}})
        asked = provider.next()
        self.assertEqual((asked.resource, asked.relationship), ("node", "related"))
        self.assertEqual(asked.records, [
            {"id": 3, "parent_id": None, "name": "node 3"},
            {"id": 1, "parent_id": None, "name": "node 1"}])
        self.assertEqual(asked.options, {"color": "red", "deep": [1, 2]})
        context = dict(asked.context)
        self.assertGreater(context.pop("batch"), 0)
        self.assertEqual(context, {"query": {}, "actor": {"id": 7}, "authorize": True,
                                   "timeout_ms": 5000})
        asked.respond([[{"id": 30}], [{"id": 10}, {"id": 11}]])
        self.assertEqual(self.finish(client), [[{"id": 30}], [{"id": 10}, {"id": 11}], [{"id": 30}]])

    def test_map_and_shapes(self):
        provider = self.provider("node.first")
        client = self.begin([1, 2, 3, 4], "first")
        provider.next().respond({1: {"id": 5, "name": "five"}, "2": [{"id": 6}, {"id": 8}],
                                 99: {"id": 7}, 4: None})
        self.assertEqual(self.finish(client), [
            {"id": 5, "parent_id": None, "name": "five"},
            {"id": 8, "parent_id": None, "name": None}, None, None])

    def test_returns_keys(self):
        self.provider("node.keys", lambda request: [[key + 1, 9999] for key in request.keys])
        self.assertEqual(ids(self.load([1, 2], "keys")), [[2], [3]])

    def test_daemon_applies_the_query(self):
        self.provider(answer=lambda request: [
            [{"id": 10 * key + n, "name": "abc"[n % 3]} for n in range(9)] for key in request.keys])
        self.assertEqual(ids(self.load([1, 2], options={"query": {
            "filter": 'name == "b"', "sort": "-id", "limit": 2, "offset": 1}})),
            [[14, 11], [24, 21]])

    def test_nobody(self):
        error = self.failure("unavailable", self.load, [1])
        self.assertIn("node.related", error)
        provider = self.provider(answer=one_each)
        self.assertEqual(ids(self.load([1])), [[1001]])
        self.assertIs(provider.call("unprovide", RELATED), True)
        self.failure("unavailable", self.load, [1])
        self.assertIn(RELATED, self.failure("invalid_request", provider.call, "unprovide", RELATED))

    def test_provide_refuses(self):
        call = self.client.call
        self.failure("unknown_resource", call, "provide", "nodes.related")
        self.failure("unknown_relationship", call, "provide", "node.relate")
        for params in ([], ["node"], [7], [None], ["node.related", {"max_size": 0}],
                       ["node.related", {"max_in_flight": -1}], ["node.related", {"size": 1}],
                       ["node.children"]):
            self.failure("invalid_request", call, "provide", *params)
        self.failure("unavailable", self.load, [1])

    def test_unprovide_takes_what_is_out(self):
        provider = self.provider()
        client = self.begin([1])
        asked = provider.next()
        provider.call("unprovide", RELATED)
        asked.respond(one_each(asked))
        self.assertEqual(ids(self.finish(client)), [[1001]])

    def test_limits_of_provide(self):
        provider = self.provider(max_size=10, max_in_flight=2)
        client = self.begin(list(range(1, 41)))
        first, second = provider.next(), provider.next()
        provider.call("ping")
        self.assertTrue(provider.requests.empty())
        self.assertEqual([len(first.records), len(second.records)], [10, 10])
        provider.provide(RELATED, max_size=15, max_in_flight=3)
        third = provider.next()
        self.assertEqual(len(third.records), 15)
        for asked in (third, first, second):
            asked.respond(one_each(asked))
        fourth = provider.next()
        self.assertEqual(len(fourth.records), 5)
        fourth.respond(one_each(fourth))
        self.assertEqual(ids(self.finish(client)), [[key + 1000] for key in range(1, 41)])

    def test_several_share(self):
        providers = [self.provider(max_in_flight=1) for _ in range(3)]
        clients = []
        for key in (1, 2, 3):
            clients.append(self.begin([key]))
            wait_until(lambda: sum(p.requests.qsize() for p in providers) == key, "a request")
        self.assertEqual([p.requests.qsize() for p in providers], [1, 1, 1])
        for provider in providers:
            asked = provider.next()
            asked.respond(one_each(asked))
        self.assertEqual([ids(self.finish(client)) for client in clients], [[[1001]], [[1002]], [[1003]]])

    def test_reload_keeps_providers(self):
        provider = self.provider()
        client = self.begin([1])
        asked = provider.next()
        self.daemon.write("schema.yaml", SCHEMA + "      more: {has_many: node, destination_field: id}\n")
        self.daemon.signal(signal.SIGHUP)
        self.daemon.wait_for("event=reloaded")
        asked.respond(one_each(asked))
        self.assertEqual(ids(self.finish(client)), [[1001]])
        client = self.begin([2])
        asked = provider.next()
        asked.respond(one_each(asked))
        self.assertEqual(ids(self.finish(client)), [[1002]])

    def test_stops_in_order(self):
        """What is under way is finished, though it waits for providers that are clients too."""
        first, second, idle = (self.provider(name) for name in (RELATED, "node.even", "node.odd"))
        client = self.begin([1], {"related": None, "even": None})
        asked, even = first.next(), second.next()
        self.daemon.signal(signal.SIGTERM)
        self.daemon.wait_for("event=stopping")
        self.failure("unavailable", idle.call, "get", "node", 5)
        self.assertEqual(asked.read("get", "node", 5, {})["name"], "node 5")
        asked.respond(one_each(asked))
        even.respond(one_each(even))
        (answer,) = self.finish(client)
        self.assertEqual([answer["related"][0]["id"], answer["even"][0]["id"]], [1001, 1001])
        for provider in (first, second, idle):
            self.assertTrue(provider.closed.wait(relata_test.PATIENCE_S))
        self.assertEqual(self.daemon.wait(), 0, self.daemon.log())


class Faults(Case):
    def test_killed_with_a_second_one(self):
        first = self.provider()
        client = self.begin([1, 2])
        first.next()
        second = self.provider(answer=one_each)
        first.close()
        self.assertEqual(ids(self.finish(client)), [[1001], [1002]])
        self.assertEqual(second.sizes, [2])

    def test_killed_alone(self):
        provider = self.provider()
        client = self.begin([1, 2])
        provider.next()
        provider.close()
        self.assertIn("gone", self.failure("unavailable", self.finish, client))

    def test_half_closed(self):
        provider = self.provider()
        client = self.begin([1, 2])
        provider.next()
        provider.client.half_close()
        self.failure("unavailable", self.finish, client)

    def test_all_gone_with_stale_if_error(self):
        provider = self.provider("node.kept", one_each)
        self.assertEqual(ids(self.load([1], "kept")), [[1001]])
        provider.close()
        time.sleep(0.1) # the ttl, spread by a tenth, is over
        self.assertEqual(ids(self.load([1], "kept")), [[1001]])
        self.failure("unavailable", self.load, [2], "kept")
        # What a write dropped is never served.
        self.client.call("update", "node", 1, {"name": "changed"})
        self.failure("unavailable", self.load, [1], "kept")

    def test_all_gone_without(self):
        provider = self.provider(answer=one_each)
        self.assertEqual(ids(self.load([1])), [[1001]])
        provider.close()
        self.failure("unavailable", self.load, [1])

    def test_killed_twice(self):
        providers = [self.provider() for _ in range(3)]
        client = self.begin([1])
        for _ in range(2):
            wait_until(lambda: any(not p.requests.empty() for p in providers), "a request")
            asked = next(p for p in providers if not p.requests.empty())
            providers.remove(asked)
            asked.close()
        self.failure("unavailable", self.finish, client)
        self.assertTrue(providers[0].requests.empty())

    def test_late(self):
        provider = self.provider("node.hasty")
        began = time.monotonic()
        client = self.begin([1], "hasty")
        asked = provider.next()
        self.assertIn("300 ms", self.failure("timeout", self.finish, client))
        self.assertGreaterEqual(time.monotonic() - began, 0.29)
        asked.respond(one_each(asked)) # nobody waits for it
        client = self.begin([1], "hasty")
        asked = provider.next()
        asked.respond(one_each(asked))
        self.assertEqual(ids(self.finish(client)), [[1001]])

    def test_late_with_a_second_one(self):
        first = self.provider("node.hasty")
        client = self.begin([1], "hasty")
        first.next()
        self.provider("node.hasty", one_each)
        self.assertEqual(ids(self.finish(client)), [[1001]])

    def test_twice(self):
        provider = self.provider()
        client = self.begin([1])
        asked = provider.next()
        asked.respond(one_each(asked))
        self.assertEqual(ids(self.finish(client)), [[1001]])
        asked.send(None, [[{"id": 666}]])
        provider._send([1, 12345, None, [[]]]) # an id that never was
        self.assertEqual(provider.call("ping"), "pong")

    def test_20_mb(self):
        self.provider(answer=lambda request: [
            [{"id": number, "name": "x" * 1_000_000} for number in range(20)]
            for _ in request.keys])
        (records,) = self.load([1])
        self.assertEqual([len(record["name"]) for record in records], [1_000_000] * 20)
        self.assertEqual(self.client.call("ping"), "pong")

    def test_requests_keep_their_limit(self):
        provider = self.provider(answer=one_each)
        error = self.failure("too_large", provider.call, "ping", "x" * 20_000_000)
        self.assertIn("frame_bytes", error)
        self.assertTrue(provider.closed.wait(relata_test.PATIENCE_S))

    def test_wrong_answers(self):
        answers = [
            ([[]], ["a list of 1", "2 answers"]),
            ([[], [], []], ["a list of 3"]),
            (None, ["nil"]),
            (7, ["7", "integer"]),
            ("no", ["string"]),
        ]
        provider = self.provider()
        provider.call("hello", {"client": "worker-9"})
        for answer, words in answers:
            client = self.begin([1, 2])
            provider.next().respond(answer)
            error = self.failure("loader_failed", self.finish, client)
            self.assertIn("node.related", error)
            self.assertIn("worker-9", error)
            self.assertTrue(any(word in error for word in words), error)

    def test_wrong_records(self):
        provider = self.provider()
        wrong = [[{"id": "text"}], [{"name": "without key"}], [{"id": 1, "color": "red"}], [5],
                 {"id": 1, "name": 5}, "text", [[{"id": 1}]]]
        client = self.daemon.connect()
        client.call("hello", {"errors": "map"})
        for answer in wrong:
            self.begin([1, 2], client=client)
            provider.next().respond([[{"id": 5}], answer])
            good, bad = self.finish(client)
            self.assertEqual(good[0]["id"], 5)
            self.assertIsInstance(bad, msgpack.ExtType, answer)
            error = msgpack.unpackb(bad.data)
            self.assertEqual((bad.code, error["code"]), (1, "loader_failed"))
            self.assertEqual(error["details"]["key"], 2)

    def test_error_for_one_source(self):
        provider = self.provider()
        refusal = msgpack.ExtType(1, msgpack.packb({"code": "db_away", "message": "try later"}))
        client = self.daemon.connect()
        client.call("hello", {"errors": "map"})
        self.begin([1, 2], client=client)
        provider.next().respond([refusal, [{"id": 5}]])
        bad, good = self.finish(client)
        error = msgpack.unpackb(bad.data)
        self.assertEqual((error["code"], error["details"]["code"]), ("loader_failed", "db_away"))
        self.assertIn("try later", error["message"])
        self.assertEqual(good[0]["id"], 5)
        # Who did not ask for such errors gets it for the whole call.
        plain = self.begin([1, 2])
        provider.next().respond([refusal, [{"id": 5}]])
        self.assertIn("try later", self.failure("loader_failed", self.finish, plain))

    def test_error_for_the_batch(self):
        provider = self.provider()
        client = self.begin([1, 2])
        provider.next().fail("the database is away")
        self.assertIn("the database is away", self.failure("loader_failed", self.finish, client))
        client = self.daemon.connect()
        client.call("hello", {"errors": "map"})
        self.begin([1, 2], client=client)
        provider.next().fail({"code": "db_away", "message": "try later"})
        answers = self.finish(client)
        error = msgpack.unpackb(answers[0].data)
        self.assertEqual((error["code"], error["details"]["code"]), ("loader_failed", "db_away"))

    def test_write_while_a_batch_is_out(self):
        provider = self.provider()
        before = self.begin([1])
        asked = provider.next()
        self.client.call("update", "node", 1, {"name": "changed"})
        after = self.begin([1])
        self.client.call("ping")
        self.assertTrue(provider.requests.empty()) # never twice at once
        asked.respond([[{"id": 1, "name": "old"}]])
        self.assertEqual(self.finish(before)[0][0]["name"], "old")
        asked = provider.next()
        self.assertEqual(asked.records[0]["name"], "changed")
        asked.respond([[{"id": 1, "name": "new"}]])
        self.assertEqual(self.finish(after)[0][0]["name"], "new")

    def test_never_paused(self):
        """Its answers are taken though it does not read; its requests are refused."""
        self.client.call("create", "node", {"id": 5000, "name": "x" * 200_000})
        provider = self.provider()
        client = self.begin([1])
        asked = provider.next()
        provider.lock.acquire() # the reader goes on, but slowly: this floods the output
        try:
            raw = provider.client
            for number in range(100):
                raw.send(request(10_000 + number, "get_many", "node", [5000] * 10))
                provider.waiting[10_000 + number] = Swallow()
            raw.send(msgpack.packb([1, asked.msgid, None, one_each(asked)]))
        finally:
            provider.lock.release()
        self.assertEqual(ids(self.finish(client)), [[1001]])


class Swallow:
    def put(self, _):
        pass


class TooLarge(Case):
    config = "limits: {provider_answer_bytes: 100KiB, frame_bytes: 200KiB}\n"

    def test_halved_until_it_fits(self):
        def answer(request):
            return [[{"id": key, "name": "x" * 30_000}] for key in request.keys]
        provider = self.provider(answer=answer)
        self.assertEqual(ids(self.load([1, 2, 3, 4])), [[1], [2], [3], [4]])
        self.assertEqual(sorted(provider.sizes), [2, 2, 4])
        self.assertFalse(provider.closed.is_set())

    def test_one_source_is_too_large(self):
        def answer(request):
            return [[{"id": key, "name": "x" * (150_000 if key == 2 else 10)}]
                    for key in request.keys]
        provider = self.provider(answer=answer)
        error = self.failure("too_large", self.load, [1, 2, 3])
        self.assertIn("provider_answer_bytes", error)
        self.assertEqual(ids(self.load([1, 3])), [[1], [3]])
        self.assertEqual(provider.call("ping"), "pong")

    def test_over_every_limit_closes(self):
        def answer(request):
            size = 100_000 if len(request.keys) > 1 else 1000
            return [[{"id": key, "name": "x" * size}] for key in request.keys]
        first = self.provider()
        client = self.begin([1, 2, 3])
        asked = first.next()
        asked.respond(answer(asked))
        self.assertTrue(first.closed.wait(relata_test.PATIENCE_S))
        # It comes back, as clients do; now with one at a time.
        self.provider(answer=answer, max_size=1)
        self.assertEqual(ids(self.finish(client)), [[1], [2], [3]])


class Batches(Case):
    IN_FLIGHT = 4
    TAKES_S = 0.005

    def answer(self, request):
        began = time.monotonic()
        time.sleep(self.TAKES_S)
        self.spent.append(time.monotonic() - began)
        return one_each(request)

    def load_500(self, provider, clients):
        """From all connections at once, a key each. How long that took, and how long
        its batches alone had to take, as slow as this machine is just now."""
        self.spent = []
        provider.sizes.clear()
        began = time.monotonic()
        for number in range(500):
            clients[number % len(clients)].send(request(
                number, "load", "node", [1 + number], "related"))
        for client in clients:
            for number, (error, result) in client.receive_answers(50).items():
                self.assertIsNone(error)
                self.assertEqual(ids(result), [[1001 + number]])
        took = time.monotonic() - began
        self.assertEqual(sum(provider.sizes), 500)
        self.assertEqual(len(self.spent), len(provider.sizes))
        self.assertLessEqual(provider.busiest, self.IN_FLIGHT)
        self.assertFalse(provider.twice)
        return took, sum(self.spent) / self.IN_FLIGHT

    def rounds_of_500(self, provider):
        """The best of some rounds: others may use the machine too."""
        clients = [self.daemon.connect() for _ in range(10)]
        for client in clients:
            client.call("ping")
        before = self.client.call("stats")["relationships"][RELATED]["batches"]
        batches = 0
        over = []
        for _ in range(5):
            took, cost = self.load_500(provider, clients)
            batches += len(provider.sizes)
            over.append(took - 3 * cost)
        after = self.client.call("stats")["relationships"][RELATED]["batches"]
        # Far from what single answers cost, and less than batches one after the other.
        self.assertLess(min(over), 500 * self.TAKES_S / 15)
        return batches, after - before

    def test_500_loads(self):
        provider = self.provider(answer=self.answer, max_in_flight=self.IN_FLIGHT)
        batches, counted = self.rounds_of_500(provider)
        self.assertEqual(batches, counted)
        self.assertLess(batches, 5 * 100)
        self.assertGreater(max(provider.sizes), 5)

    def test_500_loads_in_small_batches(self):
        """Whose time is most of it: one after the other they would be late."""
        provider = self.provider(answer=self.answer, max_in_flight=self.IN_FLIGHT, max_size=5)
        batches, _ = self.rounds_of_500(provider)
        self.assertGreaterEqual(batches, 5 * 100)
        self.assertEqual(max(provider.sizes), 5)
        self.assertEqual(provider.busiest, self.IN_FLIGHT)

    def test_same_keys(self):
        provider = self.provider(answer=lambda request: (time.sleep(0.005), one_each(request))[1])
        clients = [self.daemon.connect() for _ in range(10)]
        for number in range(500):
            clients[number % 10].send(request(number, "load", "node", [1 + number % 7], "related"))
        for client in clients:
            for number, (error, result) in client.receive_answers(50).items():
                self.assertIsNone(error)
                self.assertEqual(ids(result), [[1001 + number % 7]])
        self.assertFalse(provider.twice)
        self.assertLess(sum(provider.sizes), 500)


class Recursion(Case):
    """Nodes 1 to 364: a tree, 3 children each, five levels deep below the root."""

    def setUp(self):
        super().setUp()
        self.client.call("upsert_many", "node", [
            {"id": key, "parent_id": (key - 2) // 3 + 1} for key in range(2, 365)])

    def children_of(self, request, name):
        """The children of each source, and what `name` loads of those."""
        rows = request.read("load", "node", request.keys, {"children": {"load": [name]}}, {})
        return [row["children"] for row in rows]

    def test_tree(self):
        def subtree(request):
            answer = []
            for children in self.children_of(request, "subtree"):
                below = [node for child in children for node in child.pop("subtree")]
                answer.append(children + below)
            return answer
        provider = self.provider("node.subtree", subtree, max_in_flight=2)
        began = time.monotonic()
        answer, = self.load([1], "subtree")
        self.assertEqual(sorted(node["id"] for node in answer), list(range(2, 365)))
        clients = [self.begin([key], "subtree") for key in (2, 3, 4)]
        self.assertEqual([len(self.finish(client)[0]) for client in clients], [120, 120, 120])
        self.assertLess(time.monotonic() - began, 20)
        self.assertGreater(len(provider.sizes), 5)

    def test_two_providers(self):
        def reads(name):
            def answer(request):
                return [children + [node for child in children for node in child.pop(name)]
                        for children in self.children_of(request, name)]
            return answer
        self.provider("node.even", reads("odd"), max_in_flight=1)
        self.provider("node.odd", reads("even"), max_in_flight=1)
        clients = [self.begin([1], "even"), self.begin([1], "odd")]
        for client in clients:
            (answer,) = self.finish(client)
            self.assertEqual(sorted(node["id"] for node in answer), list(range(2, 365)))

    def test_the_key_that_it_computes(self):
        def itself(request):
            return request.read("load", "node", request.keys, "subtree", {})
        self.provider("node.subtree", itself)
        began = time.monotonic()
        error = self.failure("loader_failed", self.load, [1], "subtree")
        self.assertIn("would wait for itself", error)
        self.assertLess(time.monotonic() - began, 4)

    def test_circle_of_two(self):
        def reads(name):
            return lambda request: request.read("load", "node", request.keys, name, {})
        self.provider("node.even", reads("odd"))
        self.provider("node.odd", reads("even"))
        began = time.monotonic()
        self.assertIn("would wait for itself", self.failure("loader_failed", self.load, [1], "even"))
        clients = [self.begin([1], "even"), self.begin([1], "odd")]
        for client in clients:
            self.failure("loader_failed", self.finish, client)
        self.assertLess(time.monotonic() - began, 4)

    def test_batch_must_be_out_there(self):
        provider = self.provider()
        client = self.begin([1], options={"actor": {"id": 3}})
        asked = provider.next()
        number = asked.context["batch"]
        self.assertEqual(provider.call("get", "node", 5, {"batch": number})["id"], 5)
        self.failure("forbidden", self.client.call, "get", "node", 5, {"batch": number})
        self.failure("forbidden", provider.call, "get", "node", 5, {"batch": number + 1})
        self.failure("invalid_request", provider.call, "get", "node", 5, {"batch": "x"})
        for beside in ({"actor": {}}, {"tenant": 1}, {"authorize": True}):
            self.failure("invalid_request", provider.call, "get", "node", 5,
                         dict(beside, batch=number))
        asked.respond(one_each(asked))
        self.finish(client)
        self.failure("forbidden", provider.call, "get", "node", 5, {"batch": number})

    def test_answers_before_its_reads_are_done(self):
        """The batch ends while a call for it goes on, level by level."""
        provider = self.provider()
        slow = self.provider("node.even")
        client = self.begin([1])
        asked = provider.next()
        done = []
        reading = threading.Thread(target=lambda: done.append(asked.read(
            "load", "node", [2], {"even": {"load": ["even"]}}, {})))
        reading.start()
        inner = slow.next()
        asked.respond(one_each(asked))
        self.assertEqual(ids(self.finish(client)), [[1001]])
        inner.respond([[{"id": 3}]])
        inner = slow.next()
        inner.respond([[{"id": 4}]])
        reading.join(relata_test.PATIENCE_S)
        self.assertEqual(done[0][0]["even"][0]["even"][0]["id"], 4)


if __name__ == "__main__":
    unittest.main()
