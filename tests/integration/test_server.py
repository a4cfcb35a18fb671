"""Bad input, limits and the life of the daemon, over real sockets.

Everywhere another connection is there to notice if it is disturbed."""

import contextlib
import os
import random
import resource
import select
import signal
import socket
import subprocess
import unittest

import msgpack

import layers
import relata_test
from relata_test import Closed, Daemon, request, wait_until

SCHEMA = """
version: 1
resources:
  team:
    fields: {id: integer, name: string}
    relationships:
      tickets: {has_many: ticket}
  ticket:
    fields:
      id: integer
      subject: string
      team_id: integer
    relationships:
      team: {belongs_to: team}
"""

NOTE = "  note:\n    fields: {id: integer}\n"


class ServerCase(relata_test.Case):
    def serve(self, **options):
        """A daemon, a connection, and another one that must not notice."""
        daemon = self.start(options.pop("schema", SCHEMA), **options)
        client, bystander = daemon.connect(), daemon.connect()
        bystander.call("create", "team", {"id": 1, "name": "red"})
        self.addCleanup(self.assert_undisturbed, daemon, bystander)
        return daemon, client, bystander

    def assert_undisturbed(self, daemon, bystander):
        if daemon.process.poll() is None:
            self.assertEqual(bystander.call("get", "team", 1), {"id": 1, "name": "red"})
            self.assertEqual(bystander.call("ping"), "pong")

    def wait_for_connections(self, client, count):
        wait_until(lambda: client.call("stats")["daemon"]["connections"] == count,
                   f"{count} connections")

    def fill(self, client):
        """A ticket whose answer is large."""
        client.call("create", "ticket", {"id": 1, "subject": "x" * 100000})

    @staticmethod
    def gets(count):
        return b"".join(request(i, "get", "ticket", 1) for i in range(count))


