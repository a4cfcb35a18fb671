"""The Redis servers, Clusters and proxies of other tests do what those rely on."""

import os
import socket
import threading
import time
import unittest

import redis_server
from redis_server import LinkLost, Redis, RedisError, key_in, slot_of
from relata_test import wait_until


class Server(redis_server.RedisCase):
    def test_calls(self):
        redis = self.redis()
        for url in (redis.url, redis.unix_url):
            client = Redis(url)
            self.assertEqual(client.call("SET", "k", b"\x00\r\n\xff"), b"OK")
            self.assertEqual(client.call("GET", "k"), b"\x00\r\n\xff")
            self.assertIsNone(client.call("GET", "absent"))
            client.call("DEL", "h")
            self.assertEqual(client.call("HSET", "h", "i", 7, "f", 1.5), 2)
            self.assertEqual(client.call("HGETALL", "h"), [b"i", b"7", b"f", b"1.5"])
            with self.assertRaises(RedisError) as caught:
                client.call("GET", "h")
            self.assertEqual(caught.exception.code, "WRONGTYPE")
            client.close()
            with self.assertRaises(LinkLost):
                client.call("PING")
            client.reconnect()
            self.assertEqual(client.call("PING"), b"PONG")
            client.close()

    def test_pipeline(self):
        client = self.redis().client()
        big = os.urandom(1 << 20)
        answers = client.pipeline([("SET", "k", big), ("NO-SUCH",), ("GET", "k")] * 3)
        self.assertEqual(answers[0::3], [b"OK"] * 3)
        self.assertEqual([answer.code for answer in answers[1::3]], ["ERR"] * 3)
        self.assertEqual(answers[2::3], [big] * 3)

    def test_resp3(self):
        redis = self.redis()
        client, other = redis.client(protocol=3), redis.client()
        answers = {"map": {0: False, 1: True, 2: False}, "double": 3.141, "null": None,
                   "true": True,
                   "bignum": 1234567999999999999999999999999999999,
                   "verbatim": b"This is a verbatim\nstring",
                   "set": [0, 1, 2], "attrib": b"Some real reply following the attribute"}
        for kind, expected in answers.items():
            self.assertEqual(client.call("DEBUG", "PROTOCOL", kind), expected, kind)
        client.call("CLIENT", "TRACKING", "ON")
        client.call("GET", "k")
        other.call("SET", "k", 1)
        self.assertEqual(client.wait_push(), [b"invalidate", [b"k"]])
        client.call("GET", "k")
        other.call("FLUSHALL")
        self.assertEqual(client.call("PING"), b"PONG")
        self.assertEqual(client.pushes, [[b"invalidate", None]])

    def test_password_and_config(self):
        redis = self.redis(password="se/cr:et", config="maxmemory 64mb")
        self.assertEqual(redis.call("CONFIG", "GET", "maxmemory"), [b"maxmemory", b"67108864"])
        plain = Redis(redis.url.replace(redis._who, ""))
        with self.assertRaises(RedisError) as caught:
            plain.call("GET", "k")
        self.assertEqual(caught.exception.code, "NOAUTH")
        plain.close()

    def test_unix_socket_alone(self):
        redis = self.redis(tcp=False)
        self.assertEqual((redis.port, redis.url), (0, redis.unix_url))
        self.assertEqual(redis.call("CONFIG", "GET", "port"), [b"port", b"0"])
        redis.restart()
        self.assertEqual(redis.call("PING"), b"PONG")

    def test_pause_and_resume(self):
        redis = self.redis()
        hurried, patient = redis.client(timeout_s=0.1), redis.client()
        redis.pause()
        with self.assertRaises(LinkLost):
            hurried.call("PING")
        answers = []
        thread = threading.Thread(target=lambda: answers.append(patient.call("PING")))
        thread.start()
        self.assertEqual(answers, [])
        redis.resume()
        thread.join()
        self.assertEqual(answers, [b"PONG"])
        redis.pause()
        redis.stop()
        self.assertFalse(redis.is_running)

    def test_kill_and_restart(self):
        for appendonly, kept in ((False, None), (True, b"1")):
            redis = self.redis(appendonly=appendonly)
            client, port, pid = redis.client(), redis.port, redis.pid
            client.call("SET", "k", 1)
            redis.kill()
            with self.assertRaises(LinkLost):
                client.call("GET", "k")
            with self.assertRaises(LinkLost):
                client.reconnect()
            # While it is down the port is nobody else's.
            with socket.socket() as other, self.assertRaises(OSError):
                other.bind(("127.0.0.1", port))
            redis.restart()
            self.assertEqual(redis.port, port)
            self.assertNotEqual(redis.pid, pid)
            client.reconnect()
            self.assertEqual(client.call("GET", "k"), kept)
            redis.restart()
            self.assertEqual(redis.call("GET", "k"), kept)

    def test_many_at_once(self):
        servers = [self.redis(config="maxclients 50") for _ in range(6)]
        self.assertEqual(len({server.port for server in servers}), 6)
        for server in servers:
            self.assertEqual(server.info("server")["process_id"], str(server.pid))

    def test_port_that_is_taken(self):
        # Once somebody listens on the port that was chosen, it takes another one.
        taken = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(taken.close)
        redis = redis_server.RedisServer(start=False)
        self.addCleanup(redis.remove)
        choose, tries = redis._choose_ports, []

        def choose_badly():
            choose()
            tries.append(redis.port)
            if len(tries) == 1:
                redis.port = taken.getsockname()[1]

        redis._choose_ports = choose_badly
        redis.start()
        self.assertEqual(len(tries), 2)
        self.assertEqual(redis.port, tries[1])

    def test_faulty_config_is_told(self):
        with self.assertRaises(AssertionError) as caught:
            redis = redis_server.RedisServer(config="no-such-thing 1", start=False)
            self.addCleanup(redis.remove)
            redis.start()
        self.assertIn("no-such-thing", str(caught.exception))

    def test_nothing_is_left(self):
        redis = redis_server.RedisServer(appendonly=True)
        pid = redis.pid
        redis.client().call("SET", "k", 1)
        redis.remove()
        self.assertFalse(os.path.exists(redis.folder))
        self.assertFalse(os.path.exists(redis.unix_path))
        self.assertFalse(os.path.exists(f"/proc/{pid}"))

    def test_homes(self):
        redis = self.redis()
        self.assertEqual(self.home(redis), {"url": redis.url})
        self.assertEqual(self.home("redis://x"), {"url": "redis://x"})
        self.assertEqual(self.home({"url": "a", "timeout": "1s"}), {"url": "a", "timeout": "1s"})


