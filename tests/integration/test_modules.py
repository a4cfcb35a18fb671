"""Modules in a running daemon: the guide's answers as the filter does, and those
that misbehave harm nobody else."""

import os
import random
import shutil
import signal
import subprocess
import textwrap
import time
import unittest

import helpdesk
import relata_test
from test_examples import BUILD

MODULES = os.path.join(BUILD, "tests", "modules")
EXAMPLE = os.path.join(BUILD, "lib", "relata", "tickets_above_threshold.so")

SCHEMA = """version: 1
resources:
  rep:
    fields: {{id: integer, name: string}}
    relationships:
      tickets:
        has_many: ticket
        manual: {{module: '{module}', options: {options}}}
        actor: none
        batch: {{timeout: {timeout}}}
  ticket:
    fields: {{id: integer, rep_id: integer, priority: integer, subject: string, seen: any}}
"""


def schema(module, options="{}", timeout="5s"):
    if not os.path.isabs(module):
        module = os.path.join(MODULES, module)
    return SCHEMA.format(module=module, options=options, timeout=timeout)


def tickets(rep):
    return [rep * 10 + i for i in (1, 2, 3)]


class Guide(relata_test.Case):
    """The helpdesk's tickets_above_threshold, once by filter and once by module."""

    def setUp(self):
        by_module = textwrap.indent(textwrap.dedent(f"""
            by_module:
              has_many: ticket
              manual: {{module: '{EXAMPLE}'}}
              sort: -priority
              actor: none
              source_fields: [priority_threshold]
              depends_on: [{{ticket: representative_id}}]
              cache: {{ttl: 60s}}
            """), " " * 6)
        text = helpdesk.schema()
        place = text.index("      tickets_above_threshold:")
        self.daemon = self.start(text[:place] + by_module.lstrip("\n") + text[place:])
        self.client = self.daemon.connect()
        helpdesk.fill(self.client)

    def both(self, keys, query):
        return [self.client.call("load", "representative", keys, name, {"query": query})
                for name in ("tickets_above_threshold", "by_module")]

    def test_all_are_the_same(self):
        by_filter, by_module = self.both(list(range(1, 1001)), {})
        self.assertEqual(by_filter, by_module)
        self.assertGreater(sum(map(len, by_filter)), 1000)

    def test_random_queries(self):
        seed = int(os.environ.get("RELATA_SEED", time.time_ns()))
        print(f"RELATA_SEED={seed}")
        chance = random.Random(seed)
        for _ in range(100):
            query = {}
            if chance.random() < 0.5:
                query["filter"] = chance.choice([
                    'status == "open"', "priority % 2 == 0", "id < parent.id * 20",
                    'representative.name != "Ann"', {"priority": {"in": [6, 8]}}])
            if chance.random() < 0.5:
                query["sort"] = chance.choice(["id", "-created_at", "status,-priority"])
            if chance.random() < 0.5:
                query["limit"] = chance.randrange(4)
            if chance.random() < 0.3:
                query["offset"] = chance.randrange(3)
            if chance.random() < 0.3:
                query["load"] = {"representative": {"select": ["name"]}}
            keys = chance.choices(range(1, 1100), k=chance.randrange(1, 40))
            by_filter, by_module = self.both(keys, query)
            self.assertEqual(by_filter, by_module, (query, keys))

    def test_writes_show_at_once(self):
        def module():
            return self.client.call("load", "representative", [1], "by_module",
                                    {"query": {"select": ["id"]}})[0]
        before = module()
        self.client.call("create", "ticket", {"id": 900001, "subject": "x", "priority": 99,
                                              "representative_id": 1})
        self.assertEqual(module(), [{"id": 900001}] + before)
        self.client.call("update", "representative", 1, {"priority_threshold": 98})
        self.assertEqual(module(), [{"id": 900001}])
        self.client.call("update", "representative", 1, {"priority_threshold": None})
        self.assertEqual(module(), [])

    def test_many_connections_share_batches(self):
        clients = [self.daemon.connect() for _ in range(10)]
        for number in range(200):
            clients[number % 10].send(relata_test.request(
                number, "load", "representative", [1 + number % 50], "by_module"))
        answers = {}
        for client in clients:
            answers.update(client.receive_answers(20))
        self.assertTrue(all(error is None for error, _ in answers.values()))
        for number in range(50):
            alone = self.client.call("load", "representative", [1 + number],
                                     "tickets_above_threshold")
            self.assertEqual(answers[number][1], alone)
        counters = self.client.call("stats")["relationships"]["representative.by_module"]
        self.assertLessEqual(counters["unique_keys"], 50)


