// DataLoader's documented contract, as it stands in its README and its tests:
// each rule is one test here, of client.loader.

import { test } from 'node:test';
import assert from 'node:assert/strict';
import { connect, RelataError } from 'relata';
import { Fake, failure, loadRows } from './support/fake.js';

const NAME = 'representative.tickets';

/** A loader whose batches are counted: `batches` are the keys of each. */
async function serve(t, options = {}, ticketsOf = (key) => [key]) {
    const fake = await Fake.start(t, { load: loadRows((key) => ticketsOf(key)) });
    const client = connect(fake.address);
    t.after(() => client.terminate());
    await client.connect();
    return {
        fake,
        client,
        loader: client.loader(NAME, options),
        get batches() {
            return fake.of('load').map(({ params }) => params[1]);
        },
    };
}

const tickets = (...ids) => ids.map((id) => ({ id }));

test('has the whole face', async (t) => {
    const { loader, client } = await serve(t);
    for (const name of ['load', 'loadMany', 'clear', 'clearAll', 'prime']) {
        assert.equal(typeof loader[name], 'function');
    }
    assert.equal(loader.name, NAME);
    assert.equal(client.loader(NAME, { name: 'mine' }).name, 'mine');
});

test('loads of one tick are one batch, in the order of the first loads', async (t) => {
    const served = await serve(t);
    const { loader } = served;
    const [b, a, again] = await Promise.all([loader.load(2), loader.load(1), loader.load(2)]);
    assert.deepEqual([b, a, again], [tickets(2), tickets(1), tickets(2)]);
    assert.deepEqual(served.batches, [[2, 1]]);
});

test('loads made in promise jobs of the tick join its batch', async (t) => {
    const served = await serve(t);
    const { loader } = served;
    await Promise.all([
        loader.load(1),
        Promise.resolve().then(() => loader.load(2)),
        Promise.resolve().then(() => {}).then(() => {}).then(() => loader.load(3)),
    ]);
    assert.deepEqual(served.batches, [[1, 2, 3]]);
});

test('loads of different ticks are different batches', async (t) => {
    const served = await serve(t);
    const first = served.loader.load(1);
    await new Promise((resolve) => setImmediate(resolve));
    await Promise.all([first, served.loader.load(2)]);
    assert.deepEqual(served.batches, [[1], [2]]);
});

test('equal loads have one promise in the cache, and are asked for once', async (t) => {
    const served = await serve(t);
    const [a, b] = await Promise.all([served.loader.load(1), served.loader.load(1)]);
    assert.equal(a, b);
    assert.equal(await served.loader.load(1), a);
    assert.deepEqual(served.batches, [[1]]);
});

test('null and undefined are no keys: load throws at once', async (t) => {
    const { loader } = await serve(t);
    assert.throws(() => loader.load(null), TypeError);
    assert.throws(() => loader.load(undefined), TypeError);
    assert.throws(() => loader.load(), /expects a key/);
});

test('0, "" and false are keys', async (t) => {
    const served = await serve(t, {}, () => []);
    await served.loader.loadMany([0, '', false]);
    assert.deepEqual(served.batches, [[0, '', false]]);
});

test('loadMany expects a list; an empty one is answered with an empty one', async (t) => {
    const served = await serve(t);
    assert.throws(() => served.loader.loadMany(1), TypeError);
    assert.throws(() => served.loader.loadMany(null), TypeError);
    assert.throws(() => served.loader.loadMany([1, null]), TypeError);
    assert.deepEqual(await served.loader.loadMany([]), []);
});

test('loadMany answers each position, Errors in their places', async (t) => {
    const { loader } = await serve(t, {},
        (key) => (key === 2 ? failure('loader_failed', 'no') : [key]));
    const [one, two, again] = await loader.loadMany([1, 2, 1]);
    assert.deepEqual([one, again], [tickets(1), tickets(1)]);
    assert.ok(two instanceof RelataError);
    assert.equal(two.code, 'loader_failed');
});

test('a key that failed fails alone, and is remembered as failed', async (t) => {
    const served = await serve(t, {},
        (key) => (key === 2 ? failure('loader_failed', 'no', { key }) : [key]));
    const { loader } = served;
    const one = loader.load(1);
    const error = await loader.load(2).catch((caught) => caught);
    assert.deepEqual(await one, tickets(1));
    assert.equal(await loader.load(2).catch((caught) => caught), error);
    assert.deepEqual(served.batches, [[1, 2]]);
    await loader.clear(2).load(2).catch(() => {});
    assert.deepEqual(served.batches, [[1, 2], [2]]);
});

test('a key that failed alone in its batch is remembered too', async (t) => {
    const served = await serve(t);
    served.fake.methods.load = () => {
        throw failure('loader_failed', 'no', { key: 1 });
    };
    const first = await served.loader.load(1).catch((error) => error);
    assert.equal(await served.loader.load(1).catch((error) => error), first);
    assert.deepEqual(served.batches, [[1]]);
});

test('nil is a value, and is remembered', async (t) => {
    const served = await serve(t, {}, () => null);
    assert.equal(await served.loader.load(1), null);
    assert.equal(await served.loader.load(1), null);
    assert.deepEqual(served.batches, [[1]]);
});

