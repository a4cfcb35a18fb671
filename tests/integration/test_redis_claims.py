"""Identities of records in Redis, where two daemons write the same record at once."""

import unittest

import redis_server
import relata_test
from relata_test import wait_until

SCHEMA = """
version: 1
resources:
  item:
    layer: redis
    redis: {key: "item:{id}", writers: relata}
    fields: {id: integer, code: string}
    identities: {code: [code]}
"""
INDEXED = SCHEMA.replace("code: string}", "code: string, kind: integer}") + "    indexes: [[kind]]\n"
ROUNDS = 100


class Claims(redis_server.RedisCase):
    def setUp(self):
        self.server = self.redis()
        self.raw = self.server.client()

    def find(self, client, code):
        return client.call("get", "item", code, {"identity": "code"})

    def test_two_creates_of_one_record(self):
        clients = [self.start_relatad(SCHEMA, {"main": self.server}).connect() for _ in range(2)]
        for number in range(ROUNDS):
            record = {"id": number, "code": f"c{number}"}
            for client in clients:
                client.send(relata_test.request(number, "create", "item", record))
            answers = [client.receive() for client in clients]
            self.assertEqual(sum(error is None for _, _, error, _ in answers), 1, answers)
            for client in clients:
                self.assertEqual(self.find(client, record["code"]), record)
            self.assert_refused("conflict", clients[0].call, "create", "item",
                                {**record, "id": -1})

    def test_a_create_in_vain_leaves_nothing(self):
        client = self.start_relatad(SCHEMA, {"main": self.server}).connect()
        for number in range(ROUNDS):
            record = {"id": number, "code": "the same"}
            client.call("create", "item", record)
            self.assert_refused("conflict", client.call, "create", "item", record)
            self.assertEqual(self.find(client, "the same"), record)
            client.call("destroy", "item", number)
        self.assertEqual(self.raw.call("KEYS", "relata:id:*"), [])

    def test_the_element_that_asks_for_what_is_taken(self):
        """Only Redis knew that it was: another daemon's record has it."""
        clients = [self.start_relatad(SCHEMA, {"main": self.server}).connect() for _ in range(2)]
        clients[0].call("create", "item", {"id": 1, "code": "one"})
        clients[1].call("hello", {"errors": "map"})
        wanted = [{"id": 2, "code": "two"}, {"id": 3, "code": "one"}]
        for method in ("create_many", "upsert_many"):
            with self.assertRaises(relata_test.Refused) as refused:
                clients[1].call(method, "item", wanted)
            error = refused.exception.error
            self.assertEqual((error["code"], error["details"]["index"]), ("conflict", 1), error)
            self.assertRegex(error["message"], "^element 1: another item has the identity code")
        self.assertEqual(self.raw.call("EXISTS", "item:2", "item:3"), 0)

    def test_a_destroy_between_claim_and_record(self):
        """The one daemon has claimed the identity for its new record; before the record is
        there, the other creates and destroys the same one. It takes no claim away that is
        still needed."""
        proxy = self.proxy(self.server)
        slow = self.start_relatad(SCHEMA, {"main": proxy}).connect()
        client = self.start_relatad(SCHEMA, {"main": self.server}).connect()
        record = {"id": 1, "code": "one"}
        client.call("create", "item", {"id": 0, "code": "zero"})
        slow.call("update", "item", 0, {"code": "null"})  # it knows all that it needs to
        proxy.stall("down")
        slow.send(relata_test.request(9, "create", "item", record))
        wait_until(lambda: self.raw.call("EXISTS", "relata:id:item:code:one"), "the claim")
        client.call("create", "item", record)
        client.call("destroy", "item", 1)
        proxy.go_on()
        self.assertEqual(slow.receive(), [1, 9, None, record])
        for each in (slow, client):
            self.assertEqual(self.find(each, "one"), record)
        self.assert_refused("conflict", client.call, "create", "item", {"id": 2, "code": "one"})

    def test_redis_is_emptied_between_claim_and_record(self):
        """The record is set behind that; what leads to it is put in again."""
        proxy = self.proxy(self.server)
        client = self.start_relatad(INDEXED, {"main": proxy}).connect()
        client.call("create", "item", {"id": 0, "code": "zero", "kind": 1})
        proxy.stall("down")
        record = {"id": 1, "code": "one", "kind": 7}
        client.send(relata_test.request(9, "create", "item", record))
        names = ("relata:id:item:code:one", "relata:ix:item:kind:7")
        wait_until(lambda: self.raw.call("EXISTS", *names) == 2, "the claim and the member")
        self.raw.call("FLUSHALL")
        proxy.go_on()
        self.assertEqual(client.receive(), [1, 9, None, record])
        wait_until(lambda: self.raw.call("EXISTS", "item:1", *names) == 3, "what leads to it")
        self.assertEqual(self.raw.call("EXISTS", "item:0"), 0)


if __name__ == "__main__":
    unittest.main()
