"""What `make install` puts there: a program is built with pkg-config, from the guide's own text."""

import os
import re
import subprocess
import tempfile
import unittest

import relata_test

BUILD = os.environ.get("RELATA_BUILD_DIR", "")
SOURCE = os.environ.get("RELATA_SOURCE_DIR") or os.path.join(
    os.path.dirname(os.path.abspath(__file__)), "..", "..")

SCHEMA = """
version: 1
resources:
  ticket:
    fields: {id: integer, subject: string, priority: integer}
"""


def run(*words, **options):
    done = subprocess.run(words, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, (words, done.stdout, done.stderr)
    return done.stdout


@unittest.skipIf(os.environ.get("RELATA_SANITIZE"), "a sanitized library wants a sanitized program")
class Installed(relata_test.Case):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="relata-installed-")
        self.addCleanup(self.folder.cleanup)
        self.prefix = os.path.join(self.folder.name, "prefix")
        run("cmake", "--install", BUILD, "--prefix", self.prefix)
        found = [os.path.join(root, "pkgconfig") for root, folders, _ in os.walk(self.prefix)
                 if "pkgconfig" in folders]
        self.assertEqual(len(found), 1)
        self.environment = dict(os.environ, PKG_CONFIG_PATH=found[0])
        self.libraries = os.path.dirname(found[0])
        # The prefix of this test is not the one that the file was configured with.
        self.prefix_flag = f"--define-variable=prefix={self.prefix}"

    def example(self, address):
        """The guide's first program, for this daemon."""
        with open(os.path.join(SOURCE, "docs", "clients-c.md"), encoding="utf-8") as file:
            text = re.search(r"```c\n(#include <relata.h>.*?)```", file.read(), re.S).group(1)
        self.assertIn("unix:/run/relata/relata.sock", text)
        path = os.path.join(self.folder.name, "tickets.c")
        with open(path, "w", encoding="utf-8") as file:
            file.write(text.replace("unix:/run/relata/relata.sock", address))
        return path

    def test_the_guide_s_program(self):
        daemon = self.start(SCHEMA)
        writer = daemon.connect()
        for number, priority in enumerate([3, 9, 5, 7]):
            writer.call("create", "ticket",
                        {"id": number, "subject": f"Nr. {number}", "priority": priority})
        source = self.example(daemon.address)
        program = os.path.join(self.folder.name, "tickets")
        for static in ([], ["--static"]):
            flags = run("pkg-config", self.prefix_flag, *static, "--cflags", "--libs", "relata",
                        env=self.environment).split()
            if static:
                flags = ["-Wl,-Bstatic" if flag == "-lrelata" else flag for flag in flags]
                flags.insert(flags.index("-Wl,-Bstatic") + 1, "-lrelata")
                flags.insert(flags.index("-lrelata") + 1, "-Wl,-Bdynamic")
            run("cc", "-Wall", "-Wextra", "-Werror", "-o", program, source, *flags)
            output = run(program, env=dict(os.environ, LD_LIBRARY_PATH=self.libraries))
            self.assertEqual(output, "Nr. 1\nNr. 3\n")


if __name__ == "__main__":
    unittest.main()
