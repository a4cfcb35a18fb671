"""lua-mpack's session over lua-luv, as Debian installs them, talks to the daemon."""

import os
import subprocess
import unittest

import msgpack

import helpdesk
import relata_test

SCRIPT = os.path.join(os.path.dirname(os.path.abspath(helpdesk.__file__)), "mpack_calls.lua")
TICKET = {"select": ["id", "subject", "status", "priority", "representative_id"]}


def in_lua(value):
    """Lua has one kind of text and of table: bin and str are the same, and what is
    empty is a list."""
    if isinstance(value, dict):
        return {key: in_lua(item) for key, item in value.items()} or []
    if isinstance(value, (list, tuple)):
        return [in_lua(item) for item in value]
    return value


class Mpack(relata_test.Case):
    def setUp(self):
        self.daemon = helpdesk.start(self)
        self.raw = self.daemon.connect()

    def lua(self, *calls):
        """The answers, (error, result), of calls that are all out at once."""
        done = subprocess.run(
            ["lua5.1", SCRIPT, self.daemon.address.partition(":")[2]],
            input=msgpack.packb([[method, params] for method, *params in calls]),
            stdout=subprocess.PIPE, check=True, timeout=relata_test.PATIENCE_S)
        answers = msgpack.unpackb(done.stdout, strict_map_key=False)
        self.assertEqual(len(answers), len(calls))
        return answers

    def same(self, *calls):
        """What Lua was answered, which is what raw bytes are answered."""
        answers = self.lua(*calls)
        for (error, result), call in zip(answers, calls):
            self.assertIsNone(error)
            self.assertEqual(result, in_lua(self.raw.call(*call)), call)
        return [result for _, result in answers]

    def test_calls_of_each_kind(self):
        query = {"query": TICKET}
        ping, schema, record, absent, many, loaded, nested, count, rows = self.same(
            ("ping",),
            ("schema",),
            ("get", "representative", 7),
            ("get", "representative", 0),
            ("get_many", "ticket", [3, 1], TICKET),
            ("load", "representative", [7, 8, 7], "tickets_above_threshold", query),
            ("read", "team", {"limit": 3, "load": {"representatives": {"limit": 2}}}),
            ("count", "ticket", {"filter": "status == 'open'"}),
            ("read", "skill", {"sort": "-name"}, {"shape": "rows"}))
        self.assertEqual(ping, "pong")
        self.assertIn("ticket", schema["resources"])
        self.assertEqual(record["email"], "rep7@helpdesk.example")
        self.assertIsNone(absent)
        self.assertEqual([ticket["id"] for ticket in many], [3, 1])
        self.assertTrue(loaded[0])
        self.assertEqual(loaded[0], loaded[2])
        self.assertEqual(len(nested[0]["representatives"]), 2)
        self.assertGreater(count, 0)
        self.assertEqual(len(rows["data"]), 20)

    def test_writes(self):
        created, changed, destroyed = self.lua(
            ("create", "team", {"id": 99, "name": "new"}),
            ("update", "team", 99, {"name": "newer"}),
            ("destroy", "team", 99))
        self.assertEqual(created, [None, {"id": 99, "name": "new"}])
        self.assertEqual(changed, [None, {"id": 99, "name": "newer"}])
        self.assertEqual(destroyed, [None, True])

    def test_errors(self):
        answers = self.lua(("nothing",), ("get", "tickt", 1),
                           ("read", "ticket", {"filter": "priority >"}), ("ping",))
        codes = [error and error.split(":")[0] for error, _ in answers]
        self.assertEqual(codes, ["unknown_method", "unknown_resource", "invalid_filter", None])
        self.assertTrue(all(result is None for _, result in answers[:3]))
        self.assertEqual(answers[3][1], "pong")

    def test_many_pipelined(self):
        results = self.same(*[("get_many", "ticket", [number], TICKET)
                              for number in range(1, 1001)])
        self.assertEqual([tickets[0]["id"] for tickets in results], list(range(1, 1001)))

    def test_answer_of_megabytes(self):
        (everything,) = self.same(("read", "ticket", TICKET))
        self.assertEqual(len(everything), len(helpdesk.records("ticket")))


if __name__ == "__main__":
    unittest.main()