class BadInput(ServerCase):
    def assert_ends_with(self, client, code, pattern, msgid=None):
        """The connection ends with one error, for this id; without one, with none."""
        messages = client.receive_all()
        if msgid is None:
            self.assertEqual(messages, [])
            return
        self.assertEqual([message[:2] for message in messages], [[1, msgid]])
        self.assertRegex(messages[0][2], f"^{code}: .*{pattern}")

    def test_frame_that_announces_four_gib(self):
        daemon, client, _ = self.serve()
        before = daemon.resident_kib()
        client.send(b"\x94\x00\x07\xa4ping\xdd\xff\xff\xff\xff")
        self.assert_ends_with(client, "too_large", "frame_bytes", 7)
        client = daemon.connect()
        client.send(b"\xc6\xff\xff\xff\xff")
        self.assert_ends_with(client, None, None)
        self.assertLess(daemon.resident_kib() - before, 20 * 1024)

    def test_nested_arrays(self):
        _, client, _ = self.serve()
        client.send(b"\x94\x00\x09\xa4ping" + b"\x91" * 10000 + b"\xc0")
        self.assert_ends_with(client, "too_large", "nesting", 9)

    def test_no_messagepack(self):
        daemon, client, _ = self.serve()
        client.send(b"\xc1")
        self.assert_ends_with(client, None, None)
        client = daemon.connect()
        client.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        self.assert_ends_with(client, None, None)

    def test_no_frame(self):
        daemon, _, _ = self.serve()
        for bad, msgid in [([0, 3, "ping"], 3), ([0, 4, 5, []], 4), ([0, 5, "ping", {}], 5),
                           ({"a": 1}, None), ([], None), (7, None)]:
            with self.subTest(bad):
                client = daemon.connect()
                client.send(msgpack.packb(bad))
                self.assert_ends_with(client, "invalid_request", "", msgid)

    def test_what_came_before_a_broken_frame_is_answered(self):
        _, client, _ = self.serve()
        client.send(b"".join(request(i, "get", "team", 1) for i in range(100)) + b"\xc1")
        answers = {message[1]: message for message in client.receive_all()}
        self.assertEqual(sorted(answers), list(range(100)))

    def test_random_bytes(self):
        daemon, _, bystander = self.serve()
        seed = int(os.environ.get("RELATA_SEED") or random.randrange(1 << 32))
        rng = random.Random(seed)
        for i in range(100):
            with self.subTest(seed=seed, round=i):
                client = daemon.connect()
                data = bytearray(request(1, "read", "ticket", {"filter": "team_id == 1"}) * 3)
                for _ in range(rng.randrange(1, 4)):
                    data[rng.randrange(len(data))] = rng.randrange(256)
                client.send(bytes(data))
                client.half_close()
                client.receive_all()
                client.close()
                self.assertEqual(bystander.call("ping"), "pong")

    def test_unknown_method(self):
        _, client, _ = self.serve()
        error = self.assert_refused("unknown_method", client.call, "reed", "ticket")
        self.assertIn("reed", error)
        self.assertEqual(client.call("ping"), "pong")

    def test_wrong_arity_and_types(self):
        _, client, _ = self.serve()
        for call in [["get"], ["get", "team", 1, {}, 2], ["get", 5, 1],
                     ["get", "team", 1, []], ["ping", 1, 2, 3], ["read", "team", 7],
                     ["create", "team"], ["get", "team", 1, {"selekt": []}]]:
            with self.subTest(call):
                self.assert_refused("invalid_request", client.call, *call)
        self.assert_refused("unknown_resource", client.call, "get", "teem", 1)
        self.assertEqual(client.call("ping"), "pong")

    def test_filter_of_a_megabyte(self):
        _, client, _ = self.serve()
        text = " or ".join(["id == 1"] * 100000)
        error = self.assert_refused("too_large", client.call, "read", "team", {"filter": text})
        self.assertIn("filter_bytes", error)
        self.assertEqual(client.call("ping"), "pong")

    def test_id_in_use(self):
        _, client, bystander = self.serve()
        bystander.call("create", "ticket", {"id": 1, "subject": "a", "team_id": 1})
        load = request(5, "load", "team", [1], "tickets")
        client.send(load + load + request(6, "ping"))
        messages = client.receive_all()
        # That it is in use is the id's only answer, and the last one.
        self.assertEqual([message[1] for message in messages], [5], messages)
        self.assertRegex(messages[0][2], "^invalid_request: .*5")

    def test_vanishes_in_the_midst(self):
        daemon, client, bystander = self.serve()
        frame = request(1, "create", "team", {"id": 9, "name": "x" * 5000})
        for cut in (1, 3, 50, 4500, len(frame) - 1):
            other = daemon.connect()
            other.send(request(0, "ping") + frame[:cut])
            other.receive_answers(1)
            other.close()
        self.wait_for_connections(client, 2)
        self.assertIsNone(bystander.call("get", "team", 9))

    def test_vanishes_with_answers_under_way(self):
        daemon, client, bystander = self.serve()
        self.fill(bystander)
        for _ in range(5):
            other = daemon.connect()
            other.send(self.gets(200))
            other.receive()
            other.close()
        self.wait_for_connections(client, 2)


class Messages(ServerCase):
    def test_a_long_key_is_said_whole(self):
        daemon = self.start("""
version: 1
resources:
  membership:
    primary_key: [team, person]
    fields: {team: uuid, person: uuid}
""")
        client = daemon.connect()
        key = ["0f0e0d0c-0b0a-4908-8706-050403020100", "00010203-0405-4607-8809-0a0b0c0d0e0f"]
        record = {"team": key[0], "person": key[1]}
        client.call("create", "membership", record)
        for code, call in [("conflict", ("create", "membership", record)),
                           ("not_found", ("destroy", "membership", key[::-1]))]:
            error = self.assert_refused(code, client.call, *call)
            for part in key:
                self.assertIn(part, error)


