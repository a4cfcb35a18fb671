"""Starts and stops relatad, and speaks to it in raw MessagePack-RPC.

    class Reads(relata_test.Case):
        def test_ping(self):
            daemon = self.start(SCHEMA)
            self.assertEqual(daemon.connect().call("ping"), "pong")

What a test started is stopped when it ends, and must have ended well.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import unittest

import msgpack

# Long, since only what is broken waits for so long; sanitizers are slow.
PATIENCE_S = 60

RELATAD = os.environ.get("RELATAD") or os.path.join(
    os.path.dirname(__file__), "..", "..", "build", "bin", "relatad")


class Refused(Exception):
    """An error that the daemon answered."""

    def __init__(self, error):
        super().__init__(error)
        self.error = error
        self.code = error["code"] if isinstance(error, dict) else error.split(":")[0]


class Closed(Exception):
    """The daemon closed the connection."""


def wait_until(condition, what="the condition"):
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {PATIENCE_S} s for {what}")
        time.sleep(0.01)


def request(msgid, method, *params):
    return msgpack.packb([0, msgid, method, list(params)])


class Client:
    """One connection. `call` for one request; send and receive for the rest."""

    def __init__(self, address):
        kind, _, where = address.partition(":")
        if kind == "unix":
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.settimeout(PATIENCE_S)
            self.socket.connect(where)
        else:
            host, _, port = where.rpartition(":")
            self.socket = socket.create_connection((host.strip("[]"), int(port)), PATIENCE_S)
        self.unpacker = msgpack.Unpacker(max_buffer_size=1 << 30, strict_map_key=False)
        self.last_id = 0

    def send(self, data):
        self.socket.sendall(data)

    def receive(self):
        """The next message, or Closed."""
        while True:
            for message in self.unpacker:
                return message
            try:
                data = self.socket.recv(1 << 16)
            except ConnectionResetError:
                raise Closed from None
            if not data:
                raise Closed
            self.unpacker.feed(data)

    def receive_answers(self, count):
        """`count` answers, whichever come, by id: (error, result). Each id once."""
        answers = {}
        while len(answers) < count:
            kind, msgid, error, result = self.receive()
            assert kind == 1 and msgid not in answers, (kind, msgid)
            answers[msgid] = (error, result)
        return answers

    def receive_all(self):
        """Every message until the daemon closes."""
        messages = []
        try:
            while True:
                messages.append(self.receive())
        except Closed:
            return messages

    def call(self, method, *params):
        self.last_id += 1
        self.send(request(self.last_id, method, *params))
        kind, msgid, error, result = self.receive()
        assert (kind, msgid) == (1, self.last_id), (kind, msgid)
        if error is not None:
            raise Refused(error)
        return result

    def half_close(self):
        self.socket.shutdown(socket.SHUT_WR)

    def close(self):
        self.socket.close()


class Daemon:
    """A relatad with a schema of its own in a folder of its own."""

    def __init__(self, schema, config="", args=(), listen=True, environment=None, limit=None):
        self.folder = tempfile.mkdtemp(prefix="relata-test-")
        self.schema_path = self.write("schema.yaml", schema)
        self.config_path = self.write("relata.yaml", "schema: schema.yaml\n" + config)
        self.address = "unix:" + os.path.join(self.folder, "relata.sock")
        self.args = [RELATAD, "--config", self.config_path, *args]
        if listen:
            self.args += ["--listen", self.address]
        self.environment = dict(os.environ, **(environment or {}))
        # What is freed must not be kept for long: tests look at the memory.
        self.environment["ASAN_OPTIONS"] = ":".join(
            filter(None, [os.environ.get("ASAN_OPTIONS"), "quarantine_size_mb=4"]))
        self.limit = limit
        self.lines = []
        self.clients = []
        self.process = None
        self.reader = None

    def write(self, name, text):
        path = os.path.join(self.folder, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path

    def start(self):
        self.process = subprocess.Popen(
            self.args, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, env=self.environment, preexec_fn=self.limit, text=True,
            errors="replace")
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        wait_until(lambda: self.said("event=ready") or self.process.poll() is not None, "ready")
        if self.process.poll() is not None:
            self.reader.join()
            raise AssertionError("relatad did not start:\n" + self.log())
        return self

    def _read(self):
        for line in self.process.stderr:
            self.lines.append(line.rstrip("\n"))

    def said(self, text):
        """The first line of its log with this text, or None."""
        return next((line for line in list(self.lines) if text in line), None)

    def wait_for(self, text):
        wait_until(lambda: self.said(text), f"{text!r} in the log")
        return self.said(text)

    def log(self):
        return "\n".join(self.lines)

    def addresses(self):
        return re.search(r"addresses=(\S+)", self.said("event=ready")).group(1).split(",")

    def connect(self, address=None):
        client = Client(address or self.address)
        self.clients.append(client)
        return client

    def signal(self, number):
        self.process.send_signal(number)

    def wait(self):
        """Its exit status, once it has ended."""
        status = self.process.wait(PATIENCE_S)
        self.reader.join()
        self.process.stderr.close()
        return status

    def stop(self):
        """Ends it in the orderly way; the exit status."""
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
        return self.wait()

    def remove(self):
        """Leaves nothing behind, whatever happened."""
        for client in self.clients:
            client.close()
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if self.process is not None:
            self.reader.join()
            self.process.stderr.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def resident_kib(self, name="VmRSS"):
        """Of its memory; the most that it ever was is VmHWM."""
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as file:
            return int(re.search(rf"{name}:\s+(\d+) kB", file.read()).group(1))

    def cpu_s(self):
        with open(f"/proc/{self.process.pid}/stat", encoding="ascii") as file:
            fields = file.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Case(unittest.TestCase):
    """Daemons that a test started end with it, well: status 0 and no leaks."""

    def start(self, schema, **options):
        daemon = Daemon(schema, **options)
        self.addCleanup(daemon.remove)
        daemon.start()
        self.addCleanup(self.end, daemon)
        return daemon

    def end(self, daemon):
        was_running = daemon.process.poll() is None
        status = daemon.stop()
        if was_running:
            self.assertEqual(status, 0, daemon.log())
        self.assertNotIn("Sanitizer", daemon.log())

    def assert_refused(self, code, call, *args):
        with self.assertRaises(Refused) as caught:
            call(*args)
        self.assertEqual(caught.exception.code, code, caught.exception.error)
        return caught.exception.error
