"""One web request of a synchronous application: an actor, a tenant, and a memo of
what was loaded, which a write of the request clears. For one thread."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Optional, Sequence, cast

from . import calls, errors, keys, wire
from .calls import Call, Defaults, Query
from .methods import Methods

KEYS_PER_CALL = 10000

KeyOf = Callable[[str, Any], Any]


class Loader:
    """The memo of one relationship under one query. Failures of single keys are
    remembered, those of whole calls are not."""

    def __init__(self, run: Callable[[Call], Any], defaults: Defaults, key_of: KeyOf,
                 name: str, query: Optional[Query]) -> None:
        self._run = run
        self._defaults = defaults
        self._key_of = key_of
        self._query = query
        self._memo: Dict[Any, Any] = {}
        self.name = name
        self._resource, self._relationship = keys.split(name)

    def load(self, key: Any) -> Any:
        """Of a record or a key."""
        value = self.load_many([key])[0]
        if isinstance(value, errors.RelataError):
            raise value
        return value

    def load_many(self, records_or_keys: Sequence[Any]) -> List[Any]:
        """In their order; an exception stands where one of several failed. What is
        not remembered is asked for in one call (of at most 10,000 keys)."""
        wanted = [self._key(one) for one in records_or_keys]
        frozen = [wire.frozen(key) for key in wanted]
        missing = {mark: key for mark, key in zip(frozen, wanted) if mark not in self._memo}
        marks = list(missing)
        for first in range(0, len(marks), KEYS_PER_CALL):
            some = marks[first:first + KEYS_PER_CALL]
            for mark, value in zip(some, self._fetch([missing[mark] for mark in some])):
                self._memo[mark] = value
        return [self._memo[mark] for mark in frozen]

    def _fetch(self, wanted: List[Any]) -> List[Any]:
        call = calls.load(self._defaults, self._resource, wanted, self._relationship,
                          self._query, {})
        return cast(List[Any], self._run(call))

    def clear(self, key: Any) -> Loader:
        self._memo.pop(wire.frozen(self._key(key)), None)
        return self

    def clear_all(self) -> Loader:
        self._memo.clear()
        return self

    def prime(self, key: Any, value: Any) -> Loader:
        """Remembers a value, or an exception, unless there is one."""
        self._memo.setdefault(wire.frozen(self._key(key)), value)
        return self

    def _key(self, value: Any) -> Any:
        if value is None:
            raise TypeError("a load needs a record or a key, not None")
        return self._key_of(self._resource, value)


class Request(Methods):
    """Made by `client.request(actor=..., tenant=...)`. It has all methods of the
    client, with its actor and tenant."""

    def __init__(self, run: Callable[[Call], Any], defaults: Defaults, key_of: KeyOf) -> None:
        self._run_call = run
        self._defaults = defaults
        self._key_of = key_of
        self._loaders: Dict[Any, Loader] = {}

    def _run(self, call: Call) -> Any:
        try:
            return self._run_call(call)
        finally:
            if call.writes:
                self.clear()

    def loader(self, name: str, query: Optional[Query] = None) -> Loader:
        """The same one for the same relationship and an equal query."""
        mark = (name, wire.frozen(query or {}))
        loader = self._loaders.get(mark)
        if loader is None:
            loader = Loader(self._run_call, self._defaults, self._key_of, name, query)
            self._loaders[mark] = loader
        return loader

    # `load` of one relationship by its full name is what a request is for; the
    # protocol's own, of a resource and its keys, is there under its shape.
    def load(self, name: str, *params: Any,  # type: ignore[override]
             **options: Any) -> Any:
        """`load("representative.tickets", record_or_key, query)`: remembered.
        `load("representative", keys, loads, query)`: as the client's."""
        if "." in name:
            return self._load_one(name, *params, **options)
        return super().load(name, *params, **options)

    def _load_one(self, name: str, record_or_key: Any, query: Optional[Query] = None) -> Any:
        return self.loader(name, query).load(record_or_key)

    def load_many(self, name: str, records_or_keys: Sequence[Any],
                  query: Optional[Query] = None) -> List[Any]:
        """`load_many("representative.tickets", records)`: what is not remembered
        in one call."""
        return self.loader(name, query).load_many(records_or_keys)

    def clear(self) -> None:
        """Forgets what was loaded. Every write through the request does it."""
        for loader in self._loaders.values():
            loader.clear_all()
