"""What DataLoader promises, of relata.asyncio.Loader. Each test is one rule."""

import asyncio
import gc
import os
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "..", "clients", "python", "src"))

from relata.asyncio import Loader  # noqa: E402


class Recorder:
    """A batch function that gives each key back, and remembers its batches."""

    def __init__(self, give=None):
        self.batches = []
        self.give = give or (lambda key: key)

    async def __call__(self, keys):
        self.batches.append(list(keys))
        return [self.give(key) for key in keys]


async def gather(*loads):
    return list(await asyncio.gather(*loads))


class Construction(unittest.TestCase):
    def test_wrong_options_are_refused_when_it_is_made(self):
        for wrong in [{"max_batch_size": 0}, {"max_batch_size": "5"}, {"max_batch_size": True},
                      {"cache_key_fn": None}, {"batch_schedule_fn": 3}, {"batch": None},
                      {"cache": 1}]:
            with self.assertRaises(TypeError, msg=wrong):
                Loader(Recorder(), **wrong)
        with self.assertRaises(TypeError):
            Loader(None)

    def test_a_memo_must_be_able_to_be_one(self):
        class Half:
            def get(self, key):
                return None
        with self.assertRaises(TypeError) as caught:
            Loader(Recorder(), cache_map=Half())
        for name in ("__setitem__", "pop", "clear"):
            self.assertIn(name, str(caught.exception))

    def test_it_has_a_name(self):
        self.assertEqual(Loader(Recorder(), name="users").name, "users")
        self.assertIsNone(Loader(Recorder()).name)


