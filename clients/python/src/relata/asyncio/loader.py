"""A loader with the face and the documented behaviour of DataLoader.

    loader = Loader(load_many_users)        # async def load_many_users(keys) -> list
    ada, bob = await asyncio.gather(loader.load(1), loader.load(2))   # one batch

It is a memo for one web request, no cache between requests. Where DataLoader's
behaviour is a known fault (a batch that failed removes what was put in the memo
for its keys since), the fault is left out. A caller that is cancelled leaves
the others alone.
"""

from __future__ import annotations

import asyncio
from typing import (Any, Awaitable, Callable, Dict, Generic, Hashable, List, Literal,
                    MutableMapping, Optional, Sequence, Tuple, TypeVar, Union)

from .. import wire
from .turn import Turn

K = TypeVar("K")
V = TypeVar("V")

BatchLoad = Callable[[List[K]], Awaitable[Sequence[Union[V, BaseException]]]]
Schedule = Callable[[Callable[[], None]], Any]


class _Entry(Generic[V]):
    """What a key gave, or will; and who waits for it."""

    __slots__ = ("settled", "value", "error", "waiting")

    def __init__(self) -> None:
        self.settled = False
        self.value: Any = None
        self.error: Optional[BaseException] = None
        self.waiting: List[asyncio.Future[V]] = []

    def attach(self, future: asyncio.Future[V]) -> None:
        if self.settled:
            self._give(future)
        else:
            self.waiting.append(future)

    def settle(self, value: Any) -> None:
        """An exception is a failure."""
        self.settled = True
        if isinstance(value, BaseException):
            self.error = value
        else:
            self.value = value
        for future in self.waiting:
            self._give(future)
        self.waiting.clear()

    def _give(self, future: asyncio.Future[V]) -> None:
        if future.done():  # cancelled
            return
        if self.error is not None:
            future.set_exception(self.error)
        else:
            future.set_result(self.value)


class _Batch(Generic[K, V]):
    __slots__ = ("keys", "marks", "entries", "hits", "dispatched")

    def __init__(self) -> None:
        self.keys: List[K] = []
        self.marks: List[Any] = []
        self.entries: List[_Entry[V]] = []
        # Hits are answered with the batch, so that what follows from them and
        # from its values gathers in one batch again.
        self.hits: List[Tuple[_Entry[V], asyncio.Future[V]]] = []
        self.dispatched = False

    def give_hits(self) -> None:
        for entry, future in self.hits:
            entry.attach(future)
        self.hits.clear()