class Behaviour(relata_test.Case):
    def open(self, *args, **kwargs):
        daemon = self.start(schema(*args, **kwargs))
        client = daemon.connect()
        client.call("create_many", "rep", [{"id": 1}, {"id": 2}])
        return daemon, client

    def load(self, client, keys=(1, 2)):
        answer = client.call("load", "rep", list(keys), "tickets", {"query": {"select": ["id"]}})
        return [[ticket["id"] for ticket in of_one] for of_one in answer]

    def test_answers_that_come_later(self):
        for word in ("later", "thread"):
            _, client = self.open("behaves.so", f"{{do: {word}}}")
            for _ in range(20):
                self.assertEqual(self.load(client), [tickets(1), tickets(2)])

    def test_twice(self):
        daemon, client = self.open("behaves.so", "{do: twice}")
        for _ in range(20):
            self.assertEqual(self.load(client), [tickets(1), tickets(2)])
        daemon.wait_for("event=module_answered_late module=behaves.so relationship=rep.tickets")

    def test_never(self):
        daemon, client = self.open("behaves.so", "{do: never}", timeout="50ms")
        error = self.assert_refused("timeout", self.load, client)
        self.assertIn("rep.tickets", error)
        daemon.wait_for("event=module_cancelled module=behaves.so")
        self.assertEqual(client.call("get", "rep", 2)["id"], 2)

    def test_wrong_shape(self):
        daemon, client = self.open("behaves.so", "{do: short}")
        error = self.assert_refused("loader_failed", self.load, client)
        self.assertIn("module behaves.so: rep.tickets: expected a list of 2", error)
        daemon.wait_for("event=module_failed module=behaves.so relationship=rep.tickets")

    def test_slow(self):
        daemon, client = self.open("behaves.so", "{do: slow}")
        self.assertEqual(self.load(client), [tickets(1), tickets(2)])
        self.assertIn("load held the daemon for", daemon.wait_for("event=module_slow"))

    def test_the_end_while_a_batch_is_out(self):
        daemon, client = self.open("behaves.so", "{do: never}", timeout="300ms")
        client.send(relata_test.request(9, "load", "rep", [1], "tickets"))
        relata_test.wait_until(
            lambda: daemon.connect().call("stats")["relationships"]["rep.tickets"]["batches"] == 1)
        self.assertEqual(daemon.stop(), 0)
        kind, msgid, error, _ = client.receive()
        self.assertEqual((kind, msgid), (1, 9))
        self.assertRegex(error, "^(timeout|unavailable): ")


TREE = """version: 1
resources:
  node:
    fields: {{id: integer, parent_id: integer}}
    indexes: [[parent_id]]
    relationships:
      descendants:
        has_many: node
        manual: {{module: '{module}'}}
        actor: none
        batch: {{max_in_flight: 2, max_size: 3, timeout: 20s}}
"""


