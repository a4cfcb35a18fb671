"""Several calls in one write."""

from __future__ import annotations

import types
from typing import Any, Callable, List, Optional, Type

from .calls import Call, Defaults
from .errors import InvalidRequest
from .methods import Methods

Results = Callable[[List[Call]], List[Callable[[], Any]]]


class Answer:
    """The answer of one call of a pipeline."""

    def __init__(self) -> None:
        self._wait: Optional[Callable[[], Any]] = None

    def result(self) -> Any:
        """Waits for it; raises what the call raises."""
        if self._wait is None:
            raise InvalidRequest("the pipeline was not sent yet")
        return self._wait()


class _Collecting(Methods):
    def __init__(self, defaults: Defaults) -> None:
        self._defaults = defaults
        self.calls: List[Call] = []
        self.answers: List[Answer] = []

    def _run(self, call: Call) -> Any:
        self.calls.append(call)
        self.answers.append(Answer())
        return self.answers[-1]


class Pipeline:
    """Every method of a client, each of which gives an Answer. Leaving the block
    sends them, unless it is left by an exception; `send` does so at any time."""

    def __init__(self, run_all: Results, defaults: Defaults) -> None:
        self._run_all = run_all
        self._collected = _Collecting(defaults)

    def __getattr__(self, method: str) -> Callable[..., Answer]:
        if method.startswith("_") or method == "resource":
            raise AttributeError(method)
        found: Callable[..., Answer] = getattr(self._collected, method)
        return found

    def __enter__(self) -> Pipeline:
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException],
                 trace: Optional[types.TracebackType]) -> None:
        if kind is None:
            self.send()

    def send(self) -> List[Answer]:
        """Sends what was collected since the last time."""
        several, answers = self._collected.calls, self._collected.answers
        self._collected.calls, self._collected.answers = [], []
        if several:
            for answer, wait in zip(answers, self._run_all(several)):
                answer._wait = wait
        return answers
