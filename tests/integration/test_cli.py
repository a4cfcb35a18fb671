"""relata, the command line client, with a daemon: what it prints, its statuses, its prompt."""

import base64
import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import tempfile
import termios
import time
import unittest

import relata_test

RELATA = os.environ.get("RELATA") or os.path.join(os.path.dirname(relata_test.RELATAD), "relata")

SCHEMA = """
version: 1
resources:
  representative:
    fields:
      id: integer
      name: {type: string, required: true}
      priority_threshold: {type: integer, default: 5}
    identities: {name: [name]}
    relationships:
      tickets: {has_many: ticket}
      tickets_above_threshold:
        has_many: ticket
        manual:
          filter: representative_id == parent.id and priority > parent.priority_threshold
  ticket:
    fields:
      id: integer
      subject: string
      priority: integer
      status: {type: {enum: [open, closed]}, default: open}
      representative_id: integer
      content: binary
      created_at: datetime
      weight: float
      details: any
    relationships:
      representative: {belongs_to: representative}
  code:
    fields: {id: string, name: string}
  membership:
    primary_key: [a, b]
    fields: {a: integer, b: string, note: string}
"""


def ticket(number):
    return {"id": number, "subject": f"Nr. {number} – ü", "priority": number % 10,
            "status": "open", "representative_id": number % 3,
            "content": base64.b64encode(bytes([0, number % 256, 255])).decode(),
            "created_at": "2026-01-02T03:04:05.000000006Z", "weight": number / 10,
            "details": {"list": [1, None, "x"], "large": 9007199254740993}}


class CliCase(relata_test.Case):
    def setUp(self):
        self.daemon = self.start(SCHEMA)
        self.folder = tempfile.TemporaryDirectory(prefix="relata-cli-")
        self.addCleanup(self.folder.cleanup)
        self.environment = dict(os.environ, RELATA_ADDRESS=self.daemon.address,
                                RELATA_HISTORY=self.path("history"), TERM="dumb")

    def path(self, name):
        return os.path.join(self.folder.name, name)

    def write(self, name, text):
        with open(self.path(name), "w", encoding="utf-8") as file:
            file.write(text)
        return self.path(name)

    def run_relata(self, *words, stdin=""):
        return subprocess.run([RELATA, *words], input=stdin, capture_output=True, text=True,
                              env=self.environment, timeout=relata_test.PATIENCE_S, check=False)

    def lines(self, *words, stdin=""):
        run = self.run_relata(*words, stdin=stdin)
        self.assertEqual((run.returncode, run.stderr), (0, ""), words)
        return [json.loads(line) for line in run.stdout.splitlines()]

    def fails(self, status, text, *words, stdin=""):
        run = self.run_relata(*words, stdin=stdin)
        self.assertEqual(run.returncode, status, run.stderr)
        self.assertIn(text, run.stderr)
        return run

    def import_tickets(self, count):
        text = "".join(json.dumps(ticket(number)) + "\n" for number in range(count))
        run = self.run_relata("import", "ticket", "-", stdin=text)
        self.assertEqual((run.returncode, run.stderr), (0, f"ticket: {count} records written\n"))


