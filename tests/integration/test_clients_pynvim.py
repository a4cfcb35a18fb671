"""python3-pynvim's msgpack_rpc session, as Debian installs it, talks to the daemon."""

import unittest
import warnings

from pynvim.msgpack_rpc import AsyncSession, EventLoop, MsgpackStream, socket_session

import helpdesk
import relata_test


class Pynvim(relata_test.Case):
    def setUp(self):
        warnings.simplefilter("ignore", ResourceWarning)  # it leaves its sockets to the collector
        self.daemon = helpdesk.start(self)
        self.raw = self.daemon.connect()
        self.path = self.daemon.address.partition(":")[2]
        self.session = socket_session(self.path)
        self.session.error_wrapper = RuntimeError
        self.addCleanup(self.session.close)

    def same(self, method, *params):
        """What the session answers, which is what raw bytes answer."""
        result = self.session.request(method, *params)
        self.assertEqual(result, self.raw.call(method, *params))
        return result

    def test_ping_and_schema(self):
        self.assertEqual(self.session.request("ping"), "pong")
        self.assertIn("ticket", self.same("schema")["resources"])
        self.assertEqual(self.session.request("hello", {"client": "pynvim"})["server"], "relata")

    def test_reads(self):
        self.assertEqual(self.same("get", "representative", 7)["email"], "rep7@helpdesk.example")
        self.assertIsNone(self.same("get", "representative", 0))
        self.assertEqual(len(self.same("get_many", "ticket", [3, 0, 1])), 3)
        self.assertGreater(self.same("count", "ticket", {"filter": "status == 'open'"}), 0)

    def test_loads(self):
        keys = [7, 8, 7, 9]
        query = {"query": {"select": ["subject", "priority"]}}
        loaded = self.same("load", "representative", keys, "tickets_above_threshold", query)
        self.assertEqual(len(loaded), 4)
        self.assertEqual(loaded[0], loaded[2])
        self.assertTrue(loaded[0])
        nested = self.same("read", "team", {
            "limit": 3, "load": {"representatives": {"limit": 2, "load": "skills"}}})
        self.assertIn("skills", nested[0]["representatives"][0])

    def test_writes(self):
        self.assertEqual(self.session.request("create", "team", {"id": 99, "name": "new"})["id"], 99)
        self.assertEqual(self.same("get", "team", 99)["name"], "new")
        self.assertEqual(self.session.request("update", "team", 99, {"name": "newer"})["name"],
                         "newer")
        self.assertIs(self.session.request("destroy", "team", 99), True)

    def test_errors_are_texts(self):
        for code, params in [("unknown_method", ("nothing",)),
                             ("unknown_resource", ("get", "tickt", 1)),
                             ("invalid_filter", ("read", "ticket", {"filter": "priority >"})),
                             ("conflict", ("create", "team", {"id": 1, "name": "x"}))]:
            with self.assertRaises(RuntimeError) as caught:
                self.session.request(*params)
            self.assertTrue(str(caught.exception).startswith(code + ": "), caught.exception)
        self.assertEqual(self.session.request("ping"), "pong")

    def test_notifications(self):
        """One that changes something is executed; of one that is unknown nobody hears."""
        self.session.request("update", "team", 1, {"name": "first"}, async_=True)
        self.session.request("nobody_knows_this", 1, 2, async_=True)
        self.assertEqual(self.session.request("get", "team", 1)["name"], "first")

    def test_many_pipelined(self):
        """1,000 calls are out at once, on the asynchronous session below the other one."""
        session = AsyncSession(MsgpackStream(EventLoop("socket", self.path)))
        self.addCleanup(session.close)
        answers = {}
        wanted = 1000

        def send_all():
            for number in range(wanted):
                session.request("get", [b"ticket", number + 1], take(number))

        def take(number):
            def answered(error, result):
                answers[number] = (error, result)
                if len(answers) == wanted:
                    session.stop()
            return answered

        session.threadsafe_call(send_all)
        session.run(lambda *_: None, lambda *_: None)
        self.assertEqual(sorted(answers), list(range(wanted)))
        for number, (error, record) in answers.items():
            self.assertIsNone(error)
            self.assertEqual(record["id"], number + 1)

    def test_answer_of_megabytes(self):
        everything = self.same("read", "ticket", {"select": ["id", "subject", "status", "details"]})
        self.assertEqual(len(everything), len(helpdesk.records("ticket")))
        self.assertEqual(everything[-1]["subject"], helpdesk.records("ticket")[-1]["subject"])
        rows = self.same("read", "ticket", {"limit": 100}, {"shape": "rows"})
        self.assertEqual(len(rows["data"]), 100)


if __name__ == "__main__":
    unittest.main()
