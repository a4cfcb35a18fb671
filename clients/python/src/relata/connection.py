"""One connection of a synchronous client, used by many threads at once.

There is no thread that reads all the time: of the threads that wait for an
answer one reads, and gives the others theirs; when it has its own, another one
goes on. A client that provides has a thread which reads whenever nobody else
does. So a client with one thread waits for its socket and for nothing else.

The happy path is send, wait, close. Possible failures are that the daemon
closes (every call that is out fails with Unavailable, once), that it is late
(the call fails with Timeout, and its id stays taken until the answer comes),
that it takes nothing (the connection is given up, since half a frame is out),
and that it sends what is no MessagePack-RPC (as if it had closed).
"""

from __future__ import annotations

import select
import socket
import threading
import time
from typing import Any, Callable, Dict, List, Optional, Sequence

from . import errors, wire
from .address import Address
from .calls import Call

RECEIVE_BYTES = 1 << 18
# How long a thread that must write waits before it looks whether it must read too.
WRITE_LOOK_S = 0.02
ID_MAX = (1 << 32) - 1


def dial(address: Address, timeout: float) -> socket.socket:
    """A connected socket that does not block, or OSError."""
    if address.path is not None:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.settimeout(timeout)
            sock.connect(address.path)
        except BaseException:
            sock.close()
            raise
    else:
        sock = socket.create_connection((address.host, address.port), timeout)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setblocking(False)
    return sock


class NotSent(errors.Unavailable):
    """The connection was lost before; the calls may be sent on another one."""


class Pending:
    """A call that is out."""

    __slots__ = ("call", "msgid", "done", "error", "result", "is_made", "wake")

    def __init__(self, call: Call, msgid: int) -> None:
        self.call = call
        self.msgid = msgid
        self.done = False
        self.error: Optional[errors.RelataError] = None
        self.result: Any = None
        self.is_made = False  # of what came into what the caller gets
        self.wake: Optional[threading.Event] = None  # of a thread that waits while another reads

    def value(self) -> Any:
        """What the caller gets, once it is done."""
        if self.error is not None:
            raise self.error
        if not self.is_made:
            self.result = self.call.made(self.result)
            self.is_made = True
        return self.result


# Called by whichever thread reads; must not wait.
OnRequest = Callable[["Connection", int, str, Any], None]


