"""The examples run, and what they show is right."""

import json
import os
import subprocess
import tempfile
import unittest

import helpdesk
import relata_test

EXAMPLES = os.path.join(helpdesk.ROOT, "examples")
BUILD = os.environ.get("RELATA_BUILD_DIR") or os.path.dirname(os.path.dirname(relata_test.RELATAD))
RELATA = os.environ.get("RELATA") or os.path.join(BUILD, "bin", "relata")
ISO_CODES = "/usr/share/iso-codes/json"


def run(*command, **environment):
    """What it printed on both outputs; fails unless it ends with 0."""
    done = subprocess.run(
        command, env=dict(os.environ, BUILD=BUILD, RELATA=RELATA, **environment),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        timeout=relata_test.PATIENCE_S)
    assert done.returncode == 0, done.stdout
    return done.stdout


class Helpdesk(relata_test.Case):
    def test_demo(self):
        with tempfile.TemporaryDirectory(prefix="relata-test-") as folder:
            printed = run(os.path.join(EXAMPLES, "helpdesk", "demo"), TMPDIR=folder)
            self.assertEqual(os.listdir(folder), [])
        lines = [line.split() for line in printed.splitlines()]
        counters = {" ".join(words[:-1]): int(words[-1])
                    for words in lines if words and words[-1].isdigit()}
        self.assertEqual(counters["loads"], 200)
        self.assertGreaterEqual(counters["keys the loader was given"], 50)
        self.assertLessEqual(counters["keys the loader was given"], 200)
        self.assertLess(counters["batches"], 200)
        self.assertIn("ticket: 20000 records written", printed)
        self.assertIn("it exited with 0", printed)

    def test_demo_redis(self):
        with tempfile.TemporaryDirectory(prefix="relata-test-") as folder:
            printed = run(os.path.join(EXAMPLES, "helpdesk", "demo-redis"), TMPDIR=folder)
            self.assertEqual(os.listdir(folder), [])
        for said in [
                '{"id":7,"name":"Changed through A","priority_threshold":9}',
                '{"id":3,"name":"Changed by redis-cli"}', "B, representative: invalidations 1",
                "relata: unavailable: redis main", "A exited with 0", "B exited with 0"]:
            self.assertIn(said, printed)

    def test_data_is_the_seeds(self):
        def data(*seed):
            with tempfile.TemporaryDirectory(prefix="relata-test-") as folder:
                run(os.path.join(EXAMPLES, "helpdesk", "data"), folder, *seed)
                with open(os.path.join(folder, "ticket.jsonl"), encoding="utf-8") as file:
                    return file.read()
        self.assertEqual(data(), data("1"))
        self.assertNotEqual(data(), data("2"))
        self.assertEqual(len(helpdesk.records("representative")), 1000)
        self.assertEqual(len(helpdesk.records("ticket")), 20000)