class Loader(Generic[K, V]):
    """batch_load_fn       async (keys) -> list of as many values and exceptions
    batch               False: each key in a batch of its own
    max_batch_size      None for no limit
    batch_schedule_fn   called with a callback that sends the batch, once for each;
                        by default at the end of the turn
    cache               False: no memo, and equal keys are loaded twice
    cache_key_fn        what stands for a key in the memo
    cache_map           a mapping to keep the memo in; None for none
    """

    def __init__(self, batch_load_fn: BatchLoad[K, V], *, batch: bool = True,
                 max_batch_size: Optional[int] = None,
                 batch_schedule_fn: Optional[Schedule] = None, cache: bool = True,
                 cache_key_fn: Callable[[K], Hashable] = wire.frozen,
                 cache_map: Union[MutableMapping[Any, Any], None, Literal["own"]] = "own",
                 name: Optional[str] = None, turn: Optional[Turn] = None) -> None:
        if not callable(batch_load_fn):
            raise TypeError("a Loader is made of a function that takes a list of keys, "
                            f"not of {batch_load_fn!r}")
        _check("max_batch_size", max_batch_size is None or (
            type(max_batch_size) is int and max_batch_size >= 1), "a positive integer")
        _check("batch_schedule_fn", batch_schedule_fn is None or callable(batch_schedule_fn),
               "a function")
        _check("cache_key_fn", callable(cache_key_fn), "a function")
        _check("batch", isinstance(batch, bool), "True or False")
        _check("cache", isinstance(cache, bool), "True or False")
        self._batch_load = batch_load_fn
        self._max = (max_batch_size or 0) if batch else 1
        self._turn = turn or Turn()
        self._schedule = batch_schedule_fn or self._turn.schedule
        self._cache_key = cache_key_fn
        self._cache = _memo_of(cache, cache_map)
        self._batch: Optional[_Batch[K, V]] = None
        self.name = name

    def load(self, key: K) -> asyncio.Future[V]:
        """A future of its value. TypeError at once where there is no key."""
        if key is None:
            raise TypeError("load expects a key, not None")
        future: asyncio.Future[V] = asyncio.get_running_loop().create_future()
        mark = None if self._cache is None else self._cache_key(key)
        batch = self._current()
        entry = None if self._cache is None else self._cache.get(mark)
        if entry is not None:
            batch.hits.append((entry, future))
            return future
        entry = _Entry()
        entry.attach(future)
        batch.keys.append(key)
        batch.marks.append(mark)
        batch.entries.append(entry)
        if self._cache is not None:
            self._cache[mark] = entry
        return future

    def load_many(self, keys: Sequence[K]) -> asyncio.Future[List[Union[V, BaseException]]]:
        """A list of values, an exception where one failed; it never fails itself."""
        if isinstance(keys, (str, bytes)) or not hasattr(keys, "__iter__"):
            raise TypeError(f"load_many expects a list of keys, not {keys!r}")
        return asyncio.gather(*[self.load(key) for key in keys], return_exceptions=True)

    def clear(self, key: K) -> Loader[K, V]:
        """Forgets it. Who waits still gets what was asked for; the next one asks anew."""
        if self._cache is not None:
            self._cache.pop(self._cache_key(key), None)
        return self

    def clear_all(self) -> Loader[K, V]:
        if self._cache is not None:
            self._cache.clear()
        return self

    def prime(self, key: K, value: Union[V, BaseException, Awaitable[V]]) -> Loader[K, V]:
        """Remembers a value, an exception or what will come, unless there is one."""
        if self._cache is not None:
            mark = self._cache_key(key)
            if mark not in self._cache:
                self._cache[mark] = _entry_of(value)
        return self

    # --- Batches ------------------------------------------------------------------

    def _current(self) -> _Batch[K, V]:
        self._turn.touch()
        batch = self._batch
        if batch is not None and not batch.dispatched and not (
                self._max and len(batch.keys) >= self._max):
            return batch
        batch = self._batch = _Batch()
        made = batch
        self._schedule(lambda: self._dispatch(made))
        return batch

    def _dispatch(self, batch: _Batch[K, V]) -> None:
        batch.dispatched = True
        if not batch.keys:
            batch.give_hits()
            return
        try:
            answer = self._batch_load(list(batch.keys))
            if not hasattr(answer, "__await__"):
                raise TypeError("the function of a Loader answers an awaitable of a list, "
                                f"not {answer!r}")
        except Exception as error:
            self._fail(batch, error)
            return
        asyncio.ensure_future(answer).add_done_callback(
            lambda task: self._complete(batch, task))

    def _complete(self, batch: _Batch[K, V], task: asyncio.Future[Any]) -> None:
        if task.cancelled():
            self._fail(batch, RuntimeError("the batch was cancelled"))
            return
        error = task.exception()
        values: Any = None if error else task.result()
        if error is None and (isinstance(values, (str, bytes, dict))
                              or not hasattr(values, "__len__")
                              or not hasattr(values, "__getitem__")):
            error = TypeError(f"the function of a Loader answers a list, not {values!r}")
        elif error is None and len(values) != len(batch.keys):
            error = TypeError("the function of a Loader answers one value for each key: "
                              f"{len(batch.keys)} keys, {len(values)} values")
        if error is not None:
            self._fail(batch, error)
            return
        batch.give_hits()
        for entry, value in zip(batch.entries, values):
            entry.settle(value)

    def _fail(self, batch: _Batch[K, V], error: BaseException) -> None:
        """Failures of whole batches are not remembered."""
        batch.give_hits()
        for mark, entry in zip(batch.marks, batch.entries):
            if self._cache is not None and self._cache.get(mark) is entry:
                del self._cache[mark]
            entry.settle(error)


def _check(name: str, is_right: bool, expected: str) -> None:
    if not is_right:
        raise TypeError(f"{name}: expected {expected}")


def _memo_of(cache: bool, cache_map: Any) -> Optional[MutableMapping[Any, Any]]:
    if not cache or cache_map is None:
        return None
    if cache_map == "own":
        memo: Dict[Any, Any] = {}
        return memo
    missing = [name for name in ("get", "__setitem__", "pop", "clear")
               if not hasattr(cache_map, name)]
    if missing:
        raise TypeError(f"cache_map: it has no {', '.join(missing)}")
    result: MutableMapping[Any, Any] = cache_map
    return result


def _entry_of(value: Any) -> _Entry[Any]:
    entry: _Entry[Any] = _Entry()
    if not hasattr(value, "__await__"):
        entry.settle(value)
        return entry

    def settle(future: asyncio.Future[Any]) -> None:
        if future.cancelled():
            entry.settle(asyncio.CancelledError())
        else:
            entry.settle(future.exception() or future.result())
    asyncio.ensure_future(value).add_done_callback(settle)
    return entry
