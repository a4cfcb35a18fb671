"""Cached results over sockets: how useful they stay beside writes, and that no load
is answered with something older than a write that was acknowledged before it.

The seed is printed, and RELATA_SEED repeats the choices, though not the timing.
"""

import os
import random
import threading
import time
import unittest

import relata_test
from provider import Provider
from relata_test import Refused, wait_until

SCHEMA = """
version: 1
resources:
  representative:
    fields: {id: integer, name: string, threshold: {type: integer, default: 0}}
    relationships:
      # Each is filled by a read of the tickets on the loader's connection.
      exact: &exact
        has_many: ticket
        manual: remote
        actor: none
        source_fields: [threshold]
        depends_on: [{ticket: representative_id}]
        batch: {max_size: 5, max_in_flight: 2}
        cache: {ttl: 1h}
      plain: {has_many: ticket, manual: remote, actor: none, cache: {ttl: 1h}}
      # Through `exact`, so that caches lie upon each other.
      over: *exact
      keys: {has_many: ticket, manual: remote, actor: none, returns: keys, cache: {ttl: 20ms},
             depends_on: [{ticket: representative_id}]}
      short: {has_many: ticket, manual: remote, actor: none, cache: {ttl: 100ms}}
      chosen: {has_many: ticket, manual: remote, actor: none, returns: keys, depends_on: none,
               cache: {ttl: 1h}}
  ticket:
    fields: {id: integer, representative_id: integer, version: integer}
    indexes: [[representative_id]]
    relationships:
      alike: {has_many: ticket, manual: {filter: version == parent.version}, cache: {ttl: 1h}}
"""

SLOW = bool(os.environ.get("RELATA_SANITIZE"))


def tickets_of(request):
    """By one read for the batch; a list for each source."""
    found = {key: [] for key in request.keys}
    for ticket in request.read("read", "ticket", {
            "filter": "representative_id in $ids", "params": {"ids": request.keys}}, {}):
        found[ticket["representative_id"]].append(ticket)
    return [found[key] for key in request.keys]


