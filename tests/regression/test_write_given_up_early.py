"""A write whose caller has left before it is known which indexes are whole is not begun.

It went on with records that lay in the memory of the call, which others had by then: entries
were made of whatever stood there, and where that was no record the daemon ended.
"""

import unittest

import redis_server

SCHEMA = """version: 1
resources:
  team:
    layer: redis
    redis: {writers: relata}
    fields: {id: integer, ref: string, place: string}
    identities: {ref: [ref]}
    indexes: [[place]]
"""
ROUNDS = 5


class WriteGivenUpEarly(redis_server.RedisCase):
    def test_it_is_not_begun(self):
        redis = self.redis()
        direct = redis.client()
        client = self.start_relatad(
            SCHEMA, {"main": {"url": redis.url, "timeout": "20s"}}).connect()
        client.call("create", "team", {"id": 0, "ref": "r", "place": "North"})
        self.addCleanup(redis.resume)
        for number in range(1, ROUNDS + 1):
            # The daemon hears of it, and asks anew which indexes are whole.
            direct.call("HSET", "relata:built:team", "none", number)
            client.call("get", "team", 0, {"fresh": True})
            direct.call("CONFIG", "RESETSTAT")
            redis.pause()
            record = {"id": number, "ref": f"r{number}", "place": f"p{number}"}
            self.assert_refused("timeout", client.call, "create", "team", record,
                                {"timeout_ms": 20})
            others = list(range(number * 1000, number * 1000 + 500))
            for _ in range(3):  # they take the memory of the call
                self.assert_refused("timeout", client.call, "get_many", "team", others,
                                    {"timeout_ms": 20})
            redis.resume()
            self.assertIsNone(client.call("get", "team", number))
            self.assertNotIn("cmdstat_zadd", direct.call("INFO", "commandstats").decode())


if __name__ == "__main__":
    unittest.main()
