"""Where the daemon is."""

from __future__ import annotations

import os
from typing import NamedTuple, Optional

from .errors import InvalidRequest

DEFAULT = "unix:/run/relata/relata.sock"


class Address(NamedTuple):
    """Either a path, or a host and a port."""

    path: Optional[str]
    host: str
    port: int
    text: str


def parse(address: Optional[str]) -> Address:
    """`unix:PATH` or `tcp:HOST:PORT`; None for RELATA_ADDRESS, else the default."""
    text = address or os.environ.get("RELATA_ADDRESS") or DEFAULT
    kind, _, where = text.partition(":")
    if kind == "unix" and where:
        return Address(where, "", 0, text)
    host, colon, port = where.rpartition(":")
    if kind == "tcp" and colon and host and port.isdecimal() and 0 < int(port) < 65536:
        return Address(None, host.strip("[]"), int(port), text)
    raise InvalidRequest(f"the address {text!r}: expected unix:PATH or tcp:HOST:PORT")
