"""Where each Redis is: what `--check` and a reload say. No Redis is needed."""

import signal
import unittest

import relata_test

MEMORY = """
version: 1
resources:
  note: {fields: {id: integer}}
"""
REDIS = MEMORY + """
  ticket: {layer: redis, fields: {id: integer}}
"""
CONFIG = "redis: {%s: {url_env: RELATA_TEST_URL}}\n"
SECRET = "redis://:very-secret@127.0.0.1:1"


class RedisConfig(relata_test.Case):
    def refused(self, schema, config, url):
        daemon = relata_test.Daemon(schema, config=config, args=("--check",),
                                    environment={"RELATA_TEST_URL": url})
        self.addCleanup(daemon.remove)
        with self.assertRaisesRegex(AssertionError, "did not start"):
            daemon.start()
        self.assertNotIn("secret", daemon.log())
        return daemon.log()

    def test_check(self):
        self.assertIn('resource ticket uses the Redis "main", which the configuration does not '
                      'name; did you mean "man"?', self.refused(REDIS, CONFIG % "man", SECRET))
        self.assertIn("RELATA_TEST_URL holds is no URL of a Redis: its port must be",
                      self.refused(REDIS, CONFIG % "main", SECRET + "x"))

    def test_a_reload_keeps_those_that_there_are(self):
        daemon = self.start(MEMORY, config=CONFIG % "other",
                            environment={"RELATA_TEST_URL": SECRET})
        client = daemon.connect()
        daemon.signal(signal.SIGHUP)
        daemon.wait_for("event=reloaded")
        self.assertNotIn("reload_incomplete", daemon.log())

        # The new name is there at the next start only: so is what would use it.
        daemon.write("relata.yaml", "schema: schema.yaml\n" + CONFIG % "main")
        daemon.write("schema.yaml", REDIS)
        daemon.signal(signal.SIGHUP)
        daemon.wait_for("event=reload_refused")
        self.assertRegex(daemon.log(), "event=reload_incomplete .*redis takes effect at the next")
        self.assertIn('ticket uses the Redis \\"main\\", which is new in the configuration: redis '
                      'takes effect at the next start', daemon.log())
        self.assertNotIn("secret", daemon.log())
        self.assertEqual(client.call("create", "note", {"id": 1})["id"], 1)


if __name__ == "__main__":
    unittest.main()
