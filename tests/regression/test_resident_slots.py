"""A resident resource over a Cluster goes on when slots move between masters that stay up.

It was told that what it had did not count any more, but not that it could load again,
since no link had to come up for that: it stayed unavailable.
"""

import unittest

import redis_server
import relata_test

SCHEMA = """version: 1
resources:
  team: {layer: redis, redis: {resident: true}, fields: {id: integer, name: string}}
"""


class ResidentSlots(redis_server.RedisCase):
    @staticmethod
    def commands(client):
        return client.call("stats")["redis"]["main"]["commands"]

    def name(self, client):
        try:
            return client.call("read", "team", {})[0]["name"]
        except relata_test.Refused:
            return None

    def test_it_loads_again(self):
        cluster = self.cluster()
        client = self.start_relatad(SCHEMA, {"main": cluster}).connect()
        client.call("create", "team", {"id": 1, "name": "North"})
        slot = redis_server.slot_of("team:1")
        owner = cluster.owner_of_slot(slot)
        target = next(node for node in cluster.masters() if node is not owner)
        cluster.move_slot(slot, target)
        before = self.commands(client)
        relata_test.wait_until(lambda: self.commands(client) >= before + len(cluster.masters()),
                               "a SCAN of each master, once the new map is there")
        cluster.call("team:1", "HSET", "team:1", "name", "South")
        relata_test.wait_until(lambda: self.name(client) == "South", "the team to be there")


if __name__ == "__main__":
    unittest.main()
