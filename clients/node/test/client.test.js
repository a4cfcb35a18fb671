// Connections, calls and their ends, against a daemon of whose every byte the
// test decides.

import { test } from 'node:test';
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, RelataError } from 'relata';
import { Fake, failure, loadRows, until } from './support/fake.js';

async function serve(t, methods, options) {
    const fake = await Fake.start(t, methods);
    const client = connect(fake.address, options);
    t.after(() => client.terminate());
    return { fake, client };
}

const record = (columns, row) => () => ({ columns, data: row });
const silent = () => Fake.SILENT;

test('connects with the first call, and says who it is', async (t) => {
    const { fake, client } = await serve(t, {}, { name: 'shop', token: 'secret' });
    await new Promise((resolve) => setImmediate(resolve));
    assert.equal(fake.peers.length, 0);
    assert.equal(await client.ping(), 'pong');
    assert.deepEqual(fake.peer.requests[0].params,
        [{ client: 'shop', token: 'secret', errors: 'map' }]);
});

test('what is asked for in one tick goes out in one write', async (t) => {
    const { fake, client } = await serve(t, {
        load: loadRows((key) => [key]),
        get: record(['id'], [1]),
    });
    await client.connect();
    const before = fake.peer.reads;
    const request = client.request();
    await Promise.all([
        client.get('ticket', 1),
        request.load('representative.tickets', 1),
        Promise.resolve().then(() => request.load('representative.tickets', 2)),
        request.load('representative.urgent', 1),
        client.ping(),
    ]);
    assert.equal(fake.peer.reads, before + 1);
    assert.deepEqual(fake.peer.methods().slice(-4).sort(), ['get', 'load', 'load', 'ping']);
});

test('a call may be answered before one that was made earlier', async (t) => {
    const { fake, client } = await serve(t, { slow: silent });
    await client.connect();
    const slow = client.call('slow');
    assert.equal(await client.ping(), 'pong');
    fake.peer.send([1, fake.of('slow')[0].id, null, 'late']);
    assert.equal(await slow, 'late');
});

test('messages that come in pieces, and several at once', async (t) => {
    const text = 'x'.repeat(300000);
    const { fake, client } = await serve(t, { slow: silent });
    await client.connect();
    const calls = Array.from({ length: 20 }, () => client.call('slow'));
    await until(() => fake.of('slow').length === 20);
    const { peer } = fake;
    const written = [];
    const write = peer.socket.write.bind(peer.socket);
    peer.socket.write = (bytes) => written.push(Buffer.from(bytes));
    fake.of('slow').forEach(({ id }, n) => {
        const answers = [n, -n, 2.5, text, { [`name${n}`]: [null, true, new Uint8Array(n)] },
            new Date(n), 2n ** 40n, 'ü'.repeat(n), Array(n).fill({ a: [] })];
        peer.send([1, id, null, answers]);
    });
    const all = Buffer.concat(written);
    for (let at = 0, size = 1; at < all.length; at += size, size = size < 4000 ? size * 2 : size + 77777) {
        write(all.subarray(at, at + size));
        await new Promise((resolve) => setImmediate(resolve));
    }
    for (const [n, answer] of (await Promise.all(calls)).entries()) {
        assert.equal(answer[0], n);
        assert.equal(answer[3], text);
        assert.equal(answer[4][`name${n}`][2].length, n);
        assert.deepEqual(answer.slice(5), [new Date(n), 2 ** 40, 'ü'.repeat(n), Array(n).fill({ a: [] })]);
    }
});

test('what is pending when the connection ends is rejected', async (t) => {
    const { fake, client } = await serve(t, { get: silent, update: silent, load: silent });
    await client.connect();
    const calls = [client.get('ticket', 1), client.update('ticket', 1, { id: 1 }),
        client.loader('representative.tickets').load(1)];
    await until(() => fake.of('load').length === 1);
    const disconnected = once(client.events, 'disconnect');
    fake.peer.close();
    const errors = await Promise.all(calls.map((call) => call.catch((error) => error)));
    assert.deepEqual(errors.map(({ code }) => code), ['unavailable', 'unavailable', 'unavailable']);
    assert.deepEqual(errors.map(({ details }) => details.outcome), [undefined, 'unknown', undefined]);
    assert.equal((await disconnected)[0].code, 'unavailable');
    assert.equal(await client.ping(), 'pong');
    assert.equal(fake.peers.length, 2);
});

test('calls wait for a daemon that is about to be there', async (t) => {
    const { fake, client } = await serve(t, {}, { reconnect: { min: 1, max: 5 } });
    fake.shut();
    const waiting = client.ping();
    await new Promise((resolve) => setTimeout(resolve, 30));
    await fake.listen();
    assert.equal(await waiting, 'pong');
});