class IsoCodes(relata_test.Case):
    @classmethod
    def setUpClass(cls):
        cls.lists = {}
        for resource, number in [("country", "3166-1"), ("subdivision", "3166-2"),
                                 ("former_country", "3166-3"), ("currency", "4217"),
                                 ("language", "639-3"), ("language_group", "639-5"),
                                 ("catalogue_language", "639-2")]:
            with open(f"{ISO_CODES}/iso_{number}.json", encoding="utf-8") as file:
                cls.lists[resource] = json.load(file)[number]

    def setUp(self):
        with open(os.path.join(EXAMPLES, "iso-codes", "schema.yaml"), encoding="utf-8") as file:
            self.daemon = self.start(file.read())
        run(os.path.join(EXAMPLES, "iso-codes", "import"), RELATA_ADDRESS=self.daemon.address)
        self.client = self.daemon.connect()

    def load(self, resource, keys, name, *options):
        return dict(zip(keys, self.client.call("load", resource, keys, name, *options)))

    def load_slowly(self, resource, keys, name):
        for first in range(0, len(keys), 10):
            yield from self.load(resource, keys[first:first + 10], name).items()

    def test_every_record_is_as_in_its_file(self):
        for resource, records in self.lists.items():
            stored = self.client.call("read", resource)
            self.assertEqual(len(stored), len(records), resource)
            key = self.client.call("schema")["resources"][resource]["primary_key"]
            key = key if isinstance(key, str) else key[0]
            by_key = {record[key]: record for record in stored}
            for record in records:
                expected = {"parent_code" if name == "parent" else name: value
                            for name, value in record.items()}
                found = by_key[record[key]]
                self.assertEqual({name: value for name, value in found.items()
                                  if value is not None}, expected)

    def test_rename_wants_two_names(self):
        for names in ("parent", "=x", "parent=", "parent=x,", "parent=x,name"):
            done = subprocess.run(
                [RELATA, "--address", self.daemon.address, "import", "subdivision",
                 f"{ISO_CODES}/iso_3166-2.json", "--rename", names],
                stderr=subprocess.PIPE, text=True, timeout=relata_test.PATIENCE_S)
            self.assertEqual(done.returncode, 2, names)
            self.assertIn("--rename wants OLD=NEW", done.stderr)

    def test_parents_and_parts(self):
        subdivisions = {record["code"]: record for record in self.lists["subdivision"]}

        def parent_of(record):
            parent = record.get("parent")
            if parent is None:
                return None
            return parent if parent in subdivisions else record["code"][:3] + parent

        parents = {code: parent_of(record) for code, record in subdivisions.items()}
        parts = {code: set() for code in subdivisions}
        for code, parent in parents.items():
            if parent is not None:
                parts[parent].add(code)

        # Each load looks at all subdivisions, so not of all of them, and few at a time.
        some = [code for code, parent in parents.items() if parent is not None][::20]
        for code, parent in self.load_slowly("subdivision", some, "part_of"):
            self.assertEqual(parent["code"], parents[code], code)
        some = [code for code in parts if parts[code]][::10] + ["AD-02", "DE-BE"]
        for code, found in self.load_slowly("subdivision", some, "parts"):
            self.assertEqual({part["code"] for part in found}, parts[code], code)
        for code, found in self.load("subdivision", ["GB-ENG", "FR-NOR"], "named_parts").items():
            self.assertEqual(bool(found), code == "GB-ENG")

    def test_countries_and_subdivisions(self):
        countries = [record["alpha_2"] for record in self.lists["country"]]
        found = self.load("country", countries, "subdivisions", {"query": {"select": []}})
        for country, subdivisions in found.items():
            self.assertEqual({record["code"] for record in subdivisions},
                             {record["code"] for record in self.lists["subdivision"]
                              if record["code"].split("-")[0] == country}, country)
        for code, country in self.load("subdivision", ["AD-07", "GB-CMA"], "country").items():
            self.assertEqual(country["alpha_2"], code[:2])

    def test_currencies_and_languages(self):
        countries = {record["numeric"]: record["alpha_2"] for record in self.lists["country"]}
        for code, country in self.load(
                "currency", [record["alpha_3"] for record in self.lists["currency"]],
                "country").items():
            record = self.client.call("get", "currency", code)
            self.assertEqual(country and country["alpha_2"], countries.get(record["numeric"]))
        catalogue = self.load("catalogue_language", ["afr", "afa"], ["language", "group"])
        self.assertEqual(catalogue["afr"]["language"]["alpha_2"], "af")
        self.assertIsNone(catalogue["afr"]["group"])
        self.assertEqual(catalogue["afa"]["group"]["name"], "Afro-Asiatic languages")

    def test_demo(self):
        with tempfile.TemporaryDirectory(prefix="relata-test-") as folder:
            printed = run(os.path.join(EXAMPLES, "iso-codes", "demo"), TMPDIR=folder)
            self.assertEqual(os.listdir(folder), [])
        self.assertIn("FR-NOR  Normandie", printed)


if __name__ == "__main__":
    unittest.main()
