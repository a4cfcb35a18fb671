"""Modules that send raw commands to a real Redis: the manual's leaderboard, what replies
become, what is refused, and what becomes of commands when their link or batch ends."""

import json
import os
import shutil
import subprocess
import tempfile
import unittest

import helpdesk
import redis_server
import relata_test
from relata_test import wait_until
from test_docs import blocks
from test_examples import BUILD

ROOT = os.path.abspath(helpdesk.ROOT)
READER = os.path.join(BUILD, "tests", "modules", "redis_reader.so")

SCHEMA = """version: 1
resources:
  rep:
    fields: {{id: integer}}
    relationships:
{relationships}
  ticket:
    fields: {{id: integer, seen: any}}
"""


def schema(**relationships):
    """Relationships of rep, each with the options of its module."""
    timeouts = {name: options.pop("timeout", "10s") for name, options in relationships.items()}
    return SCHEMA.format(relationships="\n".join(
        f"      {name}: {{has_many: ticket, actor: none, batch: {{timeout: {timeouts[name]}}}, "
        f"manual: {{module: '{READER}', options: {json.dumps(options)}}}}}"
        for name, options in relationships.items()))


class Case(redis_server.RedisCase):
    def begin(self, redis, config="", homes=None, **relationships):
        self.daemon = self.start_relatad(schema(**relationships), homes or {"main": redis},
                                         config=config)
        self.client = self.daemon.connect()
        self.client.call("create", "rep", {"id": 1})

    def seen(self, name):
        return self.client.call("load", "rep", [1], name)[0][0]["seen"]

    def refused(self, name):
        return self.assert_refused("loader_failed", self.seen, name)

    def links(self, redis):
        return len(redis.call("CLIENT", "LIST").splitlines())


class Manual(redis_server.RedisCase):
    def test_the_best_players(self):
        of_module = [block.text for block in blocks(page="docs/modules.md")
                     if "best_players" in block.text]
        self.assertEqual(len(of_module), 2)
        folder = tempfile.mkdtemp(prefix="relata-test-")
        self.addCleanup(shutil.rmtree, folder)
        source = os.path.join(folder, "best_players.c")
        with open(source, "w", encoding="utf-8") as file:
            file.write(of_module[1])
        built = os.path.join(folder, "best_players.so")
        sanitize = os.environ.get("RELATA_SANITIZE")
        subprocess.run(["cc", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC",
                        *(["-fsanitize=" + sanitize] if sanitize else []), "-I",
                        os.path.join(ROOT, "layers", "module"), "-o", built, source], check=True)
        text = of_module[0].replace("best_players.so", built)
        cluster = self.cluster()
        for redis in (self.redis(), cluster):
            for game in range(1, 31):
                for player in range(game):
                    key = f"board:{game}"
                    words = ("ZADD", key, player * 7 % 31, f"p{player}")
                    redis.call(key, *words) if redis is cluster else redis.call(*words)
            daemon = self.start_relatad(text, {"main": redis})
            client = daemon.connect()
            client.call("create_many", "game", [{"id": game} for game in range(1, 33)])
            client.call("create_many", "player", [{"name": f"p{n}"} for n in range(30)])
            found = client.call("load", "game", list(range(1, 33)), "best_players")
            for game, players in enumerate(found, 1):
                best = sorted(range(game if game <= 30 else 0), key=lambda n: -(n * 7 % 31))
                self.assertEqual([player["name"] for player in players],
                                 [f"p{n}" for n in best[:10]])


class Replies(Case):
    def test_what_they_become(self):
        redis = self.redis()
        redis.call("SET", "text", "Grüße")
        redis.call("SET", "bytes", b"\xff\x00\r\n")
        redis.call("HSET", "hash", "a", "1", "b", "2")
        redis.call("ZADD", "board", "1.5", "Ann", "2", "Bob")
        script = "return {1, false, {'a', {'b'}}, redis.error_reply('ERR of a part')}"
        expected = {
            "ping": (["PING"], "PONG"),
            "nothing": (["GET", "absent"], None),
            "text": (["GET", "text"], "Grüße"),
            "empty": (["GETRANGE", "text", 100, 200], ""),
            "binary": (["GET", "bytes"], b"\xff\x00\r\n"),
            "integer": (["INCRBY", "counter", 70000000000], 70000000000),
            "negative": (["DECRBY", "lower", 5], -5),
            "real": (["ZSCORE", "board", "Ann"], 1.5),
            "list": (["MGET", "text", "absent"], ["Grüße", None]),
            "no_list": (["LRANGE", "absent", 0, -1], []),
            "scores": (["ZRANGE", "board", 0, -1, "WITHSCORES"], [["Ann", 1.5], ["Bob", 2.0]]),
            "map": (["HGETALL", "hash"], {"a": "1", "b": "2"}),
            "members": (["SMEMBERS", "absent"], []),
            "script": (["EVAL", script, 0], [1, None, ["a", ["b"]], {"error": "ERR of a part"}]),
            "boolean": (["EVAL", "redis.setresp(3); return true", 0], True),
        }
        self.begin(redis, **{name: {"command": words} for name, (words, _) in expected.items()})
        for name, (_, value) in expected.items():
            with self.subTest(name):
                self.assertEqual(self.seen(name), value)

    def test_errors_and_bounds(self):
        redis = self.redis()
        redis.call("SET", "text", "x" * 5000)
        self.begin(redis, config="limits: {provider_answer_bytes: 5000}",
                   wrong={"command": ["LPUSH", "text", 1]},
                   unknown={"command": ["NOSUCH"]},
                   large={"command": ["GET", "text"]},
                   fits={"command": ["GETRANGE", "text", 0, 4000]})
        self.assertEqual(self.seen("wrong"), [
            "loader_failed",
            "WRONGTYPE Operation against a key holding the wrong kind of value"])
        self.assertIn("ERR unknown command 'NOSUCH'", self.seen("unknown")[1])
        code, text = self.seen("large")
        self.assertEqual(code, "too_large")
        self.assertIn("provider_answer_bytes", text)
        self.assertEqual(self.seen("fits"), "x" * 4001)

    def test_a_thousand_at_a_time(self):
        redis = self.redis()
        self.begin(redis, many={"command": ["INCR", "n"], "times": 1000},
                   more={"command": ["INCR", "m"], "times": 1001})
        for round_number in range(1, 4):
            self.assertEqual(self.seen("many"), 1000 * round_number)
        self.assertIn("-4 after 1000: a batch has at most 1000", self.refused("more"))
        # What was sent is not taken back, and the next one finds its place.
        wait_until(lambda: redis.call("GET", "m") == b"1000")
        self.assertEqual(self.seen("many"), 4000)