test('calls do not wait for ever for a daemon that is not there', async (t) => {
    const { fake, client } = await serve(t, {}, { reconnect: { min: 1, max: 5 }, offlineTimeout: 20 });
    fake.shut();
    await assert.rejects(client.update('ticket', 1, {}), (error) => {
        assert.equal(error.code, 'unavailable');
        assert.equal(error.details.outcome, undefined); // it was never sent
        return true;
    });
});

test('a greeting that is refused rejects what waits, with its code', async (t) => {
    const { client } = await serve(t, {
        slow: silent,
        hello: () => {
            throw failure('unauthenticated', 'no such token');
        },
    }, { reconnect: { min: 1, max: 2 }, offlineTimeout: 5 });
    await assert.rejects(client.call('slow'), { code: 'unauthenticated' });
});

test('what is no MessagePack, or no message, ends the connection and not the client', async (t) => {
    const { fake, client } = await serve(t, { slow: silent });
    for (const bytes of [[0xc1], [0x05], [0x94, 1]]) {
        await client.connect();
        const call = client.call('slow');
        await until(() => fake.of('slow').length === 1);
        fake.peer.socket.end(Buffer.from(bytes));
        await assert.rejects(call, { code: 'unavailable' });
    }
    assert.equal(await client.ping(), 'pong');
});

test('answers that nobody waits for, and notifications, are ignored', async (t) => {
    const { fake, client } = await serve(t);
    await client.connect();
    fake.peer.send([1, 4000000000, null, 'stray']);
    fake.peer.send([2, 'news', [1]]);
    assert.equal(await client.ping(), 'pong');
    assert.equal(fake.peers.length, 1);
});

test('an answer that cannot be read fails its call alone', async (t) => {
    const { fake, client } = await serve(t, { slow: silent });
    await client.connect();
    const [bad, good] = [client.call('slow'), client.call('slow')];
    await until(() => fake.of('slow').length === 2);
    const [{ id: first }, { id: second }] = fake.of('slow');
    fake.peer.send([1, first, null, JSON.parse('{"__proto__": 1}')]);
    fake.peer.send([1, second, null, 'fine']);
    await assert.rejects(bad, { code: 'invalid_value' });
    assert.equal(await good, 'fine');
});

test('a call that takes too long', async (t) => {
    const { fake, client } = await serve(t, { get: silent, create: silent });
    await client.connect();
    await assert.rejects(client.get('ticket', 1, { timeout: 10 }), { code: 'timeout' });
    assert.equal(fake.of('get')[0].params[2].timeout_ms, 10);
    await assert.rejects(client.create('ticket', { id: 1 }, { timeout: 10 }),
        (error) => error.code === 'timeout' && error.details.outcome === 'unknown');
    fake.peer.send([1, fake.of('get')[0].id, null, { columns: ['id'], data: [1] }]);
    assert.equal(await client.ping(), 'pong');
});

test('the client may say how long calls take at most', async (t) => {
    const { client } = await serve(t, { get: silent }, { timeout: 20 });
    await assert.rejects(client.get('ticket', 1), { code: 'timeout' });
});

test('an abort rejects with its reason, and what was not sent stays at home', async (t) => {
    const { fake, client } = await serve(t, { get: silent });
    await client.connect();
    const reason = new Error('the visitor left');
    await assert.rejects(client.get('ticket', 1, { signal: AbortSignal.abort(reason) }), reason);
    const early = new AbortController();
    const unsent = client.get('ticket', 2, { signal: early.signal });
    early.abort(reason);
    await assert.rejects(unsent, reason);
    const late = new AbortController();
    const sent = client.get('ticket', 3, { signal: late.signal });
    await until(() => fake.of('get').length > 0);
    late.abort(reason);
    await assert.rejects(sent, reason);
    assert.deepEqual(fake.of('get').map(({ params }) => params[1]), [3]);
});

test('no more than half of what may wait is sent at once', async (t) => {
    const { fake, client } = await serve(t, {
        hello: () => ({ limits: { requests_waiting_per_connection: 20 } }), slow: silent,
    });
    await client.connect();
    await until(() => client.description !== null);
    const calls = Array.from({ length: 35 }, (_, n) => client.call('slow', [n]));
    for (let done = 0; done < 35; done += 1) {
        await until(() => fake.of('slow').length > done);
        assert.ok(fake.of('slow').length - done <= 10);
        fake.peer.send([1, fake.of('slow')[done].id, null, done]);
        assert.equal(await calls[done], done);
    }
});

