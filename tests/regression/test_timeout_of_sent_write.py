"""A write whose time passes when it is sent already says that it may be done."""

import unittest

import redis_server
import relata_test

SCHEMA = """version: 1
resources:
  team: {layer: redis, fields: {id: integer, name: string}}
"""


class TimeoutOfSentWrite(redis_server.RedisCase):
    def outcome(self, client, *call):
        with self.assertRaises(relata_test.Refused) as caught:
            client.call(*call, {"timeout_ms": 50})
        self.assertEqual(caught.exception.code, "timeout")
        return caught.exception.error["details"].get("outcome")

    def test_what_it_says(self):
        redis = self.redis()
        client = self.start_relatad(
            SCHEMA, {"main": {"url": redis.url, "timeout": "20s"}}).connect()
        client.call("hello", {"errors": "map"})
        client.call("create", "team", {"id": 9})  # the first one asks for marks of indexes
        redis.pause()
        self.addCleanup(redis.resume)
        self.assertEqual(self.outcome(client, "create", "team", {"id": 1, "name": "a"}), "unknown")
        self.assertIsNone(self.outcome(client, "update", "team", 2, {"name": "b"}))
        redis.resume()
        self.assertEqual(client.call("get", "team", 1), {"id": 1, "name": "a"})


if __name__ == "__main__":
    unittest.main()