class Recursion(relata_test.Case):
    """A module that loads its own relationship, over a tree and over a circle."""

    def setUp(self):
        self.daemon = self.start(TREE.format(module=os.path.join(MODULES, "descendants.so")))
        self.client = self.daemon.connect()

    def test_a_tree_five_deep(self):
        # Node n has the children 3n-1, 3n and 3n+1, so 364 nodes are five levels below the root.
        nodes = [{"id": n, "parent_id": (n + 1) // 3 if n > 1 else None} for n in range(1, 365)]
        self.client.call("create_many", "node", nodes)

        def below(root):
            if 3 * root - 1 > 364:
                return []
            return [id for n in (3 * root - 1, 3 * root, 3 * root + 1) for id in [n] + below(n)]

        clients = [self.daemon.connect() for _ in range(5)]
        for client in clients:
            client.send(relata_test.request(1, "load", "node", [1], "descendants"))
        for client in clients:
            _, _, error, answer = client.receive()
            self.assertIsNone(error)
            self.assertEqual([node["id"] for node in answer[0]], below(1))
        # A whole level at a time, of which only three go together.
        level = list(range(5, 14))
        answer = self.client.call("load", "node", level, "descendants")
        self.assertEqual([[node["id"] for node in of_one] for of_one in answer],
                         [below(root) for root in level])

    def test_a_circle_is_refused(self):
        self.client.call("create_many", "node", [{"id": 1, "parent_id": 2},
                                                 {"id": 2, "parent_id": 1}])
        error = self.assert_refused("loader_failed", self.client.call, "load", "node", [1],
                                    "descendants")
        self.assertIn("would wait for itself", error)
        self.assertEqual(self.client.call("get", "node", 2)["id"], 2)

    def test_too_deep_is_refused(self):
        self.client.call("create_many", "node",
                         [{"id": n, "parent_id": n - 1 or None} for n in range(1, 21)])
        self.assert_refused("loader_failed", self.client.call, "load", "node", [1], "descendants")
        answer = self.client.call("load", "node", [13], "descendants")
        self.assertEqual([node["id"] for node in answer[0]], list(range(14, 21)))


class Files(relata_test.Case):
    def refused(self, module, options="{}", *arguments):
        daemon = relata_test.Daemon(schema(module, options))
        self.addCleanup(daemon.remove)
        done = subprocess.run(daemon.args + list(arguments), stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, timeout=relata_test.PATIENCE_S)
        self.assertEqual(done.returncode, 1, done.stderr)
        return done.stderr

    def test_what_is_no_module_is_refused_at_start(self):
        for arguments in ((), ("--check",)):
            self.assertIn("built for version 2.0 of the module interface, this daemon has 1.1",
                          self.refused("wrong_version.so", "{}", *arguments))
            self.assertIn("exports no relata_module",
                          self.refused("no_module.so", "{}", *arguments))
            self.assertIn("nobody_has_this", self.refused("lacks_symbol.so", "{}", *arguments))
            self.assertIn("No such file", self.refused("absent.so", "{}", *arguments))
        self.assertIn("rep.tickets is not for me", self.refused("behaves.so", "{do: refuse}"))

    def test_reload_takes_the_new_file(self):
        daemon = relata_test.Daemon("")
        self.addCleanup(daemon.remove)
        module = os.path.join(daemon.folder, "module.so")
        shutil.copy(os.path.join(MODULES, "version_one.so"), module)
        # The path in the schema is seen from its folder.
        daemon.write("schema.yaml", schema("/module.so").replace("/module.so", "module.so"))
        daemon.start()
        self.addCleanup(self.end, daemon)
        client = daemon.connect()
        client.call("create", "rep", {"id": 1})

        def subject():
            return client.call("load", "rep", [1], "tickets")[0][0]["subject"]

        for round_number in range(1, 6):
            self.assertEqual(subject(), "one" if round_number % 2 else "two")
            name = "version_two.so" if round_number % 2 else "version_one.so"
            shutil.copy(os.path.join(MODULES, name), module + ".new")
            if round_number < 4:
                os.rename(module + ".new", module)
            else:
                shutil.copy(module + ".new", module)  # over the one that is in use
            daemon.signal(signal.SIGHUP)
            relata_test.wait_until(
                lambda: daemon.log().count("event=reloaded") == round_number)
        self.assertEqual(subject(), "two")
        daemon.wait_for("one is closed")

        shutil.copy(os.path.join(MODULES, "wrong_version.so"), module)
        daemon.signal(signal.SIGHUP)
        daemon.wait_for("event=reload_refused")
        self.assertEqual(subject(), "two")


if __name__ == "__main__":
    unittest.main()