class Pieces(ServerCase):
    def calls(self):
        calls = [request(i, "create", "ticket", {"id": i, "subject": "s" * (i * 37 % 600)})
                 for i in range(40)]
        return calls + [request(i + 40, "get", "ticket", i) for i in range(40)]

    def expect(self, answers):
        self.assertEqual(sorted(answers), list(range(80)))
        for i in range(40):
            record = {"id": i, "subject": "s" * (i * 37 % 600), "team_id": None}
            self.assertEqual(answers[i], (None, record))
            self.assertEqual(answers[i + 40], (None, record))

    def test_byte_by_byte(self):
        _, client, _ = self.serve()
        for byte in b"".join(self.calls()):
            client.send(bytes([byte]))
        self.expect(client.receive_answers(80))

    def test_glued(self):
        _, client, _ = self.serve()
        client.send(b"".join(self.calls()))
        self.expect(client.receive_answers(80))

    def test_cut_anywhere(self):
        daemon, _, bystander = self.serve()
        seed = int(os.environ.get("RELATA_SEED") or random.randrange(1 << 32))
        rng = random.Random(seed)
        stream = b"".join(self.calls())
        for i in range(20):
            with self.subTest(seed=seed, round=i):
                client = daemon.connect()
                cuts = sorted(rng.sample(range(len(stream)), rng.randrange(1, 50)))
                for begin, end in zip([0] + cuts, cuts + [len(stream)]):
                    client.send(stream[begin:end])
                self.expect(client.receive_answers(80))
                bystander.call("destroy_many", "ticket", list(range(40)))

    def test_large_frame_between_small_ones(self):
        _, client, _ = self.serve()
        subject = "x" * 3000000
        client.send(request(1, "ping")
                    + request(2, "create", "ticket", {"id": 1, "subject": subject}))
        client.send(request(3, "get", "ticket", 1, {"select": ["id"]}) + request(4, "ping"))
        answers = client.receive_answers(4)
        self.assertEqual(answers[2][1]["subject"], subject)
        self.assertEqual(answers[3], (None, {"id": 1}))

    def test_write_then_read_without_waiting(self):
        _, client, _ = self.serve()
        client.send(b"".join(
            request(2 * i, "upsert", "team", {"id": 5, "name": str(i)})
            + request(2 * i + 1, "get", "team", 5) for i in range(3000)))
        answers = client.receive_answers(6000)
        for i in range(3000):
            self.assertGreaterEqual(int(answers[2 * i + 1][1]["name"]), i)

    def test_half_close_gets_its_answers(self):
        _, client, _ = self.serve()
        client.send(b"".join(request(i, "get", "team", 1) for i in range(5000)))
        client.half_close()
        self.assertEqual(len(client.receive_answers(5000)), 5000)
        self.assertRaises(Closed, client.receive)

    def test_tcp(self):
        daemon = self.start(SCHEMA, args=["--listen", "tcp:127.0.0.1:0"])
        address = next(a for a in daemon.addresses() if a.startswith("tcp:"))
        client = daemon.connect(address)
        self.assertEqual(client.call("ping"), "pong")
        client.send(b"".join(self.calls()))
        self.expect(client.receive_answers(80))
        client.send(b"\x94\x00\x07\xdd\xff\xff\xff\xff")
        self.assertRegex(client.receive()[2], "too_large")
        self.assertRaises(Closed, client.receive)