class Records(CliCase):
    def test_writes_and_reads_one(self):
        self.assertEqual(self.lines("create", "representative", '{"id": 1, "name": "Ann"}'),
                         [{"id": 1, "name": "Ann", "priority_threshold": 5}])
        self.assertEqual(self.lines("get", "representative", "1")[0]["name"], "Ann")
        self.assertEqual(self.lines("get", "representative", "Ann", "--identity", "name",
                                    "--select", "name"), [{"id": 1, "name": "Ann"}])
        self.assertEqual(self.lines("upsert", "representative", '{"name": "Ann", '
                                    '"priority_threshold": 7}', "--identity", "name"),
                         [{"id": 1, "name": "Ann", "priority_threshold": 7}])
        self.assertEqual(self.lines("update", "representative", "1", '{"priority_threshold": 8}',
                                    "--if", "priority_threshold == $t", "--params", '{"t": 7}'),
                         [{"id": 1, "name": "Ann", "priority_threshold": 8}])
        self.fails(1, "relata: conflict: ", "update", "representative", "1",
                   '{"priority_threshold": 9}', "--if", "priority_threshold == 7")
        self.assertEqual(self.lines("destroy", "representative", "1"), [True])
        self.fails(1, "relata: not_found: ", "get", "representative", "1")
        self.fails(1, "relata: not_found: ", "destroy", "representative", "1")

    def test_keys_go_as_their_fields_are(self):
        self.lines("create", "code", '{"id": "1", "name": "one"}')
        self.assertEqual(self.lines("get", "code", "1"), [{"id": "1", "name": "one"}])
        self.lines("create", "membership", '{"a": -1, "b": "x, y"}')
        self.assertEqual(self.lines("get", "membership", '[-1, "x, y"]'),
                         [{"a": -1, "b": "x, y", "note": None}])
        self.lines("create", "representative", '{"id": -5, "name": "Eve"}')
        self.assertEqual(self.lines("get", "representative", "-5")[0]["name"], "Eve")

    def test_reads_and_counts(self):
        self.import_tickets(50)
        found = self.lines("read", "ticket", "priority > $least", "--params", '{"least": 7}',
                           "--sort", "-priority,-id", "--limit", "3", "--offset", "1",
                           "--select", "priority")
        self.assertEqual(found, [{"id": 39, "priority": 9}, {"id": 29, "priority": 9},
                                 {"id": 19, "priority": 9}])
        self.assertEqual(self.lines("read", "ticket", '{"id": {"in": [3, 4]}}', "--sort", "--id",
                                    "--select", "id"), [{"id": 4}, {"id": 3}])
        self.assertEqual(self.lines("count", "ticket", "priority == 9"), [5])
        self.assertEqual(self.lines("read", "ticket", "--limit", "0"), [])

    def test_loads(self):
        self.import_tickets(50)
        self.lines("create", "representative", '{"id": 1, "name": "Ann"}')
        loaded = self.lines("load", "representative", "1,7", "tickets_above_threshold",
                            "--query", '{"sort": "-id", "limit": 2, "select": ["priority"]}')
        self.assertEqual(loaded, [
            {"key": 1, "tickets_above_threshold": [{"id": 49, "priority": 9},
                                                   {"id": 46, "priority": 6}]},
            {"key": 7, "tickets_above_threshold": None}])
        loaded = self.lines("load", "representative", "[1]", '{"tickets": {"limit": 1}}')
        self.assertEqual(len(loaded), 1)
        nested = self.lines("get", "representative", "1", "--load",
                            '{"tickets": {"limit": 1, "load": "representative"}}')
        self.assertEqual(nested[0]["tickets"][0]["representative"]["name"], "Ann")

    def test_other_methods(self):
        self.assertEqual(self.lines("ping"), ["pong"])
        self.assertIn("ticket", self.lines("schema")[0]["resources"])
        self.assertEqual(self.lines("schema", "code")[0]["primary_key"], "id")
        self.assertIn("daemon", self.lines("stats")[0])
        self.assertEqual(self.lines("invalidate", "ticket", "1,2"), [0])
        self.lines("call", "create", "code", '{"id": "7"}')
        self.assertEqual(self.lines("call", "get", "code", '"7"'), [{"id": "7", "name": None}])


