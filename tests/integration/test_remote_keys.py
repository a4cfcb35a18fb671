"""Remote providers of sources and destinations with composite keys.

The seed is printed, and RELATA_SEED repeats the choices.
"""

import os
import random
import unittest

import msgpack

import relata_test
from provider import Provider
from relata_test import Refused, request

SCHEMA = """
version: 1
resources:
  seat:
    primary_key: [team, person]
    fields: {team: integer, person: string, name: string}
    relationships:
      near: {has_many: seat, manual: remote, actor: none}
      next: {has_one: seat, manual: remote, actor: none}
      named: {has_many: seat, manual: remote, actor: none, source_fields: [name]}
      keys: {has_many: seat, manual: remote, actor: none, returns: keys}
      boss: {has_one: seat, manual: remote, actor: none, returns: keys}
      kept:
        has_many: seat
        manual: remote
        actor: none
        returns: keys
        source_fields: []
        depends_on: [{seat: [team, person]}]
        cache: {ttl: 1h}
"""

TEAMS, PERSONS = (1, 11, 2), ("a", "1", "1a", "")
SEATS = [(team, person) for team in TEAMS for person in PERSONS]


class Map(dict):
    """A map that can be the key of another."""

    def __hash__(self):
        return hash(frozenset(self.items()))


def as_map(key):
    return Map(team=key[0], person=key[1])


def as_map_backwards(key):
    return Map(person=key[1], team=key[0])


def record(key, name=None):
    return {"team": key[0], "person": key[1], "name": name}


def keys_of(answer):
    return [None if records is None else [(row["team"], row["person"]) for row in records]
            for records in answer]


class Case(relata_test.Case):
    def setUp(self):
        self.daemon = self.start(SCHEMA)
        self.client = self.daemon.connect()
        self.client.call("create_many", "seat", [record(key, "there") for key in SEATS])

    def provider(self, name, answer=None):
        provider = Provider(self.daemon, f"seat.{name}", answer)
        self.addCleanup(provider.close)
        return provider

    def load(self, keys, name):
        return self.client.call("load", "seat", keys, name)

    def ask(self, provider, keys, name, answer):
        """The answer of a load, when its provider answers this; it asks for whole errors."""
        client = self.daemon.connect()
        client.call("hello", {"errors": "map"})
        client.send(request(1, "load", "seat", keys, name))
        provider.next().respond(answer)
        (error, result), = client.receive_answers(1).values()
        if error is not None:
            raise Refused(error)
        return result


class Sources(Case):
    def test_list(self):
        provider = self.provider("near", lambda request: [
            [record((team + 100, person), f"of {team}{person}")] for team, person in request.keys])
        asked = [(11, "a"), (1, "1a"), (11, "a"), (1, "none"), (1, "a")]
        expected = [[(111, "a")], [(101, "1a")], [(111, "a")], None, [(101, "a")]]
        for shape in (list, as_map, as_map_backwards):
            self.assertEqual(keys_of(self.load([shape(key) for key in asked], "near")), expected)
        self.assertEqual(provider.sizes, [3, 3, 3])
        self.assertFalse(provider.twice)

    def test_map(self):
        """Keyed by arrays, by maps, and by both; what nobody asked for is left out."""
        provider = self.provider("near")
        asked = [(1, "1a"), (11, "a"), (2, "")]
        for first, second in ((tuple, tuple), (as_map, as_map), (as_map_backwards, as_map),
                              (tuple, as_map_backwards)):
            answer = {second((11, "a")): [record((7, "x")), record((7, "y"))],
                      first((1, "1a")): record((8, "z")),
                      second((1, "a")): [record((9, "nobody asked"))],
                      first((2, "none")): [record((9, "nobody asked"))]}
            self.assertEqual(keys_of(self.ask(provider, asked, "near", answer)),
                             [[(8, "z")], [(7, "x"), (7, "y")], []])

    def test_map_keys_that_are_none(self):
        provider = self.provider("next")
        wrong = [1, "1", "1,a", (1,), ("a", 1), (1, "a", None), ("1", "a"), (1, None), None,
                 Map(team=1), Map(team=1, person="a", name="there"), Map(team="1", person="a")]
        answer = {key: record((9, "wrong")) for key in wrong}
        self.assertEqual(self.ask(provider, [(1, "a")], "next", answer), [None])
        answer[(1, "a")] = record((5, "right"))
        self.assertEqual(self.ask(provider, [(1, "a")], "next", answer), [record((5, "right"))])

    def test_source_fields(self):
        """The key is always shown."""
        provider = self.provider("named", lambda request: [[request.records[0]]])
        self.assertEqual(self.load([(2, "1")], "named"), [[record((2, "1"), "there")]])
        self.assertEqual(provider.sizes, [1])

    def test_error_names_the_key(self):
        provider = self.provider("near")
        bad, good = self.ask(provider, [(1, "a"), (2, "a")], "near", {
            (1, "a"): [{"team": 3, "name": "half a key"}], (2, "a"): [record((3, "b"))]})
        error = msgpack.unpackb(bad.data)
        self.assertEqual((error["code"], error["details"]["key"]), ("loader_failed", [1, "a"]))
        self.assertIn("person", error["message"])
        self.assertEqual(keys_of([good]), [[(3, "b")]])


