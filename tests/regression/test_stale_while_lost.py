"""Reads that wait for Redis when its link is given up are served what is cached.

With stale_if_error they were, but for those that were waiting at that moment: the link was
down, and when it was lost was not noted yet.
"""

import unittest

import redis_server

SCHEMA = """version: 1
resources:
  team: {layer: redis, redis: {stale_if_error: 1m}, fields: {id: integer, name: string}}
"""


class StaleWhileLost(redis_server.RedisCase):
    def test_no_read_fails(self):
        redis = self.redis()
        redis.call("HSET", "team:1", "name", "North")
        daemon = self.start_relatad(SCHEMA, {"main": redis})
        client = daemon.connect()
        self.assertEqual(client.call("get", "team", 1)["name"], "North")
        redis.pause()
        reads = 0
        while not daemon.said("event=redis_lost"):
            self.assertEqual(client.call("get", "team", 1)["name"], "North")
            reads += 1
        self.assertGreater(reads, 0)
        self.assertEqual(client.call("get", "team", 1)["name"], "North")


if __name__ == "__main__":
    unittest.main()