class Files(CliCase):
    def test_what_is_exported_is_what_was_imported(self):
        self.import_tickets(2500)
        exported = self.lines("export", "ticket", "--page", "333")
        self.assertEqual(exported, [ticket(number) for number in range(2500)])
        part = self.lines("export", "ticket", "priority > $p or id < 5", "--params", '{"p": 8}',
                          "--page", "50", "--select", "priority")
        self.assertEqual([record["id"] for record in part],
                         [number for number in range(2500) if number % 10 > 8 or number < 5])

    def test_composite_keys_page_too(self):
        pairs = [{"a": a, "b": b, "note": None} for a in range(5) for b in "xyz"]
        text = "".join(json.dumps(pair) + "\n" for pair in pairs)
        self.run_relata("import", "membership", "-", stdin=text)
        for page in ("1", "4", "15", "1000"):
            self.assertEqual(self.lines("export", "membership", "--page", page), pairs)

    def test_files_as_others_make_them(self):
        path = self.write("codes.json", json.dumps(
            {"3166-1": [{"id": "AW", "name": "Aruba", "flag": "x"}, {"id": "DE"}]}, indent=2))
        self.fails(1, "relata: unknown_field: record 1 (line 1): ", "import", "code", path)
        self.assertEqual(self.lines("count", "code"), [0])
        run = self.run_relata("import", "code", path, "--only-known")
        self.assertEqual((run.returncode, run.stderr), (0, "code: 2 records written\n"))
        self.assertEqual(self.lines("export", "code"),
                         [{"id": "AW", "name": "Aruba"}, {"id": "DE", "name": None}])
        self.fails(1, "relata: conflict: record 1 ", "import", "code", path, "--only-known")
        path = self.write("list.json", '[{"id": "DE", "name": "Germany"}]')
        self.assertEqual(self.run_relata("import", "code", path, "--upsert").returncode, 0)
        self.assertEqual(self.lines("get", "code", "DE"), [{"id": "DE", "name": "Germany"}])

    def test_fields_that_the_file_names_otherwise(self):
        run = self.run_relata("import", "code", "-", "--rename", "key=id,parent=name",
                              stdin='{"key": "a", "parent": "b"}')
        self.assertEqual((run.returncode, run.stderr), (0, "code: 1 record written\n"))
        self.assertEqual(self.lines("get", "code", "a"), [{"id": "a", "name": "b"}])
        self.fails(2, "--rename wants", "import", "code", "-", "--rename", "key")

    def test_the_first_fault_is_told_with_its_line_and_what_was_written(self):
        rows = [json.dumps(ticket(number)) for number in range(1000)]
        rows[734] = '{"id": 734, "priority": "high"}'
        path = self.write("tickets.jsonl", "\n".join(rows))
        run = self.fails(1, "relata: invalid_value: record 735 (line 735): ", "import", "ticket",
                         path, "--batch", "100")
        written = self.lines("count", "ticket")[0]
        # Batches that were on their way behind the faulty one may have been written.
        self.assertGreaterEqual(written, 700)
        self.assertLess(written, 1000)
        self.assertIn(f"ticket: {written} records written\n", run.stderr)
        path = self.write("broken.jsonl", '{"id": 5000}\n{"id": \n')
        self.fails(1, "relata: invalid_request: line ", "import", "ticket", path)
        path = self.write("blob.jsonl", '{"id": 5001, "content": "?"}\n')
        self.fails(1, "record 1 (line 1): content: the text is no base64", "import", "ticket", path)
        path = self.write("text.jsonl", "[5]\n")
        self.fails(1, "record 1 (line 1): a record is a JSON object", "import", "ticket", path)
        self.fails(1, "relata: /nowhere: ", "import", "ticket", "/nowhere")