class Refusals(Case):
    WORDS = ["MULTI", "exec", "Watch", "SELECT", "HELLO", "AUTH", "QUIT", "RESET", "SUBSCRIBE",
             "PSUBSCRIBE", "SSUBSCRIBE", "MONITOR", "BLPOP", "BRPOPLPUSH", "BZPOPMIN", "WAIT"]

    def test_commands_that_would_disturb_others(self):
        commands = {f"c{n}": [word, "1", "1"] for n, word in enumerate(self.WORDS)}
        commands["reply"] = ["CLIENT", "REPLY", "OFF"]
        commands["tracking"] = ["client", "tracking", "on"]
        commands["xread"] = ["XREAD", "COUNT", 1, "BLOCK", 0, "STREAMS", "s", "0"]
        self.begin(self.redis(), fine={"command": ["XREAD", "STREAMS", "block", "0"]},
                   number={"command": ["CLIENT", "ID"]},
                   **{name: {"command": words} for name, words in commands.items()})
        number = self.seen("number")
        for name, words in commands.items():
            error = self.refused(name)
            self.assertIn("-2 after 0: ", error)
            self.assertIn(words[0].lower(), error.lower())
            self.assertIn("cannot be sent: ", error)
        self.assertIsNone(self.seen("fine"))
        self.assertEqual(self.seen("number"), number)

    def test_what_is_no_command(self):
        wrong = {"none": [], "text": "PING", "empty": None, "map": ["GET", {"a": 1}],
                 "list": ["GET", ["a"]], "real": ["SET", "a", 1.5], "nothing": ["GET", None]}
        self.begin(self.redis(), elsewhere={"command": ["PING"], "home": "other"},
                   size={"command": ["PING"], "do": "no_size"}, absent={},
                   **{name: {"command": words} for name, words in wrong.items()})
        for name in ("none", "text", "empty", "absent"):
            self.assertIn("expected an array of at least one word", self.refused(name))
        self.assertIn("word 2 of a Redis command: expected a string, a binary or an integer, "
                      "got a map", self.refused("map"))
        for name in ("list", "real", "nothing"):
            self.assertIn("of a Redis command: expected", self.refused(name))
        self.assertIn('the configuration names no Redis "other"', self.refused("elsewhere"))
        self.assertIn("lacks its size", self.refused("size"))

    def test_no_redis_at_all(self):
        daemon = self.start(schema(any={"command": ["PING"]}))
        client = daemon.connect()
        client.call("create", "rep", {"id": 1})
        error = self.assert_refused("loader_failed", client.call, "load", "rep", [1], "any")
        self.assertIn("-2 after 0: the configuration names no Redis", error)


