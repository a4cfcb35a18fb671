"""The files of this project: what is tracked, or new and not ignored."""

import os
import subprocess

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def files():
    """Paths from the root, sorted. Works in a tarball too, where there is no git."""
    listing = subprocess.run(["git", "-c", "safe.directory=*", "-C", ROOT, "ls-files", "-z",
                              "--cached", "--others", "--exclude-standard"],
                             capture_output=True, text=True, check=False)
    if listing.returncode == 0:
        names = set(listing.stdout.split("\0")) - {""}
    else:
        names = set(walk())
    return sorted(name for name in names if os.path.isfile(os.path.join(ROOT, name)))


def walk():
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [name for name in folders
                      if name not in (".git", "__pycache__", "node_modules")
                      and not (folder == ROOT and name.startswith("build"))]
        for name in names:
            yield os.path.relpath(os.path.join(folder, name), ROOT)


def text_of(name):
    """The text of a file, or None where it is none."""
    with open(os.path.join(ROOT, name), "rb") as file:
        content = file.read()
    if b"\0" in content:
        return None
    try:
        return content.decode()
    except UnicodeDecodeError:
        return None
