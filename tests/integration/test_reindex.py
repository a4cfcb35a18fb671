"""`reindex` builds the indexes and identities of what is in Redis already."""

import json
import os
import signal
import subprocess
import threading
import unittest

import redis_server
import relata_test
from relata_test import Refused, request, wait_until

RELATA = os.path.join(os.path.dirname(relata_test.RELATAD), "relata")

SCHEMA = """
version: 1
resources:
  ticket:
    layer: redis
    redis: {writers: %(writers)s, encoding: %(encoding)s, key: "t:{id}", resident: %(resident)s}
    fields: {id: integer, status: string, priority: integer, email: string}
    %(more)s
  note: {fields: {id: integer}}
"""
INDEXES = "indexes: [[status, priority]]"
IDENTITIES = "identities: {email: email}"
BUILT = "ix:status,priority"
BOTH = INDEXES + "\n    " + IDENTITIES


def schema(more=BOTH, encoding="hash", writers="relata", resident="false"):
    return SCHEMA % {"more": more, "encoding": encoding, "writers": writers,
                     "resident": resident}


def fields_of(number):
    return {"id": number, "status": ("open", "shut")[number % 2], "priority": number % 10,
            "email": f"{number}@x"}


def hset(number, **changes):
    record = {**fields_of(number), **changes}
    return ["HSET", f"t:{number}", *(word for pair in record.items() for word in pair)]


def put_json(number):
    return ["SET", f"t:{number}", json.dumps(fields_of(number))]


OPEN = {"filter": "status == 'open' and priority >= 0"}


