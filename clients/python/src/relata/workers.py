"""Threads for the providers of a synchronous client: one for each batch that is
under way, as many as the daemon lets there be, kept for a while when idle."""

from __future__ import annotations

import queue
import threading
from typing import Callable, Optional

IDLE_S = 10.0

Job = Callable[[], None]


class Workers:
    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._jobs: queue.SimpleQueue[Optional[Job]] = queue.SimpleQueue()
        self._idle = 0
        self._count = 0
        self._stopped = False

    def submit(self, job: Job) -> None:
        """Runs it soon. A batch may wait for another one of this client, so that
        none ever waits for a thread."""
        with self._lock:
            if self._stopped:
                return
            if self._idle > 0:
                self._idle -= 1
            else:
                self._count += 1
                threading.Thread(target=self._work, name=self._name, daemon=True).start()
            self._jobs.put(job)

    def stop(self) -> None:
        """What is under way ends by itself; nothing is begun."""
        with self._lock:
            self._stopped = True
            for _ in range(self._count):
                self._jobs.put(None)

    def _next(self) -> Optional[Job]:
        while True:
            try:
                return self._jobs.get(timeout=IDLE_S)
            except queue.Empty:
                with self._lock:
                    if self._idle > 0:  # otherwise a job is on its way to this thread
                        self._idle -= 1
                        return None

    def _work(self) -> None:
        while True:
            job = self._next()
            if job is None:
                break
            job()
            with self._lock:
                self._idle += 1
        with self._lock:
            self._count -= 1
