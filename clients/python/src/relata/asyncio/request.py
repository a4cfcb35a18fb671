"""One web request of an asyncio application: an actor, a tenant, and a memo of what
was loaded, which a write of the request clears.

All loads of a turn go out in one write; those of one relationship under equal
queries are one call.
"""

from __future__ import annotations

import asyncio
from typing import Any, Awaitable, Callable, Dict, List, Optional, Sequence, Union, cast

from .. import calls, keys, wire
from ..calls import Call, Defaults, Key, Query, Record
from ..request import KEYS_PER_CALL
from .loader import Loader
from .methods import Methods
from .turn import Turn

Run = Callable[[Call], Awaitable[Any]]
SchemaOf = Callable[[str], Awaitable[Dict[str, Any]]]


class _Keys:
    """Keys of records, once the schema is known."""

    def __init__(self, schema_of: SchemaOf) -> None:
        self._schema_of = schema_of
        self._known: Dict[str, Any] = {}

    def now(self, resource: str, value: Any) -> Any:
        """The key, or None if the schema has to be asked for first."""
        if value is None or not keys.is_record(value):
            return value
        schema = self._known.get(resource)
        return None if schema is None else keys.key_of(schema, resource, value)

    async def later(self, resource: str, value: Any) -> Any:
        self._known[resource] = await self._schema_of(resource)
        return keys.key_of(self._known[resource], resource, value)


class RequestLoader(Loader[Any, Any]):
    """The loader of one relationship under one query; takes records for keys, too."""

    def __init__(self, request: Request, name: str, query: Optional[Query],
                 turn: Turn, known: _Keys, **options: Any) -> None:
        options.setdefault("max_batch_size", KEYS_PER_CALL)
        options.setdefault("name", name)
        super().__init__(self._fetch, turn=turn, **options)
        self._request = request
        self._resource, self._relationship = keys.split(name)
        self._query = query
        self._keys = known

    async def _fetch(self, wanted: List[Any]) -> List[Any]:
        return await self._request.load_keys(self._resource, wanted, self._relationship,
                                             self._query)

    def load(self, key: Any) -> asyncio.Future[Any]:
        known = self._keys.now(self._resource, key)
        if known is None and key is not None:
            return asyncio.ensure_future(self._load_later(key))
        return super().load(known)

    async def _load_later(self, record: Any) -> Any:
        return await super().load(await self._keys.later(self._resource, record))

    def clear(self, key: Any) -> RequestLoader:
        super().clear(self._known(key))
        return self

    def prime(self, key: Any, value: Any) -> RequestLoader:
        super().prime(self._known(key), value)
        return self

    def _known(self, value: Any) -> Any:
        key = self._keys.now(self._resource, value)
        if key is None:
            raise TypeError("clear and prime take a key; of records only once one was loaded")
        return key


class Request(Methods):
    """Made by `client.request(actor=..., tenant=...)`. It has all methods of the
    client, with its actor and tenant; `get` and `load` are remembered."""

    def __init__(self, run: Run, defaults: Defaults, schema_of: SchemaOf) -> None:
        self._run_call = run
        self._defaults = defaults
        self._turn = Turn()
        self._keys = _Keys(schema_of)
        self._loaders: Dict[Any, Loader[Any, Any]] = {}

    async def _run(self, call: Call) -> Any:
        if call.writes:
            # What is sent after this write sees it.
            self.clear()
        return await self._run_call(call)

    def loader(self, name: str, query: Optional[Query] = None, **options: Any) -> RequestLoader:
        """The same one for the same relationship and an equal query. Options are
        those of relata.asyncio.Loader; with them it has a memo of its own."""
        mark = ("load", name, wire.frozen(query or {}))
        loader = None if options else self._loaders.get(mark)
        if loader is None:
            loader = RequestLoader(self, name, query, self._turn, self._keys, **options)
            self._loaders[(*mark, len(self._loaders)) if options else mark] = loader
        return cast(RequestLoader, loader)

    async def load_keys(self, resource: str, wanted: Sequence[Key], relationship: str,
                        query: Optional[Query]) -> List[Any]:
        """Past the memo."""
        return cast(List[Any], await self._run_call(calls.load(
            self._defaults, resource, wanted, relationship, query, {})))

    # `load` of one relationship by its full name is what a request is for.
    def load(self, name: str, *params: Any,  # type: ignore[override]
             **options: Any) -> Awaitable[Any]:
        """`load("representative.tickets", record_or_key, query)`: remembered.
        `load("representative", keys, loads, query)`: as the client's."""
        if "." in name:
            return self._load_one(name, *params, **options)
        return super().load(name, *params, **options)

    def _load_one(self, name: str, record_or_key: Any,
                  query: Optional[Query] = None) -> asyncio.Future[Any]:
        return self.loader(name, query).load(record_or_key)

    def load_many(self, name: str, records_or_keys: Sequence[Any], query: Optional[Query] = None
                  ) -> asyncio.Future[List[Union[Any, BaseException]]]:
        """`load_many("representative.tickets", records)`"""
        return self.loader(name, query).load_many(records_or_keys)

    async def get(self, resource: str, key: Key, **options: Any) -> Optional[Record]:
        """The record, or None. Those of a turn with equal options are one call."""
        mark = ("get", resource, wire.frozen(options))
        loader = self._loaders.get(mark)
        if loader is None:
            async def fetch(wanted: List[Any]) -> List[Any]:
                return cast(List[Any], await self._run_call(
                    calls.get_many(self._defaults, resource, wanted, dict(options))))
            loader = Loader(fetch, turn=self._turn, max_batch_size=KEYS_PER_CALL)
            self._loaders[mark] = loader
        return cast(Optional[Record], await loader.load(key))

    def clear(self) -> None:
        """Forgets what was loaded. Every write through the request does it."""
        for loader in self._loaders.values():
            loader.clear_all()