class Connection:
    def __init__(self, sock: socket.socket, exact_datetimes: bool, on_request: OnRequest) -> None:
        self._socket = sock
        self._readable = select.poll()
        self._readable.register(sock, select.POLLIN)
        self._decoder = wire.Decoder(exact_datetimes)
        self._encoder = wire.Encoder()
        self._on_request = on_request
        self._sending = threading.Lock()  # ids, the encoder, bytes going out
        self._last_id = 0
        self._lock = threading.Lock()  # what follows; taken inside _sending
        self._pending: Dict[int, Optional[Pending]] = {}  # None: nobody waits for it any more
        self._followers: Dict[Pending, None] = {}
        self._reading = False
        self._standby = threading.Event()  # of the thread that reads when nobody else does
        self._has_standby = False
        self.lost: Optional[errors.RelataError] = None

    # --- Sending ------------------------------------------------------------------

    def send(self, calls: Sequence[Call], deadline: Optional[float]) -> List[Pending]:
        """In one write. Wait for each."""
        with self._sending:
            sent: Dict[int, Pending] = {}
            data = []
            for call in calls:
                msgid = self._next_id()
                data.append(self._encoder.request(msgid, call.method, call.params))
                sent[msgid] = Pending(call, msgid)
            with self._lock:
                if self.lost is not None:
                    raise NotSent(self.lost.message)
                self._pending.update(sent)
            self._write(b"".join(data), deadline)
        return list(sent.values())

    def respond(self, msgid: int, error: Any, result: Any, timeout: float) -> None:
        """Answers a request of the daemon's. Nothing happens once the connection is lost."""
        with self._sending:
            try:
                data = self._encoder.response(msgid, error, result)
            except Exception as fault:
                data = self._encoder.response(msgid, f"the answer cannot be sent: {fault}", None)
            if self.lost is None:
                self._write(data, time.monotonic() + timeout)

    def _next_id(self) -> int:
        while True:
            self._last_id = self._last_id % ID_MAX + 1
            if self._last_id not in self._pending:
                return self._last_id

    def _write(self, data: bytes, deadline: Optional[float]) -> None:
        """All of it, or the connection is lost, and with it all that is out."""
        left = memoryview(data)
        while left and self.lost is None:
            try:
                left = left[self._socket.send(left):]
            except BlockingIOError:
                if deadline is not None and time.monotonic() >= deadline:
                    self.lose(errors.Timeout("the daemon took no bytes in time"))
                else:
                    self._wait_to_write()
            except OSError as error:
                self.lose(errors.lost(f"the connection was lost: {error.strerror or error}"))

    def _wait_to_write(self) -> None:
        """The daemon may take nothing as long as nobody takes what it sends."""
        leads = self._lead(None)
        try:
            poll = select.poll()
            try:
                poll.register(self._socket,
                              select.POLLOUT | (select.POLLIN if leads else 0))
            except ValueError:
                return  # it was closed meanwhile
            for _, events in poll.poll(WRITE_LOOK_S * 1000):
                if leads and events & ~select.POLLOUT:
                    self._receive()
        finally:
            if leads:
                self._resign()

    # --- Receiving ----------------------------------------------------------------

    def wait(self, pending: Pending, deadline: Optional[float]) -> Any:
        """Its value, or its error, or Timeout."""
        while not pending.done:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                self._abandon(pending)
            elif self._lead(pending):
                try:
                    self._read_for(pending, deadline)
                finally:
                    self._resign()
            elif pending.wake is not None:
                pending.wake.wait(left)
        return pending.value()

    def _abandon(self, pending: Pending) -> None:
        with self._lock:
            if pending.done:
                return
            self._pending[pending.msgid] = None
            self._followers.pop(pending, None)
            pending.done = True
            self._pass_on()  # it may have been this thread's turn to read
            pending.error = errors.Timeout(
                f"{pending.call.method} was not answered within {pending.call.timeout} s",
                details={"outcome": "unknown"} if pending.call.writes else None)

    def _lead(self, pending: Optional[Pending]) -> bool:
        """Whether this thread reads from now on; otherwise it is woken by an answer
        or when it is its turn."""
        with self._lock:
            if pending is not None and pending.done:
                return False
            if not self._reading and self.lost is None:
                self._reading = True
                return True
            if pending is not None:
                if pending.wake is None:
                    pending.wake = threading.Event()
                pending.wake.clear()
                self._followers[pending] = None
            return False

    def _resign(self) -> None:
        with self._lock:
            self._reading = False
            if self.lost is not None:
                self._socket.close()
            self._pass_on()

    def _pass_on(self) -> None:
        """If nobody reads, it is somebody's turn."""
        if self._reading:
            return
        if self._has_standby:
            self._standby.set()
        elif self._followers:
            follower = next(iter(self._followers))
            del self._followers[follower]
            if follower.wake is not None:
                follower.wake.set()

    def _read_for(self, pending: Pending, deadline: Optional[float]) -> None:
        while not pending.done and self.lost is None:
            left = None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000
            if not self._readable.poll(left):
                return
            self._receive()

    def serve(self) -> None:
        """Reads whenever nobody else does, until the connection is lost."""
        with self._lock:
            self._has_standby = True
        while self.lost is None:
            if not self._lead(None):
                self._standby.wait()
                self._standby.clear()
                continue
            try:
                while self.lost is None:
                    self._readable.poll()
                    self._receive()
            finally:
                self._resign()

    def refresh(self) -> bool:
        """Whether it is alive: takes notice of a daemon that closed meanwhile."""
        if self.lost is None and not self._pending and self._lead(None):
            try:
                if self._readable.poll(0):
                    self._receive()
            finally:
                self._resign()
        return self.lost is None

    def _receive(self) -> None:
        """For the thread that reads, when there is something to read."""
        try:
            data = self._socket.recv(RECEIVE_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self.lose(errors.lost(f"the connection was lost: {error.strerror or error}"))
            return
        if not data:
            self.lose(errors.lost("the daemon closed the connection"))
            return
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
            with self._lock:
                pending = self._pending.pop(message[1], None)
                if pending is not None:
                    error = message[2]
                    pending.error = None if error is None else errors.from_wire(error)
                    pending.result = message[3]
                    self._finish(pending)
        elif message[0] == wire.REQUEST:
            self._on_request(self, message[1], message[2], message[3])

    def _finish(self, pending: Pending) -> None:
        pending.done = True
        self._followers.pop(pending, None)
        if pending.wake is not None:
            pending.wake.set()

    # --- The end --------------------------------------------------------------------

    def lose(self, why: errors.RelataError) -> None:
        """Everything that is out fails."""
        with self._lock:
            if self.lost is not None:
                return
            self.lost = why
            for pending in self._pending.values():
                if pending is not None:
                    pending.error = for_call(why, pending.call)
                    self._finish(pending)
            self._pending.clear()
            self._standby.set()
            try:
                self._socket.shutdown(socket.SHUT_RDWR)  # wakes the thread that reads
            except OSError:
                pass
            if not self._reading:
                self._socket.close()

    def forget(self) -> None:
        """In the child of a fork: the parent goes on with it, so nothing is shut down."""
        self.lost = errors.Unavailable("the connection belongs to the parent process")
        self._socket.close()


def for_call(why: errors.RelataError, call: Call) -> errors.RelataError:
    """Each call an exception of its own, which tells of the outcome where it matters."""
    details = dict(why.details)
    if not call.writes:
        details.pop("outcome", None)
    return type(why)(f"{call.method}: {why.message}", details=details)
