"""A resident resource that gets a field or an index by a reload is loaded anew.

No link has to come up for that, and so nobody told the new store that it could: it stayed
unavailable until a link was lost.
"""

import signal
import unittest

import redis_server
import relata_test

SCHEMA = """version: 1
resources:
  team: {layer: redis, redis: {resident: true}, fields: {id: integer, name: string%s}}
"""


class ReloadOfResident(redis_server.RedisCase):
    @staticmethod
    def read(client):
        try:
            return client.call("read", "team", {})
        except relata_test.Refused:
            return None

    def test_a_new_field(self):
        redis = self.redis()
        redis.client().call("HSET", "team:1", "id", "1", "name", "North", "size", "3")
        daemon = self.start_relatad(SCHEMA % "", {"main": redis})
        client = daemon.connect()
        self.assertEqual(self.read(client), [{"id": 1, "name": "North"}])
        daemon.write("schema.yaml", SCHEMA % ", size: integer")
        daemon.signal(signal.SIGHUP)
        daemon.wait_for("event=reloaded")
        relata_test.wait_until(
            lambda: self.read(client) == [{"id": 1, "name": "North", "size": 3}],
            "the team with its new field")


if __name__ == "__main__":
    unittest.main()
