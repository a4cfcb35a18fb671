"""Relata's client. `relata.asyncio` has the same for asyncio.

    with relata.connect("unix:/run/relata/relata.sock") as client:
        client.get("representative", 1, load="team")
"""

from .calls import Key, Query, Record
from .client import BatchReads, Client, connect
from .errors import (Conflict, Forbidden, Internal, InvalidFilter, InvalidRequest, InvalidValue,
                     LoaderFailed, NotFound, Overloaded, RelataError, Timeout, TooLarge,
                     Unauthenticated, Unavailable, UnknownField, UnknownMethod,
                     UnknownRelationship, UnknownResource)
from .keys import group_by
from .methods import Methods, Reads, Resource
from .pipeline import Answer, Pipeline
from .providing import Context
from .request import Loader, Request

__all__ = [
    "Answer", "BatchReads", "Client", "Conflict", "Context", "Forbidden", "Internal",
    "InvalidFilter", "InvalidRequest", "InvalidValue", "Key", "Loader", "LoaderFailed", "Methods",
    "NotFound", "Overloaded", "Pipeline", "Query", "Reads", "Record", "RelataError", "Request",
    "Resource", "Timeout", "TooLarge", "Unauthenticated", "Unavailable", "UnknownField",
    "UnknownMethod", "UnknownRelationship", "UnknownResource", "connect", "group_by",
]
