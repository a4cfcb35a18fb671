"""Messages to bytes and back. It knows no sockets and waits for nothing.

Values come as Python's own: dict, list, str, bytes, int, float, bool, None,
and aware datetimes. These have microseconds; who needs the nanoseconds asks
for `exact_datetimes` and gets msgpack.Timestamp instead. A datetime that
Python cannot hold (the year 33658) comes as msgpack.Timestamp in any case. An
error in the place of a value is an instance of RelataError.
"""

from __future__ import annotations

import datetime
import enum
import uuid
from collections import abc
from typing import Any, Callable, Dict, List, Optional, Tuple

import msgpack

from . import errors

REQUEST, RESPONSE, NOTIFICATION = 0, 1, 2
EXT_ERROR = 1
# A buffer that grew for one large answer is not kept.
KEEP_BYTES = 1 << 20

Message = List[Any]


def _plain(value: Any) -> Any:
    """What msgpack does not know by itself."""
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, datetime.datetime):
        if value.tzinfo is None:
            raise errors.InvalidValue(
                f"{value!r} has no time zone: say which, as in datetime.now(timezone.utc)")
        return msgpack.Timestamp.from_datetime(value)
    if isinstance(value, int):
        raise errors.InvalidValue(f"integers have 64 bits: {value}")
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, abc.Mapping):
        return dict(value)
    if isinstance(value, (abc.Set, abc.ValuesView, abc.KeysView)) or (
            isinstance(value, abc.Sequence) and not isinstance(value, (str, bytes, bytearray))):
        return list(value)
    raise TypeError(f"a {type(value).__name__} cannot be sent: {value!r}")


def _plain_answer(value: Any) -> Any:
    if isinstance(value, BaseException):
        packer = msgpack.Packer(datetime=True, default=_plain)
        return msgpack.ExtType(EXT_ERROR, _packed(packer, errors.to_wire(value)))
    return _plain(value)


def _packed(packer: Any, value: Any) -> bytes:
    try:
        data: bytes = packer.pack(value)
        return data
    except OverflowError as error:
        raise errors.InvalidValue(f"integers have 64 bits: {error}") from None
    except UnicodeEncodeError as error:
        raise errors.InvalidValue(f"text is UTF-8: {error}") from None
    except ValueError as error:
        raise errors.InvalidRequest(f"cannot be sent: {error}") from None


class Encoder:
    """Requests and responses to bytes. For one thread at a time."""

    def __init__(self) -> None:
        self._renew()

    def _renew(self) -> None:
        self._request = msgpack.Packer(datetime=True, default=_plain)
        self._response = msgpack.Packer(datetime=True, default=_plain_answer)

    def _pack(self, packer: Any, message: Tuple[Any, ...]) -> bytes:
        data = _packed(packer, message)
        if len(data) > KEEP_BYTES:
            self._renew()
        return data

    def request(self, msgid: int, method: str, params: List[Any]) -> bytes:
        return self._pack(self._request, (REQUEST, msgid, method, params))

    def response(self, msgid: int, error: Any, result: Any) -> bytes:
        return self._pack(self._response, (RESPONSE, msgid, error, result))


class Decoder:
    """Bytes to messages.

    Most values are taken as msgpack makes them. Where it cannot make one (a
    datetime beyond Python's years, a list as the key of a map), the bytes
    since the last whole message are read once more, carefully.
    """

    def __init__(self, exact_datetimes: bool = False) -> None:
        self._exact = exact_datetimes
        self._rest = bytearray()  # what was fed and is in no whole message yet
        self._fast: Any = None
        self._careful: Any = None
        self._renew()

    def _renew(self) -> None:
        self._fast = self._unpacker(careful=False)
        self._careful = None
        self._taken = 0  # of what the unpacker was fed, in whole messages
        self._has_grown = False

    def _unpacker(self, careful: bool) -> Any:
        return msgpack.Unpacker(
            raw=False, strict_map_key=False, unicode_errors="surrogateescape",
            timestamp=0 if self._exact or careful else 3,
            ext_hook=lambda code, data: _ext(code, data, self._exact),
            object_pairs_hook=_careful_map if careful else None, max_buffer_size=0)

    def feed(self, data: bytes) -> List[Message]:
        """The messages that are whole now. ValueError for what is no MessagePack."""
        self._rest += data
        self._has_grown = self._has_grown or len(self._rest) > KEEP_BYTES
        messages: List[Message] = []
        if self._careful is None:
            self._fast.feed(data)
            try:
                self._drain(self._fast, messages)
            except (OverflowError, TypeError, ValueError):
                self._careful = self._unpacker(careful=True)
                self._taken = 0
                self._careful.feed(bytes(self._rest))
                self._drain_carefully(messages)
        else:
            self._careful.feed(data)
            self._drain_carefully(messages)
        if not self._rest and (self._careful is not None or self._has_grown):
            self._renew()
        return messages

    def _drain(self, unpacker: Any, messages: List[Message]) -> None:
        for message in unpacker:
            messages.append(message)
            taken: int = unpacker.tell()
            del self._rest[:taken - self._taken]
            self._taken = taken

    def _drain_carefully(self, messages: List[Message]) -> None:
        first = len(messages)
        self._drain(self._careful, messages)
        if not self._exact:
            for index in range(first, len(messages)):
                messages[index] = _with_datetimes(messages[index])


