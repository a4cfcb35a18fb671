"""Every header compiles when it is the only thing that is included."""

import concurrent.futures
import os
import subprocess
import sys

from tree import ROOT, files

FLAGS = ["-std=gnu11", "-D_GNU_SOURCE", '-DRELATA_VERSION="0"', "-fsyntax-only", "-Wall",
         "-Wextra", "-Werror", "-I", ROOT, "-x", "c", "-"]


def compile_alone(header):
    source = "".join(f'#include "{header}"\n' for _ in range(2)) + "extern int relata_style;\n"
    if header.startswith("tests/"):
        source = ("#include <stdarg.h>\n#include <stddef.h>\n#include <setjmp.h>\n"
                  "#include <stdint.h>\n" + source)
    run = subprocess.run([os.environ.get("CC", "gcc"), *FLAGS], input=source, text=True,
                         capture_output=True, check=False)
    return "" if run.returncode == 0 else f"{header} does not compile alone:\n{run.stderr}"


def main():
    headers = [name for name in files() if name.endswith(".h")]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        faults = [fault for fault in pool.map(compile_alone, headers) if fault]
    print("\n".join(faults) or f"{len(headers)} headers")
    return 1 if faults else 0


sys.exit(main())
