"""A value in Redis that does not fit fails the load that asked for it, and no other.

Loads of one turn are one batch, whoever asks; a key of it that failed failed them all.
"""

import unittest

import redis_server
import relata_test

SCHEMA = """version: 1
resources:
  team: {layer: redis, fields: {id: integer, size: integer}}
  ticket:
    fields: {id: integer, team_id: integer}
    relationships: {team: {belongs_to: team}}
"""


class MisfitOfAnotherLoad(redis_server.RedisCase):
    def test_each_has_its_own_answer(self):
        redis = self.redis()
        redis.client().call("HSET", "team:1", "id", "1", "size", "5")
        redis.client().call("HSET", "team:2", "id", "2", "size", "many")
        client = self.start_relatad(SCHEMA, {"main": redis}).connect()
        client.call("create_many", "ticket",
                    [{"id": 1, "team_id": 1}, {"id": 2, "team_id": 2}, {"id": 3, "team_id": 3}])
        client.send(b"".join(relata_test.request(ticket, "load", "ticket", [ticket], "team")
                             for ticket in (1, 2, 3)))
        answers = {answer[1]: answer[2:] for answer in (client.receive() for _ in range(3))}
        self.assertEqual(answers[1], [None, [{"id": 1, "size": 5}]])
        self.assertRegex(str(answers[2][0]), "invalid_value: team:2 in Redis: team.size")
        self.assertEqual(answers[3], [None, [None]])


if __name__ == "__main__":
    unittest.main()
