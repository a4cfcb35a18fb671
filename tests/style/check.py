"""Rules of the house that a compiler does not know. CONTRIBUTING.md says them in words.

Prints FILE:LINE: what is wrong, for everything that is, and exits with status 1.
"""

import os
import re
import sys

from tree import ROOT, files, text_of

# --- Who may include whom ---------------------------------------------------
# For each room, the longest matching prefix counts: what it may include of the
# tree, and which libraries besides libc.
ROOMS = {
    "protocol/base/": (["protocol/base/"], ["xxhash.h"]),
    "protocol/": (["protocol/"], []),
    "layers/": (["protocol/base/", "protocol/msgpack/", "layers/"], []),
    "layers/schema/": (["protocol/base/", "protocol/msgpack/", "layers/"], ["yaml.h"]),
    "layers/redis/": (["protocol/base/", "protocol/msgpack/", "layers/"],
                      ["uv.h", "jansson.h"]),
    "daemon/": (["protocol/", "layers/", "daemon/"], ["uv.h", "yaml.h"]),
    "clients/c/": (["protocol/", "clients/c/"], ["uv.h"]),
    "clients/cli/": (["protocol/", "clients/c/relata.h", "clients/cli/"],
                     ["jansson.h", "histedit.h", "editline/readline.h"]),
    # Micro-benchmarks measure a room from inside.
    "bench/": (["protocol/", "layers/", "clients/c/relata.h", "bench/"],
               ["uv.h", "jansson.h"]),
}
# Rooms that do not know each other, though the rule above would let them:
# queries and loads see where records live only through layers/layer.h.
STRANGERS = {
    "layers/memory/": ["layers/redis/"],
    "layers/redis/": ["layers/memory/"],
    "layers/query/": ["layers/memory/", "layers/redis/"],
    "layers/load/": ["layers/memory/", "layers/redis/"],
}
LIBRARIES = ["uv.h", "yaml.h", "xxhash.h", "jansson.h", "histedit.h", "editline/", "msgpack",
             "sqlite3.h", "cmocka.h", "hiredis/", "hiredis.h"]

INCLUDE = re.compile(r'^\s*#\s*include\s+([<"])([^>"]+)[>"]')


def room_of(name):
    return max((room for room in ROOMS if name.startswith(room)), key=len, default=None)


def include_fault(name, room, kind, target):
    ours, libraries = ROOMS[room]
    if kind == "<":
        foreign = any(target.startswith(library) for library in LIBRARIES)
        return f"<{target}> is not for {room}" if foreign and target not in libraries else None
    if not os.path.isfile(os.path.join(ROOT, target)):
        return f'"{target}" is no file; include paths are from the root'
    if not any(target.startswith(prefix) for prefix in ours):
        return f'{room} may not include "{target}"'
    for place, strangers in STRANGERS.items():
        if name.startswith(place) and any(target.startswith(prefix) for prefix in strangers):
            return f'{place} does not know "{target}", only layers/layer.h'
    return None


def check_includes(name, lines):
    room = room_of(name)
    if room is None or not name.endswith((".c", ".h")):
        return
    for number, line in enumerate(lines, 1):
        found = INCLUDE.match(line)
        fault = found and include_fault(name, room, *found.groups())
        if fault:
            yield number, fault


# --- Text ---------------------------------------------------------------------
SOURCES_LINES_MAX = 600
MARKS = re.compile(r"\b(" + "|".join(["TO" "DO", "FIX" "ME", "X" "XX", "HA" "CK"]) + r")\b")
MACHINE = re.compile(r"(?<![\w.~])/(work|tmp/build|tmp/team|home/\w+|root)(?![\w-])")
# Bytes as they came, not text that somebody wrote.
AS_IT_CAME = ("tests/fuzz/corpus/", "tests/golden/", "LICENSE")


def check_text(name, lines):
    for number, line in enumerate(lines, 1):
        if line != line.rstrip():
            yield number, "white space at the end of the line"
        if MARKS.search(line):
            yield number, "unfinished work is not left in the tree"
        if MACHINE.search(line):
            yield number, "a path of one machine"
        if "\t" in line and name.endswith((".c", ".h", ".py", ".md", ".yaml")):
            yield number, "a tab"