class Reindex(redis_server.RedisCase):
    def ids(self, client, query=None):
        return sorted(record["id"] for record in client.call("read", "ticket", query or OPEN))

    def by_email(self, client, email):
        return client.call("get", "ticket", email, {"identity": "email"})

    def refused_until_built(self, client):
        error = self.assert_refused("invalid_request", client.call, "read", "ticket", OPEN)
        self.assertIn("relata reindex ticket", error)

    def test_what_foreign_clients_wrote(self):
        for encoding, put in (("hash", hset), ("json", put_json)):
            with self.subTest(encoding):
                redis = self.redis()
                # More than one SCAN looks at, beside keys of others.
                redis.client().pipeline([put(i) for i in range(2500)] +
                                        [["SET", f"other:{i}", "x"] for i in range(500)] +
                                        [["SET", "t:no-number", "x"]])
                daemon = self.start_relatad(schema(encoding=encoding), {"main": redis})
                client = daemon.connect()
                self.refused_until_built(client)
                self.assert_refused("invalid_request", self.by_email, client, "7@x")
                self.assert_refused("invalid_request", client.call, "create", "ticket",
                                    {"id": 9999})

                self.assertEqual(client.call("reindex", "ticket"),
                                 {"records": 2500, "misfits": 0})
                self.assertEqual(self.ids(client), list(range(0, 2500, 2)))
                self.assertEqual(self.ids(client, {"filter": "status == 'shut' and priority > 7"}),
                                 list(range(9, 2500, 10)))
                for number in (0, 7, 2499):
                    self.assertEqual(self.by_email(client, f"{number}@x")["id"], number)
                self.assert_refused("conflict", client.call, "create", "ticket",
                                    {"id": 9999, "email": "7@x"})
                client.call("update", "ticket", 7, {"email": "new@x", "status": "open"})
                self.assertIsNone(self.by_email(client, "7@x"))
                self.assertIn(7, self.ids(client))
                self.assertEqual(client.call("create", "ticket", {"id": 9999, "email": "7@x"})["id"],
                                 9999)
                # Once more changes nothing.
                client.call("reindex", "ticket")
                self.assertEqual(self.ids(client), sorted([*range(0, 2500, 2), 7]))
                self.assertEqual(self.by_email(client, "7@x")["id"], 9999)

    def test_what_a_daemon_wrote_before_it_had_the_index(self):
        redis = self.redis()
        old = self.start_relatad(schema(more=INDEXES), {"main": redis})
        for number in range(20):
            old.connect().call("create", "ticket", fields_of(number))
        old.stop()
        client = self.start_relatad(
            schema(more="indexes: [[status, priority], [priority]]\n    " + IDENTITIES),
            {"main": redis}).connect()
        query = {"filter": "priority == 3"}
        self.assertEqual(self.ids(client), list(range(0, 20, 2)))
        self.assertIn("priority", self.assert_refused("invalid_request", self.ids, client, query))
        self.assert_refused("invalid_request", self.by_email, client, "3@x")
        self.assertEqual(client.call("reindex", "ticket"), {"records": 20, "misfits": 0})
        self.assertEqual(self.ids(client, query), [3, 13])
        self.assertEqual(self.by_email(client, "3@x")["id"], 3)
        # Nothing was named twice: members bear the marks of the writes.
        names = redis.call("KEYS", "relata:ix:ticket:status*")
        self.assertEqual(sum(redis.call("ZCARD", name) for name in names), 20)

    def test_the_same_identity_twice(self):
        redis = self.redis()
        redis.client().pipeline([hset(i) for i in range(100)] + [hset(42, email="17@x")])
        client = self.start_relatad(schema(), {"main": redis}).connect()
        client.call("hello", {"errors": "map"})
        error = self.assert_refused("conflict", client.call, "reindex", "ticket")
        self.assertRegex(error["message"], 'both (42 and 17|17 and 42) have the identity email')
        self.assertEqual(error["details"]["resource"], "ticket")
        self.assertEqual(error["details"]["field"], "email")
        self.assertEqual(error["details"]["key"], "17@x")
        self.assert_refused("invalid_request", client.call, "read", "ticket", OPEN)
        redis.call(*hset(42))
        self.assertEqual(client.call("reindex", "ticket"), {"records": 100, "misfits": 0})
        self.assertEqual(self.by_email(client, "17@x")["id"], 17)
        self.assertEqual(self.by_email(client, "42@x")["id"], 42)

    def test_claims_that_are_there(self):
        redis = self.redis()
        client = self.start_relatad(schema(), {"main": redis}).connect()
        for number in range(4):
            client.call("create", "ticket", fields_of(number))
        # Behind the daemon's back: 1 has what 0 had, which claims it still; the claim of 2
        # is nobody's, that of 3 is away.
        claims = {number: f"relata:id:ticket:email:{number}%40x".encode() for number in range(4)}
        self.assertEqual(sorted(redis.call("KEYS", "relata:id:*")), sorted(claims.values()))
        redis.call("DEL", claims[3])
        redis.call("SET", claims[2], b"\xc1")
        redis.call("HSET", "t:0", "email", "zero@x")
        redis.call("HSET", "t:1", "email", "0@x")
        kept = redis.call("GET", claims[1])

        def built():
            try:
                return client.call("reindex", "ticket")
            except Refused as refused:
                # The claim is young: it might be a write's that is under way.
                self.assertEqual(refused.code, "unavailable")
                self.assertIn("being written", refused.error)
                return None
        self.assertIsNone(built())
        wait_until(built, "the old claim")
        for email, number in (("zero@x", 0), ("0@x", 1), ("2@x", 2), ("3@x", 3)):
            self.assertEqual(self.by_email(client, email)["id"], number)
        self.assertIsNone(self.by_email(client, "1@x"))
        self.assertEqual(redis.call("GET", claims[1]), kept)

    def test_claims_and_members_that_are_none(self):
        redis = self.redis()
        client = self.start_relatad(schema(), {"main": redis}).connect()
        client.call("create", "ticket", fields_of(0))
        redis.call(*hset(2))
        for junk in (b"", b"\xc0", b"\xc3", b"\xa3abc", b"\xcb" + bytes(8), b"\x93\1\2\3",
                     b"\xcf" + b"\xff" * 8, b"\xc1", b"\xcd\1"):
            with self.subTest(junk):
                redis.call("SET", "relata:id:ticket:email:2%40x", junk)
                redis.call("ZADD", "relata:ix:ticket:status,priority:open", 0,
                           b"\1\x80\0\0\0\0\0\0\2" + junk)
                self.assertIsNone(self.by_email(client, "2@x"))
                self.assertEqual(self.ids(client)[0], 0)
                self.assertEqual(client.call("reindex", "ticket"), {"records": 2, "misfits": 0})
                self.assertEqual(self.by_email(client, "2@x")["id"], 2)
                self.assertEqual(self.ids(client), [0, 2])

    def test_values_that_do_not_fit(self):
        redis = self.redis()
        redis.client().pipeline([hset(i) for i in range(30)] +
                                [["HSET", "t:4", "priority", "high"], ["SET", "t:100", "x"],
                                 ["HSET", "t:101", "id", "102"]])
        client = self.start_relatad(schema(), {"main": redis}).connect()
        self.assertEqual(client.call("reindex", "ticket"), {"records": 29, "misfits": 3})
        self.assertEqual(self.ids(client), [i for i in range(0, 30, 2) if i != 4])

    def test_writes_go_on(self):
        count = 6000
        redis = self.redis()
        redis.client().pipeline(hset(i) for i in range(count))
        daemon = self.start_relatad(schema(more=INDEXES), {"main": redis})
        client, writer = daemon.connect(), daemon.connect()
        self.refused_until_built(client)
        # In flight all the time: creates, updates that move records between sets, destroys.
        client.send(request(1, "reindex", "ticket"))
        state = {i: fields_of(i)["status"] for i in range(count)}
        done = threading.Event()
        answers = []

        def wait():
            answers.append(client.receive())
            done.set()
        waiter = threading.Thread(target=wait)
        waiter.start()
        step = 0
        while not done.is_set() or step < 1500:
            batch = []
            for step in range(step, step + 50):
                number = (step * 7) % count
                if step % 5 == 0:
                    batch.append(("create", {**fields_of(count + step), "status": "new"}))
                    state[count + step] = "new"
                elif step % 5 == 1:
                    batch.append(("destroy", number))
                    gone = state.pop(number, None)
                    if gone is None:
                        batch.pop()
                elif number in state:
                    state[number] = "new" if state[number] != "new" else "open"
                    batch.append(("update", number, {"status": state[number]}))
            step += 1
            for at, (method, *params) in enumerate(batch):
                writer.send(request(at, method, "ticket", *params))
            for error, _ in writer.receive_answers(len(batch)).values():
                self.assertIsNone(error)
        waiter.join()
        self.assertIsNone(answers[0][2], answers)
        for status in ("open", "shut", "new"):
            query = {"filter": f"status == '{status}'"}
            self.assertEqual(self.ids(client, query),
                             sorted(i for i, its in state.items() if its == status))

    def test_a_crash_and_a_second_one_at_a_time(self):
        redis = self.redis()
        redis.client().pipeline(hset(i) for i in range(3000))
        proxy = self.proxy(redis)
        daemon = self.start_relatad(schema(), {"main": {"url": proxy.url, "timeout": "30s"}})
        client, other = daemon.connect(), daemon.connect()
        self.refused_until_built(client)
        proxy.delay(50)  # some round trips take long enough to come in between
        client.send(request(1, "reindex", "ticket"))
        wait_until(lambda: redis.call("EXISTS", "relata:id:ticket:email:7%40x") or
                   redis.call("DBSIZE") > 3000, "the first claims")
        error = self.assert_refused("conflict", other.call, "reindex", "ticket")
        self.assertIn("ticket is being reindexed already", error)
        daemon.signal(signal.SIGKILL)
        daemon.wait()
        self.assertEqual(redis.call("HEXISTS", "relata:built:ticket", BUILT), 0)

        client = self.start_relatad(schema(), {"main": redis}).connect()
        self.refused_until_built(client)
        self.assertEqual(client.call("reindex", "ticket"), {"records": 3000, "misfits": 0})
        self.assertEqual(self.ids(client), list(range(0, 3000, 2)))

    def test_who_does_not_wait(self):
        redis = self.redis()
        redis.client().pipeline(hset(i) for i in range(2000))
        proxy = self.proxy(redis)
        daemon = self.start_relatad(schema(), {"main": {"url": proxy.url, "timeout": "30s"}})
        client = daemon.connect()
        self.refused_until_built(client)
        proxy.delay(20)
        self.assert_refused("timeout", client.call, "reindex", "ticket", {"timeout_ms": 10})
        # It goes on without anybody.
        proxy.delay(0)
        wait_until(lambda: redis.call("HEXISTS", "relata:built:ticket", BUILT), "its end")
        leaver = daemon.connect()
        leaver.send(request(1, "reindex", "ticket"))
        leaver.close()

        def again():
            try:
                return client.call("reindex", "ticket")
            except Refused as refused:
                self.assertEqual(refused.code, "conflict")
                return None
        wait_until(again, "the end of the one before")
        self.assertEqual(self.ids(client), list(range(0, 2000, 2)))

    def test_writes_by_another_schema(self):
        for more, writers in (("", "anyone"), ("", "relata"), (INDEXES, "relata")):
            with self.subTest((more, writers)):
                redis = self.redis()
                redis.client().pipeline(hset(i) for i in range(3000))
                proxy = self.proxy(redis)
                client = self.start_relatad(
                    schema(), {"main": {"url": proxy.url, "timeout": "30s"}}).connect()
                other = self.start_relatad(schema(more=more, writers=writers),
                                           {"main": redis}).connect()
                self.refused_until_built(client)
                other.call("update", "ticket", 2, {"priority": 1})
                proxy.delay(50)
                client.send(request(1, "reindex", "ticket"))
                wait_until(lambda: redis.call("DBSIZE") > 3002, "the first claims")
                other.call("update", "ticket", 0, {"status": "shut"})
                proxy.delay(0)
                _, _, error, _ = client.receive()
                self.assertIn("wrote by another schema", error)
                self.refused_until_built(client)
                self.assertEqual(client.call("reindex", "ticket"), {"records": 3000, "misfits": 0})
                self.assertEqual(self.ids(client), list(range(2, 3000, 2)))

    def test_two_at_a_time(self):
        redis = self.redis()
        redis.client().pipeline(hset(i) for i in range(3000))
        proxy = self.proxy(redis)
        client = self.start_relatad(
            schema(), {"main": {"url": proxy.url, "timeout": "30s"}}).connect()
        other = self.start_relatad(schema(), {"main": redis}).connect()
        self.refused_until_built(client)
        proxy.delay(50)
        client.send(request(1, "reindex", "ticket"))
        wait_until(lambda: redis.call("DBSIZE") > 3002, "the first claims")
        self.assertEqual(other.call("reindex", "ticket"), {"records": 3000, "misfits": 0})
        proxy.delay(0)
        _, _, error, _ = client.receive()
        self.assertIn("began anew", error)
        self.assertEqual(self.ids(client), list(range(0, 3000, 2)))

    def test_lost_links_flushes_and_reloads(self):
        redis = self.redis()
        redis.client().pipeline(hset(i) for i in range(3000))
        proxy = self.proxy(redis)
        daemon = self.start_relatad(schema(), {"main": {"url": proxy.url, "timeout": "30s"}})
        client, other = daemon.connect(), daemon.connect()
        self.refused_until_built(client)

        def fails(happen, text):
            proxy.delay(50)
            client.send(request(1, "reindex", "ticket"))
            wait_until(lambda: redis.call("DBSIZE") > 3000, "the first claims")
            happen()
            proxy.delay(0)
            _, _, error, _ = client.receive()
            self.assertTrue(error.startswith("unavailable: ticket: "), error)
            self.assertIn(text, error)
            self.assertEqual(redis.call("HEXISTS", "relata:built:ticket", BUILT), 0)
            for name in redis.call("KEYS", "relata:*"):
                redis.call("DEL", name)

        def reload():
            daemon.write("schema.yaml", schema() + "  more: {fields: {id: integer}}\n")
            daemon.signal(signal.SIGHUP)
            daemon.wait_for("event=reloaded")
        fails(reload, "another schema was loaded")
        fails(proxy.cut, "ticket")

        def ready():
            try:
                return other.call("get", "ticket", 1)
            except Refused:
                return None
        wait_until(ready, "the link")

        def flush():
            redis.call("FLUSHALL")
            redis.client().pipeline(hset(i) for i in range(3000))
        fails(flush, "try again")
        self.assertEqual(client.call("reindex", "ticket"), {"records": 3000, "misfits": 0})
        self.assertEqual(self.ids(client), list(range(0, 3000, 2)))

    def test_a_resident_resource(self):
        redis = self.redis()
        redis.client().pipeline([hset(i) for i in range(200)] + [hset(5, email="7@x")])
        client = self.start_relatad(schema(more=IDENTITIES, resident="true"),
                                    {"main": redis}).connect()
        self.assert_refused("invalid_request", client.call, "create", "ticket", {"id": 1000})
        self.assert_refused("conflict", client.call, "reindex", "ticket")
        redis.call(*hset(5))
        self.assertEqual(client.call("reindex", "ticket"), {"records": 200, "misfits": 0})
        wait_until(lambda: self.by_email(client, "5@x"), "the notice")
        self.assert_refused("conflict", client.call, "create", "ticket",
                            {"id": 1000, "email": "7@x"})
        self.assertEqual(client.call("create", "ticket", {"id": 1000})["id"], 1000)

    def test_a_cluster(self):
        cluster = self.cluster(replicas=0)
        for number in range(600):
            cluster.call(f"t:{number}", *hset(number))
        client = self.start_relatad(schema(), {"main": cluster}).connect()
        self.refused_until_built(client)
        self.assertEqual(client.call("reindex", "ticket"), {"records": 600, "misfits": 0})
        self.assertEqual(self.ids(client), list(range(0, 600, 2)))
        self.assertEqual(self.by_email(client, "99@x")["id"], 99)

        # Keys that are on the move are in no node's SCAN for sure.
        slot = cluster.slot_of("t:1")
        to = (cluster.index_of(cluster.owner_of_slot(slot)) + 1) % 3
        cluster.begin_move(slot, to)
        error = self.assert_refused("unavailable", client.call, "reindex", "ticket")
        self.assertIn("a slot was on the move", error)
        cluster.move_keys(slot, to)
        cluster.end_move(slot, to)

        def again():
            try:
                return client.call("reindex", "ticket")
            except Refused as refused:
                self.assertEqual(refused.code, "unavailable")
                return None
        wait_until(again, "the moved slot")
        self.assertEqual(self.ids(client), list(range(0, 600, 2)))

    def test_what_has_nothing_to_build(self):
        redis = self.redis()
        config = {"main": redis}
        client = self.start_relatad(schema(), config).connect()
        error = self.assert_refused("unknown_resource", client.call, "reindex", "tickett")
        self.assertIn("ticket", error)
        error = self.assert_refused("invalid_request", client.call, "reindex", "note")
        self.assertIn("not in Redis", error)
        self.assert_refused("invalid_request", client.call, "reindex", 7)
        self.assert_refused("invalid_request", client.call, "reindex", "ticket", {"fresh": True})
        # An empty home is whole from the start.
        self.assertEqual(self.ids(client), [])
        self.assertEqual(client.call("reindex", "ticket"), {"records": 0, "misfits": 0})
        for more, writers, text in (("", "anyone", "writers: relata"), ("", "relata", "no index")):
            client = self.start_relatad(schema(more=more, writers=writers), config).connect()
            self.assertIn(text, self.assert_refused("invalid_request", client.call, "reindex",
                                                    "ticket"))
        redis.stop()
        wait_until(lambda: self.is_away(client), "the link to be lost")

    def is_away(self, client):
        try:
            client.call("get", "ticket", 1)
        except Refused as refused:
            return refused.code == "unavailable"
        return False

    def test_the_command(self):
        redis = self.redis()
        redis.client().pipeline([hset(i) for i in range(10)] + [["SET", "t:11", "x"]])
        daemon = self.start_relatad(schema(), {"main": redis})

        def run(*words):
            return subprocess.run([RELATA, "--address", daemon.address, *words],
                                  capture_output=True, text=True, check=False,
                                  timeout=relata_test.PATIENCE_S)
        done = run("reindex", "ticket")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(json.loads(done.stdout), {"records": 10, "misfits": 1})
        done = run("reindex", "note")
        self.assertEqual(done.returncode, 1)
        self.assertIn("invalid_request: ", done.stderr)
        self.assertEqual(run("reindex").returncode, 2)
        self.assertEqual(json.loads(run("--timeout", "60000", "reindex", "ticket").stdout)
                         ["records"], 10)


if __name__ == "__main__":
    unittest.main()
