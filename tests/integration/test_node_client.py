"""Runs the tests of clients/node, in a copy, so that nothing is written into the tree.

Where Node or npm is not there, or the packages cannot be had, it says that the
tests were left out."""

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import unittest

ROOT = os.environ.get("RELATA_SOURCE_DIR") or os.path.join(
    os.path.dirname(os.path.abspath(__file__)), "..", "..")
SOURCE = os.path.join(ROOT, "clients", "node")
BUILD = os.environ.get("RELATA_BUILD_DIR") or os.path.join(ROOT, "build")
COPY = os.path.join(BUILD, "clients-node")
NODE_MAJOR_MIN = 18
PATIENCE_S = 110


def why_not():
    """Why the tests cannot be run here, or None."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            return f"there is no {program}"
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout
    if int(re.match(r"v(\d+)", version).group(1)) < NODE_MAJOR_MIN:
        return f"Node {version.strip()} is older than {NODE_MAJOR_MIN}"
    return None


def copy():
    """The package as it is now, beside the packages that it needs from before."""
    os.makedirs(COPY, exist_ok=True)
    for name in os.listdir(COPY):
        path = os.path.join(COPY, name)
        if name not in ("node_modules", "installed.json"):
            shutil.rmtree(path) if os.path.isdir(path) else os.remove(path)
    shutil.copytree(SOURCE, COPY, dirs_exist_ok=True,
                    ignore=shutil.ignore_patterns("node_modules"))


def read(name):
    try:
        with open(os.path.join(COPY, name), encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        return None


def install():
    """None, or why the packages cannot be had. Once for each lock file."""
    if read("installed.json") == read("package-lock.json"):
        return None
    done = subprocess.run(["npm", "ci", "--ignore-scripts"], cwd=COPY, capture_output=True, text=True)
    if done.returncode != 0:
        return "npm ci failed: " + done.stderr.strip()[-500:]
    shutil.copy(os.path.join(COPY, "package-lock.json"), os.path.join(COPY, "installed.json"))
    return None


def run_tests():
    """Their exit status and what they said. They end in time, with all that they started."""
    with subprocess.Popen(["npm", "test", "--silent"], cwd=COPY, text=True, start_new_session=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        late = threading.Timer(PATIENCE_S, lambda: os.killpg(process.pid, signal.SIGKILL))
        late.start()
        try:
            output = process.stdout.read()
            return process.wait(), output
        finally:
            late.cancel()


class NodeClient(unittest.TestCase):
    def test_lock_file_names_no_host(self):
        with open(os.path.join(SOURCE, "package-lock.json"), encoding="utf-8") as file:
            self.assertNotIn("://", file.read())

    def test_package(self):
        reason = why_not()
        if reason is None:
            copy()
            reason = install()
        if reason is not None:
            print(f"clients/node was left out: {reason}", file=sys.stderr)
            self.skipTest(reason)
        status, output = run_tests()
        self.assertEqual(status, 0, output)
        ran = int(re.search(r"^\S+ pass (\d+)$", output, re.M).group(1))
        self.assertGreater(ran, 50, output)


if __name__ == "__main__":
    unittest.main()