class Contract(unittest.IsolatedAsyncioTestCase):
    async def test_no_key_is_a_fault_at_once(self):
        loader = Loader(Recorder())
        with self.assertRaises(TypeError):
            loader.load(None)
        for wrong in (None, "text", 5):
            with self.assertRaises(TypeError):
                loader.load_many(wrong)
        self.assertEqual(await gather(*map(loader.load, [0, "", False])), [0, "", False])

    async def test_many_of_a_frame_are_one_batch_in_the_order_of_the_first_loads(self):
        batch = Recorder()
        loader = Loader(batch)
        self.assertEqual(await gather(*map(loader.load, [3, 1, 3, 2])), [3, 1, 3, 2])
        self.assertEqual(batch.batches, [[3, 1, 2]])

    async def test_load_many(self):
        batch = Recorder(lambda key: ValueError(key) if key == 2 else key * 10)
        loader = Loader(batch)
        self.assertEqual(await loader.load_many([]), [])
        one, failed, again = await loader.load_many([1, 2, 1])
        self.assertEqual((one, again), (10, 10))
        self.assertIsInstance(failed, ValueError)
        self.assertEqual(batch.batches, [[1, 2]])

    async def test_nothing_is_a_value_too(self):
        batch = Recorder(lambda key: None)
        loader = Loader(batch)
        self.assertIsNone(await loader.load(1))
        self.assertIsNone(await loader.load(1))
        self.assertEqual(batch.batches, [[1]])

    async def test_an_exception_as_element_fails_its_key_alone_and_is_remembered(self):
        fault = ValueError("odd")
        batch = Recorder(lambda key: fault if key == 1 else key)
        loader = Loader(batch)
        results = await asyncio.gather(loader.load(1), loader.load(2), return_exceptions=True)
        self.assertEqual(results, [fault, 2])
        with self.assertRaises(ValueError) as caught:
            await loader.load(1)
        self.assertIs(caught.exception, fault)
        self.assertEqual(batch.batches, [[1, 2]])

    async def test_whole_batches_fail(self):
        fault = OSError("away")

        def raises(keys):
            raise fault

        async def rejects(keys):
            raise fault

        def plain(keys):
            return keys

        async def short(keys):
            return keys[1:]

        async def long(keys):
            return keys + [0]

        async def mapping(keys):
            return dict.fromkeys(keys)

        for batch, kind in [(raises, OSError), (rejects, OSError), (plain, TypeError),
                            (short, TypeError), (long, TypeError), (mapping, TypeError)]:
            loader = Loader(batch)
            one, two = await asyncio.gather(loader.load(1), loader.load(2),
                                            return_exceptions=True)
            self.assertIsInstance(one, kind, batch)
            self.assertIs(one, two)

    async def test_failures_of_batches_are_not_remembered(self):
        calls = []

        async def batch(keys):
            calls.append(keys)
            if len(calls) == 1:
                raise OSError("away")
            return keys
        loader = Loader(batch)
        with self.assertRaises(OSError):
            await loader.load(1)
        self.assertEqual(await loader.load(1), 1)

    async def test_a_batch_that_failed_leaves_what_came_after_it(self):
        failed = asyncio.get_running_loop().create_future()

        async def batch(keys):
            return await failed
        loader = Loader(batch)
        old = loader.load(1)
        await asyncio.sleep(0.01)
        loader.clear(1).prime(1, "newer")
        failed.set_exception(OSError("away"))
        with self.assertRaises(OSError):
            await old
        self.assertEqual(await loader.load(1), "newer")

    async def test_the_keys_of_a_batch_are_a_copy(self):
        async def batch(keys):
            values = list(keys)
            keys.clear()
            return values
        loader = Loader(batch)
        self.assertEqual(await gather(loader.load(1), loader.load(2)), [1, 2])

    async def test_max_batch_size(self):
        batch = Recorder()
        loader = Loader(batch, max_batch_size=2)
        await gather(*map(loader.load, [1, 1, 2, 1, 3, 4, 5]))
        self.assertEqual(batch.batches, [[1, 2], [3, 4], [5]])

    async def test_the_parts_of_a_split_batch_run_at_the_same_time(self):
        begun, go = [], asyncio.Event()

        async def batch(keys):
            begun.append(keys)
            await go.wait()
            return keys
        loader = Loader(batch, max_batch_size=1)
        loads = asyncio.gather(loader.load(1), loader.load(2))
        while len(begun) < 2:
            await asyncio.sleep(0)
        go.set()
        self.assertEqual(await loads, [1, 2])

    async def test_without_batches_each_key_is_loaded_alone_and_remembered(self):
        batch = Recorder()
        loader = Loader(batch, batch=False)
        await gather(*map(loader.load, [1, 2, 1]))
        self.assertEqual(batch.batches, [[1], [2]])

    async def test_tasks_that_follow_in_the_same_turn_join_the_batch(self):
        batch = Recorder()
        loader = Loader(batch)

        async def later(key, depth):
            if depth:
                return await asyncio.create_task(later(key, depth - 1))
            return await loader.load(key)
        await gather(loader.load("A"), later("B", 1), later("C", 2), later("D", 3))
        self.assertEqual(batch.batches, [["A", "B", "C", "D"]])

    async def test_loaders_that_call_a_third_one_in_the_same_turn_make_one_batch_there(self):
        third = Recorder()
        common = Loader(third)

        async def through(keys):
            return await gather(*map(common.load, keys))
        one, two = Loader(through), Loader(through)
        await gather(one.load(1), two.load(2))
        self.assertEqual(third.batches, [[1, 2]])

    async def test_a_schedule_of_the_callers_own(self):
        batch, callbacks = Recorder(), []
        loader = Loader(batch, batch_schedule_fn=callbacks.append)
        one = loader.load(1)
        await asyncio.sleep(0.01)
        two = loader.load(2)
        self.assertEqual((len(callbacks), batch.batches), (1, []))
        callbacks[0]()
        self.assertEqual(await gather(one, two), [1, 2])
        self.assertEqual(batch.batches, [[1, 2]])
        loader.load(3).cancel()
        self.assertEqual(len(callbacks), 2)

    async def test_a_load_in_flight_is_joined(self):
        go = asyncio.Event()
        batches = []

        async def batch(keys):
            batches.append(keys)
            await go.wait()
            return keys
        loader = Loader(batch)
        first = loader.load(1)
        while not batches:
            await asyncio.sleep(0)
        second = loader.load(1)
        go.set()
        self.assertEqual(await gather(first, second), [1, 1])
        self.assertEqual(batches, [[1]])

    async def test_hits_are_answered_with_the_batch_of_their_turn(self):
        """So that what follows from hits and from values is one batch."""
        batch = Recorder(lambda key: key + 10)
        loader = Loader(batch)
        await loader.load(1)
        hit, miss = loader.load(1), loader.load(2)
        self.assertFalse(hit.done())

        async def follow(load):
            return await loader.load(await load)
        await gather(follow(hit), follow(miss))
        self.assertEqual(batch.batches, [[1], [2], [11, 12]])

    async def test_hits_alone_make_no_batch(self):
        batch = Recorder()
        loader = Loader(batch)
        await loader.load(1)
        self.assertEqual(await loader.load(1), 1)
        self.assertEqual(batch.batches, [[1]])

    async def test_hits_are_answered_though_the_batch_fails(self):
        async def batch(keys):
            if keys == [2]:
                raise OSError("away")
            return keys
        loader = Loader(batch)
        await loader.load(1)
        hit, miss = await asyncio.gather(loader.load(1), loader.load(2), return_exceptions=True)
        self.assertEqual(hit, 1)
        self.assertIsInstance(miss, OSError)

    async def test_the_key_of_the_memo(self):
        batch = Recorder()
        loader = Loader(batch, cache_key_fn=lambda key: key["id"])
        first, same = {"id": 1}, {"id": 1}
        one, two = await gather(loader.load(first), loader.load(same))
        self.assertIs(one, first)
        self.assertIs(two, first)
        self.assertEqual(batch.batches, [[first]])
        loader.clear(same)
        await loader.load(same)
        self.assertEqual(len(batch.batches), 2)

    async def test_keys_are_told_apart_as_the_wire_does(self):
        batch = Recorder()
        loader = Loader(batch)
        keys = [1, "1", True, [1, 2], (1, 2), {"a": 1, "b": 2}, {"b": 2, "a": 1}]
        await gather(*map(loader.load, keys))
        self.assertEqual(batch.batches, [[1, "1", True, [1, 2], {"a": 1, "b": 2}]])

    async def test_clear(self):
        batch = Recorder()
        loader = Loader(batch)
        await gather(loader.load("A"), loader.load("B"))
        self.assertIs(loader.clear("A"), loader)
        await gather(loader.load("A"), loader.load("B"))
        self.assertIs(loader.clear_all(), loader)
        await gather(loader.load("A"), loader.load("B"))
        self.assertEqual(batch.batches, [["A", "B"], ["A"], ["A", "B"]])

    async def test_clear_leaves_flights_alone_and_keeps_nothing_of_them(self):
        gates = []

        async def batch(keys):
            gate = asyncio.get_running_loop().create_future()
            gates.append(gate)
            return [await gate for _ in keys]
        loader = Loader(batch)
        old = loader.load(1)
        while len(gates) < 1:
            await asyncio.sleep(0)
        new = loader.clear(1).load(1)
        while len(gates) < 2:
            await asyncio.sleep(0)
        gates[1].set_result("new")
        self.assertEqual(await new, "new")
        gates[0].set_result("old")
        self.assertEqual(await old, "old")
        self.assertEqual(await loader.load(1), "new")

    async def test_clear_before_the_batch_goes_asks_twice(self):
        batch = Recorder()
        loader = Loader(batch)
        one = loader.load("A")
        two = loader.clear("A").load("A")
        self.assertEqual(await gather(one, two), ["A", "A"])
        self.assertEqual(batch.batches, [["A", "A"]])

    async def test_prime(self):
        batch = Recorder()
        loader = Loader(batch)
        self.assertIs(loader.prime("A", "X"), loader)
        loader.prime("A", "Y")
        self.assertEqual(await gather(loader.load("A"), loader.load("B")), ["X", "B"])
        loader.prime("B", "Z")
        self.assertEqual(await loader.load("B"), "B")
        loader.clear("B").prime("B", "Z")
        self.assertEqual(await loader.load("B"), "Z")
        self.assertEqual(batch.batches, [["B"]])

    async def test_prime_with_failures_and_with_what_will_come(self):
        complaints = []
        asyncio.get_running_loop().set_exception_handler(
            lambda loop, context: complaints.append(context))
        loader = Loader(Recorder())
        loader.prime("bad", ValueError("primed")).prime("unused", ValueError("nobody asks"))
        with self.assertRaises(ValueError):
            await loader.load("bad")

        async def soon():
            await asyncio.sleep(0)
            return "came"
        loader.prime("soon", soon())
        self.assertEqual(await loader.load("soon"), "came")
        del loader
        gc.collect()
        self.assertEqual(complaints, [])

    async def test_prime_does_not_replace_a_flight(self):
        batch = Recorder()
        loader = Loader(batch)
        load = loader.load(1)
        loader.prime(1, "other")
        self.assertEqual(await gather(load, loader.load(1)), [1, 1])

    async def test_without_a_memo_every_load_counts(self):
        memo = {"A": "untouched"}
        for off in ({"cache": False, "cache_map": memo}, {"cache_map": None}):
            batch = Recorder()
            loader = Loader(batch, **off)
            loader.prime("A", "X").clear("A").clear_all()
            self.assertEqual(await gather(*map(loader.load, "ABA")), ["A", "B", "A"])
            self.assertEqual(batch.batches, [["A", "B", "A"]])
        self.assertEqual(memo, {"A": "untouched"})

    async def test_a_memo_of_the_callers_own(self):
        memo = {}
        loader = Loader(Recorder(), cache_map=memo)
        await gather(loader.load("A"), loader.load("B"))
        self.assertEqual(list(memo), ["A", "B"])
        loader.clear("A")
        self.assertEqual(list(memo), ["B"])
        loader.clear_all()
        self.assertEqual(memo, {})

    async def test_one_caller_that_is_cancelled_leaves_the_others(self):
        batch = Recorder()
        loader = Loader(batch)
        one, two = loader.load(1), loader.load(1)
        one.cancel()
        self.assertEqual(await two, 1)
        self.assertEqual(batch.batches, [[1]])

    async def test_it_is_used_again_in_another_event_loop(self):
        loader = Loader(Recorder())
        await asyncio.to_thread(lambda: asyncio.run(_load(loader, 1)))
        self.assertEqual(await loader.load(2), 2)


async def _load(loader, key):
    return await loader.load(key)


if __name__ == "__main__":
    unittest.main()