class Slots(redis_server.RedisCase):
    def test_slot_of(self):
        # From the Redis Cluster specification, and as CLUSTER KEYSLOT answers.
        self.assertEqual(slot_of("123456789"), 0x31c3)
        self.assertEqual(slot_of("{user}:1"), 5474)
        self.assertEqual(slot_of("{user}:2"), 5474)
        self.assertEqual(slot_of("foo{bar}{zap}"), 5061)
        self.assertEqual(slot_of(key_in(7)), 7)

    def test_as_redis(self):
        redis = self.redis(config="cluster-enabled yes").client()
        for key in ("a", "a{}b", "x{y", "x}y{z}", "{{a}}", "{}{b}", "ü", ""):
            self.assertEqual(slot_of(key), redis.call("CLUSTER", "KEYSLOT", key), key)


class Cluster(redis_server.RedisCase):
    def test_it_forms_and_moves_and_fails_over(self):
        cluster = self.cluster()
        self.assertEqual(len(cluster.nodes), 6)
        self.assertEqual(cluster.masters(), cluster.nodes[:3])
        for master in cluster.masters():
            self.assertEqual(len(cluster.replicas_of(master)), 1)
        self.assertEqual(self.home(cluster), {"url": cluster.url, "cluster": True})
        self.calls(cluster)
        self.moves(cluster)
        self.asks(cluster)
        self.fails_over(cluster)

    def calls(self, cluster):
        for number in range(100):
            self.assertEqual(cluster.call(f"k{number}", "SET", f"k{number}", number), b"OK")
        self.assertEqual({cluster.owner_of(f"k{number}") for number in range(100)},
                         set(cluster.masters()))
        with self.assertRaises(RedisError) as caught:
            cluster.call("k1", "HGET", "k1", "f")
        self.assertEqual(caught.exception.code, "WRONGTYPE")

    def moves(self, cluster):
        """Keys stay readable while their slot moves, also to whoever knows the old map."""
        tagged = [f"{{move}}{number}" for number in range(250)]
        for key in tagged:
            cluster.call(key, "SET", key, key)
        slot = cluster.slot_of("{move}")
        source = cluster.owner_of("{move}")
        target = next(node for node in cluster.masters() if node is not source)
        reads, wrong, done = 0, [], threading.Event()
        reader = cluster.client()

        def read():
            nonlocal reads
            while not done.is_set():
                key = tagged[reads % len(tagged)]
                if reader.call(key, "GET", key) != key.encode():
                    wrong.append(key)
                reads += 1

        thread = threading.Thread(target=read)
        thread.start()
        wait_until(lambda: reads > 10, "reads before")
        cluster.move_slot(slot, target)
        before = reads
        wait_until(lambda: reads > before + 10 or not thread.is_alive(), "reads behind")
        done.set()
        thread.join()
        self.assertEqual(wrong, [])
        self.assertIs(cluster.owner_of("{move}"), target)
        self.assertIs(reader.map[slot], target)
        self.assertEqual(source.call("CLUSTER", "COUNTKEYSINSLOT", slot), 0)

    def asks(self, cluster):
        """In the middle of a move."""
        for number in range(4):
            cluster.call("{ask}", "SET", f"{{ask}}{number}", number)
        slot = cluster.slot_of("{ask}")
        source = cluster.owner_of("{ask}")
        target = next(node for node in cluster.masters() if node is not source)
        cluster.begin_move(slot, target)
        self.assertEqual(cluster.move_keys(slot, target, 2), 2)
        errors = []
        for number in range(4):
            try:
                source.call("GET", f"{{ask}}{number}")
            except RedisError as error:
                errors.append(error.code)
            self.assertEqual(cluster.call("{ask}", "GET", f"{{ask}}{number}"), b"%d" % number)
        self.assertEqual(errors, ["ASK", "ASK"])
        self.assertIs(cluster.owner_of("{ask}"), source)
        self.assertEqual(cluster.move_keys(slot, target), 2)
        cluster.end_move(slot, target)
        self.assertIs(cluster.owner_of("{ask}"), target)

    def fails_over(self, cluster):
        master = cluster.owner_of("k1")
        replica, = cluster.replicas_of(master)
        # What was written is with the replica before the master dies.
        cluster.call("k1", "SET", "k1", "last")
        self.assertEqual(cluster.call_node(master, "WAIT", 1, 10000), 1)
        self.assertIs(cluster.kill_master(master), replica)
        self.assertIs(cluster.owner_of("k1"), replica)
        self.assertEqual(cluster.call("k1", "GET", "k1"), b"last")
        self.assertNotIn(master, cluster.masters())
        cluster.restart(master)
        self.assertEqual(cluster.replicas_of(replica), [master])
        self.assertEqual(cluster.call("k1", "GET", "k1"), b"last")

    def test_masters_alone_with_a_password(self):
        cluster = self.cluster(masters=2, replicas=0, password="secret")
        cluster.call("k", "SET", "k", 1)
        slot, owner = cluster.slot_of("k"), cluster.owner_of("k")
        other, = (node for node in cluster.nodes if node is not owner)
        cluster.move_slot(slot, cluster.index_of(other))
        self.assertIs(cluster.owner_of("k"), other)
        self.assertEqual(cluster.call("k", "GET", "k"), b"1")
        third = cluster.add_master()
        self.assertEqual(set(cluster.masters()), {owner, other})
        cluster.move_slot(slot, third)
        self.assertIs(cluster.owner_of("k"), third)
        self.assertIn(third, cluster.masters())
        self.assertEqual(cluster.call("k", "GET", "k"), b"1")