test('a batch that failed fails all its loads with one error, and is not remembered', async (t) => {
    const served = await serve(t);
    const works = served.fake.methods.load;
    served.fake.methods.load = () => {
        throw failure('unavailable', 'nobody is there');
    };
    const [a, b] = await served.loader.loadMany([1, 2]);
    assert.equal(a, b);
    assert.equal(a.code, 'unavailable');
    served.fake.methods.load = works;
    assert.deepEqual(await served.loader.loadMany([1, 2]), [tickets(1), tickets(2)]);
});

test('what the batch of a key failed by, inside the daemon, is not remembered', async (t) => {
    let broken = true;
    const served = await serve(t, {},
        (key) => (broken && key === 2 ? failure('unavailable', 'no provider') : [key]));
    const [one, two] = await served.loader.loadMany([1, 2]);
    assert.deepEqual(one, tickets(1));
    assert.equal(two.code, 'unavailable');
    broken = false;
    assert.deepEqual(await served.loader.loadMany([1, 2]), [tickets(1), tickets(2)]);
    assert.deepEqual(served.batches, [[1, 2], [2]]);
});

test('what is no key fails alone, whoever was in one tick with it', async (t) => {
    const served = await serve(t);
    const works = served.fake.methods.load;
    served.fake.methods.load = (params) => {
        const index = params[1].findIndex((key) => typeof key !== 'number');
        if (index >= 0) throw failure('invalid_value', 'no integer', { index });
        return works(params);
    };
    const [a, one, b, two] = await served.loader.loadMany(['a', 1, 'b', 2]);
    assert.deepEqual([one, two], [tickets(1), tickets(2)]);
    assert.deepEqual([a.code, b.code], ['invalid_value', 'invalid_value']);
});

test('an answer of another length fails the batch', async (t) => {
    const served = await serve(t);
    served.fake.methods.load = () => ({ columns: [['tickets', 'many', ['id']]], data: [null] });
    const [a, b] = await served.loader.loadMany([1, 2]);
    assert.equal(a, b);
    assert.match(a.message, /2 keys were asked for, 1 values came/);
});

test('a batch that failed leaves alone what was primed since', async (t) => {
    const served = await serve(t);
    served.fake.methods.load = () => {
        throw failure('unavailable', 'nobody is there');
    };
    const failed = served.loader.load(1);
    served.loader.clear(1).prime(1, 'primed');
    await assert.rejects(failed);
    assert.equal(await served.loader.load(1), 'primed');
});

test('clear and clearAll forget, and answer the loader', async (t) => {
    const served = await serve(t);
    const { loader } = served;
    await loader.loadMany([1, 2]);
    assert.equal(loader.clear(1), loader);
    await loader.loadMany([1, 2]);
    assert.equal(loader.clearAll(), loader);
    await loader.loadMany([1, 2]);
    assert.deepEqual(served.batches, [[1, 2], [1], [1, 2]]);
});

test('clear leaves alone what is under way', async (t) => {
    const served = await serve(t);
    const { loader } = served;
    const early = loader.load(1);
    loader.clear(1);
    const late = loader.load(1);
    assert.deepEqual(await Promise.all([early, late]), [tickets(1), tickets(1)]);
    assert.deepEqual(served.batches, [[1, 1]]);
    await loader.load(1);
    assert.equal(served.batches.length, 1);
});

test('prime gives a value, and does not replace one', async (t) => {
    const served = await serve(t);
    const { loader } = served;
    assert.equal(loader.prime(1, 'a'), loader);
    loader.prime(1, 'b');
    assert.equal(await loader.load(1), 'a');
    assert.equal(await loader.clear(1).prime(1, 'b').load(1), 'b');
    assert.equal(await loader.prime(2, Promise.resolve('c')).load(2), 'c');
    const underWay = loader.load(3);
    loader.prime(3, 'd');
    assert.deepEqual(await underWay, tickets(3));
    assert.deepEqual(await loader.load(3), tickets(3));
});

test('prime takes an Error, which nobody has to handle', async (t) => {
    const { loader } = await serve(t);
    loader.prime(1, new Error('primed'));
    await new Promise((resolve) => setImmediate(resolve));
    await assert.rejects(loader.load(1), /primed/);
});

test('hits and misses settle together, so that what they lead to is one batch', async (t) => {
    const served = await serve(t);
    const { loader } = served;
    await loader.load(1);
    await Promise.all([1, 2].map((key) => loader.load(key).then(() => loader.load(10 + key))));
    assert.deepEqual(served.batches.map((keys) => keys.sort()), [[1], [2], [11, 12]]);
});

test('hits alone ask for nothing', async (t) => {
    const served = await serve(t);
    await served.loader.load(1);
    assert.deepEqual(await served.loader.loadMany([1, 1]), [tickets(1), tickets(1)]);
    assert.deepEqual(served.batches, [[1]]);
});

test('maxBatchSize splits batches, hits and duplicates do not count', async (t) => {
    const served = await serve(t, { maxBatchSize: 2 });
    await served.loader.load(9);
    await served.loader.loadMany([9, 1, 1, 2, 9, 3]);
    assert.deepEqual(served.batches, [[9], [1, 2], [3]]);
});