test('errors as a map, as text, and in the place of values', async (t) => {
    const { fake, client } = await serve(t, {
        slow: silent,
        get_many: ([, keys]) => ({ columns: ['id', ['tickets', 'many', ['id']]],
            data: keys.map((key) => (key === 2 ? failure('loader_failed', 'broken', { key: 2 })
                : [key, failure('timeout', 'slow')])) }),
    });
    await client.connect();
    const text = client.call('slow');
    await until(() => fake.of('slow').length === 1);
    fake.peer.send([1, fake.of('slow')[0].id, 'overloaded: too much\nfor me', null]);
    await assert.rejects(text, { code: 'overloaded', message: 'too much\nfor me' });
    const [one, two] = await client.getMany('representative', [1, 2], { load: 'tickets' });
    assert.ok(one.tickets instanceof RelataError && one.tickets.code === 'timeout');
    assert.equal(one.id, 1);
    assert.ok(two instanceof RelataError);
    assert.deepEqual([two.code, two.message, two.details], ['loader_failed', 'broken', { key: 2 }]);
});

test('a field may be named like what every object has', async (t) => {
    const { client } = await serve(t, {
        get: record(['__proto__', 'constructor', 'toString'], [1, 2, 3]),
    });
    const got = await client.get('ticket', 1);
    assert.deepEqual(Object.entries(got), [['__proto__', 1], ['constructor', 2], ['toString', 3]]);
    assert.equal(Object.getPrototypeOf(got), Object.prototype);
});

test('integers and floats keep apart, whatever their value', async (t) => {
    const methods = {
        get: record(['id', 'rating', 'details', ['representative', 'one', ['id', 'name']]],
            [5, 4, { n: 7 }, [6, 'Ann']]),
    };
    const { client } = await serve(t, methods, { integers: 'bigint' });
    assert.deepEqual(await client.get('ticket', 5, { load: 'representative' }),
        { id: 5n, rating: 4, details: { n: 7 }, representative: { id: 6n, name: 'Ann' } });
    methods.get = record(['details'], [{ n: [2n ** 60n] }]);
    const other = await serve(t, methods);
    await assert.rejects(other.client.get('ticket', 5), /2\^53/);
});

test('what would be sent as something else is refused', async (t) => {
    const { fake, client } = await serve(t);
    await client.connect();
    for (const value of [new Map([[1, 2]]), new Set(), () => 1, Symbol('x'), 2n ** 64n,
        -(2n ** 63n) - 1n, new Date(NaN), { deep: [new Map()] }]) {
        await assert.rejects(client.create('ticket', { id: value }), { code: 'invalid_value' });
    }
    assert.equal(fake.of('create').length, 0);
});

test('addresses and options that are wrong are refused at once', () => {
    for (const wrong of ['relata.sock', 'unix:', 'tcp:host', 'tcp:host:99999', 'http://host:1']) {
        assert.throws(() => connect(wrong), { code: 'invalid_request' }, wrong);
    }
    assert.throws(() => connect('unix:/x', { tokn: 'x' }), /no option tokn/);
    assert.throws(() => connect('unix:/x', { integers: 'auto' }), /number or bigint/);
    assert.equal(connect('tcp:[::1]:7000').address, 'tcp:[::1]:7000');
    assert.equal(connect({ name: 'x' }).address, process.env.RELATA_ADDRESS ??
        'unix:/run/relata/relata.sock');
});

test('close lets what is under way be answered, and takes no more', async (t) => {
    const { fake, client } = await serve(t, { slow: silent });
    await client.connect();
    const slow = client.call('slow');
    await until(() => fake.of('slow').length === 1);
    const closed = client.close();
    await assert.rejects(client.ping(), { code: 'unavailable' });
    fake.peer.send([1, fake.of('slow')[0].id, null, 'done']);
    assert.equal(await slow, 'done');
    await closed;
    await until(() => fake.peer.socket.destroyed);
});

test('close waits only so long, terminate not at all', async (t) => {
    const { fake, client } = await serve(t, { slow: silent });
    const slow = assert.rejects(client.call('slow'), { code: 'unavailable' });
    await until(() => fake.peers.length > 0);
    await client.close({ timeout: 10 });
    await slow;
    const other = connect(fake.address);
    const call = assert.rejects(other.call('slow'), { code: 'unavailable' });
    other.terminate();
    await call;
    await assert.rejects(other.ping(), { code: 'unavailable' });
    await other.close();
});

test('100,000 calls leave nothing behind', async (t) => {
    const { fake, client } = await serve(t, {
        get: ([, key]) => ({ columns: ['id', 'name'], data: [key, 'Ann'] }),
    });
    await client.connect();
    const controller = new AbortController();
    async function calls(count) {
        for (let done = 0; done < count; done += 500) {
            await Promise.all(Array.from({ length: 500 },
                (_, n) => client.get('ticket', n, { signal: controller.signal })));
            fake.peer.requests.length = 0;
        }
        global.gc();
        return process.memoryUsage().heapUsed;
    }
    const before = await calls(20000);
    const after = await calls(100000);
    assert.ok(after - before < 2 * 1024 * 1024, `the heap grew by ${after - before} bytes`);
});
