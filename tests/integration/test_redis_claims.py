"""Identities whose claims several daemons take at the same time."""

import unittest

import redis_server
from relata_test import request

SCHEMA = """
version: 1
resources:
  person:
    layer: redis
    redis: {writers: relata, key: "p:{id}"}
    fields: {id: integer, email: string}
    identities: {email: email}
"""
ROUNDS = 100


class Claims(redis_server.RedisCase):
    def test_the_same_record_written_by_two(self):
        """Whoever was slower must not take away the claim that both put there."""
        redis = self.redis()
        clients = [self.start_relatad(SCHEMA, {"main": redis}).connect() for _ in range(2)]
        for method in ("upsert", "create"):
            for number in range(ROUNDS):
                email = f"{method}{number}@x"
                person = {"id": number, "email": email}
                for client in clients:
                    client.send(request(1, method, "person", person))
                errors = [client.receive()[2] for client in clients]
                self.assertLessEqual(len([error for error in errors if error]),
                                     method == "create", errors)
                for client in clients:
                    self.assertEqual(client.call("get", "person", email, {"identity": "email"}),
                                     person)
            for number in range(ROUNDS):
                clients[0].call("destroy", "person", number)


if __name__ == "__main__":
    unittest.main()
