"""Results that were found by another index than that of the fields that name their keys, or
by primary keys, are dropped when another daemon's write changes them.

What a daemon hears of is what it has read: it took the index of the fields that name a
result's key for that, whichever way its loader had gone.
"""

import unittest

import redis_server
from relata_test import wait_until

SCHEMA = """
version: 1
resources:
  person:
    fields: {id: integer}
    relationships:
      all: {has_many: ticket, cache: {ttl: 1h}}
      open: {has_many: ticket, filter: status == "open", cache: {ttl: 1h}}
      loud: {has_many: ticket, filter: 'status == "open" and level == 3', cache: {ttl: 1h}}
      first: {has_many: ticket, filter: 'id in [1, 2, 3, 4, 5, 6]', cache: {ttl: 1h}}
      listed: {has_many: ticket, filter: 'status in ["open", "x"]', cache: {ttl: 1h}}
      manual:
        has_many: ticket
        manual: {filter: 'status == "open" and person_id == parent.id'}
        cache: {ttl: 1h}
      by_id:
        has_many: ticket
        manual: {filter: 'id in [1, 2, 3, 4, 5, 6] and person_id == parent.id'}
        cache: {ttl: 1h}
  ticket:
    layer: redis
    fields: {id: integer, person_id: integer, status: string, level: integer}
    indexes: [[status, level], [status, person_id]]
    redis: {writers: relata}
"""

RELATIONSHIPS = ["all", "open", "loud", "first", "listed", "manual", "by_id"]


class CachedByOtherIndex(redis_server.RedisCase):
    def test(self):
        """Each in a daemon of its own, so that none hears of what another one read."""
        home = {"url": self.redis().url, "timeout": "1s"}
        self.there = self.start_relatad(SCHEMA, {"main": home}).connect()
        self.here = {name: self.start_relatad(SCHEMA, {"main": home}).connect()
                     for name in RELATIONSHIPS}
        for client in self.here.values():
            client.call("create", "person", {"id": 1})
        fields = {"person_id": 1, "status": "open", "level": 3}
        self.expect([])
        self.there.call("create", "ticket", {"id": 5, **fields})
        self.expect([5])
        self.there.call("create", "ticket", {"id": 6, **fields, "person_id": 2})
        self.expect([5])
        self.there.call("update", "ticket", 6, {"person_id": 1})
        self.expect([5, 6])
        self.there.call("update", "ticket", 5, {"person_id": 2})
        self.expect([6])
        self.there.call("destroy", "ticket", 6)
        self.expect([])

    def expect(self, ids):
        for name, client in self.here.items():
            wait_until(lambda name=name, client=client: ids == [
                ticket["id"] for ticket in client.call("load", "person", [1], name)[0]],
                f"{name} to be {ids}")


if __name__ == "__main__":
    unittest.main()