class Proxied(redis_server.RedisCase):
    def setUp(self):
        self.server = self.redis()
        self.proxied = self.proxy(self.server)
        self.client = Redis(self.proxied.url)
        self.addCleanup(self.client.close)

    def test_counts(self):
        proxy = self.proxied
        for number in range(3):
            self.client.call("SET", "k", number)
        sent = len(redis_server.encode("SET", "k", 0))
        self.assertEqual((proxy.connections, proxy.chunks_up), (1, 3))
        self.assertEqual((proxy.bytes_up, proxy.bytes_down), (3 * sent, 3 * len(b"+OK\r\n")))
        self.client.pipeline([("PING",)] * 10)
        self.assertEqual(proxy.chunks_up, 4)

    def test_much_passes(self):
        big = os.urandom(8 << 20)
        self.client.call("SET", "k", big)
        self.assertEqual(self.client.call("GET", "k"), big)
        self.assertGreater(self.proxied.bytes_down, len(big))

    def test_stall(self):
        self.proxied.stall()
        self.client.send(redis_server.encode("SET", "k", 1))
        wait_until(lambda: self.proxied.chunks_up == 1, "the command")
        late = Redis(self.proxied.url)
        self.addCleanup(late.close)
        late.send(redis_server.encode("PING"))
        self.assertIsNone(self.server.call("GET", "k"))
        self.proxied.go_on()
        self.assertEqual(self.client.receive(), b"OK")
        self.assertEqual(late.receive(), b"PONG")

    def test_stalled_answers(self):
        """The command is done, and its answer is not there: then the link is lost."""
        self.proxied.stall("down")
        self.client.send(redis_server.encode("SET", "k", 1))
        wait_until(lambda: self.server.call("GET", "k") == b"1", "the command")
        self.assertEqual(self.proxied.cut(), 1)
        with self.assertRaises(LinkLost):
            self.client.receive()
        self.proxied.go_on()
        self.client.reconnect()
        self.assertEqual(self.client.call("GET", "k"), b"1")

    def test_cut(self):
        for reset, why in ((True, "reset"), (False, "closed")):
            self.client.call("PING")
            self.assertEqual(self.proxied.open_connections(), 1)
            self.assertEqual(self.proxied.cut(reset), 1)
            with self.assertRaises(LinkLost) as caught:
                self.client.receive()
            self.assertIn(why, str(caught.exception))
            self.client.reconnect()
        self.assertEqual(self.client.call("PING"), b"PONG")
        self.assertEqual(self.proxied.connections, 3)

    def test_cut_within_an_answer(self):
        self.client.call("SET", "k", "0123456789")
        self.proxied.cut_after(8)
        self.client.send(redis_server.encode("GET", "k"))
        with self.assertRaises(LinkLost):
            self.client.receive()
        # A reset may take what came before it with it, so of the answer at most this came.
        self.assertTrue(b"$10\r\n012".startswith(self.client.buffer))

    def test_refuse(self):
        self.proxied.refuse()
        self.assertEqual(self.client.call("PING"), b"PONG")
        self.proxied.cut()
        with self.assertRaises(LinkLost):
            self.client.reconnect()
        self.proxied.accept()
        self.client.reconnect()
        self.assertEqual(self.client.call("PING"), b"PONG")

    def test_delay(self):
        self.proxied.delay(50)
        begun = time.monotonic()
        self.assertEqual(self.client.pipeline([("PING",)] * 3), [b"PONG"] * 3)
        self.assertGreaterEqual(time.monotonic() - begun, 0.1)
        self.proxied.go_on()
        self.assertEqual(self.client.call("PING"), b"PONG")

    def test_slow(self):
        self.client.call("SET", "k", "x" * 100000)
        self.proxied.slow(1e6)
        begun = time.monotonic()
        self.assertEqual(len(self.client.call("GET", "k")), 100000)
        self.assertGreaterEqual(time.monotonic() - begun, 0.1)
        self.proxied.go_on()
        self.assertEqual(self.client.call("PING"), b"PONG")

    def test_changed_answer(self):
        self.client.call("SET", "k", "7")
        self.proxied.change_answer(b"$1\r\n7\r\n", b"_\r\n")
        self.assertEqual(self.client.call("PING"), b"PONG")
        self.assertIsNone(self.client.call("GET", "k"))
        self.assertEqual(self.client.call("GET", "k"), b"7")

    def test_it_ends_when_either_side_does(self):
        self.server.kill()
        with self.assertRaises(LinkLost):
            self.client.call("PING")
        wait_until(lambda: self.proxied.open_connections() == 0, "the end of the connection")
        self.server.restart()
        self.client.reconnect()
        self.client.call("PING")
        self.client.close()
        wait_until(lambda: self.proxied.open_connections() == 0, "the end of the connection")


if __name__ == "__main__":
    unittest.main()
