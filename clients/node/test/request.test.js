// What one web request loads is loaded once.

import { test } from 'node:test';
import assert from 'node:assert/strict';
import { connect } from 'relata';
import { Fake, failure, loadRows } from './support/fake.js';

const NAME = 'representative.tickets';

async function serve(t, methods = {}) {
    const fake = await Fake.start(t, {
        load: loadRows((key) => (key === 13 ? failure('loader_failed', 'no') : [key])),
        get_many: ([, keys]) => ({ columns: ['id'], data: keys.map((key) => [key]) }),
        update: () => ({ columns: ['id'], data: [1] }),
        invalidate: () => 0,
        ...methods,
    });
    const client = connect(fake.address);
    t.after(() => client.terminate());
    await client.connect();
    return { fake, client };
}

const calls = (fake, method) => fake.of(method).map(({ params }) => params);

test('loads of one relationship and query are one call, for whom the request is', async (t) => {
    const { fake, client } = await serve(t);
    const request = client.request({ actor: { id: 7 }, tenant: 'acme', authorize: true });
    const query = { filter: 'priority > $min', params: { min: 3 } };
    await Promise.all([
        request.load(NAME, 1, query),
        request.load(NAME, { id: 2, name: 'Bob' }, { params: { min: 3 }, filter: 'priority > $min' }),
        request.load(NAME, 1, query),
        request.load(NAME, 1),
    ]);
    const context = { actor: { id: 7 }, tenant: 'acme', authorize: true, shape: 'rows' };
    assert.deepEqual(calls(fake, 'load'), [
        ['representative', [1, 2], { tickets: query }, context],
        ['representative', [1], { tickets: null }, context],
    ]);
});

test('what was loaded is remembered for the request, and for no other', async (t) => {
    const { fake, client } = await serve(t);
    const request = client.request();
    const first = await request.load(NAME, 1);
    assert.equal(await request.load(NAME, 1), first);
    assert.equal(await request.loader(NAME).load(1), first);
    assert.notEqual(await client.request().load(NAME, 1), first);
    assert.equal(fake.of('load').length, 2);
});

test('records are loaded together, and remembered by what was selected', async (t) => {
    const { fake, client } = await serve(t);
    const request = client.request();
    await Promise.all([request.get('ticket', 1), request.getMany('ticket', [2, 1]),
        request.get('ticket', 1, { select: ['id'] })]);
    await request.get('ticket', 2);
    assert.deepEqual(calls(fake, 'get_many').map(([, keys]) => keys), [[1, 2], [1]]);
    await assert.rejects(request.get('ticket', null), TypeError);
});

test('a write forgets what was loaded, before it and after it', async (t) => {
    const { fake, client } = await serve(t);
    const request = client.request();
    for (const write of [() => request.update('ticket', 1, {}), () => request.invalidate('ticket'),
        () => request.clear()]) {
        await request.load(NAME, 1);
        const writing = write();
        const during = request.load(NAME, 1);
        await writing;
        await Promise.all([during, request.load(NAME, 1)]);
    }
    const methods = fake.peer.methods().filter((method) => method !== 'hello');
    assert.deepEqual(methods.slice(methods.indexOf('load'), methods.indexOf('load') + 4),
        ['load', 'update', 'load', 'load']);
});

test('a write that fails forgets too', async (t) => {
    const { fake, client } = await serve(t, {
        update: () => {
            throw failure('unavailable', 'gone');
        },
    });
    const request = client.request();
    await request.load(NAME, 1);
    await assert.rejects(request.update('ticket', 1, {}), { code: 'unavailable' });
    await request.load(NAME, 1);
    assert.equal(fake.of('load').length, 2);
});

test('the loaders of a request are the same, unless they have options of their own', async (t) => {
    const { client } = await serve(t);
    const request = client.request();
    const query = { limit: 1 };
    assert.equal(request.loader(NAME, { query }), request.loader(NAME, { query: { limit: 1 } }));
    assert.notEqual(request.loader(NAME, { query }), request.loader(NAME));
    assert.notEqual(request.loader(NAME, { cache: false }), request.loader(NAME, { cache: false }));
    await assert.rejects(request.loadMany(NAME, [1, 13]), { code: 'loader_failed' });
    assert.deepEqual(await request.loadMany(NAME, [2, 1]), [[{ id: 2 }], [{ id: 1 }]]);
});

test('the other calls are made for whom the request is', async (t) => {
    const { fake, client } = await serve(t, { count: () => 3, read: () => ({ columns: ['id'], data: [] }) });
    const request = client.request({ actor: { id: 7 } });
    await request.count('ticket', {}, { actor: { id: 8 } });
    await request.read('ticket', {}, { fresh: true });
    assert.deepEqual(calls(fake, 'count')[0][2], { actor: { id: 7 } });
    assert.deepEqual(calls(fake, 'read')[0][2], { fresh: true, actor: { id: 7 }, shape: 'rows' });
});

test('a record without its key is refused', async (t) => {
    const { client } = await serve(t);
    await assert.rejects(client.request().load(NAME, { name: 'Ann' }), { code: 'invalid_value' });
    await assert.rejects(client.request().load('ticked.tickets', { id: 1 }), { code: 'unknown_resource' });
});
