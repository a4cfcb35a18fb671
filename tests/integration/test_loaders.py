"""One relationship, filled by each kind of loader: all answer the same.

Random data with nils, random queries and nested loads in random batches, with
writes between them, are put to a daemon for each loader: the filter, the C
module, the providers in Node and in Python; some of them shown the query, which
they honour or ignore; one of them cached. The programs are the guide's. The seed
is printed, and RELATA_SEED repeats a run.

Where the records are in Redis (layers.py), the filter that all are compared with is still
that of a daemon with its records in memory.
"""

import os
import random
import unittest

import helpdesk
import layers
import programs
import random_queries
import relata_test
from relata_test import request

NAME = "tickets_above_threshold"
# The schema's variant, the provider's language and name.
LOADERS = [
    ("filter", None, None),
    ("module", None, None),
    ("remote", "node", NAME),
    ("remote", "python", NAME),
    ("hint", "node", NAME),
    ("hint", "python", NAME),
    ("hint", "node", "honouring_the_query"),
    ("hint", "python", "honouring_the_query"),
    ("cached", "python", NAME),
]
NOT_LED_TO = ("refused", None)
REPRESENTATIVES = 12
TICKETS = 150
ROUNDS = layers.rounds(15 if os.environ.get("RELATA_SANITIZE") else 60)
# So many tickets are compared at least, in further rounds where chance found fewer.
ENOUGH_FOUND = 50
ROUNDS_MAX = 10 * ROUNDS


def schema(variant, kind, sort, shows_actor):
    name = "schema.yaml" if variant == "filter" else f"schema-{variant}.yaml"
    with open(os.path.join(helpdesk.FOLDER, name), encoding="utf-8") as file:
        text = file.read()
    text = text.replace("details: any\n", "details: any\n      score: float\n      urgent: boolean\n")
    before, head, after = text.partition(f"      {NAME}:\n")
    assert head and "        sort: -priority\n" in after
    after = after.replace("has_many", kind, 1)
    if shows_actor:
        assert "actor: none" in after
        after = after.replace("actor: none", "actor: [level]")
    return before + head + after.replace("        sort: -priority\n", sort, 1)


class Loader:
    """A daemon, the loader that fills the relationship there, and a client."""

    def __init__(self, case, variant, language, name, form, daemon):
        self.what = " ".join(filter(None, [variant, language, name]))
        # Conditions with the actor are shown to this one, and kept from the others.
        shows_actor = language == "python" and name == "honouring_the_query"
        self.daemon = daemon(schema(variant, *form, shows_actor))
        case.addCleanup(self.daemon.remove)
        if variant == "module":
            programs.module(self.daemon.folder)
        self.daemon.start()
        case.addCleanup(case.end, self.daemon)
        if language is not None:
            programs.provider(case, language, name, self.daemon)
        self.client = self.daemon.connect()
        self.client.call("hello", {"errors": "map"})

    def answers(self, calls):
        """Of calls that are sent in one write: (code of the error, result) each."""
        self.client.send(b"".join(request(number, *call) for number, call in enumerate(calls)))
        answers = self.client.receive_answers(len(calls))
        return [self.outcome(*answers[number]) for number in range(len(calls))]

    @staticmethod
    def outcome(error, result):
        if error is not None and layers.is_refusal(error):
            return NOT_LED_TO
        return (error and error["code"], result)


