"""The synchronous client."""

from __future__ import annotations

import logging
import os
import random
import threading
import time
import types
from typing import Any, Callable, Dict, List, Mapping, Optional, Type, TypeVar

from . import calls, errors, keys
from .address import parse
from .calls import Call, Defaults
from .connection import Connection, NotSent, dial
from .methods import Methods, Reads
from .pipeline import Pipeline
from .providing import (Batch, Context, Provider, answer_of, batch_defaults, batch_of, fault_of,
                        limits_of)
from .request import Loader, Request
from .workers import Workers

log = logging.getLogger("relata")

BACKOFF_FIRST_S, BACKOFF_MAX_S = 0.02, 1.0
RESPOND_S = 30.0  # for the bytes of a provider's answer to go out

F = TypeVar("F", bound=Callable[..., Any])


class _Process:
    """What belongs to one process: a child that was forked begins anew."""

    def __init__(self) -> None:
        self.lock = threading.Lock()  # connecting
        self.connection: Optional[Connection] = None
        self.retry_at = 0.0           # until then calls fail at once
        self.workers: Optional[Workers] = None
        self.server: Optional[threading.Thread] = None
        self.ended = threading.Event()


class Client(Methods):
    """One connection to the daemon, made when it is needed and again when it was
    lost, for any number of threads. In a child of a fork it makes a new one.

    address          `unix:PATH` or `tcp:HOST:PORT`; else RELATA_ADDRESS, else
                     unix:/run/relata/relata.sock
    name             what the daemon knows it by
    timeout          seconds for each call that does not say its own; None: no end
    connect_timeout  seconds in which a daemon that does not answer is tried again;
                     after that, calls fail at once for a while
    token            where the daemon asks for one
    exact_datetimes  datetimes come as msgpack.Timestamp, which has nanoseconds
    """

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
        self._processes: Dict[int, _Process] = {}
        self._schema: Optional[Dict[str, Any]] = None
        self._closed = False

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException],
                 trace: Optional[types.TracebackType]) -> None:
        self.close()

    def connect(self) -> Client:
        """Now, rather than with the first call. Unavailable where there is no daemon."""
        self._connected(time.monotonic() + self._connect_timeout)
        return self

    def close(self) -> None:
        """Calls that are out fail with Unavailable, and so does every later one."""
        self._closed = True
        process = self._process()
        process.ended.set()
        connection = process.connection
        if connection is not None:
            connection.lose(errors.lost("the client was closed"))
        if process.workers is not None:
            process.workers.stop()
        if process.server is not None and process.server is not threading.current_thread():
            process.server.join()

    # --- Calls --------------------------------------------------------------------

    def _run(self, call: Call) -> Any:
        return self._run_all([call])[0]()

    def _run_all(self, several: List[Call]) -> List[Callable[[], Any]]:
        """Sends them in one write; each result when it is asked for."""
        waits = [call.timeout for call in several]
        now = time.monotonic()
        longest = None if None in waits else now + max(wait for wait in waits if wait is not None)
        while True:
            connection = self._connected(longest)
            try:
                pendings = connection.send(several, longest)
                break
            except NotSent:
                continue

        def waiter(index: int) -> Callable[[], Any]:
            wait = waits[index]
            deadline = None if wait is None else now + wait
            return lambda: connection.wait(pendings[index], deadline)
        return [waiter(index) for index in range(len(several))]

    def pipeline(self) -> Pipeline:
        """Collects calls, and sends them in one write:

            with client.pipeline() as pipe:
                ticket, teams = pipe.get("ticket", 1), pipe.read("team")
            ticket.result(), teams.result()
        """
        return Pipeline(self._run_all, self._defaults)

    def request(self, *, actor: Optional[Mapping[str, Any]] = None, tenant: Any = None,
                authorize: Optional[bool] = None, timeout: Optional[float] = None) -> Request:
        """For one web request: its calls have this actor and tenant, and what it
        loads is remembered until it writes."""
        said = {"actor": actor, "tenant": tenant, "authorize": authorize}
        options = {name: value for name, value in said.items() if value is not None}
        return Request(self._run, Defaults(options, timeout or self._defaults.timeout),
                       self._key_of)

    def loader(self, name: str, query: Optional[calls.Query] = None, **about: Any) -> Loader:
        """The loader of a request of its own; `about` is what `request` takes."""
        return self.request(**about).loader(name, query)

    def _key_of(self, resource: str, value: Any) -> Any:
        if not keys.is_record(value):
            return value
        if self._schema is None or resource not in self._schema["resources"]:
            self._schema = self.schema()
        return keys.key_of(self._schema, resource, value)

    # --- The connection -------------------------------------------------------------

    def _process(self) -> _Process:
        mine = os.getpid()
        process = self._processes.get(mine)
        if process is None:
            process = self._processes.setdefault(mine, _Process())
            for pid, other in list(self._processes.items()):
                if pid != mine:
                    self._processes.pop(pid, None)
                    if other.connection is not None:
                        other.connection.forget()
        return process

    def _connected(self, deadline: Optional[float]) -> Connection:
        process = self._process()
        connection = process.connection
        if connection is not None and connection.refresh():
            return connection
        left = -1 if deadline is None else max(0.0, deadline - time.monotonic())
        if not process.lock.acquire(timeout=left):
            raise errors.Timeout(f"no connection to {self._address.text} in time")
        try:
            if process.connection is None or process.connection.lost is not None:
                process.connection = self._open(process, deadline)
            if self._closed:  # meanwhile: close() may have seen the one before
                process.connection.lose(errors.lost("the client was closed"))
            self._serve(process)
            return process.connection
        finally:
            process.lock.release()

    def _open(self, process: _Process, deadline: Optional[float]) -> Connection:
        """Tries, with longer and longer waits, until the time is over."""
        now = time.monotonic()
        until = now + self._connect_timeout
        if deadline is not None:
            until = min(until, deadline)
        if now < process.retry_at:
            until = now
        wait = BACKOFF_FIRST_S
        while True:
            if self._closed:
                raise errors.Unavailable("the client was closed")
            try:
                return self._greet(process, max(0.05, until - time.monotonic()))
            except OSError as error:  # which Timeout and Unavailable are, too
                pause = wait * random.uniform(0.5, 1.0)
                if time.monotonic() + pause >= until:
                    if now + self._connect_timeout <= time.monotonic() + pause:
                        process.retry_at = time.monotonic() + BACKOFF_MAX_S
                    raise errors.Unavailable(
                        f"there is no daemon at {self._address.text}: {error}") from None
                process.ended.wait(pause)
                wait = min(wait * 2, BACKOFF_MAX_S)

    def _greet(self, process: _Process, timeout: float) -> Connection:
        """A connection that has said hello and what it provides, in one write."""
        connection = Connection(dial(self._address, timeout), self._exact_datetimes,
                                self._on_request)
        deadline = time.monotonic() + timeout
        greeting = calls.hello(Defaults({}, timeout), {"client": self._name, "token": self._token})
        provided = list(self._providers.values())
        try:
            sent = connection.send([greeting] + [one.call() for one in provided], deadline)
            connection.wait(sent[0], deadline)
        except BaseException:
            connection.lose(errors.Unavailable("no greeting"))
            raise
        for one, pending in zip(provided, sent[1:]):
            try:
                connection.wait(pending, deadline)
            except errors.RelataError as error:
                log.error("%s is not provided again: %s", one.name, error)
        return connection

    # --- Providing ------------------------------------------------------------------

    def provide(self, name: str, function: Callable[..., Any], *, max_size: Optional[int] = None,
                max_in_flight: Optional[int] = None) -> None:
        """Answers loads of `resource.relationship` from now on, on every connection
        that the client makes: `function(records, context)`, called in a thread of
        its own. See relata/providing.py. Raises what the daemon says against it."""
        provider = Provider(name, function, limits_of(max_size, max_in_flight))
        try:
            self.connect()  # before, since a new connection provides what is known by then
        except errors.Unavailable:
            pass
        before = self._providers.get(name)
        self._providers[name] = provider
        try:
            self._run(provider.call()._replace(timeout=self._defaults.timeout))
        except errors.Unavailable:
            raise
        except errors.RelataError:
            if before is None:
                del self._providers[name]
            else:
                self._providers[name] = before
            raise
        finally:
            self._serve(self._process())

    def provider(self, name: str, *, max_size: Optional[int] = None,
                 max_in_flight: Optional[int] = None) -> Callable[[F], F]:
        """`provide` as a decorator. A daemon that is not there yet is no error: it is
        told as soon as it is."""
        def decorate(function: F) -> F:
            try:
                self.provide(name, function, max_size=max_size, max_in_flight=max_in_flight)
            except errors.Unavailable as error:
                log.warning("%s will be provided later: %s", name, error)
            return function
        return decorate

    def unprovide(self, name: str) -> bool:
        """True where it was provided."""
        self._providers.pop(name, None)
        result: bool = self._run(calls.unprovide(name)._replace(timeout=self._defaults.timeout))
        return result

    def _serve(self, process: _Process) -> None:
        """Who provides reads all the time, and connects again by itself."""
        if self._providers and process.server is None and not self._closed:
            process.workers = process.workers or Workers("relata-provider")
            process.server = threading.Thread(target=self._read_all_the_time, args=[process],
                                              name="relata-reader", daemon=True)
            process.server.start()

    def _read_all_the_time(self, process: _Process) -> None:
        while not self._closed:
            try:
                self._connected(time.monotonic() + self._connect_timeout).serve()
            except errors.RelataError as error:
                if self._closed:
                    return
                log.warning("%s; trying again", error)
                process.ended.wait(BACKOFF_MAX_S * random.uniform(0.5, 1.0))

    def _on_request(self, connection: Connection, msgid: int, method: str, params: Any) -> None:
        process = self._process()
        if process.workers is None:
            process.workers = Workers("relata-provider")
        process.workers.submit(lambda: self._answer(connection, msgid, method, params))

    def _answer(self, connection: Connection, msgid: int, method: str, params: Any) -> None:
        try:
            answer = self._provided(batch_of(method, params))
        except errors.RelataError as error:
            connection.respond(msgid, fault_of(error), None, RESPOND_S)
        except Exception as error:
            log.exception("the provider of %s.%s failed", *params[:2])
            connection.respond(msgid, fault_of(error), None, RESPOND_S)
        else:
            connection.respond(msgid, None, answer, RESPOND_S)

    def _provided(self, batch: Batch) -> Any:
        provider = self._providers.get(batch.name)
        if provider is None:
            raise errors.UnknownRelationship(f"{batch.name} is not provided here")
        reads = BatchReads(self._run, batch_defaults(batch, self._defaults.timeout))
        context: Context[Reads] = Context(batch.name, batch.options, batch.told, reads)
        return answer_of(provider.function(batch.records, context))


class BatchReads(Reads):
    """Reads on behalf of a batch: as whoever it is loaded for."""

    def __init__(self, run: Callable[[Call], Any], defaults: Defaults) -> None:
        self._run_call = run
        self._defaults = defaults

    def _run(self, call: Call) -> Any:
        return self._run_call(call)


def connect(address: Optional[str] = None, **options: Any) -> Client:
    """A client that is connected: `with relata.connect() as client: ...`."""
    return Client(address, **options).connect()
