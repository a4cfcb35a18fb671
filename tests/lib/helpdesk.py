"""A daemon on examples/helpdesk with its records."""

import functools
import json
import os
import subprocess
import tempfile

ROOT = os.environ.get("RELATA_SOURCE_DIR") or os.path.join(
    os.path.dirname(os.path.abspath(__file__)), "..", "..")
FOLDER = os.path.join(ROOT, "examples", "helpdesk")
RESOURCES = ["team", "skill", "representative", "representative_skill", "ticket"]


def schema():
    with open(os.path.join(FOLDER, "schema.yaml"), encoding="utf-8") as file:
        return file.read()


@functools.lru_cache(maxsize=None)
def records(resource):
    """What examples/helpdesk/data writes for it."""
    with tempfile.TemporaryDirectory(prefix="relata-test-") as folder:
        subprocess.run([os.path.join(FOLDER, "data"), folder], check=True)
        with open(os.path.join(folder, resource + ".jsonl"), encoding="utf-8") as file:
            return [json.loads(line) for line in file]


def fill(client):
    for resource in RESOURCES:
        all_records = records(resource)
        for first in range(0, len(all_records), 5000):
            some = all_records[first:first + 5000]
            assert client.call("create_many", resource, some) == len(some)


def start(case, **options):
    """For a relata_test.Case: a daemon with all records."""
    daemon = case.start(schema(), **options)
    client = daemon.connect()
    fill(client)
    client.close()
    return daemon
