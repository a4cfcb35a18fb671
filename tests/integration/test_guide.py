"""The guide's loaders answer what its filter answers, and do what it says of them.

docs/manual-relationships.md shows them; they are in examples/helpdesk.
"""

import http.server
import json
import os
import shutil
import sqlite3
import subprocess
import tempfile
import threading
import unittest

import helpdesk
import layers
import programs
import relata_test

NAME = "tickets_above_threshold"
RELATIONSHIP = "representative." + NAME
SOURCES = list(range(1, 61))
QUERIES = [
    {},
    {"limit": 3},
    {"filter": "status == 'open'", "limit": 2, "offset": 1},
    {"filter": "status == $status and created_at > $since", "sort": "created_at",
     "params": {"status": "closed", "since": "2026-03-01T00:00:00Z"}},
    {"sort": "subject,-created_at", "limit": 4, "select": ["priority"]},
    {"filter": "representative.team_id == parent.team_id", "limit": 1},
    {"filter": "priority > parent.priority_threshold + 1", "sort": "-id", "limit": 2},
    {"load": {"representative": {"select": ["name"]}}, "limit": 1},
]
EXPECTED = []


def schema(variant):
    with open(os.path.join(helpdesk.FOLDER, f"schema-{variant}.yaml"), encoding="utf-8") as file:
        return file.read()


def records(resource):
    """Those of the helpdesk that matter to the first hundred representatives."""
    if resource == "representative":
        return helpdesk.records(resource)[:100]
    return [ticket for ticket in helpdesk.records(resource)
            if (ticket["representative_id"] or 0) <= 100]


def fill(client, resources=("representative", "ticket")):
    for resource in resources:
        client.call("create_many", resource, records(resource))


class Case(relata_test.Case):
    def begin(self, variant, resources=("representative", "ticket"), changed=("", "")):
        """A daemon on a variant of the schema, and a client."""
        self.assertIn(changed[0], schema(variant))
        daemon = relata_test.Daemon(schema(variant).replace(*changed))
        self.addCleanup(daemon.remove)
        if variant == "module":
            programs.module(daemon.folder)
        daemon.start()
        self.addCleanup(self.end, daemon)
        client = daemon.connect()
        fill(client, resources)
        return daemon, client

    def expected(self):
        """By query, what the filter answers where the records are in memory; asked once."""
        if not EXPECTED:
            daemon = layers.MemoryDaemon(helpdesk.schema())
            self.addCleanup(daemon.remove)
            client = daemon.start().connect()
            fill(client)
            EXPECTED.extend(client.call("load", "representative", SOURCES, NAME, {"query": query})
                            for query in QUERIES)
        return EXPECTED

    def assert_as_the_filter(self, client, leave_out=()):
        for query, expected in zip(QUERIES, self.expected()):
            answer = client.call("load", "representative", SOURCES, NAME, {"query": query})
            self.assertEqual(self.without(answer, leave_out), self.without(expected, leave_out),
                             query)
        self.assertGreater(sum(map(len, self.expected()[0])), 100)

    @staticmethod
    def without(answer, fields):
        return [[{name: value for name, value in ticket.items() if name not in fields}
                 for ticket in tickets] for tickets in answer]

    def counters(self, client):
        return client.call("stats")["relationships"][RELATIONSHIP]


class Schemas(Case):
    def test_variants_have_the_helpdesks_fields(self):
        whole = self.start(helpdesk.schema()).connect().call("schema")["resources"]
        for variant in ("module", "remote", "hint", "cached"):
            _, client = self.begin(variant, ())
            for name, resource in client.call("schema")["resources"].items():
                self.assertEqual(resource["fields"], whole[name]["fields"], (variant, name))


class Answers(Case):
    def test_module(self):
        _, client = self.begin("module")
        self.assert_as_the_filter(client)

    def answers(self, variant, language, name):
        daemon, client = self.begin(variant)
        programs.provider(self, language, name, daemon)
        self.assert_as_the_filter(client)
        return client

    def test_python(self):
        client = self.answers("remote", "python", NAME)
        self.assertEqual(self.counters(client)["batches"], len(QUERIES))

    def test_node(self):
        client = self.answers("remote", "node", NAME)
        self.assertEqual(self.counters(client)["batches"], len(QUERIES))

    def test_python_that_ignores_the_hint(self):
        self.answers("hint", "python", NAME)

    def test_node_that_ignores_the_hint(self):
        self.answers("hint", "node", NAME)

    def test_python_that_honours_the_hint(self):
        self.answers("hint", "python", "honouring_the_query")

    def test_node_that_honours_the_hint(self):
        self.answers("hint", "node", "honouring_the_query")

    def test_honouring_reads_less(self):
        daemon, client = self.begin("hint")
        programs.provider(self, "python", "honouring_the_query", daemon)
        before = client.call("stats")["daemon"]["bytes_in"]
        client.call("load", "representative", SOURCES, NAME, {"query": {"limit": 1}})
        with_limit = client.call("stats")["daemon"]["bytes_in"] - before
        client.call("load", "representative", SOURCES, NAME)
        without = client.call("stats")["daemon"]["bytes_in"] - before - with_limit
        self.assertLess(with_limit * 1.5, without)


