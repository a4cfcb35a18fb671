"""Programs of the examples that run beside a daemon: in Python and in Node."""

import functools
import os
import shutil
import signal
import subprocess
import sys
import threading
import unittest

import helpdesk
from relata_test import PATIENCE_S, RELATAD, wait_until

ROOT = os.path.abspath(helpdesk.ROOT)
BUILD = os.environ.get("RELATA_BUILD_DIR") or os.path.dirname(os.path.dirname(RELATAD))
PYTHON_CLIENT = os.path.join(ROOT, "clients", "python", "src")
UNAVAILABLE = 69


@functools.lru_cache(maxsize=None)
def _node_folder(folder):
    done = subprocess.run([os.path.join(ROOT, "scripts", "node-packages"), folder],
                          env=dict(os.environ, BUILD=BUILD), stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          timeout=PATIENCE_S)
    return done.returncode, done.stdout.strip(), done.stderr.strip()


def node_folder(folder):
    """Where a folder of the tree is ready to run with Node. Skips the test, and says
    so, where Node or the packages are missing."""
    status, path, problem = _node_folder(folder)
    if status == UNAVAILABLE:
        print(f"left out: {folder}: {problem}", file=sys.stderr, flush=True)
        raise unittest.SkipTest(f"{folder}: {problem}")
    assert status == 0, problem
    return path


class Program:
    """A process that says when it is ready, and ends by SIGTERM with 0."""

    def __init__(self, command, ready, **environment):
        self.command = command
        path = os.pathsep.join(filter(None, [PYTHON_CLIENT, os.environ.get("PYTHONPATH")]))
        self.process = subprocess.Popen(
            command, env=dict(os.environ, PYTHONPATH=path, **environment),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.lines = []
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        wait_until(lambda: ready in self.lines or self.process.poll() is not None,
                   f"{command} to say {ready!r}")
        if ready not in self.lines:
            raise AssertionError(f"{command} did not start:\n" + self.end(signal.SIGKILL))

    def _read(self):
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    def end(self, number=signal.SIGTERM):
        """What it printed."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        self.process.wait(PATIENCE_S)
        self.reader.join()
        self.process.stdout.close()
        return "\n".join(self.lines)


def start(case, command, ready="providing", **environment):
    """Ends with the test, in good order."""
    program = Program(command, ready, **environment)

    def end():
        was_running = program.process.poll() is None
        printed = program.end()
        if was_running:
            case.assertEqual(program.process.returncode, 0, printed)
    case.addCleanup(end)
    return program


def provider(case, language, name, daemon, **environment):
    """One of examples/helpdesk/providers."""
    folder = os.path.join("examples", "helpdesk", "providers", language)
    if language == "node":
        command = ["node", os.path.join(node_folder(folder), name + ".js")]
    else:
        command = [sys.executable, os.path.join(ROOT, folder, name + ".py")]
    return start(case, command, RELATA_ADDRESS=daemon.address, **environment)


def module(folder):
    """Puts the guide's module beside a schema."""
    shutil.copy(os.path.join(BUILD, "lib", "relata", "tickets_above_threshold.so"), folder)
