"""One connection of an asyncio client. Calls of one turn of the event loop go out
in one write. The happy path is call, call, ..., lose; possible failures are as in
relata/connection.py.
"""

from __future__ import annotations

import asyncio
import select
import socket
from typing import Any, Callable, Dict, List, Optional

from .. import errors, wire
from ..calls import Call
from ..connection import ID_MAX, NotSent, for_call
from .expiries import Expiries

HUNG_UP = getattr(select, "POLLRDHUP", select.POLLHUP)

OnRequest = Callable[["Connection", int, str, Any], None]


class _Pending:
    __slots__ = ("call", "future")

    def __init__(self, call: Call, future: asyncio.Future[Any]) -> None:
        self.call = call
        self.future = future

    def finish(self, error: Optional[errors.RelataError], result: Any) -> None:
        if self.future.done():
            return
        if error is not None:
            self.future.set_exception(error)
            return
        try:
            self.future.set_result(self.call.made(result))
        except Exception as fault:
            self.future.set_exception(fault)


class Connection(asyncio.Protocol):
    def __init__(self, exact_datetimes: bool, on_request: OnRequest,
                 on_lost: Callable[[Connection], None]) -> None:
        self.loop = asyncio.get_running_loop()
        self.lost: Optional[errors.RelataError] = None
        self._decoder = wire.Decoder(exact_datetimes)
        self._encoder = wire.Encoder()
        self._on_request = on_request
        self._on_lost = on_lost
        self._transport: Optional[asyncio.Transport] = None
        self._hung_up = select.poll()
        self._last_id = 0
        self._pending: Dict[int, _Pending] = {}
        self._expiries: Expiries[_Pending] = Expiries(self.loop, self._expire)
        self._out: List[bytes] = []
        self._writable: Optional[asyncio.Future[None]] = None  # while the daemon takes too little

    # --- Calls --------------------------------------------------------------------

    async def run(self, call: Call) -> Any:
        while self._writable is not None and self.lost is None:
            await asyncio.shield(self._writable)
        return await self.call(call)

    def call(self, call: Call) -> asyncio.Future[Any]:
        """It is out, after those before it. NotSent where the connection was lost."""
        if self.lost is not None:
            raise NotSent(self.lost.message)
        msgid = self._next_id()
        self._write(self._encoder.request(msgid, call.method, call.params))
        pending = _Pending(call, self.loop.create_future())
        self._pending[msgid] = pending
        if call.timeout is not None:
            self._expiries.add(call.timeout, pending)
        return pending.future

    def is_alive(self) -> bool:
        """Takes notice of a daemon that closed while the event loop did not run."""
        if self.lost is None and not self._pending and self._hung_up.poll(0):
            self.lose(errors.lost("the daemon closed the connection"))
        return self.lost is None

    def respond(self, msgid: int, error: Any, result: Any) -> None:
        """Answers a request of the daemon's. Nothing happens once the connection is lost."""
        try:
            data = self._encoder.response(msgid, error, result)
        except Exception as fault:
            data = self._encoder.response(msgid, f"the answer cannot be sent: {fault}", None)
        if self.lost is None:
            self._write(data)

    def _next_id(self) -> int:
        while True:
            self._last_id = self._last_id % ID_MAX + 1
            if self._last_id not in self._pending:
                return self._last_id

    def _expire(self, pending: _Pending) -> None:
        """Its id stays taken until the answer comes."""
        details = {"outcome": "unknown"} if pending.call.writes else None
        pending.finish(errors.Timeout(
            f"{pending.call.method} was not answered within {pending.call.timeout} s",
            details=details), None)
        pending.call = pending.call._replace(params=[])

    def _write(self, data: bytes) -> None:
        if not self._out:
            self.loop.call_soon(self._flush)
        self._out.append(data)

    def _flush(self) -> None:
        out, self._out = self._out, []
        if self.lost is None and self._transport is not None:
            self._transport.write(b"".join(out))

    # --- What asyncio tells -----------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._hung_up.register(transport.get_extra_info("socket"), HUNG_UP)

    def data_received(self, data: bytes) -> None:
        try:
            messages = self._decoder.feed(data)
        except Exception as error:
            self.lose(errors.lost(f"the daemon sent what is no MessagePack: {error}"))
            return
        for message in messages:
            self._take(message)

    def _take(self, message: Any) -> None:
        fault = wire.message_fault(message)
        if fault is not None:
            self.lose(errors.lost(fault))
        elif message[0] == wire.RESPONSE:
            pending = self._pending.pop(message[1], None)
            if pending is not None:
                error = message[2]
                pending.finish(None if error is None else errors.from_wire(error), message[3])
        elif message[0] == wire.REQUEST:
            self._on_request(self, message[1], message[2], message[3])

    def connection_lost(self, error: Optional[Exception]) -> None:
        self.lose(errors.lost(f"the connection was lost: {error}" if error
                              else "the daemon closed the connection"))

    def pause_writing(self) -> None:
        self._writable = self.loop.create_future()

    def resume_writing(self) -> None:
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        self._writable = None

    def lose(self, why: errors.RelataError) -> None:
        """Everything that is out fails."""
        if self.lost is not None:
            return
        self.lost = why
        self.resume_writing()
        for pending in self._pending.values():
            pending.finish(for_call(why, pending.call), None)
        self._pending.clear()
        self._expiries.clear()
        if self._transport is not None:
            self._transport.abort()
        self._on_lost(self)

    def forget(self, in_child: bool) -> None:
        """It belongs to another event loop, which has ended, or to the parent of this
        process, which goes on with it: then nothing is shut down."""
        self.lost = errors.Unavailable("the connection belongs to another process or event loop")
        if self._transport is not None and not in_child:
            self._transport.get_extra_info("socket").shutdown(socket.SHUT_RDWR)
