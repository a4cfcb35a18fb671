"""What the documentation shows is true.

Every fenced block of README.md, docs/ and the examples' READMEs is looked at:

  python    runs, in the order of the page, against a daemon on the helpdesk
            (SOCKET is its path, relata a client as in docs/protocol.md)
  yaml      a schema, a configuration, or relationships of the helpdesk's
            representative: checked by relatad --check
  json      a filter in the map form, used
  c         compiled; whole programs run too
  sh        is shell; lines that begin with relata or relatad run
  js, ts    is JavaScript, where Node is there to say so; what it does is tested
            with the client, as is the Python of the clients' pages

A comment in front of a block says more: `<!-- test: file NAME -->` makes it a
file of the page's folder, `<!-- test: run -->` runs it there as a whole, and
`<!-- test: from PATH -->` says that it stands so in a file of the tree, which is
tested by itself. `<!-- test: run redis -->` runs it with a Redis of the page's own,
which takes the place of the one at 127.0.0.1:6379, and what stands under
`<!-- test: prints -->` is all that the block before has printed.
"""

import ast
import glob
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import textwrap
import unittest

import helpdesk
import redis_server
import relata_test
from test_examples import BUILD, RELATA

ROOT = os.path.abspath(helpdesk.ROOT)
BLOCK = re.compile(r"(?:^<!-- test: (?P<say>.*?) -->\n)?^(?P<indent> *)```(?P<kind>\w*)\n"
                   r"(?P<text>.*?)^(?P=indent)```$", re.M | re.S)
LINK = re.compile(r"\]\((?!https?:)([^)#]+)(?:#([^)]*))?\)")
PAGES = sorted(glob.glob(os.path.join(ROOT, "*.md")) +
               glob.glob(os.path.join(ROOT, "docs", "**", "*.md"), recursive=True) +
               glob.glob(os.path.join(ROOT, "examples", "*", "*.md")))

# Pages of clients that have tests of their own: their blocks are no whole programs.
CLIENTS = ["docs/clients-python.md", "docs/clients-node.md"]

# What the pages' examples take Redis to be at.
REDIS_URL = "redis://127.0.0.1:6379"

# What docs/expressions.md says its tickets have.
EXPRESSIONS_SCHEMA = """version: 1
resources:
  ticket:
    fields: {id: integer, subject: string, status: {type: {enum: [open, closed, waiting]}},
             priority: integer, score: float, urgent: boolean, token: uuid,
             opened_at: datetime, extra: any, representative_id: integer}
    relationships: {representative: {belongs_to: representative}}
  representative:
    fields: {id: integer, name: string, threshold: integer, team_id: integer}
    relationships: {team: {belongs_to: team}, tickets: {has_many: ticket}}
  team: {fields: {id: integer, name: string}}
"""


class Block:
    def __init__(self, page, match):
        self.page = os.path.relpath(page, ROOT)
        self.kind = match["kind"]
        self.say = match["say"] or ""
        self.text = textwrap.dedent(match["text"])
        self.line = match.string[:match.start("text")].count("\n") + 1

    def __str__(self):
        return f"{self.page}:{self.line}"


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def blocks(*kinds, page=None):
    """Those of all pages, or of one."""
    found = [Block(path, match) for path in PAGES for match in BLOCK.finditer(read(path))
             if page is None or os.path.relpath(path, ROOT) == page]
    return [block for block in found if not kinds or
            block.kind in kinds and not block.say.startswith("from ")]


def with_relationships(text):
    """The helpdesk's schema with these relationships of its representative."""
    for outer in ("representative:", "relationships:"):
        if text.startswith(outer):
            text = textwrap.dedent(text[len(outer) + 1:])
    before, resource = helpdesk.schema().split("\n  representative:\n")
    fields, rest = resource.split("    relationships:\n", 1)
    after = rest[rest.index("\n  ticket:\n"):]
    return (before + "\n  representative:\n" + fields + "    relationships:\n" +
            textwrap.indent(text, " " * 6) + after)


def as_files(text):
    """What a block of YAML is a part of: the schema, and the configuration."""
    config = f"redis: {{main: {{url: '{REDIS_URL}'}}}}\n"
    if text.startswith(("listen:", "schema:")):
        return helpdesk.schema(), text
    if text.startswith("redis:"):
        return helpdesk.schema(), "schema: schema.yaml\n" + text
    if text.startswith("resources:"):
        text = "version: 1\n" + text
    if not text.startswith("version:"):
        text = with_relationships(text)
    return text, "schema: schema.yaml\n" + (config if "layer: redis" in text else "")