class Service(http.server.BaseHTTPRequestHandler):
    """The service that tickets_elsewhere.js asks. `server.tickets` by representative."""

    def do_GET(self):
        ids = [int(each) for each in self.path.partition("representatives=")[2].split(",")]
        tickets = [ticket for each in ids for ticket in self.server.tickets.get(each, [])]
        body = json.dumps({"tickets": tickets, "sealed": self.server.sealed}).encode()
        self.send_response(503 if self.server.broken else 200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


class Elsewhere(Case):
    """The daemon has the representatives; somebody else has the tickets."""

    def tickets(self):
        by_representative = {}
        for ticket in records("ticket"):
            by_representative.setdefault(ticket["representative_id"], []).append(ticket)
        return by_representative

    def service(self):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Service)
        server.tickets, server.sealed, server.broken = self.tickets(), [1001], False
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()

        def end():
            server.shutdown()
            server.server_close()
            thread.join()
        self.addCleanup(end)
        return server

    def database(self):
        folder = tempfile.mkdtemp(prefix="relata-test-")
        self.addCleanup(shutil.rmtree, folder)
        path = os.path.join(folder, "tickets.db")
        database = sqlite3.connect(path)
        columns = ["id", "subject", "status", "priority", "representative_id", "created_at"]
        database.execute(f"CREATE TABLE ticket ({', '.join(columns)})")
        database.execute("CREATE TABLE sealed (representative_id)")
        database.execute("INSERT INTO sealed VALUES (1001)")
        database.execute("CREATE INDEX of_whom ON ticket (representative_id, priority)")
        database.executemany(f"INSERT INTO ticket VALUES ({', '.join('?' * len(columns))})",
                             [[ticket[name] for name in columns]
                              for ticket in records("ticket")])
        database.commit()
        database.close()
        return path

    def check_errors(self, client, batch_fails):
        """One representative's loads fail, then all."""
        client.call("create", "representative", {"id": 1001, "name": "Max"})
        error = self.assert_refused("loader_failed", client.call, "load", "representative",
                                    [1, 1001], NAME)
        self.assertIn("the tickets of Max are sealed", error)
        self.assertEqual(len(client.call("load", "representative", [1], NAME)), 1)
        batch_fails()
        return self.assert_refused("loader_failed", client.call, "load", "representative", [1], NAME)

    def test_node(self):
        daemon, client = self.begin("remote", ["representative"])
        server = self.service()
        programs.provider(self, "node", "tickets_elsewhere", daemon,
                          TICKETS_URL=f"http://127.0.0.1:{server.server_port}/tickets")
        self.assert_as_the_filter(client)
        error = self.check_errors(client, lambda: setattr(server, "broken", True))
        self.assertIn("the ticket service answered 503", error)

    def test_python(self):
        daemon, client = self.begin("hint", ["representative"])
        path = self.database()
        programs.provider(self, "python", "tickets_elsewhere", daemon, TICKETS_DB=path)
        self.assert_as_the_filter(client, leave_out=["details"])
        error = self.check_errors(client, lambda: os.rename(path, path + ".away"))
        self.assertIn("unable to open database file", error)


class Cached(Case):
    def setUp(self):
        self.daemon, self.client = self.begin("cached")
        self.provider = programs.provider(self, "python", NAME, self.daemon)
        self.load()

    def load(self, **options):
        """What of it the loader was asked for."""
        layers.wait_until_quiet(self.client)
        before = self.counters(self.client)["unique_keys"]
        self.answer = self.client.call("load", "representative", SOURCES, NAME, options)
        return self.counters(self.client)["unique_keys"] - before

    def test_is_kept_for_all_queries(self):
        for query in QUERIES:
            self.assertEqual(self.load(query=query), 0, query)

    def test_depends_on(self):
        ticket = self.answer[0][0]
        self.client.call("update", "ticket", ticket["id"], {"representative_id": 2})
        self.assertEqual(self.load(), 2)
        self.assertIn(ticket["id"], [each["id"] for each in self.answer[1]] + [ticket["id"]])
        self.assertNotIn(ticket["id"], [each["id"] for each in self.answer[0]])
        self.client.call("create", "ticket", {"id": 30000, "subject": "x", "priority": 10,
                                              "representative_id": 90})
        self.assertEqual(self.load(), 0)

    def test_source_fields(self):
        self.client.call("update", "representative", 1, {"name": "Somebody"})
        self.assertEqual(self.load(), 0)
        self.client.call("update", "representative", 1, {"priority_threshold": 10})
        self.assertEqual(self.load(), 1)
        self.assertEqual(self.answer[0], [])

    def test_invalidate_and_fresh(self):
        self.assertEqual(self.client.call("invalidate", RELATIONSHIP, [1, 2, 3]), 3)
        self.assertEqual(self.load(), 3)
        self.assertEqual(self.client.call("invalidate", RELATIONSHIP), len(SOURCES))
        self.assertEqual(self.load(), len(SOURCES))
        self.assertEqual(self.load(fresh=True), len(SOURCES))
        self.assertEqual(self.load(), 0)

    def test_without_a_provider_what_is_kept_is_served(self):
        before = self.answer
        self.provider.end()
        self.assertEqual(self.load(), 0)
        self.assertEqual(self.answer, before)
        self.client.call("update", "representative", 1, {"priority_threshold": 9})
        self.assert_refused("unavailable", self.client.call, "load", "representative", [1], NAME)
        self.assertEqual(self.client.call("load", "representative", [2], NAME), before[1:2])


