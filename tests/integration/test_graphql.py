"""examples/graphql: what four web processes cost the loader, in each way."""

import os
import subprocess
import tempfile
import unittest

import programs

PROCESSES = 4
REPRESENTATIVES = 50


class Graphql(unittest.TestCase):
    def test_calls(self):
        programs.node_folder("examples/graphql")
        with tempfile.TemporaryDirectory(prefix="relata-test-") as folder:
            done = subprocess.run(
                [os.path.join(programs.ROOT, "examples", "graphql", "run")],
                env=dict(os.environ, BUILD=programs.BUILD, TMPDIR=folder), text=True,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                timeout=110)
            self.assertEqual(done.returncode, 0, done.stdout)
            self.assertEqual(os.listdir(folder), [])
        lines = [line.split() for line in done.stdout.splitlines()]
        seen = {words[0]: tuple(map(int, words[1:])) for words in lines
                if len(words) == 3 and words[1].isdigit()}
        everything = PROCESSES * REPRESENTATIVES
        self.assertEqual(seen["naive"], (everything, everything))
        self.assertEqual(seen["dataloader"], (PROCESSES, everything))
        # One, where all are at the same time; never more than without the daemon.
        self.assertIn(seen["relata"], [(n, n * REPRESENTATIVES) for n in range(1, PROCESSES + 1)])
        calls, representatives = seen["naive-over-relata"]
        self.assertLess(calls, everything / 4)
        self.assertLessEqual(representatives, everything)
        self.assertIn("16 answers, all equal", done.stdout)


if __name__ == "__main__":
    unittest.main()
