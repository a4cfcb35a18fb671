"""librelata shows relata_* and nothing else, shared and static alike.

Usage: exports.py librelata.so librelata.a
"""

import subprocess
import sys


def symbols(*nm):
    """The names that nm lists as defined and visible to a linker."""
    listing = subprocess.run(["nm", "--defined-only", *nm], check=True, capture_output=True,
                             text=True).stdout
    lines = [line.split() for line in listing.splitlines()]
    return {line[2].split("@")[0] for line in lines if len(line) == 3}


def main(shared, static):
    seen = {"shared": symbols("--dynamic", shared), "static": symbols("--extern-only", static)}
    faults = []
    for kind, names in seen.items():
        faults += [f"{kind}: {name} is visible" for name in sorted(names)
                   if not name.startswith("relata_")]
        if not names:
            faults.append(f"{kind}: nothing is visible; mark the functions of relata.h for export")
    if seen["shared"] != seen["static"]:
        faults.append("shared and static differ in: "
                      + ", ".join(sorted(seen["shared"] ^ seen["static"])))
    print("\n".join(faults) or f"{len(seen['shared'])} functions")
    return 1 if faults else 0


sys.exit(main(*sys.argv[1:]))