class Destinations(Case):
    def test_keys(self):
        provider = self.provider("keys")
        asked = [(1, "a"), (2, "a"), (11, "a"), (1, ""), (2, "")]
        answer = [
            [(2, "1"), (1, "none"), as_map((11, "")), as_map_backwards((1, "1a"))],
            (2, "1"), # one key, since its elements are neither lists nor maps
            as_map((2, "1a")),
            [], None]
        expected = [[(2, "1"), (11, ""), (1, "1a")], [(2, "1")], [(2, "1a")], [], []]
        self.assertEqual(keys_of(self.ask(provider, asked, "keys", answer)), expected)
        self.assertEqual(keys_of(self.ask(provider, asked, "keys", dict(zip(asked, answer)))),
                         expected)
        answer = {as_map(key): keys for key, keys in zip(asked, answer)}
        got = self.ask(provider, asked, "keys", answer)
        self.assertEqual(keys_of(got), expected)
        self.assertEqual(got[1], [record((2, "1"), "there")])

    def test_one_key(self):
        provider = self.provider("boss")
        asked = [(1, "a"), (2, "a"), (11, "a"), (1, ""), (2, "")]
        answer = [(2, "1"), as_map((2, "1a")), [(11, "1")], None, (11, "none")]
        self.assertEqual(self.ask(provider, asked, "boss", answer), [
            record((2, "1"), "there"), record((2, "1a"), "there"), record((11, "1"), "there"),
            None, None])

    def test_wrong_keys(self):
        provider = self.provider("keys")
        for wrong in (7, "1", (1,), ("a", 1), (1, "a", 2), [(1, "a"), (1,)], [[1, None]],
                      Map(team=1), Map(team=1, person="a", name="x"), [Map(team=1, person=2)]):
            bad, good = self.ask(provider, [(1, "a"), (2, "a")], "keys", [wrong, [(1, "a")]])
            error = msgpack.unpackb(bad.data)
            self.assertEqual((error["code"], error["details"]["key"]),
                             ("loader_failed", [1, "a"]), wrong)
            self.assertEqual(keys_of([good]), [[(1, "a")]])

    def test_cached_by_key(self):
        """A write drops the answers of the sources that it names, and of no other."""
        provider = self.provider("kept", lambda request: [[key, (1, "new")]
                                                          for key in request.keys])
        asked = [(1, "1a"), (11, "a"), (1, "new")]
        before = [[(1, "1a")], [(11, "a")], None]
        self.assertEqual(keys_of(self.load(asked, "kept")), before)
        self.assertEqual(keys_of(self.load([as_map(key) for key in asked], "kept")), before)
        self.assertEqual(provider.sizes, [2])
        self.client.call("create", "seat", record((1, "new")))
        self.assertEqual(keys_of(self.load(asked, "kept")), [
            [(1, "1a"), (1, "new")], [(11, "a"), (1, "new")], [(1, "new"), (1, "new")]])
        self.assertEqual(provider.sizes, [2, 1])
        self.client.call("update", "seat", as_map((11, "a")), {"name": "changed"})
        self.load(asked, "kept")
        self.assertEqual(provider.sizes, [2, 1, 1])
        self.client.call("invalidate", "seat.kept", [(1, "1a"), as_map((1, "new"))])
        self.load(asked, "kept")
        self.assertEqual(provider.sizes, [2, 1, 1, 2])


class Random(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.seed = int(os.environ.get("RELATA_SEED") or random.SystemRandom().randrange(1 << 32))
        print(f"RELATA_SEED={cls.seed}", flush=True)

    def shaped(self, key):
        return self.rng.choice([tuple, as_map, as_map_backwards])(key)

    def answer(self, request):
        """What the plan says, in a shape of chance."""
        answers = [[self.shaped(key) if request.relationship == "keys" else record(key)
                    for key in self.plan[source]] for source in request.keys]
        if self.rng.random() < 0.3:
            return answers
        pairs = [(self.shaped(source), answer) for source, answer in zip(request.keys, answers)
                 if answer or self.rng.random() < 0.5]
        pairs.append((self.shaped((77, "unknown")), [self.shaped((1, "a"))]))
        self.rng.shuffle(pairs)
        return dict(pairs)

    def test_as_planned(self):
        self.rng = random.Random(self.seed)
        some = SEATS + [(3, "none"), (1, "11")]
        for name in ("near", "keys"):
            self.provider(name, self.answer)
        for _ in range(200):
            self.plan = {key: self.rng.sample(some, self.rng.randrange(4)) for key in SEATS}
            asked = self.rng.choices(some, k=self.rng.randrange(1, 9))
            name = self.rng.choice(["near", "keys"])
            expected = [None if key not in SEATS else
                        [found for found in self.plan[key] if name == "near" or found in SEATS]
                        for key in asked]
            got = self.load([self.shaped(key) for key in asked], name)
            self.assertEqual(keys_of(got), expected, (name, asked, self.plan))


if __name__ == "__main__":
    unittest.main()