class SameAnswers(relata_test.Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.seed = int(os.environ.get("RELATA_SEED") or random.SystemRandom().randrange(1 << 32))
        print(f"RELATA_SEED={cls.seed}", flush=True)

    def setUp(self):
        self.rng = random.Random(self.seed)

    def begin(self, *form):
        self.loaders = [Loader(self, "filter", None, None, form, layers.MemoryDaemon)]
        for loader in LOADERS[layers.variant() == "memory":]:
            try:
                self.loaders.append(Loader(self, *loader, form, relata_test.Daemon))
            except unittest.SkipTest:
                pass  # said already; the others are compared
        self.assertGreaterEqual(len(self.loaders), 6)

    def maybe(self, value):
        return None if self.rng.random() < 0.2 else value

    def representative(self, number):
        return {"id": number, "name": self.rng.choice(random_queries.WORDS),
                "team_id": self.maybe(self.rng.randrange(4)),
                "priority_threshold": self.maybe(self.rng.randrange(10))}

    def ticket(self, number):
        rng = self.rng
        return {"id": number, "subject": rng.choice(random_queries.WORDS),
                "status": self.maybe(rng.choice(random_queries.STATUSES)),
                "priority": self.maybe(rng.randrange(-1, 12)),
                "representative_id": self.maybe(rng.randrange(REPRESENTATIVES + 2)),
                "created_at": self.maybe(random_queries.moment(rng)),
                "score": self.maybe(rng.randrange(-4, 20) / 2),
                "urgent": self.maybe(rng.random() < 0.5),
                "details": self.maybe({"n": rng.randrange(3)})}

    def fill(self):
        return [("create_many", "representative",
                 [self.representative(number) for number in range(1, REPRESENTATIVES + 1)]),
                ("create_many", "ticket", [self.ticket(number) for number in range(1, TICKETS + 1)])]

    def keys(self):
        """With duplicates, and some that are not there."""
        return [self.rng.randrange(REPRESENTATIVES + 2) for _ in range(self.rng.randrange(1, 8))]

    def read(self):
        query, roll = random_queries.query(self.rng), self.rng.random()
        options = {"actor": {"level": self.maybe(self.rng.randrange(10))}}
        if roll < 0.6:
            return ("load", "representative", self.keys(), NAME, dict(options, query=query))
        if roll < 0.8:
            return ("load", "representative", self.keys(),
                    {NAME: dict(query, **{"as": "some"}), "tickets": {"select": []}}, options)
        if roll < 0.9:
            return ("get", "representative", self.rng.randrange(1, REPRESENTATIVES + 1),
                    dict(options, load={NAME: query}))
        return ("read", "representative", {"sort": "-name", "limit": 5, "load": {NAME: query}},
                options)

    def write(self):
        rng = self.rng
        changed = rng.choice([
            lambda: ("upsert_many", "ticket", [self.ticket(rng.randrange(1, TICKETS + 9))]),
            lambda: ("destroy_many", "ticket", [rng.randrange(1, TICKETS)]),
            lambda: ("update", "representative", rng.randrange(1, REPRESENTATIVES + 1),
                     {"priority_threshold": self.maybe(rng.randrange(10))}),
            lambda: ("update", "representative", rng.randrange(1, REPRESENTATIVES + 1),
                     {"name": rng.choice(random_queries.WORDS)}),
        ])
        return changed()

    def compare(self, calls):
        """Puts the calls to all; how many of them were answered, and with how much."""
        expected = self.loaders[0].answers(calls)
        for loader in self.loaders[1:]:
            for call, right, answer in zip(calls, expected, loader.answers(calls)):
                if layers.is_fetched("representative") and call[0] == "read":
                    right = NOT_LED_TO  # its query has no filter
                self.assertEqual(answer, right, f"{loader.what}: {call}")
        return (sum(code is None for code, _ in expected),
                sum(str(result).count("subject") for _, result in expected))

    def rounds(self, *form):
        self.begin(*form)
        self.compare(self.fill())
        asked = answered = found = played = 0
        while played < ROUNDS or found < ENOUGH_FOUND:
            # What is refused, or finds nothing, would compare nothing.
            self.assertLess(played, ROUNDS_MAX)
            played += 1
            if self.rng.random() < 0.5:
                self.compare([self.write()])
            calls = [self.read() for _ in range(self.rng.randrange(1, 6))]
            some, much = self.compare(calls)
            asked, answered, found = asked + len(calls), answered + some, found + much
        self.assertGreater(answered, 0.9 * asked)
        for loader in self.loaders[1:]:
            counters = loader.client.call("stats")["relationships"]["representative." + NAME]
            self.assertGreater(counters["batches"], 0, loader.what)

    def test_many(self):
        self.rounds("has_many", "        sort: -priority\n")

    def test_many_in_the_loaders_order(self):
        self.rounds("has_many", "")

    def test_one(self):
        self.rounds("has_one", "        sort: -priority\n")


if __name__ == "__main__":
    unittest.main()
