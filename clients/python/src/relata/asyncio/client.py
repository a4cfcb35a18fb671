"""The client for asyncio."""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import random
import types
from typing import Any, Callable, Dict, Mapping, Optional, Set, Type, TypeVar

from .. import calls, errors, keys
from ..address import parse
from ..calls import Call, Defaults
from ..client import BACKOFF_FIRST_S, BACKOFF_MAX_S
from ..connection import NotSent
from ..providing import (Batch, Context, Provider, answer_of, batch_defaults, batch_of, fault_of,
                         limits_of)
from .connection import Connection
from .methods import Methods, Reads
from .request import Request, RequestLoader

log = logging.getLogger("relata")

F = TypeVar("F", bound=Callable[..., Any])


class Client(Methods):
    """As relata.Client, with the same parameters, for one event loop at a time: any
    number of tasks, one connection, made when it is needed and again when it was lost."""

    def __init__(self, address: Optional[str] = None, *, name: str = "python",
                 timeout: Optional[float] = 30.0, connect_timeout: float = 5.0,
                 token: Optional[str] = None, exact_datetimes: bool = False) -> None:
        self._address = parse(address)
        self._name = name
        self._token = token
        self._connect_timeout = connect_timeout
        self._exact_datetimes = exact_datetimes
        self._defaults = Defaults({}, timeout)
        self._providers: Dict[str, Provider] = {}
        self._schema: Optional[Dict[str, Any]] = None
        self._closed = False
        self._pid = os.getpid()
        self._connection: Optional[Connection] = None
        self._connecting: Optional[asyncio.Task[Connection]] = None
        self._retry_at = 0.0
        self._tasks: Set[asyncio.Task[Any]] = set()

    async def __aenter__(self) -> Client:
        return await self.connect()

    async def __aexit__(self, kind: Optional[Type[BaseException]],
                        error: Optional[BaseException],
                        trace: Optional[types.TracebackType]) -> None:
        await self.close()

    async def connect(self) -> Client:
        """Now, rather than with the first call. Unavailable where there is no daemon."""
        await self._connected()
        return self

    async def close(self) -> None:
        """Calls that are out fail with Unavailable, and so does every later one.
        Providers that are at work are cancelled."""
        self._closed = True
        if self._connecting is not None and not self._connecting.done():
            self._connecting.cancel()
        connection = self._alive()
        if connection is not None:
            connection.lose(errors.lost("the client was closed"))
        here, loop = asyncio.current_task(), asyncio.get_running_loop()
        tasks = [task for task in self._tasks if task is not here and task.get_loop() is loop]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # the transport closes its socket in this round

    # --- Calls --------------------------------------------------------------------

    async def _run(self, call: Call) -> Any:
        while True:
            connection = self._alive()
            if connection is None:
                connection = await self._connected_within(call.timeout)
            try:
                return await connection.run(call)
            except NotSent:
                continue

    def request(self, *, actor: Optional[Mapping[str, Any]] = None, tenant: Any = None,
                authorize: Optional[bool] = None, timeout: Optional[float] = None) -> Request:
        """For one web request: its calls have this actor and tenant; what it loads is
        remembered until it writes, and goes out together."""
        said = {"actor": actor, "tenant": tenant, "authorize": authorize}
        options = {name: value for name, value in said.items() if value is not None}
        return Request(self._run, Defaults(options, timeout or self._defaults.timeout),
                       self._schema_of)

    def loader(self, name: str, query: Optional[calls.Query] = None,
               **about: Any) -> RequestLoader:
        """The loader of a request of its own; `about` is what `request` takes."""
        return self.request(**about).loader(name, query)

    async def _schema_of(self, resource: str) -> Dict[str, Any]:
        """The schema, asked for again where it lacks the resource."""
        if self._schema is None or resource not in self._schema["resources"]:
            self._schema = await self.schema()
        return self._schema

    # --- The connection -------------------------------------------------------------

    def _alive(self) -> Optional[Connection]:
        """The connection of this process and this event loop, if there is one."""
        connection = self._connection
        if connection is None or connection.lost is not None:
            return None
        if connection.loop is asyncio.get_running_loop() and self._pid == os.getpid():
            return connection if connection.is_alive() else None
        connection.forget(in_child=self._pid != os.getpid())
        return None

    async def _connected_within(self, timeout: Optional[float]) -> Connection:
        try:
            return await asyncio.wait_for(self._connected(), timeout)
        except errors.RelataError:
            raise
        except asyncio.TimeoutError:
            raise errors.Timeout(f"no connection to {self._address.text} in time") from None

    async def _connected(self) -> Connection:
        connection = self._alive()
        if connection is not None:
            return connection
        if self._closed:
            raise errors.Unavailable("the client was closed")
        connecting = self._connecting
        if (connecting is None or connecting.done() or self._pid != os.getpid()
                or connecting.get_loop() is not asyncio.get_running_loop()):
            if self._pid != os.getpid():
                self._tasks = set()
            self._pid = os.getpid()
            connecting = self._connecting = asyncio.ensure_future(self._open())
            # Whether or not somebody still waits for it.
            connecting.add_done_callback(lambda task: task.cancelled() or task.exception())
        try:
            return await asyncio.shield(connecting)
        except asyncio.CancelledError:
            if connecting.cancelled():
                raise errors.Unavailable("the client was closed") from None
            raise

    async def _open(self) -> Connection:
        """Tries, with longer and longer waits, until the time is over."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        until = now if now < self._retry_at else now + self._connect_timeout
        wait = BACKOFF_FIRST_S
        while True:
            try:
                self._connection = await self._greet(max(0.05, until - loop.time()))
                return self._connection
            except (OSError, asyncio.TimeoutError) as error:
                pause = wait * random.uniform(0.5, 1.0)
                if loop.time() + pause >= until:
                    self._retry_at = loop.time() + BACKOFF_MAX_S
                    raise errors.Unavailable(
                        f"there is no daemon at {self._address.text}: {error}") from None
                await asyncio.sleep(pause)
                wait = min(wait * 2, BACKOFF_MAX_S)

    async def _greet(self, timeout: float) -> Connection:
        """A connection that has said hello and what it provides, in one write."""
        loop = asyncio.get_running_loop()

        def make() -> Connection:
            return Connection(self._exact_datetimes, self._on_request, self._on_lost)
        if self._address.path is not None:
            dialing = loop.create_unix_connection(make, self._address.path)
            _, connection = await asyncio.wait_for(dialing, timeout)
        else:
            _, connection = await asyncio.wait_for(loop.create_connection(
                make, self._address.host, self._address.port), timeout)
        greeting = calls.hello(Defaults({}, timeout), {"client": self._name, "token": self._token})
        provided = list(self._providers.values())
        try:
            sent = [connection.call(call) for call in [greeting] + [
                one.call()._replace(timeout=timeout) for one in provided]]
            answers = await asyncio.gather(*sent, return_exceptions=True)
            if isinstance(answers[0], BaseException):
                raise answers[0]
        except BaseException:
            connection.lose(errors.Unavailable("no greeting"))
            raise
        for one, answer in zip(provided, answers[1:]):
            if isinstance(answer, BaseException):
                log.error("%s is not provided: %s", one.name, answer)
        return connection

    def _on_lost(self, connection: Connection) -> None:
        """Who provides connects again by itself."""
        if self._providers and connection is self._connection and not self._closed:
            self._spawn(self._connect_again())

    async def _connect_again(self) -> None:
        while not self._closed:
            try:
                await self._connected()
                return
            except errors.RelataError as error:
                log.warning("%s; trying again", error)
                await asyncio.sleep(BACKOFF_MAX_S * random.uniform(0.5, 1.0))

    def _spawn(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # --- Providing ------------------------------------------------------------------

    async def provide(self, name: str, function: Callable[..., Any], *,
                      max_size: Optional[int] = None,
                      max_in_flight: Optional[int] = None) -> None:
        """Answers loads of `resource.relationship` from now on, on every connection
        that the client makes: `function(records, context)`, async or not. See
        relata/providing.py. Raises what the daemon says against it."""
        provider = Provider(name, function, limits_of(max_size, max_in_flight))
        try:
            await self.connect()  # before: a new connection provides what is known by then
        except errors.Unavailable:
            pass
        before = self._providers.get(name)
        self._providers[name] = provider
        try:
            await self._run(provider.call()._replace(timeout=self._defaults.timeout))
        except errors.Unavailable:
            self._spawn(self._connect_again())
            raise
        except errors.RelataError:
            if before is None:
                del self._providers[name]
            else:
                self._providers[name] = before
            raise

    def provider(self, name: str, *, max_size: Optional[int] = None,
                 max_in_flight: Optional[int] = None) -> Callable[[F], F]:
        """A decorator. What it decorates is provided when the client connects, or
        soon if it has; a refusal is logged (`await client.provide` raises it)."""
        def decorate(function: F) -> F:
            self._providers[name] = Provider(name, function, limits_of(max_size, max_in_flight))
            if self._connection is not None and self._connection.lost is None:
                self._spawn(self._provide_soon(self._providers[name]))
            return function
        return decorate

    async def _provide_soon(self, provider: Provider) -> None:
        try:
            await self._run(provider.call()._replace(timeout=self._defaults.timeout))
        except errors.RelataError as error:
            log.error("%s is not provided: %s", provider.name, error)

    async def unprovide(self, name: str) -> bool:
        """True where it was provided."""
        self._providers.pop(name, None)
        call = calls.unprovide(name)._replace(timeout=self._defaults.timeout)
        result: bool = await self._run(call)
        return result

    def _on_request(self, connection: Connection, msgid: int, method: str, params: Any) -> None:
        self._spawn(self._answer(connection, msgid, method, params))

    async def _answer(self, connection: Connection, msgid: int, method: str,
                      params: Any) -> None:
        try:
            answer = await self._provided(batch_of(method, params))
        except errors.RelataError as error:
            connection.respond(msgid, fault_of(error), None)
        except Exception as error:
            log.exception("the provider of %s.%s failed", *params[:2])
            connection.respond(msgid, fault_of(error), None)
        else:
            connection.respond(msgid, None, answer)

    async def _provided(self, batch: Batch) -> Any:
        provider = self._providers.get(batch.name)
        if provider is None:
            raise errors.UnknownRelationship(f"{batch.name} is not provided here")
        reads = BatchReads(self._run, batch_defaults(batch, self._defaults.timeout))
        context: Context[Reads] = Context(batch.name, batch.options, batch.told, reads)
        result = provider.function(batch.records, context)
        if inspect.isawaitable(result):
            result = await result
        return answer_of(result)


class BatchReads(Reads):
    """Reads on behalf of a batch: as whoever it is loaded for."""

    def __init__(self, run: Callable[[Call], Any], defaults: Defaults) -> None:
        self._run_call = run
        self._defaults = defaults

    async def _run(self, call: Call) -> Any:
        return await self._run_call(call)


async def connect(address: Optional[str] = None, **options: Any) -> Client:
    """A client that is connected."""
    return await Client(address, **options).connect()