def check_length(name, lines):
    if room_of(name) and name.endswith((".c", ".h")) and len(lines) > SOURCES_LINES_MAX:
        yield len(lines), f"longer than {SOURCES_LINES_MAX} lines: a second module is in there"


# --- Headers --------------------------------------------------------------------
def guards_of(name):
    guard = "RELATA_" + re.sub(r"[^A-Za-z0-9]", "_", name[:-2]).upper() + "_H"
    return ["RELATA_H", guard] if name == "clients/c/relata.h" else [guard]


def opening(lines):
    """The first line that is neither blank nor for the preprocessor."""
    directive = False
    for number, line in enumerate(lines, 1):
        inside, directive = directive, line.endswith("\\") and (directive or line.startswith("#"))
        if line.strip() and not inside and not line.startswith("#"):
            return number, line
    return len(lines), ""


def check_header(name, lines):
    if not name.endswith(".h"):
        return
    guards = guards_of(name)
    if not any(f"#ifndef {guard}" in lines and f"#define {guard}" in lines for guard in guards):
        yield 1, f"the include guard is {guards[-1]}"
    number, line = opening(lines)
    if not line.startswith("/*"):
        yield number, "a header opens with a comment: what the module is, and is not"


# --- Tests ------------------------------------------------------------------------
def untested():
    """Modules without a unit test of their own, each with its reason."""
    reasons = {}
    for line in (text_of("tests/style/untested.txt") or "").splitlines():
        if line and not line.startswith("#"):
            name, _, reason = line.partition(": ")
            reasons[name] = reason
    return reasons


def check_tested(names):
    unit = [name for name in names if re.match(r"tests/unit/test_\w+\.c$", name)]
    text = "\n".join(text_of(name) or "" for name in unit)
    reasons = untested()
    for name in names:
        if not re.match(r"(protocol|layers)/.*\.c$", name) or name in reasons:
            continue
        stem = os.path.basename(name)[:-2]
        if f"tests/unit/test_{stem}.c" not in unit and f'"{name[:-2]}.h"' not in text:
            yield name, 1, "no unit test includes its header (tests/style/untested.txt)"
    for name, reason in reasons.items():
        if name not in names or not reason:
            yield "tests/style/untested.txt", 1, f"{name}: no such file, or no reason"


# --- Documentation ------------------------------------------------------------------
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")


def anchors_of(name):
    """The anchors of a page's headings, as forges make them."""
    anchors, fenced = set(), False
    for line in (text_of(name) or "").splitlines():
        fenced ^= line.startswith("```")
        if line.startswith("#") and not fenced:
            title = re.sub(r"[^\w\- ]", "", line.lstrip("#").strip().lower())
            anchors.add(title.replace(" ", "-"))
    return anchors


def check_links(name, lines):
    fenced = False
    for number, line in enumerate(lines, 1):
        fenced ^= line.lstrip().startswith("```")
        if fenced:
            continue
        for target in (a or b for a, b in LINK.findall(re.sub(r"`[^`]*`", "", line))):
            if re.match(r"[a-z]+:", target):
                continue
            path, _, anchor = target.partition("#")
            page = os.path.normpath(os.path.join(os.path.dirname(name), path)) if path else name
            if not os.path.exists(os.path.join(ROOT, page)):
                yield number, f"{target} leads nowhere"
            elif anchor and page.endswith(".md") and anchor not in anchors_of(page):
                yield number, f"{page} has no heading #{anchor}"


def faults():
    names = files()
    for name in names:
        text = None if name.startswith(AS_IT_CAME) else text_of(name)
        if text is None:
            continue
        lines = text.splitlines()
        checks = [check_text, check_length, check_includes, check_header]
        if name.endswith(".md"):
            checks.append(check_links)
        for check in checks:
            for number, fault in check(name, lines):
                yield name, number, fault
    yield from check_tested(names)


def main():
    found = list(faults())
    for name, number, fault in found:
        print(f"{name}:{number}: {fault}")
    print(f"{len(found)} faults in {len(files())} files")
    return 1 if found else 0


sys.exit(main())
