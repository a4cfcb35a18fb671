"""The script of compare-and-set (layers/redis/encoding_script.c) in a real Redis."""

import ast
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
import unittest

PATIENCE_S = 60
ROOT = os.environ.get("RELATA_SOURCE_DIR") or os.path.join(os.path.dirname(__file__), "..", "..")


def script():
    """The text as the compiler sees it."""
    with open(os.path.join(ROOT, "layers", "redis", "encoding_script.c"), encoding="utf-8") as file:
        literals = re.findall(r'^\s*("(?:[^"\\]|\\.)*");?$', file.read(), re.MULTILINE)
    return "".join(ast.literal_eval(literal) for literal in literals).encode()


class Fault(Exception):
    """An error that Redis answered."""


class Connection:
    """RESP3 over a unix socket. What comes unasked goes to `pushes`."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(PATIENCE_S)
        try:
            self.socket.connect(path)
        except OSError:
            self.socket.close()
            raise
        self.file = self.socket.makefile("rb")
        self.pushes = []
        self.call("HELLO", 3)

    def close(self):
        self.file.close()
        self.socket.close()

    def send(self, *words):
        parts = [b"*%d\r\n" % len(words)]
        for word in words:
            word = word if isinstance(word, bytes) else str(word).encode()
            parts.append(b"$%d\r\n%s\r\n" % (len(word), word))
        self.socket.sendall(b"".join(parts))

    def receive(self):
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            raise EOFError
        kind, rest = line[:1], line[1:-2]
        if kind in b"$=":
            size = int(rest)
            return self.file.read(size + 2)[:-2]
        if kind == b"-":
            return Fault(rest.decode())
        if kind in b"*~>":
            return [self.receive() for _ in range(int(rest))]
        if kind == b"%":
            return {self.receive(): self.receive() for _ in range(int(rest))}
        if kind == b"_":
            return None
        return int(rest) if kind == b":" else rest

    def call(self, *words):
        self.send(*words)
        while self.file.peek(1)[:1] == b">":
            self.pushes.append(self.receive())
        answer = self.receive()
        if isinstance(answer, Fault):
            raise answer
        return answer


@unittest.skipUnless(shutil.which("redis-server"), "there is no redis-server")
class Script(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="relata-script-")
        cls.path = os.path.join(cls.folder, "redis.sock")
        cls.server = subprocess.Popen(
            ["redis-server", "--port", "0", "--unixsocket", cls.path, "--dir", cls.folder,
             "--save", "", "--appendonly", "no"], stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                Connection(cls.path).close()
                return
            except (OSError, EOFError, Fault):
                if time.monotonic() > deadline or cls.server.poll() is not None:
                    cls.tearDownClass()
                    raise
                time.sleep(0.01)

    @classmethod
    def tearDownClass(cls):
        cls.server.terminate()
        cls.server.wait(PATIENCE_S)
        shutil.rmtree(cls.folder)

    def setUp(self):
        self.redis = Connection(self.path)
        self.addCleanup(self.redis.close)
        self.redis.call("FLUSHALL")

    def run_script(self, changes, deadline=0):
        """`changes`: a list of (key, words)."""
        return self.redis.call("EVAL", script(), len(changes), *[key for key, _ in changes],
                               deadline, *[word for _, words in changes for word in words])

    def now_ms(self):
        seconds, microseconds = self.redis.call("TIME")
        return int(seconds) * 1000 + int(microseconds) // 1000

    def test_strings_are_compared_and_set(self):
        self.assertEqual(self.run_script([("a", ["none", "text", "1"])]), 0)
        self.assertEqual(self.redis.call("GET", "a"), b"1")
        self.assertEqual(self.run_script([("a", ["text", "1", "text", b"\x00\r\n\xff"])]), 0)
        self.assertEqual(self.redis.call("GET", "a"), b"\x00\r\n\xff")
        self.assertEqual(self.run_script([("a", ["text", b"\x00\r\n", "text", "2"])]), 1)
        self.assertEqual(self.run_script([("a", ["none", "text", "2"])]), 1)
        self.assertEqual(self.run_script([("b", ["text", "", "text", "2"])]), 1)
        self.assertEqual(self.redis.call("GET", "a"), b"\x00\r\n\xff")
        self.assertEqual(self.run_script([("a", ["text", b"\x00\r\n\xff", "text", ""])]), 0)
        self.assertEqual(self.run_script([("a", ["text", "", "remove"])]), 0)
        self.assertEqual(self.redis.call("EXISTS", "a", "b"), 0)

    def test_hashes_are_compared_and_changed_in_part(self):
        create = ["none", "hash", 2, "id", 1, "name", b"\xff\x00", 0]
        self.assertEqual(self.run_script([("h", create)]), 0)
        self.assertEqual(self.run_script([("h", create)]), 1)
        self.redis.call("HSET", "h", "other", "x")
        change = ["hash", 2, "id", 1, "name", b"\xff\x00", 1, "kind",
                  "hash", 2, "kind", "", "id", 1, 1, "name"]
        self.assertEqual(self.run_script([("h", change)]), 0)
        after = {b"id": b"1", b"kind": b"", b"other": b"x"}
        self.assertEqual(self.redis.call("HGETALL", "h"), after)
        # A field that is gone, one that came, and one that is empty rather than absent.
        self.assertEqual(self.run_script([("h", change)]), 1)
        for expected in ([1, "id", 2, 0], [1, "id", 1, 1, "kind"], [2, "id", 1, "kind", 1, 0]):
            self.assertEqual(self.run_script([("h", ["hash", *expected, "remove"])]), 1)
        self.assertEqual(self.redis.call("HGETALL", "h"), after)
        self.assertEqual(self.run_script([("h", ["hash", 1, "id", 1, 1, "zz", "remove"])]), 0)
        self.assertEqual(self.redis.call("EXISTS", "h"), 0)

    def test_a_hash_without_known_fields_is_not_none(self):
        expected = ["hash", 0, 2, "id", "name", "hash", 1, "id", 1, 0]
        self.assertEqual(self.run_script([("h", expected)]), 1)
        self.redis.call("HSET", "h", "other", "x")
        self.assertEqual(self.run_script([("h", expected)]), 0)
        self.assertEqual(self.redis.call("HGETALL", "h"), {b"id": b"1", b"other": b"x"})

    def test_the_number_of_what_differs_is_answered_and_nothing_done(self):
        self.redis.call("SET", "b", "1")
        changes = [("a", ["none", "text", "1"]), ("b", ["text", "1", "remove"]),
                   ("c", ["hash", 1, "id", 1, 0, "remove"]), ("d", ["none", "text", "1"])]
        self.assertEqual(self.run_script(changes), 3)
        self.assertEqual(self.redis.call("EXISTS", "a", "b", "c", "d"), 1)
        self.redis.call("HSET", "c", "id", "1")
        self.assertEqual(self.run_script(changes), 0)
        self.assertEqual(self.redis.call("MGET", "a", "b", "d"), [b"1", None, b"1"])
        self.assertEqual(self.redis.call("EXISTS", "c"), 0)

    def test_a_key_of_another_type_is_an_error_and_nothing_done(self):
        self.redis.call("HSET", "h", "id", "1")
        self.redis.call("SET", "s", "1")
        first = ("a", ["none", "text", "1"])
        for wrong in [("h", ["text", "1", "text", "2"]),
                      ("s", ["hash", 1, "id", 1, 0, "remove"])]:
            with self.assertRaisesRegex(Fault, "WRONGTYPE"):
                self.run_script([first, wrong])
        self.assertEqual(self.run_script([first, ("h", ["none", "text", "1"])]), 2)
        self.assertEqual(self.redis.call("EXISTS", "a"), 0)

    def test_times_to_live_stay(self):
        self.redis.call("SET", "s", "1", "EX", 1000)
        self.redis.call("HSET", "h", "id", "1")
        self.redis.call("EXPIRE", "h", 1000)
        self.assertEqual(self.run_script([
            ("s", ["text", "1", "text", "2"]),
            ("h", ["hash", 1, "id", 1, 0, "hash", 1, "id", 2, 0]),
            ("n", ["none", "text", "1"])]), 0)
        self.assertGreater(self.redis.call("TTL", "s"), 900)
        self.assertGreater(self.redis.call("TTL", "h"), 900)
        self.assertEqual(self.redis.call("TTL", "n"), -1)

    def test_nothing_is_done_after_the_deadline(self):
        change = [("a", ["none", "text", "1"])]
        self.assertEqual(self.run_script(change, deadline=self.now_ms() - 1), -1)
        self.assertEqual(self.redis.call("EXISTS", "a"), 0)
        self.assertEqual(self.run_script(change, deadline=self.now_ms() + 60000), 0)
        self.assertEqual(self.redis.call("GET", "a"), b"1")

    def test_each_key_gives_one_notice(self):
        """To the connection that writes, too: the script reads each key before it changes it."""
        self.redis.call("SET", "old", "1")
        self.redis.call("SET", "gone", "1")
        self.redis.call("HSET", "h", "id", "1", "name", "x")
        self.redis.call("CLIENT", "TRACKING", "ON")
        same = ["hash", 1, "id", 1, 1, "name"]
        self.assertEqual(self.run_script([
            ("old", ["text", "1", "text", "1"]), ("gone", ["text", "1", "remove"]),
            ("new", ["none", "text", "1"]), ("fresh", ["none", "hash", 1, "id", 1, 0]),
            ("h", ["hash", 2, "id", 1, "name", "x", 0, "hash", 1, "id", 1, 1, "name"])]), 0)
        self.redis.call("PING")
        self.assertEqual(sorted(key for _, keys in self.redis.pushes for key in keys),
                         [b"fresh", b"gone", b"h", b"new", b"old"])
        # A field set to what it is counts as a change.
        self.redis.pushes.clear()
        self.assertEqual(self.run_script([("h", [*same, "hash", 1, "id", 1, 0])]), 0)
        self.redis.call("PING")
        self.assertEqual(self.redis.pushes, [[b"invalidate", [b"h"]]])
        # Who lost has read, and hears of later changes.
        self.redis.pushes.clear()
        self.assertEqual(self.run_script([("old", ["text", "2", "remove"])]), 1)
        other = Connection(self.path)
        other.call("SET", "old", "3")
        other.close()
        self.redis.call("PING")
        self.assertEqual(self.redis.pushes, [[b"invalidate", [b"old"]]])

    def test_many_keys_at_once(self):
        names = [f"f{i}" for i in range(10)]
        pairs = [word for name in names for word in (name, "x" * 20)]
        seconds = {}
        for count in (1000, 10000):
            keys = [f"h{count}:{i}" for i in range(count)]
            create = [(key, ["none", "hash", 10, *pairs, 0]) for key in keys]
            self.assertEqual(self.run_script(create), 0)
            change = [(key, ["hash", 10, *pairs, 1, "zz", "hash", 1, "f5", "y", 1, "f6"])
                      for key in keys]
            started = time.monotonic()
            self.assertEqual(self.run_script(change), 0)
            seconds[count] = time.monotonic() - started
            self.assertEqual(self.redis.call("HMGET", keys[-1], "f5", "f6"), [b"y", None])
        print(f"1,000 keys {seconds[1000] * 1000:.0f} ms, 10,000 keys {seconds[10000] * 1000:.0f} ms")
        self.assertLess(seconds[10000], 60 * seconds[1000] + 1)

    def test_a_hash_of_as_many_fields_as_there_may_be(self):
        pairs = [word for i in range(1025) for word in (f"f{i}", i)]
        names = pairs[::2]
        self.assertEqual(self.run_script([("h", ["none", "hash", 1025, *pairs, 0])]), 0)
        self.assertEqual(self.run_script([("h", ["hash", 1025, *pairs, 0, "hash", 0, 1024,
                                                 *names[1:]])]), 0)
        self.assertEqual(self.redis.call("HGETALL", "h"), {b"f0": b"0"})


if __name__ == "__main__":
    unittest.main()