class Docs(redis_server.RedisCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="relata-test-")
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.environment = dict(os.environ, HOME=self.folder,
                                PATH=os.path.join(BUILD, "bin") + ":" + os.environ["PATH"])

    def write(self, name, text):
        path = os.path.join(self.folder, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path

    def run_command(self, block, *command):
        done = subprocess.run(command, cwd=self.folder, env=self.environment, text=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=relata_test.PATIENCE_S)
        self.assertEqual(done.returncode, 0, f"{block}: {command}\n{done.stdout}")
        return done.stdout

    def helpdesk_path(self):
        daemon = helpdesk.start(self)
        self.environment["RELATA_ADDRESS"] = daemon.address
        return daemon.address.partition(":")[2]

    def test_every_kind_is_known(self):
        self.assertGreater(len(blocks()), 30)
        for block in blocks():
            self.assertIn(block.kind, ("", "python", "yaml", "json", "c", "sh", "ini", "js", "ts"),
                          str(block))

    def test_parts_of_files(self):
        """Each block stands in its file as it is, lines that are left out as "..."."""
        parts = [block for block in blocks() if block.say.startswith("from ")]
        self.assertGreater(len(parts), 10)
        for block in parts:
            text = textwrap.dedent(read(os.path.join(ROOT, block.say[len("from "):])))
            lines = [line.strip() for line in text.splitlines()]
            for part in re.split(r"^ *\.\.\.\n", block.text, flags=re.M):
                shown = [line.strip() for line in part.strip("\n").splitlines()]
                self.assertTrue(any(lines[at:at + len(shown)] == shown
                                    for at in range(len(lines))), f"{block}:\n{part}")

    def test_javascript(self):
        if shutil.which("node") is None:
            self.skipTest("there is no node")
        for block in blocks("js"):
            self.run_command(block, "node", "--check", self.write("shown.mjs", block.text))

    def test_python_of_clients(self):
        for page in CLIENTS:
            for block in blocks("python", page=page):
                compile(block.text, str(block), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)

    def test_python(self):
        path = self.helpdesk_path()
        for page in sorted({block.page for block in blocks("python")} - {"README.md", *CLIENTS}):
            names = {"SOCKET": path}
            client, *_ = blocks("python", page="docs/protocol.md")
            exec(compile(client.text, str(client), "exec"), names)
            names["relata"] = names["Client"](path)
            clients = [names["relata"]]
            for block in blocks("python", page=page):
                code = compile("\n" * (block.line - 1) + block.text, block.page, "exec")
                exec(code, names)
                clients.append(names["relata"])
            for client in clients:
                client.socket.close()

    def test_yaml(self):
        for module in ("tickets_above_threshold.so", "best_players.so"):
            os.symlink(os.path.join(BUILD, "lib", "relata", "tickets_above_threshold.so"),
                       os.path.join(self.folder, module))
        self.environment["REDIS_URL"] = REDIS_URL
        for block in blocks("yaml"):
            if block.page.startswith("examples/iso-codes"):
                self.assertIn(textwrap.indent(block.text, " " * 6),
                              read(os.path.join(ROOT, "examples/iso-codes/schema.yaml")))
                continue
            schema, config = as_files(block.text)
            self.write("schema.yaml", schema)
            self.run_command(block, relata_test.RELATAD, "--check",
                             "--config", self.write("relata.yaml", config))

    def test_filters(self):
        client = self.start(EXPRESSIONS_SCHEMA).connect()
        page = blocks(page="docs/expressions.md")
        maps = [block for block in page if block.kind == "json"]
        texts = [block for block in page if block.kind == ""]
        self.assertTrue(maps and texts)
        for block in maps:
            client.call("count", "ticket", {"filter": json.loads(block.text)})
        for line in texts[0].text.splitlines():
            text, _, of = line.partition("#")
            query = {"filter": text.strip(), "params": {"min": 1}}
            if "parent." in text:
                client.call("load", "representative", [1], "tickets", {"query": query})
            else:
                client.call("count", "representative" if "representative" in of else "ticket",
                            query)

    def compile_c(self, block, text, *options):
        source = self.write("shown.c", text)
        sanitize = os.environ.get("RELATA_SANITIZE")
        self.run_command(block, "cc", "-std=gnu11", "-Wall", "-Werror",
                         *(["-fsanitize=" + sanitize] if sanitize else []),
                         "-I", os.path.join(ROOT, "clients", "c"), source, *options)

    def test_c(self):
        address = "unix:" + self.helpdesk_path()
        library = os.path.join(BUILD, "lib")
        for block in blocks("c"):
            if "int main(" in block.text:
                self.assertIn('"unix:/run/relata/relata.sock"', block.text)
                text = block.text.replace("unix:/run/relata/relata.sock", address)
                self.compile_c(block, text, "-o", "shown", "-L", library,
                               "-Wl,-rpath," + library, "-lrelata", "-luv")
                printed = self.run_command(block, "./shown")
                self.assertGreater(len(printed.splitlines()), 10)
                continue
            if "RELATA_MODULE_HEADER" in block.text:
                self.compile_c(block, block.text, "-shared", "-fPIC", "-o", "shown.so",
                               "-I", os.path.join(ROOT, "layers", "module"))
                continue
            functions, ends, statements = block.text.rpartition("\n}\n")
            self.compile_c(block, "#include <uv.h>\n#include <relata.h>\n" + functions + ends + """
                void shown(struct relata_client *client, struct relata_async *async,
                           struct relata_params *params, struct relata_reply *reply,
                           struct relata_error error, void *data);
                void shown(struct relata_client *client, struct relata_async *async,
                           struct relata_params *params, struct relata_reply *reply,
                           struct relata_error error, void *data) {
                """ + statements + "}\n", "-c")

    def test_shell(self):
        """Lines that call relata run on the helpdesk, where tickets.jsonl is a new ticket."""
        self.helpdesk_path()
        ran = 0
        for block in blocks("sh"):
            self.run_command(block, "bash", "-n", self.write("shown.sh", block.text))
            if block.say.startswith("run"):
                continue
            self.write("schema.yaml", helpdesk.schema())
            for line in block.text.splitlines():
                self.write("tickets.jsonl", f'{{"id": {30000 + ran}, "subject": "new"}}\n')
                if line.startswith("relatad "):
                    line += " --check"
                elif not line.startswith("relata "):
                    continue
                self.run_command(block, "bash", "-c", line)
                ran += 1
        self.assertGreater(ran, 5)

    def test_pages_that_say_how(self):
        """What stands under a comment, in a folder with a build beside it."""
        self.write("Makefile", "build:\n")
        os.symlink(BUILD, os.path.join(self.folder, "build"))
        self.environment["RELATA_ADDRESS"] = "unix:" + os.path.join(self.folder, "relata.sock")
        pages = sorted({block.page for block in blocks() if block.say.startswith("run")})
        self.assertGreater(len(pages), 2)
        for page in pages:
            redis = None
            if any(block.say == "run redis" for block in blocks(page=page)):
                redis = self.redis()
            printed = ""
            for block in blocks(page=page):
                what, _, name = block.say.partition(" ")
                if what == "file":
                    self.write(name, self.at_home(block.text, redis))
                elif what == "run":
                    printed = self.run_page(block, redis)
                elif what == "prints":
                    self.assertEqual(printed, block.text, str(block))
            self.end_page()

    def at_home(self, text, redis):
        """With the folder's socket and the page's own Redis for those that it shows."""
        text = text.replace("/tmp/relata.sock", os.path.join(self.folder, "relata.sock"))
        if redis is None:
            return text
        return text.replace(REDIS_URL, redis.url).replace(
            "redis-cli ", f"redis-cli -u {redis.url} ")

    def run_page(self, block, redis):
        """Its daemon listens in the folder and is waited for; it ends with the page."""
        self.addCleanup(self.end_page)
        text = "set -e\n" + self.at_home(block.text, redis).replace(
            " &\n", " >log 2>&1 &\necho $! >pid\n"
            "until grep -qs event=ready log; do kill -0 $!; sleep 0.02; done\n")
        printed = self.run_command(block, "bash", "-c", text)
        if block.page == "README.md":
            self.check_readme(block, printed)
        return printed

    def check_readme(self, block, printed):
        self.assertIn("The page does not load", printed)
        self.assertIn("A refund is missing", printed)
        for python in blocks("python", page=block.page):
            said = []
            names = {"print": said.append}
            code = compile(self.at_home(python.text, None), str(python), "exec")
            exec(code, names)
            names["relata"].close()
            self.assertEqual(said[0][3][0][0]["subject"], "The page does not load")

    def end_page(self):
        pid = os.path.join(self.folder, "pid")
        if os.path.exists(pid):
            os.kill(int(read(pid)), signal.SIGTERM)
            os.unlink(pid)
            log = os.path.join(self.folder, "log")
            relata_test.wait_until(lambda: "event=stopped" in read(log), "the daemon to stop")
            os.unlink(log)

    def test_links_lead_somewhere(self):
        for page in PAGES:
            for path, anchor in LINK.findall(read(page)):
                target = os.path.join(os.path.dirname(page), path)
                self.assertTrue(os.path.exists(target), f"{page}: {path}")
                if anchor:
                    heads = [re.sub(r"[^\w -]", "", head).strip().lower().replace(" ", "-")
                             for head in re.findall(r"^#+ (.*)$", read(target), re.M)]
                    self.assertIn(anchor, heads, page)

    def test_index_has_every_page(self):
        index = read(os.path.join(ROOT, "docs", "README.md"))
        for page in glob.glob(os.path.join(ROOT, "docs", "*.md")):
            if not page.endswith("/README.md"):
                self.assertIn(f"({os.path.basename(page)})", index)

    def test_limits_are_those_told(self):
        client = self.start("version: 1\nresources:\n  a: {fields: {id: integer}}\n").connect()
        told = client.call("hello")["limits"]
        shown = dict(re.findall(r"^\| `(\w+)` \| ([\d,]+(?: [KM]iB)?) \|",
                                read(os.path.join(ROOT, "docs", "limits.md")), re.M))
        units = {"": 1, "KiB": 1024, "MiB": 1024 * 1024}
        for name, value in shown.items():
            number, _, unit = value.replace(",", "").partition(" ")
            if name != "connections":  # lowered to what the process may open
                self.assertEqual(told.get(name), int(number) * units[unit], name)
        self.assertEqual(set(told), set(shown))


if __name__ == "__main__":
    unittest.main()
