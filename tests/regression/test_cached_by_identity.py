"""Results that were found by an identity of records in Redis are dropped when the identity
comes to a record, or leaves it, by another daemon's write."""

import unittest

import redis_server
from relata_test import wait_until

SCHEMA = """
version: 1
resources:
  person:
    fields: {id: integer, code: string, room: integer, seat: string}
    relationships:
      badge: {has_one: badge, source_field: code, destination_field: code, cache: {ttl: 1h}}
      place:
        has_one: badge
        source_field: [room, seat]
        destination_field: [room, seat]
        cache: {ttl: 1h}
  badge:
    layer: redis
    fields: {id: integer, code: string, room: integer, seat: string}
    identities: {code: [code], place: [room, seat]}
    redis: {writers: relata}
"""


class Claims(redis_server.RedisCase):
    def begin(self):
        home = {"url": self.redis().url, "timeout": "1s"}
        daemons = [self.start_relatad(SCHEMA, {"main": home}) for _ in range(2)]
        self.here, self.there = [daemon.connect() for daemon in daemons]
        self.here.call("create", "person", {"id": 1, "code": "a:b %", "room": 3, "seat": "x,y"})
        self.here.call("create", "person", {"id": 2, "code": "other", "room": 3, "seat": "z"})

    def load(self, relationship):
        answers = self.here.call("load", "person", [1, 2], relationship)
        return [answer and answer["id"] for answer in answers]

    def wait(self, relationship, expected):
        wait_until(lambda: self.load(relationship) == expected, f"{relationship} to be {expected}")

    def check(self, relationship, fields):
        """Absent before, then one record's, then another's, then nobody's."""
        self.assertEqual(self.load(relationship), [None, None])
        self.there.call("create", "badge", {"id": 7, **fields})
        self.wait(relationship, [7, None])
        self.there.call("destroy", "badge", 7)
        self.wait(relationship, [None, None])
        self.there.call("create", "badge", {"id": 8})
        self.wait(relationship, [None, None])
        self.there.call("update", "badge", 8, fields)
        self.wait(relationship, [8, None])

    def test_of_one_field(self):
        self.begin()
        self.check("badge", {"code": "a:b %"})

    def test_of_several_fields(self):
        self.begin()
        self.check("place", {"room": 3, "seat": "x,y"})


if __name__ == "__main__":
    unittest.main()