class Limits(ServerCase):
    @layers.leave_out("redis", why="gets that wait for one fetch are all answered at once")
    def test_client_that_never_reads(self):
        daemon, client, bystander = self.serve(config="client_stall_timeout: 1s\n")
        self.fill(bystander)
        before = daemon.resident_kib()
        client.socket.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            # 10 GB of answers, if somebody made them.
            client.socket.sendall(self.gets(100000))
        poll = select.poll()
        poll.register(client.socket, select.POLLHUP)
        most = 0
        while not poll.poll(5):
            most = max(most, daemon.resident_kib() - before)
            self.assertEqual(bystander.call("ping"), "pong")
        self.assertLess(most, 64 * 1024)
        daemon.wait_for("takes no answers")
        self.wait_for_connections(bystander, 1)

    def test_slow_client_is_not_closed(self):
        daemon, client, bystander = self.serve(config="client_stall_timeout: 1s\n")
        self.fill(bystander)
        client.send(self.gets(300))
        self.assertEqual(len(client.receive_answers(300)), 300)
        self.assertIsNone(daemon.said("takes no answers"))

    def test_many_small_requests_do_not_hold_up_others(self):
        _, client, bystander = self.serve()
        data = b"".join(request(i, "get", "team", 1) for i in range(20000))
        sent = 0
        client.socket.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while sent < len(data):
                sent += client.socket.send(data[sent:])
        self.assertEqual(bystander.call("ping"), "pong")
        client.socket.settimeout(relata_test.PATIENCE_S)
        poll = select.poll()
        poll.register(client.socket, select.POLLIN)
        answers = {}
        while len(answers) < 20000:
            answers.update(client.receive_answers(1))
            if sent < len(data):
                with contextlib.suppress(BlockingIOError):
                    sent += client.socket.send(data[sent:], socket.MSG_DONTWAIT)
        self.assertEqual(sorted(answers), list(range(20000)))

    def test_connections(self):
        daemon, client, _ = self.serve(config="limits: {connections: 4}\n")
        more = [daemon.connect() for _ in range(2)]
        for other in more:
            self.assertEqual(other.call("ping"), "pong")
        for _ in range(3):
            self.assertEqual(daemon.connect().receive_all(), [])
        daemon.wait_for("connections_full")
        self.assertEqual(sum("connections_full" in line for line in daemon.lines), 1)
        more[0].close()

        def is_let_in():
            try:
                return daemon.connect().call("ping") == "pong"
            except (Closed, OSError):
                return False
        wait_until(is_let_in, "room for one more")
        self.assertEqual(client.call("ping"), "pong")

    def test_out_of_descriptors(self):
        daemon, client, bystander = self.serve(
            limit=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40)))
        daemon.wait_for("few_descriptors")
        crowd = [daemon.connect() for _ in range(80)]
        daemon.wait_for("connections_full")
        before = daemon.cpu_s()
        for _ in range(50):
            self.assertEqual(client.call("ping"), "pong")
            select.select([], [], [], 0.01)
        self.assertLess(daemon.cpu_s() - before, 0.4)
        for other in crowd:
            other.close()
        self.wait_for_connections(bystander, 2)
        self.assertEqual(daemon.connect().call("ping"), "pong")

    def test_work_bytes(self):
        daemon, client, bystander = self.serve(config="limits: {work_bytes: 1MiB}\n")
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            client.send(request(8, "create", "ticket", {"id": 1, "subject": "x" * 8000000}))
        messages = client.receive_all()
        self.assertEqual([message[1] for message in messages], [8])
        self.assertRegex(messages[0][2], "^overloaded: .*work_bytes")
        self.assertIsNone(bystander.call("get", "ticket", 1))
        daemon.wait_for("connection_closed")

    def test_answer_that_multiplies_on_each_level(self):
        _, client, bystander = self.serve(config="limits: {answer_bytes: 1MiB}\n")
        client.call("create_many", "ticket", [{"id": i, "team_id": 1} for i in range(1000)])
        load = {}
        for name in ["team", "tickets"] * 4:
            load = {"load": {name: load}}
        # 1000^4 records, if somebody wrote them.
        for call in [("get", "team", 1, load), ("read", "team", dict(load, filter="id == 1")),
                     ("get_many", "team", [1], load),
                     ("load", "team", [1], "tickets", {"query": load["load"]["tickets"]})]:
            with self.subTest(call[0]):
                error = self.assert_refused("too_large", client.call, *call)
                self.assertIn("answer_bytes", error)
                self.assertEqual(bystander.call("ping"), "pong")

    def test_many_loads_in_one_call(self):
        _, client, _ = self.serve()

        def loads(count):
            return {"load": [{"tickets": {"as": f"t{i}"}} for i in range(count)]}
        self.assertEqual(len(client.call("get", "team", 1, loads(1000))), 1002)
        for call in [("get", "team", 1, loads(1001)), ("get", "team", 1, loads(100000)),
                     ("read", "team", loads(1001)),
                     ("load", "team", [1], loads(1001)["load"]),
                     ("get", "ticket", 1, {"load": {"team": loads(1000)}})]:
            error = self.assert_refused("too_large", client.call, *call)
            self.assertIn("at most 1000 relationships", error)

    def test_params_of_a_condition_are_a_map(self):
        _, client, _ = self.serve()
        error = self.assert_refused("invalid_request", client.call, "update", "team", 1,
                                    {"name": "blue"}, {"if": "id == 1", "params": 5})
        self.assertIn("params", error)

    def test_limits_are_told_and_named(self):
        daemon, client, _ = self.serve(config="limits: {keys_per_call: 10, frame_bytes: 64KiB}\n")
        limits = client.call("hello", {"errors": "map"})["limits"]
        self.assertEqual((limits["keys_per_call"], limits["frame_bytes"]), (10, 65536))
        error = self.assert_refused("too_large", client.call, "get_many", "team", list(range(11)))
        self.assertEqual(error["details"]["limit"], "keys_per_call")
        client.send(request(77, "ping", "x" * 70000))
        message = client.receive()
        self.assertEqual((message[1], message[2]["details"]["limit"]), (77, "frame_bytes"))
        self.assertRaises(Closed, client.receive)
        daemon.wait_for("frame_bytes")


