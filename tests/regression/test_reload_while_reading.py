"""A schema that is replaced while reads of its records are out goes when they are back.

A store that is closed lives on until nothing is out any more, but its schema did not: the
answers were read by a resource that was freed. Whoever had asked is gone by then, or it would
have kept the schema.
"""

import signal
import unittest

import redis_server
import relata_test

SCHEMA = """version: 1
resources:
  team:
    layer: redis
    redis: {writers: relata}
    fields: {id: integer, name: string, %splace: string}
    indexes: [[place]]
"""


class ReloadWhileReading(redis_server.RedisCase):
    def start_with_a_team(self):
        redis = self.redis()
        daemon = self.start_relatad(
            SCHEMA % "", {"main": {"url": redis.url, "timeout": "20s"}})
        daemon.connect().call("create", "team", {"id": 1, "name": "Ann", "place": "North"})
        return redis, daemon

    @staticmethod
    def reload(daemon, fields):
        daemon.lines.clear()
        daemon.write("schema.yaml", SCHEMA % fields)
        daemon.signal(signal.SIGHUP)
        daemon.wait_for("event=reloaded")

    def reload_while_asking(self, method, *params):
        redis, daemon = self.start_with_a_team()
        client = daemon.connect()
        # The first schema stays to the end.
        self.reload(daemon, "rank: integer, ")
        self.assertEqual(client.call("count", "team", {"filter": "place == 'North'"}), 1)
        redis.pause()
        self.addCleanup(redis.resume)
        self.assert_refused("timeout", client.call, method, *params)
        self.assertGreater(client.call("stats")["redis"]["main"]["waiting"], 0)
        self.reload(daemon, "rank: integer, size: integer, ")
        redis.resume()
        self.assertEqual(client.call("get", "team", 1),
                         {"id": 1, "name": "Ann", "rank": None, "size": None, "place": "North"})
        self.assertEqual(client.call("count", "team", {"filter": "place == 'North'"}), 1)

    def test_a_key(self):
        self.reload_while_asking("get", "team", 1, {"fresh": True, "timeout_ms": 50})

    def test_an_index(self):
        self.reload_while_asking("count", "team", {"filter": "place == 'North'"}, {"timeout_ms": 50})


if __name__ == "__main__":
    unittest.main()
