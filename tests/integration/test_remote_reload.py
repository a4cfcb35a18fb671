"""The schema is reloaded while batches are out at remote providers: what is under way
finishes on the schema that it began with, what comes afterwards follows the new one."""

import signal
import threading
import time
import unittest

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
"""

REMOTE = "      made: {has_many: node, manual: remote, actor: none%s}\n"
FILTER = "      made: {has_many: node, manual: {filter: parent_id == parent.id}%s}\n"
MADE = "node.made"
KEYS = 12


def ids(answer):
    return [None if records is None else [record["id"] for record in records]
            for records in answer]


def made(keys):
    return [[key + 1000] for key in keys]


def answer(request):
    return [[{"id": key + 1000}] for key in request.keys]


class Case(relata_test.Case):
    def begin_with(self, relationship):
        self.daemon = self.start(SCHEMA + relationship)
        self.reloads = 0
        self.client = self.daemon.connect()
        self.client.call("create_many", "node", [{"id": key} for key in range(1, KEYS + 1)])
        self.client.call("create", "node", {"id": 500, "parent_id": 1})

    def reload(self, relationship):
        self.daemon.write("schema.yaml", SCHEMA + relationship)
        self.daemon.signal(signal.SIGHUP)
        self.reloads += 1
        wait_until(lambda: self.daemon.log().count("event=reloaded") == self.reloads,
                   "the reload")

    def provider(self, answer=None, **options):
        provider = Provider(self.daemon, MADE, answer, **options)
        self.addCleanup(provider.close)
        return provider

    def load(self, *keys):
        return ids(self.client.call("load", "node", list(keys), "made"))

    def begin(self, *keys, options=None):
        client = self.daemon.connect()
        client.send(request(1, "load", "node", list(keys), "made", options or {}))
        return client

    def finish(self, client):
        (error, result), = client.receive_answers(1).values()
        if error is not None:
            raise Refused(error)
        return ids(result)

    def counters(self):
        return self.client.call("stats")["relationships"][MADE]


class Caches(Case):
    def test_cache_appears(self):
        self.begin_with(REMOTE % "")
        provider = self.provider()
        client = self.begin(1)
        asked = provider.next()
        self.reload(REMOTE % ", cache: {ttl: 1h}")
        # What comes now waits for none that began before, nor is it answered by it.
        later = self.begin(1)
        later_asked = provider.next()
        asked.respond([[{"id": 7}]])
        self.assertEqual(self.finish(client), [[7]])
        later_asked.respond(answer(later_asked))
        self.assertEqual(self.finish(later), made([1]))
        provider.answer = answer
        self.assertEqual(self.load(1, 2), made([1, 2]))
        self.assertEqual(self.load(1, 2), made([1, 2]))
        self.assertEqual(provider.sizes, [1, 1, 1])
        self.assertEqual(self.counters()["cache_hits"], 3)

    def test_cache_goes(self):
        self.begin_with(REMOTE % ", cache: {ttl: 1h, stale_if_error: 1h}")
        provider = self.provider(answer)
        self.assertEqual([self.load(1), self.load(1)], [made([1])] * 2)
        self.assertEqual(provider.sizes, [1])
        provider.answer = None
        client = self.begin(1, 2) # 1 is kept, 2 is out
        asked = provider.next()
        self.assertEqual(asked.keys, [2])
        self.reload(REMOTE % "")
        asked.respond(answer(asked))
        self.assertEqual(self.finish(client), made([1, 2]))
        provider.answer = answer
        self.assertEqual([self.load(1), self.load(2), self.load(1)],
                         [made([1]), made([2]), made([1])])
        self.assertEqual(provider.sizes, [1] * 5)
        provider.close()
        self.assert_refused("unavailable", self.load, 1)

    def test_ttl_changes(self):
        self.begin_with(REMOTE % ", cache: {ttl: 1h}")
        provider = self.provider(answer)
        self.load(1)
        provider.answer = None
        client = self.begin(2)
        asked = provider.next()
        self.reload(REMOTE % ", cache: {ttl: 50ms}")
        asked.respond(answer(asked))
        self.assertEqual(self.finish(client), made([2]))
        provider.answer = answer
        for key in (1, 2):
            self.load(key)
            before = len(provider.sizes)
            time.sleep(0.1) # the ttl, spread by a tenth, is over
            self.assertEqual(self.load(key), made([key]))
            self.assertEqual(len(provider.sizes), before + 1)
        self.reload(REMOTE % ", cache: {ttl: 1h}")
        self.load(1)
        before = len(provider.sizes)
        time.sleep(0.1)
        self.load(1)
        self.assertEqual(len(provider.sizes), before)

    def test_old_flights_fill_nothing(self):
        """A write that was acknowledged after the reload is in every answer after it."""
        cached = REMOTE % ", cache: {ttl: 1h}"
        self.begin_with(cached)
        provider = self.provider()
        before = self.begin(1)
        asked = provider.next()
        self.reload(cached + "      more: {has_many: node, destination_field: parent_id}\n")
        self.client.call("update", "node", 1, {"name": "changed"})
        after = self.begin(1)
        again = provider.next()
        self.assertEqual([asked.records[0]["name"], again.records[0]["name"]], [None, "changed"])
        again.respond([[{"id": 2}]])
        self.assertEqual(self.finish(after), [[2]])
        asked.respond([[{"id": 1}]]) # the older one comes last
        self.assertEqual(self.finish(before), [[1]])
        self.assertEqual(self.load(1), [[2]])
        self.assertEqual(provider.sizes, [1, 1])


class Limits(Case):
    def test_batches_grow(self):
        self.begin_with(REMOTE % ", batch: {max_size: 2, max_in_flight: 1}")
        provider = self.provider()
        old = self.begin(*range(1, 7))
        first = provider.next()
        self.assertEqual(first.keys, [1, 2])
        self.reload(REMOTE % ", batch: {max_size: 5, max_in_flight: 3}")
        new = self.begin(*range(1, KEYS + 1))
        out = [provider.next(), provider.next()]
        provider.answer = answer
        for asked in out + [first]:
            asked.respond(answer(asked))
        self.assertEqual(self.finish(old), made(range(1, 7)))
        self.assertEqual(self.finish(new), made(range(1, KEYS + 1)))
        self.assertEqual(max(provider.sizes), 5)
        self.assertLessEqual(provider.busiest, 3)
        self.assertEqual(sum(provider.sizes), 6 + KEYS)

    def test_batches_shrink(self):
        self.begin_with(REMOTE % ", batch: {max_size: 4, max_in_flight: 3}")
        provider = self.provider()
        old = self.begin(*range(1, KEYS + 1))
        out = [provider.next() for _ in range(3)]
        self.reload(REMOTE % ", batch: {max_size: 1, max_in_flight: 1}")
        new = self.begin(1, 2, 3)
        self.client.call("ping")
        self.assertTrue(provider.requests.empty()) # there is no room for it yet
        provider.answer = answer
        for asked in out:
            asked.respond(answer(asked))
        self.assertEqual(self.finish(old), made(range(1, KEYS + 1)))
        self.assertEqual(self.finish(new), made([1, 2, 3]))
        self.assertEqual(provider.sizes, [4, 4, 4, 1, 1, 1])

    def test_timeout_is_that_of_the_beginning(self):
        self.begin_with(REMOTE % ", batch: {timeout: 300ms}")
        provider = self.provider()
        old = self.begin(1)
        late = provider.next()
        self.reload(REMOTE % ", batch: {timeout: 60s}")
        new = self.begin(2)
        asked = provider.next()
        self.assertEqual([late.context["timeout_ms"], asked.context["timeout_ms"]], [300, 60000])
        self.assertIn("300 ms", self.assert_refused("timeout", self.finish, old))
        asked.respond(answer(asked))
        self.assertEqual(self.finish(new), made([2]))
        late.respond(answer(late)) # nobody waits for it
        self.assertEqual(self.client.call("ping"), "pong")


class Kinds(Case):
    def test_remote_becomes_a_filter_and_remote_again(self):
        self.begin_with(REMOTE % ", cache: {ttl: 1h}")
        provider = self.provider()
        old = self.begin(1, 2)
        asked = provider.next()
        self.reload(FILTER % ", cache: {ttl: 1h}")
        self.assertEqual(self.load(1, 2), [[500], []])
        error = self.assert_refused("invalid_request", provider.call, "provide", MADE)
        self.assertIn(MADE, error)
        # What it reads for the batch is read by the batch's schema.
        provider.answer = answer
        self.assertEqual(ids(asked.read("load", "node", [5], "made", {})), made([5]))
        self.assertEqual(ids(provider.call("load", "node", [1], "made")), [[500]])
        asked.respond(answer(asked))
        self.assertEqual(self.finish(old), made([1, 2]))
        self.assertEqual(self.load(1, 2), [[500], []])
        self.assertEqual(provider.sizes, [2, 1])
        self.reload(REMOTE % "") # it provides still
        self.assertEqual(self.load(1, 2), made([1, 2]))

    def test_removed_and_there_again(self):
        self.begin_with(REMOTE % ", cache: {ttl: 1h}")
        provider = self.provider()
        old = self.begin(1, 2, options={"query": {"load": {"made": {"limit": 1}}}})
        asked = provider.next()
        self.reload("")
        self.assert_refused("unknown_relationship", self.load, 1)
        self.assert_refused("unknown_relationship", provider.call, "provide", MADE)
        self.assertNotIn(MADE, self.client.call("stats")["relationships"])
        # What began before goes on with it: reads for the batch, and a level deeper.
        provider.answer = answer
        self.assertEqual(ids(asked.read("load", "node", [5], "made", {})), made([5]))
        provider.answer = None
        asked.respond([[{"id": 3}], [{"id": 4}]])
        deeper = provider.next()
        self.assertEqual(sorted(deeper.keys), [3, 4])
        deeper.respond(answer(deeper))
        self.assertEqual(self.finish(old), [[3], [4]])
        self.assert_refused("unknown_relationship", self.load, 1)
        self.reload(REMOTE % "")
        provider.answer = answer
        self.assertEqual(self.load(1, 2), made([1, 2]))

    def test_removed_and_its_provider_goes(self):
        """Another one takes over what began before."""
        self.begin_with(REMOTE % "")
        providers = [self.provider(), self.provider()]
        old = self.begin(1, 2)
        wait_until(lambda: any(not p.requests.empty() for p in providers), "a request")
        providers.sort(key=lambda p: p.requests.empty())
        providers[0].next()
        self.reload("")
        providers[0].close()
        asked = providers[1].next()
        asked.respond(answer(asked))
        self.assertEqual(self.finish(old), made([1, 2]))

    def test_removed_and_all_providers_go(self):
        self.begin_with(REMOTE % "")
        provider = self.provider()
        old = self.begin(1, 2)
        provider.next()
        self.reload("")
        provider.close()
        self.assert_refused("unavailable", self.finish, old)
        self.assertEqual(self.client.call("get", "node", 1)["id"], 1)

    def test_removed_and_nobody_waits(self):
        self.begin_with(REMOTE % "")
        provider = self.provider()
        old = self.begin(1, 2)
        asked = provider.next()
        self.reload("")
        old.close()
        asked.respond(answer(asked))
        self.assertEqual(provider.call("ping"), "pong")

    def test_stops_with_batches_of_two_schemas(self):
        self.begin_with(REMOTE % "")
        provider = self.provider()
        old = self.begin(1)
        out = [provider.next()]
        self.reload(REMOTE % ", cache: {ttl: 1h}")
        new = self.begin(1)
        out.append(provider.next())
        self.daemon.signal(signal.SIGTERM)
        self.daemon.wait_for("event=stopping")
        for asked in out:
            asked.respond(answer(asked))
        self.assertEqual([self.finish(old), self.finish(new)], [made([1])] * 2)
        self.assertEqual(self.daemon.wait(), 0, self.daemon.log())

    def test_a_load_of_itself_is_refused_after_a_reload(self):
        self.begin_with(REMOTE % "")
        provider = self.provider()
        old = self.begin(1)
        asked = provider.next()
        self.reload(REMOTE % ", cache: {ttl: 1h}")
        self.assertIn("would wait for itself", self.assert_refused(
            "loader_failed", asked.read, "load", "node", asked.keys, "made", {}))
        asked.respond(answer(asked))
        self.assertEqual(self.finish(old), made([1]))


class Many(Case):
    """Loads from many connections while the schema changes back and forth."""

    ROUNDS = 12
    SCHEMAS = [
        REMOTE % "",
        REMOTE % ", cache: {ttl: 1h}",
        REMOTE % ", cache: {ttl: 20ms, stale_if_error: 1h}, batch: {max_size: 1, max_in_flight: 1}",
        REMOTE % ", batch: {max_size: 3, max_in_flight: 8, window: 2ms}",
        FILTER % "",
        "",
    ]

    def load_until_end(self, first):
        client = self.daemon.connect()
        key = first
        while not self.ended.is_set():
            key = key % KEYS + 1
            keys = sorted({key, (key * 5) % KEYS + 1})
            try:
                got = ids(client.call("load", "node", keys, "made"))
            except Refused as refused:
                if refused.code != "unknown_relationship":
                    self.faults.append(refused.error)
                continue
            by_filter = [[500] if one == 1 else [] for one in keys]
            if got not in (made(keys), by_filter):
                self.faults.append((keys, got))
            self.loads += 1

    def test_back_and_forth(self):
        self.begin_with(self.SCHEMAS[0])
        provider = self.provider(lambda request: (time.sleep(0.003), answer(request))[1])
        self.faults = []
        self.loads = 0
        self.ended = threading.Event()
        threads = [threading.Thread(target=self.load_until_end, args=(number,), daemon=True)
                   for number in range(6)]
        for thread in threads:
            thread.start()
        for number in range(1, self.ROUNDS + 1):
            loads = self.loads
            wait_until(lambda: self.loads > loads + 20 or number % 6 == 0, "loads")
            self.reload(self.SCHEMAS[number % len(self.SCHEMAS)])
        self.ended.set()
        for thread in threads:
            thread.join(relata_test.PATIENCE_S)
            self.assertFalse(thread.is_alive())
        self.assertEqual(self.faults[:5], [])
        self.assertGreater(sum(provider.sizes), 0)
        self.assertEqual(self.load(1, 2), made([1, 2]))


if __name__ == "__main__":
    unittest.main()
