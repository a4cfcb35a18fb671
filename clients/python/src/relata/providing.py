"""What both faces know of providers: batches, contexts, answers.

    @client.provider("representative.tickets_above_threshold", max_in_flight=2)
    def tickets_above_threshold(representatives, context):
        ids = [representative["id"] for representative in representatives]
        return relata.group_by(fetch_tickets(ids), "representative_id")

A provider answers the destination of each record: a list in the order of the
records, or a map keyed by their primary keys (a composite one as a tuple). An
exception in the place of one answer fails that source alone; one that is
raised fails the batch. `context.client` reads on behalf of the batch.
"""

from __future__ import annotations

import time
from collections import abc
from typing import Any, Dict, Generic, List, Mapping, NamedTuple, Optional, Tuple, TypeVar

from . import calls, errors

Face = TypeVar("Face")


class Provider(NamedTuple):
    name: str
    function: Any
    limits: Mapping[str, Any]

    def call(self) -> calls.Call:
        return calls.provide(self.name, self.limits)


class Context(Generic[Face]):
    """What a provider knows of its batch beside the records."""

    def __init__(self, relationship: str, options: Mapping[str, Any], told: Mapping[str, Any],
                 client: Face) -> None:
        self.relationship = relationship  # "representative.tickets_above_threshold"
        self.options = options            # of the schema
        self.query: Dict[str, Any] = told.get("query") or {}
        self.actor: Optional[Dict[str, Any]] = told.get("actor")
        self.tenant: Any = told.get("tenant")
        self.authorize: bool = told.get("authorize", True)
        self.batch: Any = told.get("batch")
        self.client = client              # reads as whoever the batch is for
        timeout_ms = told.get("timeout_ms")
        # In seconds, when the batch came; `left` tells what is left of it.
        self.timeout: Optional[float] = None if timeout_ms is None else timeout_ms / 1000
        self._deadline = None if self.timeout is None else time.monotonic() + self.timeout

    @property
    def left(self) -> Optional[float]:
        return None if self._deadline is None else max(0.0, self._deadline - time.monotonic())


class Batch(NamedTuple):
    """A request `load_relationship`, its params taken apart."""

    name: str
    records: List[Any]
    options: Mapping[str, Any]
    told: Mapping[str, Any]


def batch_of(method: str, params: Any) -> Batch:
    """RelataError where it is none."""
    if method != "load_relationship":
        raise errors.UnknownMethod(f"this client knows only load_relationship, not {method}")
    if not isinstance(params, list) or len(params) != 5 or not isinstance(params[2], list):
        raise errors.InvalidRequest("load_relationship takes resource, relationship, records, "
                                    "options and context")
    resource, relationship, records, options, told = params
    return Batch(f"{resource}.{relationship}", records, options or {}, told or {})


def batch_defaults(batch: Batch, timeout: Optional[float]) -> calls.Defaults:
    """What the reads of a provider say with each call."""
    identity = batch.told.get("batch")
    return calls.Defaults({} if identity is None else {"batch": identity}, timeout)


def answer_of(result: Any) -> Any:
    """What is sent for what a provider answered."""
    if isinstance(result, abc.Mapping):
        return result if isinstance(result, dict) else dict(result)
    if isinstance(result, (list, tuple)):
        return result
    if isinstance(result, abc.Iterable) and not isinstance(result, (str, bytes)):
        return list(result)
    raise errors.LoaderFailed("a provider answers a list or a map, "
                              f"not {type(result).__name__}")


def fault_of(error: BaseException) -> str:
    """What is sent for what a provider raised."""
    if isinstance(error, errors.RelataError):
        return str(error)
    return f"{type(error).__name__}: {error}"


def limits_of(max_size: Optional[int], max_in_flight: Optional[int]) -> Dict[str, Any]:
    given: Tuple[Tuple[str, Optional[int]], ...] = (
        ("max_size", max_size), ("max_in_flight", max_in_flight))
    return {name: value for name, value in given if value is not None}
