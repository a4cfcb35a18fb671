"""An index that may lack records is refused, whoever wrote them: a daemon whose schema does
not have it, or has it otherwise, takes back the mark that it is whole."""

import signal
import unittest

import redis_server
from relata_test import Refused, wait_until

SCHEMA = """
version: 1
resources:
  ticket:
    layer: redis
    redis: {writers: %(writers)s, key: "%(key)s", encoding: %(encoding)s, resident: %(resident)s}
    fields: {id: integer, ref: string, place: string, size: %(size)s}
    %(more)s
"""
INDEX = "indexes: [[place, size]]"
BOTH = INDEX + "\n    identities: {ref: ref}"
BUILT = "relata:built:ticket"

NORTH = {"filter": "place == 'North'"}


def schema(more=BOTH, **changes):
    options = {"writers": "relata", "key": "t:{id}", "encoding": "hash", "resident": "false",
               "size": "integer", **changes}
    return SCHEMA % {"more": more, **options}


def ticket(number, place="North"):
    return {"id": number, "ref": f"r{number}", "place": place, "size": number}


class IndexMarks(redis_server.RedisCase):
    def ids(self, client, query=None):
        return sorted(record["id"] for record in client.call("read", "ticket", query or NORTH))

    def by_ref(self, client, ref):
        return client.call("get", "ticket", ref, {"identity": "ref"})

    def assert_not_built(self, call, *args):
        error = self.assert_refused("invalid_request", call, *args)
        self.assertIn("was not built", error)
        self.assertIn("relata reindex ticket", error)

    def wait_not_built(self, client):
        """What another daemon did is known here a little later."""
        def refused():
            try:
                self.ids(client)
            except Refused as error:
                return "was not built" in error.error
            return False
        wait_until(refused, "the index to be refused")

    def in_between(self, redis, *calls, **changes):
        """The calls of a daemon with another schema, which is over then."""
        daemon = self.start_relatad(schema(**changes), {"main": redis})
        client = daemon.connect()
        for call in calls:
            client.call(*call)
        daemon.stop()

    def start_with(self, redis, **changes):
        return self.start_relatad(schema(**changes), {"main": redis}).connect()

    def marks(self, redis):
        words = redis.call("HGETALL", BUILT)
        return dict(zip(words[::2], words[1::2]))

    @staticmethod
    def calls(redis, command):
        """How often somebody sent it."""
        stats = redis.info("commandstats").get(f"cmdstat_{command}", "calls=0,")
        return int(stats.split(",")[0].split("=")[1])

    # -- One daemon after another --

    def test_without_it_for_a_while(self):
        for changes in ({"more": ""}, {"more": "", "writers": "anyone"},
                        {"more": "", "writers": "anyone", "resident": "true"},
                        {"more": INDEX.replace("place, size", "size"), "resident": "true"}):
            with self.subTest(changes):
                redis = self.redis()
                self.in_between(redis, ("create", "ticket", ticket(1)))
                self.assertEqual(len(self.marks(redis)), 2)
                self.in_between(redis, ("get", "ticket", 1), **changes)
                client = self.start_with(redis)
                self.assertEqual(self.ids(client), [1])  # nothing was written
                self.in_between(redis, ("create", "ticket", ticket(2)),
                                ("update", "ticket", 1, {"ref": "other"}), **changes)
                self.wait_not_built(client)
                self.assert_not_built(self.by_ref, client, "r2")
                self.assert_not_built(client.call, "create", "ticket",
                                      {"id": 3, "ref": "r2"})
                client.call("reindex", "ticket")
                self.assertEqual(self.ids(client), [1, 2])
                self.assertEqual(self.by_ref(client, "other")["id"], 1)
                self.assert_refused("conflict", client.call, "create", "ticket",
                                    {"id": 3, "ref": "r2"})

    def test_without_it_by_reloads(self):
        redis = self.redis()
        daemon = self.start_relatad(schema(), {"main": redis})
        client = daemon.connect()

        def reload(more):
            before = daemon.log().count("event=reloaded")
            daemon.write("schema.yaml", schema(more))
            daemon.signal(signal.SIGHUP)
            wait_until(lambda: daemon.log().count("event=reloaded") > before, "the reload")
        client.call("create", "ticket", ticket(1))
        reload("")
        reload(BOTH)
        self.assertEqual(self.ids(client), [1])
        reload(INDEX)
        client.call("create", "ticket", ticket(2))
        reload(BOTH)
        self.assertEqual(self.ids(client), [1, 2])  # that one was kept
        self.assert_not_built(self.by_ref, client, "r2")
        self.assert_not_built(client.call, "create", "ticket", ticket(3))

    def test_made_for_other_values(self):
        stored = "{type: integer, stored_as: length}"
        for changes in ({"size": "string"}, {"size": stored}, {"key": "u:{id}"},
                        {"encoding": "json"}):
            with self.subTest(changes):
                redis = self.redis()
                self.in_between(redis, ("create", "ticket", ticket(5)))
                redis.client().pipeline([["HSET", "t:5", "length", 50],
                                         ["HSET", "u:5", "ref", "r5", "place", "North", "size", 5]])
                client = self.start_with(redis, **changes)
                self.assert_not_built(self.ids, client)
                indexed = self.start_with(redis, more=INDEX, **changes)
                self.assert_not_built(self.ids, indexed)
                if "encoding" in changes:
                    redis.call("DEL", "t:5")  # it would be a misfit
                # A write takes the mark away, and makes none: there are records.
                redis.client().pipeline([["SET", "t:6", '{"id": 6}'] if "encoding" in changes else
                                         ["HSET", "t:6", "id", 6]])
                indexed.call("create", "ticket", {"id": 7, "place": "North"})
                self.assert_not_built(self.ids, indexed)
                indexed.call("reindex", "ticket")
                self.assertIn(7, self.ids(indexed))
                # What was before comes back: it was not kept up.
                self.assert_not_built(self.ids, self.start_with(redis))

    def test_an_enumeration_may_grow(self):
        redis = self.redis()
        self.in_between(redis, ("create", "ticket", {"id": 1, "place": "North", "size": "s"}),
                        size="{enum: [s, m]}")
        client = self.start_with(redis, size="{enum: [xs, s, m, l]}")
        self.assertEqual(self.ids(client), [1])
        client.call("create", "ticket", {"id": 2, "place": "North", "size": "l"})
        self.assertEqual(self.ids(client, {"filter": "place == 'North' and size < 's'"}), [2])

    # -- Beside each other --

    def test_two_daemons(self):
        for old in ({"more": ""}, {"more": "", "writers": "anyone"},
                    {"more": INDEX.replace(", size", "")}):
            for resident in ("false", "true"):
                with self.subTest((old, resident)):
                    redis = self.redis()
                    before = self.start_with(redis, resident=resident, **old)
                    before.call("create", "ticket", ticket(1))
                    after = self.start_with(redis)
                    after.call("reindex", "ticket")
                    self.assertEqual(self.ids(after), [1])
                    before.call("get", "ticket", 1)
                    self.assertEqual(self.ids(after), [1])
                    wait_until(lambda: self.written_anew(before, after), "the mark to be heard of")
                    self.wait_not_built(after)
                    # It stays so, and once more it is built and taken back.
                    before.call("update", "ticket", 1, {"place": "South"})
                    self.assert_not_built(self.ids, after)
                    after.call("reindex", "ticket")
                    self.assertNotIn(1, self.ids(after))
                    wait_until(lambda: self.written_anew(before, after), "the mark to be heard of")

    def written_anew(self, before, after):
        """Whether a write here has made the index not whole there."""
        before.call("upsert", "ticket", ticket(2))
        try:
            self.ids(after)
        except Refused:
            return True
        return False

    def test_two_applications(self):
        redis = self.redis()
        shop = self.start_with(redis, key="shop:{id}", more=INDEX)
        blog = self.start_with(redis, key="blog:{id}", more=INDEX)
        shop.call("create", "ticket", ticket(1))
        self.assertEqual(self.ids(shop), [1])
        self.assert_not_built(self.ids, blog)
        blog.call("create", "ticket", ticket(1))
        blog.call("create", "ticket", ticket(2))
        self.assertEqual(self.ids(blog), [1, 2])
        self.wait_not_built(shop)
        shop.call("reindex", "ticket")
        self.assertEqual(self.ids(shop), [1])
        self.wait_not_built(blog)

    def test_two_applications_with_identities(self):
        redis = self.redis()
        shop = self.start_with(redis, key="shop:{id}")
        blog = self.start_with(redis, key="blog:{id}")
        shop.call("create", "ticket", ticket(1))
        for _ in range(3):
            self.assert_not_built(blog.call, "create", "ticket", ticket(2))
            # A write that is refused takes no mark away.
            self.assertEqual(self.by_ref(shop, "r1")["id"], 1)
            self.assertEqual(self.ids(shop), [1])

    def test_nobody_writes(self):
        redis = self.redis()
        clients = [self.start_with(redis, key=key, more=more)
                   for key in ("shop:{id}", "blog:{id}")
                   for more in (BOTH, INDEX, "", BOTH.replace("ref: ref", "ref: [ref, place]"))]

        def look():
            for client in clients:
                for text in (NORTH["filter"], "ref == 'r1' and place == 'North'"):
                    try:
                        self.assertEqual(self.ids(client, {"filter": text}), [])
                    except Refused as error:
                        self.assertEqual(error.code, "invalid_request")
        look()
        before = self.marks(redis)
        self.assertEqual(len(before), 3)
        redis.call("CONFIG", "RESETSTAT")
        for _ in range(5):
            look()
        self.assertEqual(self.marks(redis), before)
        self.assertEqual(self.calls(redis, "eval") + self.calls(redis, "hset"), 0)
        redis.call("FLUSHALL")
        wait_until(lambda: len(self.marks(redis)) == 3, "the marks of an empty home")

    def test_what_it_costs(self):
        redis = self.redis()
        client = self.start_with(redis, more="")
        redis.call("HSET", BUILT, "ix:place", "1", "none", "1")
        for number in range(5):
            client.call("create", "ticket", ticket(number))
        self.assertEqual(self.marks(redis), {})
        redis.call("CONFIG", "RESETSTAT")
        for number in range(5, 30):
            client.call("create", "ticket", ticket(number))
        self.assertEqual(self.calls(redis, "hdel") + self.calls(redis, "hgetall"), 0)

    # -- What Redis may refuse --

    def start_as(self, redis, rights, **changes):
        redis.call("ACL", "SETUSER", "some", "reset", "on", ">secret", *rights.split())
        url = redis.url.replace("redis://", "redis://some:secret@")
        return self.start_relatad(schema(**changes), {"main": url})

    def test_without_rights(self):
        for rights in ("~t:* +@all", "~* +@all -hgetall", "~* +@all -hdel"):
            with self.subTest(rights):
                redis = self.redis()
                redis.call("HSET", BUILT, "ix:place", "1")
                daemon = self.start_as(redis, rights, more="", writers="anyone", encoding="json")
                client = daemon.connect()
                redis.call("CONFIG", "RESETSTAT")
                for number in range(20):
                    client.call("create", "ticket", ticket(number))
                self.assertLess(self.calls(redis, "hgetall"), 10)
                self.assertEqual(self.marks(redis), {b"ix:place": b"1"})
                self.assertNotIn("NOPERM", daemon.log())
                client = self.start_as(redis, rights, more=INDEX, encoding="json").connect()
                error = self.assert_refused("unavailable", client.call, "create", "ticket",
                                            ticket(100))
                self.assertIn("NOPERM", error)
                self.assertIsNone(redis.call("GET", "t:100"))

    def test_a_key_that_is_no_hash(self):
        redis = self.redis()
        redis.call("SET", BUILT, "x")
        self.start_with(redis, more="", writers="anyone").call("create", "ticket", ticket(1))
        client = self.start_with(redis, more="")
        error = self.assert_refused("unavailable", client.call, "create", "ticket", ticket(2))
        self.assertIn("WRONGTYPE", error)

    def test_without_tracking(self):
        redis = self.redis()
        redis.call("HSET", BUILT, "ix:place", "1")
        client = self.start_as(redis, "~* &* +@all -client|tracking").connect()
        client.call("create", "ticket", ticket(1))
        self.assertEqual(self.ids(client), [1])
        self.assertEqual(len(self.marks(redis)), 2)
        plain = self.start_as(redis, "~* &* +@all -client|tracking", more="").connect()
        plain.call("create", "ticket", ticket(2))
        self.assertEqual(self.marks(redis), {})
        self.assert_not_built(self.ids, client)
        client.call("reindex", "ticket")
        self.assertEqual(self.ids(client), [1, 2])
        plain.call("update", "ticket", 2, {"place": "South"})
        self.assert_not_built(self.ids, client)

    def test_a_cluster(self):
        cluster = self.cluster(replicas=0)
        indexed = self.start_with(cluster)
        plain = self.start_with(cluster, more="", writers="anyone")
        for number in range(10):
            indexed.call("create", "ticket", ticket(number))
        self.assertEqual(self.ids(indexed), list(range(10)))
        plain.call("create", "ticket", ticket(10))
        self.assertEqual(cluster.call(BUILT, "EXISTS", BUILT), 0)
        self.wait_not_built(indexed)
        indexed.call("reindex", "ticket")
        self.assertEqual(self.ids(indexed), list(range(11)))


if __name__ == "__main__":
    unittest.main()