class Faults(CliCase):
    def test_usage_is_status_2(self):
        self.fails(2, "did you mean get?", "gett")
        self.fails(2, "usage: relata get RESOURCE KEY", "get", "ticket")
        self.fails(2, "--limit?", "read", "ticket", "--limt", "1")
        self.fails(2, "get does not take --sort", "get", "ticket", "1", "--sort", "id")
        self.fails(2, "--params is no JSON", "read", "ticket", "--params", "{")
        self.fails(2, "a record is a JSON object", "create", "ticket", "5")
        self.fails(2, "--json and --table", "ping", "--json", "--table")

    def test_the_daemon_s_errors_are_status_1(self):
        self.fails(1, "relata: unknown_resource: ", "get", "tickets", "1")
        self.fails(1, "relata: invalid_filter: ", "read", "ticket", "prority > 1")
        self.fails(1, "relata: invalid_value: ", "get", "ticket", "one")
        self.fails(1, "relata: unknown_method: ", "call", "frobnicate")

    def test_no_daemon(self):
        self.fails(1, "relata: unavailable: unix:/nowhere/sock cannot be reached: ", "ping",
                   "--address", "unix:/nowhere/sock")
        self.fails(1, "relata: unavailable: ", "ping", "--address=tcp:127.0.0.1:1")
        self.fails(1, "relata: invalid_request: ", "ping", "--address", "nowhere")

    def test_help_and_version(self):
        self.assertIn("import", self.run_relata("--help").stdout)
        self.assertIn("--only-known", self.run_relata("import", "--help").stdout)
        self.assertRegex(self.run_relata("--version").stdout, r"^relata \d+\.\d+\.\d+\n$")

    def test_standard_output_that_is_full(self):
        with open("/dev/full", "w", encoding="ascii") as full:
            run = subprocess.run([RELATA, "ping"], stdout=full, stderr=subprocess.PIPE, text=True,
                                 env=self.environment, timeout=relata_test.PATIENCE_S, check=False)
        self.assertEqual(run.returncode, 1)
        self.assertIn("standard output", run.stderr)

    def test_commands_from_a_pipe(self):
        run = self.run_relata(stdin="# setup\ncreate code '{\"id\": \"a b\"}'\n\nget code 'a b'\n"
                                    "get code nobody\nping\nquit\nping\n")
        self.assertEqual(run.returncode, 1)
        self.assertEqual([json.loads(line) for line in run.stdout.splitlines()],
                         [{"id": "a b", "name": None}] * 2 + ["pong"])
        self.assertEqual(run.stderr, "relata: not_found: code nobody is not there\n")