class Life(ServerCase):
    def run_with(self, daemon, *args, config=None):
        return subprocess.run(
            [relata_test.RELATAD, "--config", config or daemon.config_path, *args],
            capture_output=True, text=True, timeout=relata_test.PATIENCE_S,
            env=daemon.environment, check=False)

    def test_stops_gracefully_with_requests_pending(self):
        daemon, client, _ = self.serve()
        client.send(b"".join(request(i, "upsert", "team", {"id": 2, "name": str(i)})
                             for i in range(3000)))
        daemon.signal(signal.SIGTERM)
        answers = client.receive_answers(3000)
        self.assertTrue(all(error is None for error, _ in answers.values()))
        self.assertRaises(Closed, client.receive)
        self.assertEqual(daemon.wait(), 0, daemon.log())
        self.assertFalse(os.path.exists(daemon.address[5:]))
        self.assertIsNotNone(daemon.said("event=stopped"))

    def test_stops_with_a_client_that_never_reads(self):
        daemon, client, bystander = self.serve(config="shutdown_timeout: 200ms\n")
        self.fill(bystander)
        client.send(self.gets(100))
        client.receive()
        daemon.signal(signal.SIGTERM)
        self.assertEqual(daemon.wait(), 0, daemon.log())
        self.assertIsNotNone(daemon.said("stop_overdue"))

    def test_second_signal_ends_at_once(self):
        daemon, client, bystander = self.serve(config="shutdown_timeout: 1h\n")
        self.fill(bystander)
        client.send(self.gets(100))
        client.receive()
        daemon.signal(signal.SIGTERM)
        daemon.wait_for("event=stopping")
        daemon.signal(signal.SIGINT)
        self.assertEqual(daemon.wait(), 1, daemon.log())

    @layers.leave_out("redis-resident", why="a new prefix means a new connection to Redis")
    def test_reload_takes_a_good_schema(self):
        daemon, client, _ = self.serve()
        self.assert_refused("unknown_resource", client.call, "get", "note", 1)
        daemon.write("schema.yaml", SCHEMA + NOTE)
        daemon.signal(signal.SIGHUP)
        daemon.wait_for("event=reloaded")
        self.assertEqual(client.call("create", "note", {"id": 1}), {"id": 1})

    def test_reload_refuses_a_bad_schema(self):
        daemon, client, _ = self.serve()
        daemon.write("schema.yaml", SCHEMA + NOTE.replace("integer", "intiger"))
        daemon.signal(signal.SIGHUP)
        line = daemon.wait_for("event=reload_refused")
        self.assertRegex(line, r"schema\.yaml:\d+:\d+: .*integer")
        self.assert_refused("unknown_resource", client.call, "get", "note", 1)
        self.assertEqual(client.call("get", "team", 1)["name"], "red")

    def test_reload_takes_limits(self):
        daemon, client, _ = self.serve()
        self.assertEqual(client.call("get_many", "team", [1, 2, 3])[1:], [None, None])
        daemon.write("relata.yaml", "schema: schema.yaml\nlimits: {keys_per_call: 2}\n")
        daemon.signal(signal.SIGHUP)
        daemon.wait_for("event=reloaded")
        self.assert_refused("too_large", client.call, "get_many", "team", [1, 2, 3])

    def test_replaces_a_stale_socket(self):
        daemon = Daemon(SCHEMA)
        self.addCleanup(daemon.remove)
        stale = socket.socket(socket.AF_UNIX)
        stale.bind(daemon.address[5:])
        stale.listen()
        stale.close()
        daemon.start()
        self.assertEqual(daemon.connect().call("ping"), "pong")
        daemon.wait_for("stale_socket_removed")
        self.assertEqual(os.stat(daemon.address[5:]).st_mode & 0o777, 0o660)
        self.assertEqual(daemon.stop(), 0)

    def test_two_daemons_on_one_socket(self):
        daemon, client, _ = self.serve()
        second = self.run_with(daemon, "--listen", daemon.address)
        self.assertEqual(second.returncode, 1)
        self.assertIn("another process listens there", second.stderr)
        self.assertEqual(daemon.connect().call("ping"), "pong")
        self.assertEqual(client.call("ping"), "pong")

    def test_does_not_replace_a_file(self):
        daemon, _, _ = self.serve()
        path = daemon.write("data", "precious")
        second = self.run_with(daemon, "--listen", "unix:" + path)
        self.assertEqual(second.returncode, 1)
        with open(path, encoding="utf-8") as file:
            self.assertEqual(file.read(), "precious")

    def test_does_not_listen_beyond_the_host(self):
        daemon, _, _ = self.serve()
        second = self.run_with(daemon, "--listen", "tcp:0.0.0.0:0")
        self.assertEqual(second.returncode, 1)
        self.assertIn("not supported yet", second.stderr)

    def test_check(self):
        daemon, _, _ = self.serve()
        good = self.run_with(daemon, "--check")
        self.assertEqual((good.returncode, good.stderr, good.stdout), (0, "", ""))
        daemon.write("schema.yaml", SCHEMA.replace("has_many", "has_mny"))
        config = daemon.write("bad.yaml", "listne: [unix:x]\nschema: schema.yaml\n")
        bad = self.run_with(daemon, "--check", config=config)
        self.assertEqual(bad.returncode, 1)
        self.assertRegex(bad.stderr, r'bad\.yaml:1:1: .*"listen"')
        self.assertRegex(bad.stderr, r"schema\.yaml:\d+:\d+: .*has_many")

    def test_flags_over_environment_over_file(self):
        daemon = Daemon(SCHEMA, listen=False, config="listen: [unix:file.sock]\n")
        self.addCleanup(daemon.remove)
        daemon.start()
        self.assertEqual(daemon.addresses(), ["unix:" + os.path.join(daemon.folder, "file.sock")])
        self.assertEqual(daemon.stop(), 0)
        daemon.lines.clear()
        daemon.environment["RELATA_LISTEN"] = f"unix:{daemon.folder}/env.sock,tcp:127.0.0.1:0"
        daemon.start()
        self.assertEqual(daemon.addresses()[0], f"unix:{daemon.folder}/env.sock")
        self.assertRegex(daemon.addresses()[1], r"^tcp:127\.0\.0\.1:[1-9]\d*$")
        self.assertEqual(daemon.stop(), 0)
        daemon.lines.clear()
        daemon.args += ["--listen", daemon.address]
        daemon.start()
        self.assertEqual(daemon.addresses(), [daemon.address])
        self.assertEqual(daemon.stop(), 0)

    def test_tells_the_service_manager(self):
        manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(manager.close)
        manager.bind("")  # an abstract name of the kernel's choice
        manager.settimeout(relata_test.PATIENCE_S)
        name = "@" + manager.getsockname()[1:].decode()
        daemon = self.start(SCHEMA, environment={"NOTIFY_SOCKET": name})
        self.assertEqual(manager.recv(100), b"READY=1")
        daemon.signal(signal.SIGHUP)
        self.assertRegex(manager.recv(100), rb"^RELOADING=1\nMONOTONIC_USEC=\d+$")
        self.assertEqual(manager.recv(100), b"READY=1")
        daemon.signal(signal.SIGTERM)
        self.assertEqual(manager.recv(100), b"STOPPING=1")
        self.assertEqual(daemon.wait(), 0, daemon.log())

    def test_log_level_from_the_environment(self):
        daemon = self.start(SCHEMA, environment={"RELATA_LOG_LEVEL": "debug"})
        self.assertEqual(daemon.connect().call("ping"), "pong")
        self.assertIn("level=debug", daemon.wait_for("event=connection_opened"))


if __name__ == "__main__":
    unittest.main()
