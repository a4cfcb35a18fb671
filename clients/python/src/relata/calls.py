"""Each method of the protocol as a call: its name, its params, and how its
answer becomes the value that the caller gets. Both faces are built on these.

Options are the protocol's, by its names; `if_` is `if`, which Python keeps for
itself. None leaves an option out.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Union

from . import wire

Record = Dict[str, Any]
Key = Any
Query = Mapping[str, Any]
Loads = Union[str, Sequence[Any], Mapping[str, Any]]

WRITES = frozenset(["create", "upsert", "update", "destroy", "create_many", "upsert_many",
                    "destroy_many"])
# These answer at once, and take no time limit.
_WITHOUT_TIMEOUT = frozenset(["ping", "hello", "schema", "stats", "provide", "unprovide"])


class Call(NamedTuple):
    method: str
    params: List[Any]
    made: Callable[[Any], Any]
    timeout: Optional[float]

    @property
    def writes(self) -> bool:
        return self.method in WRITES


class Defaults(NamedTuple):
    """What a face says with each call unless the caller says otherwise."""

    options: Mapping[str, Any]
    timeout: Optional[float]


def _call(defaults: Defaults, method: str, params: List[Any], options: Dict[str, Any],
          made: Callable[[Any], Any] = wire.no_change) -> Call:
    timeout = options.pop("timeout", None)
    if timeout is None:
        timeout = defaults.timeout
    given = {(name[:-1] if name == "if_" else name): value
             for name, value in options.items() if value is not None}
    if method not in _WITHOUT_TIMEOUT:
        given = {**defaults.options, **given}
        if timeout is not None:
            given["timeout_ms"] = max(1, round(timeout * 1000))
    if made is not wire.no_change:
        given["shape"] = "rows"
    if given:
        params.append(given)
    return Call(method, params, made, timeout)


def ping(defaults: Defaults, options: Dict[str, Any]) -> Call:
    return _call(defaults, "ping", [], options)


def hello(defaults: Defaults, options: Dict[str, Any]) -> Call:
    return _call(defaults, "hello", [], {"errors": "map", **options})


def schema(defaults: Defaults, options: Dict[str, Any]) -> Call:
    return _call(defaults, "schema", [], options)


def stats(defaults: Defaults, options: Dict[str, Any]) -> Call:
    return _call(defaults, "stats", [], options)


def get(defaults: Defaults, resource: str, key: Key, options: Dict[str, Any]) -> Call:
    return _call(defaults, "get", [resource, key], options, wire.one)


def get_many(defaults: Defaults, resource: str, keys: Sequence[Key],
             options: Dict[str, Any]) -> Call:
    return _call(defaults, "get_many", [resource, list(keys)], options, wire.many)


_QUERY = ("filter", "params", "sort", "limit", "offset", "select", "load")


def _query(query: Optional[Query], options: Dict[str, Any]) -> Dict[str, Any]:
    """The query, and what of it was given by name; this is taken out of options."""
    named = {name: options.pop(name) for name in _QUERY if name in options}
    return {**(query or {}),
            **{name: value for name, value in named.items() if value is not None}}


def read(defaults: Defaults, resource: str, query: Optional[Query],
         options: Dict[str, Any]) -> Call:
    params = [resource, _query(query, options)]
    return _call(defaults, "read", params, options, wire.many)


def count(defaults: Defaults, resource: str, query: Optional[Query],
          options: Dict[str, Any]) -> Call:
    params = [resource, _query(query, options)]
    return _call(defaults, "count", params, options)


def load(defaults: Defaults, resource: str, keys: Sequence[Key], loads: Loads,
         query: Optional[Query], options: Dict[str, Any]) -> Call:
    if isinstance(loads, str):
        params = [resource, list(keys), {loads: query}]
        return _call(defaults, "load", params, options, wire.load)
    if query is not None:
        options["query"] = query  # the daemon says what is wrong with that
    return _call(defaults, "load", [resource, list(keys), loads], options, wire.loads)


def create(defaults: Defaults, resource: str, record: Mapping[str, Any],
           options: Dict[str, Any]) -> Call:
    return _call(defaults, "create", [resource, record], options, wire.one)


def upsert(defaults: Defaults, resource: str, record: Mapping[str, Any],
           options: Dict[str, Any]) -> Call:
    return _call(defaults, "upsert", [resource, record], options, wire.one)


def update(defaults: Defaults, resource: str, key: Key, changes: Mapping[str, Any],
           options: Dict[str, Any]) -> Call:
    return _call(defaults, "update", [resource, key, changes], options, wire.one)


def destroy(defaults: Defaults, resource: str, key: Key, options: Dict[str, Any]) -> Call:
    return _call(defaults, "destroy", [resource, key], options)


def create_many(defaults: Defaults, resource: str, records: Sequence[Mapping[str, Any]],
                options: Dict[str, Any]) -> Call:
    return _call(defaults, "create_many", [resource, list(records)], options)


def upsert_many(defaults: Defaults, resource: str, records: Sequence[Mapping[str, Any]],
                options: Dict[str, Any]) -> Call:
    return _call(defaults, "upsert_many", [resource, list(records)], options)


def destroy_many(defaults: Defaults, resource: str, keys: Sequence[Key],
                 options: Dict[str, Any]) -> Call:
    return _call(defaults, "destroy_many", [resource, list(keys)], options)


def invalidate(defaults: Defaults, name: str, keys: Optional[Sequence[Key]],
               options: Dict[str, Any]) -> Call:
    params = [name, None if keys is None else list(keys)]
    return _call(defaults, "invalidate", params, options)


def provide(name: str, limits: Mapping[str, Any]) -> Call:
    return _call(Defaults({}, None), "provide", [name], dict(limits))


def unprovide(name: str) -> Call:
    return _call(Defaults({}, None), "unprovide", [name], {})


def raw(defaults: Defaults, method: str, params: Sequence[Any],
        timeout: Optional[float]) -> Call:
    """Any method, its params as they are."""
    return Call(method, list(params), wire.no_change,
                defaults.timeout if timeout is None else timeout)
