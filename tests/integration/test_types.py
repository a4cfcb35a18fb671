"""relata types: the schema as types for the clients' languages."""

import datetime
import os
import subprocess
import sys
import typing
import unittest

import helpdesk
import relata_test

RELATA = os.environ.get("RELATA") or os.path.join(os.path.dirname(relata_test.RELATAD), "relata")
# The same file is compiled by the tests of the client for Node.
SAMPLE = os.path.join(helpdesk.ROOT, "clients", "node", "test", "types", "helpdesk.ts")

SCHEMA = r"""
version: 1
resources:
  line_item:
    primary_key: [class, at]
    fields:
      class: uuid
      at: datetime
      weight: {type: float, required: true, default: 1.5}
      done: boolean
      scan: {type: binary, required: true}
      kind: {type: {enum: ["say \"hi\"", "back\\slash", ü]}, required: true}
      more: any
"""


class Types(relata_test.Case):
    def types(self, daemon, *words):
        return subprocess.run([RELATA, "--address", daemon.address, "types", *words],
                              capture_output=True, text=True, check=False)

    def python(self, daemon):
        done = self.types(daemon, "--python")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        names = {}
        exec(compile(done.stdout, "types", "exec"), names)
        return names

    def test_typescript_of_the_helpdesk_is_what_the_client_is_tested_with(self):
        done = self.types(self.start(helpdesk.schema()), "--ts", "Helpdesk")
        with open(SAMPLE, encoding="utf-8") as file:
            self.assertEqual(done.stdout, file.read())

    def test_typescript_of_every_type(self):
        text = self.types(self.start(SCHEMA), "--ts").stdout
        self.assertIn("export interface Schema<Integer = number, Datetime = Date> {\n", text)
        for line in ('class: string;', 'at: Datetime;', 'weight: number;', 'weight?: number;',
                     'done: boolean | null;', 'done?: boolean | null;', 'scan: Uint8Array;',
                     r'kind: "say \"hi\"" | "back\\slash" | "ü";', 'more?: any | null;',
                     'primaryKey: "class" | "at";', 'key: [string, Datetime];'):
            self.assertIn(f" {line}\n", text)

    def test_python_of_every_type(self):
        fields = typing.get_type_hints(self.python(self.start(SCHEMA))["LineItem"])
        self.assertEqual(fields, {
            "class": str, "at": datetime.datetime, "weight": float,
            "done": typing.Optional[bool], "scan": bytes,
            "kind": typing.Literal['say "hi"', "back\\slash", "ü"],
            "more": typing.Optional[typing.Any]})

    def test_python_of_the_helpdesk(self):
        names = self.python(self.start(helpdesk.schema()))
        self.assertIn("RepresentativeSkill", names)
        self.assertEqual(list(names["Ticket"].__annotations__),
                         ["id", "subject", "status", "priority", "representative_id", "created_at",
                          "details"])

    def test_usage(self):
        daemon = self.start(SCHEMA)
        for words in ([], ["--ts", "--python"], ["--ts", "a b"], ["--python", "Name"], ["--ts", "1a"]):
            done = self.types(daemon, *words)
            self.assertEqual((done.returncode, done.stdout), (2, ""), words)
            self.assertIn("--ts", done.stderr)


if __name__ == "__main__":
    sys.exit(unittest.main())
