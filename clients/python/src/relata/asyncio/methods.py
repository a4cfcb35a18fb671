"""The methods of the protocol for asyncio: as in relata/methods.py, awaited.

`**options` of each are the protocol's: select, load, identity, actor, tenant,
authorize, fresh, params, if_ (for `if`), and timeout in seconds.
"""

from __future__ import annotations

from typing import Any, Dict, Generic, List, Mapping, Optional, Sequence, Type, TypeVar, cast

from .. import calls
from ..calls import Call, Defaults, Key, Loads, Query, Record

R = TypeVar("R")


class Reads:
    """What reads."""

    _defaults: Defaults

    async def _run(self, call: Call) -> Any:
        raise NotImplementedError

    async def get(self, resource: str, key: Key, **options: Any) -> Optional[Record]:
        """The record, or None."""
        return cast(Optional[Record], await self._run(
            calls.get(self._defaults, resource, key, options)))

    async def get_many(self, resource: str, keys: Sequence[Key],
                 **options: Any) -> List[Optional[Record]]:
        """In the order of the keys, None where absent."""
        return cast(List[Optional[Record]], await self._run(
            calls.get_many(self._defaults, resource, keys, options)))

    async def read(self, resource: str, query: Optional[Query] = None,
                   **options: Any) -> List[Record]:
        """Records. What belongs to a query may be given by name, too:
        `read("ticket", filter="priority > $min", params={"min": 8}, limit=5)`."""
        return cast(List[Record], await self._run(
            calls.read(self._defaults, resource, query, options)))

    async def count(self, resource: str, query: Optional[Query] = None, **options: Any) -> int:
        """How many records `read` would give without limit and offset."""
        return cast(int, await self._run(calls.count(self._defaults, resource, query, options)))

    async def load(self, resource: str, keys: Sequence[Key], loads: Loads,
             query: Optional[Query] = None, **options: Any) -> List[Any]:
        """In the order of the keys. For the name of one relationship the related
        record or list; for a list or a map of them a dict. None where the source
        is absent; an instance of RelataError where one of several failed."""
        return cast(List[Any], await self._run(
            calls.load(self._defaults, resource, keys, loads, query, options)))


class Methods(Reads):
    """All of them."""

    async def ping(self, **options: Any) -> str:
        return cast(str, await self._run(calls.ping(self._defaults, options)))

    async def hello(self, **options: Any) -> Dict[str, Any]:
        """What the daemon says of itself. `client`, `token`: for the calls after it."""
        return cast(Dict[str, Any], await self._run(calls.hello(self._defaults, options)))

    async def schema(self, **options: Any) -> Dict[str, Any]:
        return cast(Dict[str, Any], await self._run(calls.schema(self._defaults, options)))

    async def stats(self, **options: Any) -> Dict[str, Any]:
        return cast(Dict[str, Any], await self._run(calls.stats(self._defaults, options)))

    async def create(self, resource: str, record: Mapping[str, Any], **options: Any) -> Record:
        """The record as stored. Conflict if its key or an identity is taken."""
        return cast(Record, await self._run(
            calls.create(self._defaults, resource, record, options)))

    async def upsert(self, resource: str, record: Mapping[str, Any], **options: Any) -> Record:
        """Created, or changed in the fields that are given."""
        return cast(Record, await self._run(
            calls.upsert(self._defaults, resource, record, options)))

    async def update(self, resource: str, key: Key, changes: Mapping[str, Any],
               **options: Any) -> Record:
        """None clears a field. NotFound if absent, Conflict where `if_` is not true."""
        return cast(Record, await self._run(
            calls.update(self._defaults, resource, key, changes, options)))

    async def destroy(self, resource: str, key: Key, **options: Any) -> bool:
        return cast(bool, await self._run(calls.destroy(self._defaults, resource, key, options)))

    async def create_many(self, resource: str, records: Sequence[Mapping[str, Any]],
                    **options: Any) -> int:
        """How many. All or nothing: `details["index"]` tells which was not valid."""
        return cast(int, await self._run(
            calls.create_many(self._defaults, resource, records, options)))

    async def upsert_many(self, resource: str, records: Sequence[Mapping[str, Any]],
                    **options: Any) -> int:
        return cast(int, await self._run(
            calls.upsert_many(self._defaults, resource, records, options)))

    async def destroy_many(self, resource: str, keys: Sequence[Key], **options: Any) -> int:
        """How many were removed; absent ones are skipped."""
        return cast(int, await self._run(
            calls.destroy_many(self._defaults, resource, keys, options)))

    async def invalidate(self, name: str, keys: Optional[Sequence[Key]] = None,
                   **options: Any) -> int:
        """Drops what is cached of a resource or of `resource.relationship`."""
        return cast(int, await self._run(calls.invalidate(self._defaults, name, keys, options)))

    async def call(self, method: str, *params: Any, timeout: Optional[float] = None) -> Any:
        """Any method, params and result as they are on the wire."""
        return await self._run(calls.raw(self._defaults, method, params, timeout))

    def resource(self, name: str, record: Type[R]) -> Resource[R]:
        """The methods for one resource, whose records have the type `record` (a
        TypedDict): `client.resource("ticket", Ticket).get(1)`. For type checkers;
        nothing is checked when it runs."""
        return Resource(self, name)


class Resource(Generic[R]):
    """The methods of one resource, with its type of records."""

    def __init__(self, methods: Methods, name: str) -> None:
        self._methods = methods
        self.name = name

    async def get(self, key: Key, **options: Any) -> Optional[R]:
        return cast(Optional[R], await self._methods.get(self.name, key, **options))

    async def get_many(self, keys: Sequence[Key], **options: Any) -> List[Optional[R]]:
        return cast(List[Optional[R]], await self._methods.get_many(self.name, keys, **options))

    async def read(self, query: Optional[Query] = None, **options: Any) -> List[R]:
        return cast(List[R], await self._methods.read(self.name, query, **options))

    async def count(self, query: Optional[Query] = None, **options: Any) -> int:
        return await self._methods.count(self.name, query, **options)

    async def load(self, keys: Sequence[Key], loads: Loads, query: Optional[Query] = None,
             **options: Any) -> List[Any]:
        return await self._methods.load(self.name, keys, loads, query, **options)

    async def create(self, record: R, **options: Any) -> R:
        return cast(R, await self._methods.create(self.name, cast(Record, record), **options))

    async def upsert(self, record: Mapping[str, Any], **options: Any) -> R:
        return cast(R, await self._methods.upsert(self.name, record, **options))

    async def update(self, key: Key, changes: Mapping[str, Any], **options: Any) -> R:
        return cast(R, await self._methods.update(self.name, key, changes, **options))

    async def destroy(self, key: Key, **options: Any) -> bool:
        return await self._methods.destroy(self.name, key, **options)