class Links(Case):
    def test_opened_on_first_use(self):
        redis = self.redis()
        self.begin(redis, number={"command": ["CLIENT", "ID"]}, info={"command": ["CLIENT", "INFO"]})
        before = self.links(redis)
        number = self.seen("number")
        self.assertEqual(self.links(redis), before + 1)
        for _ in range(5):
            self.assertEqual(self.seen("number"), number)
        self.assertIn(" resp=3", self.seen("info"))
        self.assertIn(" flags=N ", self.seen("info"))  # it tracks nothing
        self.assertEqual(self.links(redis), before + 1)

    def test_a_lost_link(self):
        redis = self.redis()
        self.begin(redis, number={"command": ["CLIENT", "ID"]},
                   incr={"command": ["INCR", "n"]})
        number = self.seen("number")
        self.assertEqual(redis.call("CLIENT", "KILL", "ID", number), 1)

        def again():
            answer = self.seen("number")
            if isinstance(answer, list):
                self.assertEqual(answer[0], "unavailable")
                self.assertRegex(answer[1], "redis main: .*; the command (was not|may have been) "
                                            "executed")
                return False
            self.assertNotEqual(answer, number)
            return True
        wait_until(again)
        # The home's own links have not noticed.
        self.assertNotIn("event=redis_lost", self.daemon.log())
        self.assertEqual(self.client.call("stats")["redis"]["main"]["state"], "up")

    def test_a_server_that_goes_and_comes(self):
        redis = self.redis()
        self.begin(redis, incr={"command": ["INCR", "n"]})
        self.assertEqual(self.seen("incr"), 1)
        redis.kill()
        code, text = self.seen("incr")
        self.assertEqual(code, "unavailable")
        wait_until(lambda: self.seen("incr")[1].endswith("; the command was not executed"))
        redis.restart()
        wait_until(lambda: isinstance(self.seen("incr"), int))

    def test_a_link_that_breaks_under_a_command(self):
        redis = self.redis()
        proxy = self.proxy(redis)
        self.begin(None, homes={"main": {"url": proxy.url, "timeout": "500ms"}},
                   incr={"command": ["INCR", "n"]}, ping={"command": ["PING"]})
        self.assertEqual(self.seen("ping"), "PONG")
        proxy.stall("down")
        code, text = self.seen("incr")
        self.assertEqual(code, "unavailable")
        self.assertIn("; the command may have been executed", text)
        self.assertEqual(redis.call("GET", "n"), b"1")
        proxy.go_on()
        wait_until(lambda: self.seen("incr") == 2)

    def test_no_server_yet(self):
        redis = self.redis()
        redis.kill()
        self.begin(redis, ping={"command": ["PING"]})
        self.assertEqual(self.seen("ping")[0], "unavailable")
        redis.restart()
        wait_until(lambda: self.seen("ping") == "PONG")


class Batches(Case):
    def test_the_end_of_a_batch(self):
        redis = self.redis()
        self.begin(redis, early={"command": ["INCR", "n"], "times": 50, "do": "answer"},
                   slow={"command": ["DEBUG", "SLEEP", "0.3"],
                         "timeout": "50ms"},
                   never={"command": ["PING"], "do": "never", "timeout": "600ms"},
                   ping={"command": ["PING"]})
        self.assertEqual(self.seen("ping"), "PONG")
        for _ in range(5):
            self.assertIsNone(self.seen("early"))
        wait_until(lambda: redis.call("GET", "n") == b"250")
        self.assert_refused("timeout", self.seen, "slow")
        self.daemon.wait_for("the batch is cancelled")
        self.assert_refused("timeout", self.seen, "never")
        self.assertEqual(self.daemon.log().count("a reply has come"), 1)
        self.assertEqual(self.seen("ping"), "PONG")

    def test_the_end_of_the_daemon(self):
        redis = self.redis()
        proxy = self.proxy(redis)
        self.begin(proxy, ping={"command": ["PING"], "times": 20, "timeout": "5s"})
        self.assertEqual(self.seen("ping"), "PONG")
        proxy.stall("down")
        self.client.send(relata_test.request(9, "load", "rep", [1], "ping"))
        wait_until(lambda: self.daemon.connect().call("stats")["redis"]["main"]["waiting"] >= 20)
        self.assertEqual(self.daemon.stop(), 0)


class Cluster(Case):
    def test_the_node_of_the_key(self):
        cluster = self.cluster()
        keys = [redis_server.key_in(slot) for slot in (0, 6000, 12000, 16383)]
        named = {f"named{n}": {"command": ["INCR", key], "key": key}
                 for n, key in enumerate(keys)}
        found = {f"found{n}": {"command": ["INCR", key]} for n, key in enumerate(keys)}
        self.begin(cluster, any={"command": ["PING"]}, **named, **found)
        self.assertEqual(self.seen("any"), "PONG")
        for name in named:
            self.assertEqual(self.seen(name), 1)
        redirects = self.client.call("stats")["redis"]["main"]["redirects"]
        self.assertEqual(redirects, 0)
        # Without the key's name they go astray first.
        for name in found:
            self.assertEqual(self.seen(name), 2)
        self.assertEqual(self.client.call("stats")["redis"]["main"]["redirects"], 3)

    def test_slots_that_move(self):
        cluster = self.cluster()
        key = redis_server.key_in(100)
        self.begin(cluster, incr={"command": ["INCR", key], "key": key, "times": 10})
        self.assertEqual(self.seen("incr"), 10)
        target = next(node for node in cluster.masters() if node is not cluster.owner_of(key))
        cluster.move_slot(100, cluster.index_of(target))
        self.assertEqual(self.seen("incr"), 20)
        cluster.move_slot(100, cluster.index_of(cluster.masters()[0]
                          if cluster.masters()[0] is not target else cluster.masters()[1]))
        self.assertEqual(self.seen("incr"), 30)


if __name__ == "__main__":
    unittest.main()
