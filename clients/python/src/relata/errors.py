"""What can go wrong, an exception for each code of the protocol.

    try:
        client.update("ticket", 7, {"status": "closed"})
    except relata.NotFound as error:
        error.code, error.message, error.details

Codes that this version does not know come as RelataError itself.
"""

from __future__ import annotations

from typing import Any, Dict, Mapping, Optional, Type


class RelataError(Exception):
    """An error that the daemon answered, or that the client has found itself."""

    code: str = "internal"

    def __init__(self, message: str, *, code: Optional[str] = None,
                 details: Optional[Mapping[str, Any]] = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or type(self).code
        self.details: Dict[str, Any] = dict(details or {})

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"

    def __reduce__(self) -> Any:
        return _restore, (self.code, self.message, self.details)


class InvalidRequest(RelataError):
    """The shape of the call is wrong."""

    code = "invalid_request"


class UnknownMethod(RelataError):
    code = "unknown_method"


class UnknownResource(RelataError):
    code = "unknown_resource"


class UnknownField(RelataError):
    """In records, changes, `select`."""

    code = "unknown_field"


class UnknownRelationship(RelataError):
    """In loads."""

    code = "unknown_relationship"


class InvalidValue(RelataError):
    """A value does not fit its field."""

    code = "invalid_value"


class InvalidFilter(RelataError):
    """Everything wrong inside a filter or a sort."""

    code = "invalid_filter"


class NotFound(RelataError):
    code = "not_found"


class Conflict(RelataError):
    """A key is taken, or a condition does not hold."""

    code = "conflict"


class Forbidden(RelataError):
    code = "forbidden"


class Unauthenticated(RelataError):
    code = "unauthenticated"


class Timeout(RelataError, TimeoutError):
    """The time allowed has passed. A write may still have been done."""

    code = "timeout"


class Unavailable(RelataError, ConnectionError):
    """The daemon, a home of records or a loader cannot be reached.

    Where `details["outcome"]` is "unknown" a write may have been done.
    """

    code = "unavailable"


class LoaderFailed(RelataError):
    code = "loader_failed"


class TooLarge(RelataError):
    """A limit on size was exceeded; `details["limit"]` names it."""

    code = "too_large"


class Overloaded(RelataError):
    """More is waiting than the limits allow."""

    code = "overloaded"


class Internal(RelataError):
    """A fault of the daemon's own."""

    code = "internal"


BY_CODE: Dict[str, Type[RelataError]] = {kind.code: kind for kind in (
    InvalidRequest, UnknownMethod, UnknownResource, UnknownField, UnknownRelationship,
    InvalidValue, InvalidFilter, NotFound, Conflict, Forbidden, Unauthenticated, Timeout,
    Unavailable, LoaderFailed, TooLarge, Overloaded, Internal)}


def from_wire(error: Any) -> RelataError:
    """The exception for an error as it came: a map, or `code: message` as text."""
    if isinstance(error, dict):
        code, message = str(error.get("code", "internal")), str(error.get("message", ""))
        details = error.get("details")
    else:
        code, found, message = str(error).partition(": ")
        if not found:
            code, message = "internal", str(error)
        details = None
    kind = BY_CODE.get(code, RelataError)
    return kind(message, code=code, details=details if isinstance(details, dict) else None)


def to_wire(error: BaseException) -> Dict[str, Any]:
    """An exception as the map that stands for it on the wire."""
    if isinstance(error, RelataError):
        return {"code": error.code, "message": error.message, "details": error.details}
    return {"code": "loader_failed", "message": f"{type(error).__name__}: {error}", "details": {}}


def lost(why: str) -> Unavailable:
    """For calls that were out when their connection ended."""
    return Unavailable(f"{why}; the call may have been executed", details={"outcome": "unknown"})


def _restore(code: str, message: str, details: Dict[str, Any]) -> RelataError:
    return from_wire({"code": code, "message": message, "details": details})