test('batch: false asks for each key alone', async (t) => {
    const served = await serve(t, { batch: false });
    await served.loader.loadMany([1, 2, 1]);
    assert.deepEqual(served.batches, [[1], [2]]);
});

test('cache: false neither remembers nor merges; prime and clear do nothing', async (t) => {
    const served = await serve(t, { cache: false });
    const { loader } = served;
    loader.prime(1, 'primed').clear(2).clearAll();
    assert.deepEqual(await loader.loadMany([1, 2, 1]), [tickets(1), tickets(2), tickets(1)]);
    await loader.load(1);
    assert.deepEqual(served.batches, [[1, 2, 1], [1]]);
});

test('cacheKeyFn says which keys are equal, as a method of the loader', async (t) => {
    const seen = new Set();
    const served = await serve(t, {
        cacheKeyFn(key) {
            seen.add(this);
            return String(key).toLowerCase();
        },
    }, () => []);
    await served.loader.loadMany(['A', 'a', 'B']);
    assert.deepEqual(served.batches, [['A', 'B']]);
    served.loader.clear('b');
    await served.loader.loadMany(['a', 'b']);
    assert.deepEqual(served.batches[1], ['b']);
    assert.deepEqual([...seen], [served.loader]);
});

test('keys are equal by value: numbers, bigints, lists, records', async (t) => {
    const served = await serve(t, {}, () => []);
    const { loader } = served;
    await loader.loadMany([1, 1n, { id: 1, name: 'Ann' }, '1', [1, 2], [1n, 2], ['1', 2]]);
    assert.deepEqual(served.batches, [[1, '1', [1, 2], ['1', 2]]]);
});

test('a cacheMap of the caller is used, with what it must have', async (t) => {
    const { client } = await serve(t);
    const map = new Map();
    await client.loader(NAME, { cacheMap: map }).load(1);
    assert.deepEqual([...map.keys()], [1]);
    assert.throws(() => client.loader(NAME, { cacheMap: { get() {}, set() {} } }), /delete, clear/);
    assert.equal(await client.loader(NAME, { cacheMap: null }).prime(1, 'a').load(1) === 'a', false);
});

test('a batchScheduleFn of the caller says when', async (t) => {
    let dispatch;
    const served = await serve(t, { batchScheduleFn: (callback) => { dispatch = callback; } });
    const loads = served.loader.loadMany([1, 2]);
    await new Promise((resolve) => setImmediate(resolve));
    assert.deepEqual(served.batches, []);
    dispatch();
    await loads;
    assert.deepEqual(served.batches, [[1, 2]]);
});

test('options of a wrong type are refused at once', async (t) => {
    const { client } = await serve(t);
    for (const wrong of [{ maxBatchSize: 0 }, { maxBatchSize: null }, { cacheKeyFn: null },
        { batch: 1 }, { cache: 'no' }, { batchScheduleFn: 5 }]) {
        assert.throws(() => client.loader(NAME, wrong), TypeError, JSON.stringify(wrong));
    }
    assert.throws(() => client.loader('a.b.c'), { code: 'invalid_request' });
    assert.throws(() => client.loader('a.'), { code: 'invalid_request' });
});

test('loaders over records of a resource', async (t) => {
    const fake = await Fake.start(t, {
        get_many: ([, keys]) => ({ columns: ['id', 'name'],
            data: keys.map((key) => (key > 2 ? null : [key, `name ${key}`])) }),
    });
    const client = connect(fake.address);
    t.after(() => client.terminate());
    const loader = client.loader('representative', { select: ['name'] });
    assert.deepEqual(await loader.loadMany([2, 3, 1]),
        [{ id: 2, name: 'name 2' }, null, { id: 1, name: 'name 1' }]);
    assert.deepEqual(fake.of('get_many').map(({ params }) => params),
        [['representative', [2, 3, 1], { select: ['name'], shape: 'rows' }]]);
});

test('random loads, clears and primes agree with a plain model', async (t) => {
    const seed = Number(process.env.RELATA_SEED ?? Date.now() % 1e9);
    t.diagnostic(`seed ${seed}`);
    let state = seed;
    const random = (below) => {
        state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
        return Math.floor((state / 2 ** 32) * below);
    };
    let version = 0;
    const served = await serve(t, {}, (key) => [key, version]);
    const model = new Map(); // key to the version that is remembered
    for (let round = 0; round < 200; round += 1) {
        version += 1;
        const expected = [];
        for (let n = random(6); n > 0; n -= 1) {
            const key = random(8);
            const what = random(4);
            if (what === 0) {
                model.delete(key);
                served.loader.clear(key);
            } else if (what === 1 && !model.has(key)) {
                model.set(key, -version);
                served.loader.prime(key, tickets(key, -version));
            } else {
                if (!model.has(key)) model.set(key, version);
                expected.push([served.loader.load(key), tickets(key, model.get(key))]);
            }
        }
        for (const [load, value] of expected) assert.deepEqual(await load, value);
    }
});