class Stale(Case):
    def test_last_good_answer(self):
        daemon, client = self.begin("cached", changed=("ttl: 30s", "ttl: 50ms"))
        provider = programs.provider(self, "python", NAME, daemon)
        load = ("load", "representative", [1, 2], NAME)
        before = client.call(*load)
        provider.end()
        failed = self.counters(client)["errors"]
        # Once its ttl has passed, it is served in the place of the error.
        relata_test.wait_until(lambda: client.call(*load) == before and
                               self.counters(client)["errors"] > failed, "a stale answer")
        client.call("update", "ticket", before[0][0]["id"], {"subject": "Changed"})
        self.assert_refused("unavailable", client.call, "load", "representative", [1], NAME)
        self.assertEqual(client.call("load", "representative", [2], NAME), before[1:])


AFTER = """
import { connect } from 'relata';
import * as after from './from_dataloader/after.js';

const client = connect();
let fetched = 0;
await after.provide(async (representatives) => {
    fetched += representatives.length;
    return client.read('ticket', {
        filter: 'representative_id in $ids and priority > representative.priority_threshold',
        params: { ids: representatives.map(({ id }) => id) },
    });
});

const said = [];
async function urgent(...ids) {
    const loaders = after.loaders({ id: 1 });
    const loads = ids.map((id) => after.urgent(loaders, id));
    const tickets = (await Promise.all(loads)).map((each) => each.map(({ id }) => id));
    said.push({ tickets, fetched });
    return tickets;
}

await urgent(1, 2, 3, 2);
const [[id]] = await urgent(1, 2);
const ticket = await client.get('ticket', id);
await after.changeTicket({ ...ticket, representative_id: 2 });
await urgent(1, 2, 3);
await after.changeTicketElsewhere(async () => {}, ticket, { ...ticket, representative_id: 3 });
await urgent(1, 2, 3);
console.log(JSON.stringify(said));
await client.close();
await after.close();
"""


class FromDataLoader(Case):
    def test_after(self):
        daemon, client = self.begin("cached")
        folder = programs.node_folder("examples/helpdesk/providers/node")
        done = subprocess.run(
            ["node", "--input-type=module", "-e", AFTER], cwd=folder, text=True,
            env=dict(os.environ, RELATA_ADDRESS=daemon.address), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=relata_test.PATIENCE_S)
        self.assertEqual(done.returncode, 0, done.stdout)
        first, again, changed, told = json.loads(done.stdout)
        self.assertEqual(first["tickets"], [self.urgent(number) for number in (1, 2, 3, 2)])
        self.assertEqual(again["tickets"], first["tickets"][:2])
        moved = first["tickets"][0][0]
        self.assertNotIn(moved, changed["tickets"][0])
        self.assertEqual(changed["tickets"][2], first["tickets"][2])
        self.assertEqual(told["tickets"], changed["tickets"])
        self.assertEqual([each["fetched"] for each in (first, again, changed, told)], [3, 3, 5, 7])

    @staticmethod
    def urgent(number):
        threshold = records("representative")[number - 1]["priority_threshold"]
        tickets = [(-ticket["priority"], ticket["id"]) for ticket in records("ticket")
                   if ticket["representative_id"] == number and ticket["status"] == "open"
                   and ticket["priority"] > threshold]
        return [key for _, key in sorted(tickets)[:3]]

    def test_before_is_javascript(self):
        folder = programs.node_folder("examples/helpdesk/providers/node")
        subprocess.run(["node", "--check", os.path.join(folder, "from_dataloader", "before.js")],
                       check=True)


if __name__ == "__main__":
    unittest.main()