class Case(relata_test.Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.seed = int(os.environ.get("RELATA_SEED") or random.SystemRandom().randrange(1 << 32))
        print(f"RELATA_SEED={cls.seed}", flush=True)

    def setUp(self):
        self.rng = random.Random(self.seed)
        self.daemon = self.start(SCHEMA)
        self.client = self.daemon.connect()

    def provider(self, answer, *names):
        provider = Provider(self.daemon, f"representative.{names[0]}", answer)
        for name in names[1:]:
            provider.provide(f"representative.{name}")
        self.addCleanup(provider.close)
        return provider

    def counters(self, name):
        return self.client.call("stats")["relationships"][f"representative.{name}"]


class Counters(Case):
    def test_keys_from_the_cache_count_as_asked_for(self):
        self.client.call("create_many", "representative", [{"id": key} for key in (1, 2, 3)])
        self.provider(tickets_of, "exact")
        for keys, hits in (([1], 0), ([1, 2], 1), ([1, 2, 3], 2), ([1, 2, 3], 3)):
            before = self.counters("exact")
            self.client.call("load", "representative", keys, "exact")
            after = self.counters("exact")
            self.assertEqual({name: after[name] - before[name]
                              for name in ("loads", "keys", "cache_hits", "unique_keys")},
                             {"loads": 1, "keys": len(keys), "cache_hits": hits,
                              "unique_keys": len(keys) - hits})


class Fresh(Case):
    def test_is_never_answered_from_the_cache(self):
        """Not where the loader fails either."""
        self.client.call("create", "representative", {"id": 1})
        provider = self.provider(tickets_of, "exact")
        self.assertEqual(self.client.call("load", "representative", [1], "exact"), [[]])
        provider.close()
        self.assertEqual(self.client.call("load", "representative", [1], "exact"), [[]])
        self.assert_refused("unavailable", self.client.call, "load", "representative", [1],
                            "exact", {"fresh": True})


class Time(Case):
    """In a daemon with nothing else to do, so that nothing tells it the time."""

    def asked(self):
        self.client.call("load", "representative", [1], "short")
        return len(self.requests.sizes)

    def test_ttl(self):
        self.client.call("create", "representative", {"id": 1})
        self.requests = self.provider(lambda request: [[]], "short")
        self.assertEqual(self.asked(), 1)
        for number in (2, 3):
            time.sleep(0.15)
            self.assertEqual(self.asked(), number)

    def test_ttl_begins_with_the_answer(self):
        self.client.call("create", "representative", {"id": 1})
        self.requests = self.provider(lambda request: (time.sleep(0.3), [[]])[1], "short")
        # Enough of them that one is answered within the ttl, however busy the machine is.
        wait_until(lambda: self.asked() == self.asked(), "an answer from the cache")


class Keys(Case):
    def test_records_of_cached_keys_are_those_of_the_moment(self):
        """What a loader answers is keys; that a record changes does not change them."""
        self.client.call("create", "representative", {"id": 1})
        self.client.call("create_many", "ticket",
                         [{"id": number, "version": 1} for number in (1, 2, 3)])
        provider = self.provider(lambda request: [[4, 3, 2, 1] for _ in request.keys], "chosen")

        def load():
            (answer,) = self.client.call("load", "representative", [1], "chosen")
            return [(ticket["id"], ticket["version"]) for ticket in answer]
        self.assertEqual(load(), [(3, 1), (2, 1), (1, 1)])
        self.client.call("update", "ticket", 3, {"version": 2})
        self.assertEqual(load(), [(3, 2), (2, 1), (1, 1)])
        self.client.call("destroy", "ticket", 2)
        self.assertEqual(load(), [(3, 2), (1, 1)])
        self.client.call("create", "ticket", {"id": 2, "version": 3})
        self.assertEqual(load(), [(3, 2), (2, 3), (1, 1)])
        self.client.call("create", "ticket", {"id": 4, "version": 4}) # it was answered too
        self.assertEqual(load(), [(4, 4), (3, 2), (2, 3), (1, 1)])
        self.assertEqual(provider.sizes, [1])


class MadeUp(Case):
    def test_results_of_made_up_records_are_not_kept(self):
        """They mean nothing to another call, and would only take room."""
        self.client.call("create", "representative", {"id": 1})
        self.client.call("create", "ticket", {"id": 1, "version": 7})
        self.provider(lambda request: [[{"id": 5, "version": 7}] for _ in request.keys], "exact")
        ((ticket,),) = self.client.call("load", "representative", [1], "exact",
                                        {"query": {"load": ["alike"]}})
        self.assertEqual([alike["id"] for alike in ticket["alike"]], [1])
        self.assertEqual(self.client.call("invalidate", "ticket.alike"), 0)
        self.client.call("load", "ticket", [1], "alike")
        self.assertEqual(self.client.call("invalidate", "ticket.alike"), 1)


class BusyDestination(Case):
    """200 writes a second, all but a few to tickets of representatives that nobody loads."""

    REPRESENTATIVES = 300
    SECONDS = 3
    WRITES_PER_SECOND = 200
    THEIRS = 0.02 # writes to tickets of those that are loaded

    def fill(self):
        self.client.call("create_many", "representative",
                         [{"id": key} for key in range(1, 2 * self.REPRESENTATIVES + 1)])
        self.client.call("create_many", "ticket", [
            {"id": number, "representative_id": 1 + number % (2 * self.REPRESENTATIVES),
             "version": 0} for number in range(10 * self.REPRESENTATIVES)])
        for name in ("exact", "plain"):
            self.client.call("load", "representative",
                             list(range(1, self.REPRESENTATIVES + 1)), name)

    def write(self, end, written):
        client = self.daemon.connect()
        rng = random.Random(self.seed + 1)
        began = time.monotonic()
        while time.monotonic() < end:
            theirs = rng.random() < self.THEIRS
            key = rng.randrange(self.REPRESENTATIVES) + (0 if theirs else self.REPRESENTATIVES)
            client.call("update", "ticket", key + 2 * self.REPRESENTATIVES * rng.randrange(5),
                        {"version": len(written) + 1})
            written.append(key)
            time.sleep(max(0, began + len(written) / self.WRITES_PER_SECOND - time.monotonic()))

    def test_hit_rate(self):
        self.provider(tickets_of, "exact", "plain")
        self.fill()
        before = {name: self.counters(name) for name in ("exact", "plain")}
        written = []
        end = time.monotonic() + self.SECONDS
        writer = threading.Thread(target=self.write, args=(end, written))
        writer.start()
        while time.monotonic() < end:
            keys = self.rng.sample(range(1, self.REPRESENTATIVES + 1), 3)
            for name in ("exact", "plain"):
                self.client.call("load", "representative", keys, name)
            time.sleep(0.001)
        writer.join()
        rates = {}
        for name in ("exact", "plain"):
            after = self.counters(name)
            rates[name] = ((after["cache_hits"] - before[name]["cache_hits"]) /
                           (after["keys"] - before[name]["keys"]))
        print(f"{len(written) / self.SECONDS:.0f} writes/s; hit rate with fields in depends_on "
              f"{rates['exact']:.3f}, without depends_on {rates['plain']:.3f}", flush=True)
        self.assertGreater(len(written), 0.5 * self.WRITES_PER_SECOND * self.SECONDS)
        self.assertGreater(rates["exact"], 0.9)
        self.assertLess(rates["plain"], 0.5)


class Tickets:
    """What is known of the tickets, by their versions: a ticket's writes have rising
    ones, and say where it went (None: it was destroyed). A load must answer what was known when it was sent,
    from acknowledgements and from answers, or something newer."""

    def __init__(self, count):
        self.lock = threading.Lock()
        self.known = [0] * count
        self.places = [{0: None} for _ in range(count)] # by version, also of those on their way
        self.version = 0

    def begin(self, number, place):
        with self.lock:
            self.version += 1
            self.places[number][self.version] = place
            return self.version

    def learn(self, number, version):
        with self.lock:
            self.known[number] = max(self.known[number], version)

    def now(self):
        with self.lock:
            return list(self.known)

    def faults(self, representative, answer, known):
        """What is older in an answer than what was known."""
        seen = {ticket["id"]: ticket["version"] for ticket in answer}
        with self.lock:
            for number, least in enumerate(known):
                places = self.places[number]
                version = seen.get(number)
                if version is not None and version < least:
                    yield f"ticket {number} as of {version}, known as of {least}"
                elif version is None and all(place == representative for newer, place
                                             in places.items() if newer >= least):
                    yield f"ticket {number} left out, known there as of {least}"


class Consistency(Case):
    """Clients write and load at once, loaders take their time and read on their own
    connections, one of two goes again and again."""

    REPRESENTATIVES = 12
    TICKETS = 40
    WRITERS = 3
    LOADERS = 5
    SECONDS = 6 if SLOW else 3

    def pause(self):
        time.sleep(random.choice([0, 0, 0.0005, 0.002, 0.006]))

    def answer(self, request):
        self.pause()
        try:
            if request.relationship == "over":
                found = request.read("load", "representative", request.keys, "exact", {})
            else:
                found = tickets_of(request)
        except OSError as gone:
            raise Refused(f"unavailable: {gone}") from gone
        self.pause()
        if request.relationship == "keys":
            return [[ticket["id"] for ticket in tickets] for tickets in found]
        return found

    def provide(self):
        """`exact` apart: a loader may be asked for a key once at each nesting depth."""
        return [self.provider(self.answer, "exact"),
                self.provider(self.answer, "plain", "over", "keys")]

    def run_until_end(self, step):
        """In a thread with a client of its own; what it raises fails the test."""
        def run(seed):
            client, rng = self.daemon.connect(), random.Random(seed)
            try:
                while time.monotonic() < self.until and not self.failures:
                    step(client, rng)
            except Exception as failure: # pylint: disable=broad-except
                self.failures.append(repr(failure))
        self.threads.append(threading.Thread(target=run, args=(self.rng.random(),)))

    def write(self, writer):
        numbers = range(writer, self.TICKETS, self.WRITERS) # nobody else's

        def step(client, rng):
            number = rng.choice(numbers)
            if rng.random() < 0.1:
                client.call("update", "representative", rng.randrange(self.REPRESENTATIVES),
                            {rng.choice(["name", "threshold"]): None})
            place = None if rng.random() < 0.1 else rng.randrange(self.REPRESENTATIVES)
            version = self.tickets.begin(number, place)
            if place is None:
                client.call("destroy_many", "ticket", [number])
            else:
                client.call("upsert", "ticket", {"id": number, "representative_id": place,
                                                 "version": version})
            self.tickets.learn(number, version)
            time.sleep(rng.choice([0, 0.001, 0.004]))
        return step

    def load(self, client, rng):
        keys = [rng.randrange(self.REPRESENTATIVES) for _ in range(rng.randrange(1, 5))]
        name = rng.choice(["exact", "exact", "plain", "over", "keys"])
        options = rng.choice([{}, {}, {}, {"fresh": True}, {"query": {"sort": "-version"}}])
        if rng.random() < 0.02:
            client.call("invalidate", f"representative.{name}", keys[:1])
        known = self.tickets.now()
        try:
            answers = client.call("load", "representative", keys, name, options)
        except Refused as refused:
            # Both attempts may have been at a loader that went.
            if refused.code not in ("unavailable", "loader_failed"):
                raise
            self.refused += 1
            return
        for key, answer in zip(keys, answers):
            self.failures.extend(f"{name} of {key}, {options}: {fault}"
                                 for fault in self.tickets.faults(key, answer, known))
        for ticket in (ticket for answer in answers for ticket in answer):
            self.tickets.learn(ticket["id"], ticket["version"])
        self.loads += 1

    def come_and_go(self, _, rng):
        providers = self.provide()
        time.sleep(rng.random() * 0.3)
        for provider in providers:
            provider.close()

    def test_random(self):
        self.client.call("create_many", "representative",
                         [{"id": key} for key in range(self.REPRESENTATIVES)])
        self.tickets = Tickets(self.TICKETS)
        self.failures, self.threads = [], []
        self.loads = self.refused = 0
        _, others = self.provide()
        self.until = time.monotonic() + self.SECONDS
        for writer in range(self.WRITERS):
            self.run_until_end(self.write(writer))
        for _ in range(self.LOADERS):
            self.run_until_end(self.load)
        self.run_until_end(self.come_and_go)
        for thread in self.threads:
            thread.start()
        for thread in self.threads:
            thread.join(relata_test.PATIENCE_S)
        self.assertEqual(self.failures[:5], [])
        self.assertFalse(others.twice)
        self.assertGreater(self.loads, 100)
        self.assertLess(self.refused, self.loads / 2)
        for name in ("exact", "plain", "over", "keys"):
            self.assertGreater(self.counters(name)["unique_keys"], 0, name)
        for name in ("exact", "over"): # those that writes leave something of
            self.assertGreater(self.counters(name)["cache_hits"], 0, name)


if __name__ == "__main__":
    unittest.main()