def _ext(code: int, data: bytes, exact: bool) -> Any:
    if code == EXT_ERROR:
        try:
            unpacked = msgpack.unpackb(data, raw=False, strict_map_key=False,
                                       unicode_errors="surrogateescape", timestamp=0)
            return errors.from_wire(unpacked if exact else _with_datetimes(unpacked))
        except (ValueError, TypeError):
            pass
    return msgpack.ExtType(code, data)


def _hashable(key: Any) -> Any:
    if isinstance(key, list):
        return tuple(_hashable(item) for item in key)
    if isinstance(key, dict):
        return tuple((name, _hashable(value)) for name, value in key.items())
    return key


def _careful_map(pairs: List[Tuple[Any, Any]]) -> Dict[Any, Any]:
    return {_hashable(key): value for key, value in pairs}


def _with_datetimes(value: Any) -> Any:
    """Timestamps become datetimes where Python has them."""
    if isinstance(value, msgpack.Timestamp):
        try:
            return value.to_datetime()
        except (OverflowError, ValueError):
            return value
    if isinstance(value, list):
        return [_with_datetimes(item) for item in value]
    if isinstance(value, dict):
        return {_with_datetimes(key): _with_datetimes(item) for key, item in value.items()}
    return value


# --- Rows ---------------------------------------------------------------------
# {columns, data}: each record is the list of its values, and `columns` tells
# their names once. None and errors may stand for any record, list or value.

Made = Callable[[Any], Any]


def _record(columns: List[Any]) -> Made:
    names = [column if isinstance(column, str) else column[0] for column in columns]
    nested = [(index, _loaded(column)) for index, column in enumerate(columns)
              if not isinstance(column, str)]

    def make(row: Any) -> Any:
        if type(row) is not list:
            return row
        for index, inner in nested:
            row[index] = inner(row[index])
        return dict(zip(names, row))
    return make


def _list(record: Made) -> Made:
    return lambda rows: [record(row) for row in rows] if type(rows) is list else rows


def _loaded(column: List[Any]) -> Made:
    _, kind, columns = column
    if kind == "many":
        return _list(_record(columns))
    return _record(columns) if kind == "one" else lambda value: value


def one(result: Any) -> Any:
    """The record of a `get` or a write."""
    return _record(result["columns"])(result["data"])


def many(result: Any) -> Any:
    """The records of a `get_many` or a `read`."""
    return _list(_record(result["columns"]))(result["data"])


def loads(result: Any) -> Any:
    """Of a `load` of several: a dict for each source."""
    return _list(_record(result["columns"]))(result["data"])


def load(result: Any) -> Any:
    """Of a `load` of one relationship, which was asked for as the only one of
    several: whether a row is a record or a list of them is told only there."""
    inner = _loaded(result["columns"][0])
    return [inner(row[0]) if type(row) is list else row for row in result["data"]]


def no_change(result: Any) -> Any:
    return result


def frozen(value: Any) -> Any:
    """Something hashable, equal for what is equal on the wire, and for nothing
    else: True is not 1 there."""
    kind = type(value)
    if kind is int or kind is str:
        return value
    if isinstance(value, abc.Mapping):
        return frozenset((name, frozen(item)) for name, item in value.items())
    if isinstance(value, (list, tuple)):
        return tuple(frozen(item) for item in value)
    if isinstance(value, (bytearray, memoryview)):
        return (bytes, bytes(value))
    return (kind, value if value == value else "NaN")


def message_fault(message: Any) -> Optional[str]:
    """What is wrong with a frame, None where nothing is."""
    if type(message) is list:
        if len(message) == 4 and message[0] in (REQUEST, RESPONSE) and type(message[1]) is int:
            return None
        if len(message) == 3 and message[0] == NOTIFICATION:
            return None
    return "the daemon sent what is no MessagePack-RPC"
