"""The end of a turn: when batches of loaders go.

What is loaded now, and by all tasks and callbacks that follow from it without
waiting for anything outside, belongs together. asyncio does not tell when
nothing is left to run, so a batch waits until the event loop has gone round a
few times without another load: some microseconds, no timer.
"""

from __future__ import annotations

import asyncio
from typing import Callable, List, Optional

# A task that ended is seen by the one that gathers it three rounds later.
QUIET_ROUNDS = 3
ROUNDS_MAX = 64  # however much keeps coming


class Turn:
    def __init__(self) -> None:
        self._loop: Optional[asyncio.AbstractEventLoop] = None
        self._batches: List[Callable[[], None]] = []
        self._quiet = 0
        self._rounds = 0

    def schedule(self, batch: Callable[[], None]) -> None:
        """Runs it at the end of the turn, after those that were scheduled before."""
        loop = asyncio.get_running_loop()
        if not self._batches or self._loop is not loop:
            self._loop, self._batches, self._rounds = loop, [], 0
            loop.call_soon(self._round)
        self._batches.append(batch)
        self._quiet = 0

    def touch(self) -> None:
        """Somebody loads: the turn goes on."""
        self._quiet = 0

    def _round(self) -> None:
        self._quiet += 1
        self._rounds += 1
        if self._quiet <= QUIET_ROUNDS and self._rounds < ROUNDS_MAX:
            assert self._loop is not None
            self._loop.call_soon(self._round)
            return
        batches, self._batches = self._batches, []
        for batch in batches:
            batch()