class Terminal(CliCase):
    """The same on a terminal of its own."""

    def start_relata(self, *words, columns=80):
        # libedit never frees the names of functions that were added to it.
        self.environment["LSAN_OPTIONS"] = "print_suppressions=0:suppressions=" + self.write(
            "suppressions", "leak:wcsdup\n")
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        process = subprocess.Popen([RELATA, *words], stdin=slave, stdout=slave, stderr=slave,
                                   env=self.environment, start_new_session=True)
        os.close(slave)
        self.addCleanup(self.end_process, process, master)
        self.text = ""
        return process, master

    def end_process(self, process, master):
        if process.poll() is None:
            process.kill()
        process.wait()
        os.close(master)

    def read_some(self, master):
        if not select.select([master], [], [], 0.1)[0]:
            return True
        try:
            data = os.read(master, 65536)
        except OSError:
            return False
        self.text += data.decode(errors="replace").replace("\r\n", "\n")
        return bool(data)

    def read_until(self, master, text):
        deadline = time.monotonic() + relata_test.PATIENCE_S
        while text not in self.text:
            self.assertTrue(self.read_some(master), f"{text!r} did not come: {self.text!r}")
            self.assertLess(time.monotonic(), deadline, f"{text!r} did not come: {self.text!r}")

    def read_to_end(self, process, master):
        deadline = time.monotonic() + relata_test.PATIENCE_S
        while self.read_some(master) or process.poll() is None:
            self.assertLess(time.monotonic(), deadline, f"it does not end: {self.text!r}")

    def on_terminal(self, *words, columns=80):
        process, master = self.start_relata(*words, columns=columns)
        self.read_to_end(process, master)
        return process.wait(relata_test.PATIENCE_S), self.text

    def end_well(self, process, master):
        self.read_to_end(process, master)
        self.assertEqual(process.wait(relata_test.PATIENCE_S), 0, self.text)

    def test_tables(self):
        self.import_tickets(12)
        status, text = self.on_terminal("read", "ticket", "--select", "subject,priority",
                                        "--sort", "-id", "--limit", "2")
        self.assertEqual(status, 0)
        self.assertEqual(text.splitlines(), [
            "id  subject     priority",
            "──  ──────────  ────────",
            "11  Nr. 11 – ü         1",
            "10  Nr. 10 – ü         0",
            "(2 records)"])

    def test_tables_fit_the_terminal(self):
        self.import_tickets(3)
        for columns in (120, 90, 60, 30, 12):
            _, text = self.on_terminal("read", "ticket", columns=columns)
            for line in text.splitlines():
                self.assertLessEqual(len(line), max(columns, 26), text)
            self.assertIn("(3 records)", text)

    def test_no_control_character_reaches_the_terminal(self):
        self.lines("create", "code", json.dumps({"id": "x", "name": "\x1b[31mred\x07\nnext"}))
        _, text = self.on_terminal("get", "code", "x")
        self.assertIn("\\x1b[31mred\\x07\\nnext", text)
        self.assertNotIn("\x1b", text)

    def test_schema_and_stats(self):
        _, text = self.on_terminal("schema", "code")
        self.assertIn("code: layer memory, primary key id", text)
        _, text = self.on_terminal("stats", columns=200)
        self.assertIn("representative.tickets_above_threshold", text)
        self.assertIn("uptime_ms: ", text)

    def test_json_on_request(self):
        _, text = self.on_terminal("schema", "code", "--json", columns=500)
        self.assertEqual(json.loads(text)["layer"], "memory")

    def test_import_shows_progress(self):
        text = "".join(json.dumps(ticket(number)) + "\n" for number in range(300))
        path = self.write("tickets.jsonl", text)
        status, text = self.on_terminal("import", "ticket", path, "--batch", "100")
        self.assertEqual(status, 0)
        self.assertIn("\rticket: 100 written", text)
        self.assertTrue(text.endswith("ticket: 300 records written\n"), text)

    def test_prompt(self):
        process, master = self.start_relata()
        self.read_until(master, "relata> ")
        os.write(master, b"create code '{\"id\": \"a\", \"name\": \"one\"}'\n")
        self.read_until(master, "one\nrelata> ")
        os.write(master, b"get code nobody\n")
        self.read_until(master, "relata: not_found: code nobody is not there\n")
        os.write(master, b"help get\n")
        self.read_until(master, "relata get RESOURCE KEY")
        # The line before the one before, once more.
        os.write(master, b"\x1b[A\x1b[A\x1b[Ax\x7f\n")
        self.read_until(master, "relata: conflict: ")
        os.write(master, b"quit\n")
        self.end_well(process, master)
        with open(self.path("history"), encoding="utf-8") as file:
            self.assertIn("nobody", file.read())
        self.assertEqual(os.stat(self.path("history")).st_mode & 0o077, 0)

    def test_an_interrupt_gives_up_the_line(self):
        process, master = self.start_relata()
        self.read_until(master, "relata> ")
        os.write(master, b"not what was meant")
        self.read_until(master, "meant")
        # One that comes while no key is waited for is lost, as everywhere.
        deadline = time.monotonic() + relata_test.PATIENCE_S
        while "meant\nrelata> " not in self.text and time.monotonic() < deadline:
            process.send_signal(signal.SIGINT)
            self.read_some(master)
        self.read_until(master, "meant\nrelata> ")
        os.write(master, b"ping\n")
        self.read_until(master, "pong\n")
        self.assertNotIn("no command", self.text)
        os.write(master, b"quit\n")
        self.end_well(process, master)

    def test_prompt_connects_anew(self):
        process, master = self.start_relata()
        os.write(master, b"ping\n")
        self.read_until(master, "pong\n")
        self.daemon.signal(signal.SIGTERM)
        self.daemon.wait()
        os.write(master, b"ping\n")
        self.read_until(master, "relata: unavailable: ")
        self.daemon.lines.clear()
        self.daemon.start()
        self.text = ""
        os.write(master, b"count code\n")
        self.read_until(master, "\n0\nrelata> ")
        os.write(master, b"quit\n")
        self.end_well(process, master)


if __name__ == "__main__":
    unittest.main()
