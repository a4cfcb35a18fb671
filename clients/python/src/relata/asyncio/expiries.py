"""Timeouts of calls. Nearly all calls are answered, and most have the same timeout:
a queue and a timer for each length of time, rather than a timer for each call."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Callable, Deque, Dict, Generic, Protocol, Tuple, TypeVar


class Expiring(Protocol):
    @property
    def future(self) -> asyncio.Future[object]: ...


T = TypeVar("T", bound=Expiring)

KEEP = 64  # so many that are done may wait behind one that is not


class _Queue(Generic[T]):
    """Those with one timeout, which expire in the order in which they came."""

    def __init__(self, loop: asyncio.AbstractEventLoop, timeout: float,
                 expire: Callable[[T], None]) -> None:
        self._loop = loop
        self._timeout = timeout
        self._expire = expire
        self._waiting: Deque[Tuple[float, T]] = deque()
        self._enough = KEEP
        self._is_set = False

    def add(self, what: T) -> None:
        waiting = self._waiting
        while waiting and waiting[0][1].future.done():
            waiting.popleft()
        if len(waiting) > self._enough:
            self._waiting = waiting = deque(one for one in waiting if not one[1].future.done())
            self._enough = KEEP + 2 * len(waiting)
        deadline = self._loop.time() + self._timeout
        waiting.append((deadline, what))
        if not self._is_set:
            self._is_set = True
            self._loop.call_at(deadline, self._look)

    def _look(self) -> None:
        now = self._loop.time()
        while self._waiting and (self._waiting[0][1].future.done()
                                 or self._waiting[0][0] <= now):
            _, what = self._waiting.popleft()
            if not what.future.done():
                self._expire(what)
        self._is_set = bool(self._waiting)
        if self._is_set:
            self._loop.call_at(self._waiting[0][0], self._look)

    def clear(self) -> None:
        self._waiting.clear()


class Expiries(Generic[T]):
    def __init__(self, loop: asyncio.AbstractEventLoop, expire: Callable[[T], None]) -> None:
        self._loop = loop
        self._expire = expire
        self._queues: Dict[float, _Queue[T]] = {}

    def add(self, timeout: float, what: T) -> None:
        """Expires it, if its future is not done by then."""
        queue = self._queues.get(timeout)
        if queue is None:
            if len(self._queues) > KEEP:  # whoever computes each anew
                self._loop.call_later(timeout, self._expire_one, what)
                return
            queue = self._queues[timeout] = _Queue(self._loop, timeout, self._expire)
        queue.add(what)

    def _expire_one(self, what: T) -> None:
        if not what.future.done():
            self._expire(what)

    def clear(self) -> None:
        for queue in self._queues.values():
            queue.clear()
