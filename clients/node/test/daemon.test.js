// Against the real daemon: that both mean the same.

import { test } from 'node:test';
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, RelataError, Timestamp } from 'relata';
import { Daemon, withoutDaemon } from './support/daemon.js';

const skip = withoutDaemon;

async function serve(t, options) {
    const daemon = await Daemon.start(t);
    const client = connect(daemon.address, options);
    t.after(() => client.close());
    return { daemon, client };
}

async function fill(client) {
    await client.createMany('representative', [
        { id: 1, name: 'Ann', email: 'ann@example.com' },
        { id: 2, name: 'Bob', priority_threshold: 1 },
    ]);
    await client.createMany('ticket', [1, 2, 3, 4].map((id) => (
        { id, subject: `ticket ${id}`, priority: 2 * id, representative_id: 1 + id % 2 })));
}

test('records are ordinary objects, with what was loaded', { skip }, async (t) => {
    const { client } = await serve(t);
    await fill(client);
    const ann = await client.get('representative', 1);
    assert.deepEqual(ann, { id: 1, name: 'Ann', email: 'ann@example.com', priority_threshold: 5 });
    assert.equal(Object.getPrototypeOf(ann), Object.prototype);
    assert.equal(await client.get('representative', 3), null);
    assert.deepEqual(await client.getMany('representative', [2, 3, 2], { select: ['name'] }),
        [{ id: 2, name: 'Bob' }, null, { id: 2, name: 'Bob' }]);
    assert.deepEqual(
        await client.get('representative', 2, {
            select: ['name'],
            load: { tickets: { as: 'all', select: ['priority'], load: {
                representative: { select: ['name'] } } }, latest_ticket: null },
        }),
        { id: 2, name: 'Bob', all: [
            { id: 1, priority: 2, representative: { id: 2, name: 'Bob' } },
            { id: 3, priority: 6, representative: { id: 2, name: 'Bob' } }],
        latest_ticket: { id: 1, subject: 'ticket 1', status: 'open', priority: 2, rating: null,
            representative_id: 2, created_at: null, picture: null, details: null } });
});

test('reads, counts and loads', { skip }, async (t) => {
    const { client } = await serve(t);
    await fill(client);
    const query = { filter: 'priority > $min', params: { min: 3 }, sort: '-priority', limit: 2,
        select: ['id'] };
    assert.deepEqual(await client.read('ticket', query), [{ id: 4 }, { id: 3 }]);
    assert.equal(await client.count('ticket', { filter: 'priority > 3' }), 3);
    assert.equal(await client.count('ticket'), 4);
    assert.deepEqual(
        await client.load('representative', [1, 9, 2], 'tickets_above_threshold',
            { query: { select: ['id'] } }),
        [[{ id: 4 }], null, [{ id: 3 }, { id: 1 }]]);
    assert.deepEqual(
        await client.load('ticket', [1], 'representative', { query: { select: ['name'] } }),
        [{ id: 2, name: 'Bob' }]);
    assert.deepEqual(
        await client.load('representative', [1], ['latest_ticket',
            { tickets: { select: ['id'], as: 'mine' } }].slice(1)),
        [{ mine: [{ id: 2 }, { id: 4 }] }]);
});

test('writes answer what is stored', { skip }, async (t) => {
    const { client } = await serve(t);
    const created = await client.create('ticket', { id: 1, subject: 'no ink', rating: undefined });
    assert.deepEqual(created, { id: 1, subject: 'no ink', status: 'open', priority: 3, rating: null,
        representative_id: null, created_at: null, picture: null, details: null });
    assert.equal((await client.update('ticket', 1, { priority: 9, subject: undefined })).subject,
        'no ink');
    assert.equal((await client.upsert('ticket', { id: 1, subject: 'paper' })).priority, 9);
    assert.equal(await client.upsertMany('ticket', [{ id: 1, subject: 'a' }, { id: 2, subject: 'b' }]), 2);
    assert.equal(await client.destroy('ticket', 1), true);
    assert.equal(await client.destroyMany('ticket', [1, 2]), 1);
    assert.equal(await client.invalidate('ticket'), 0);
    await client.create('rating', { representative_id: 1, ticket_id: 2, stars: 5 });
    assert.equal((await client.get('rating', [1, 2])).stars, 5);
    assert.equal((await client.get('rating', { ticket_id: 2, representative_id: 1 })).stars, 5);
});

test('errors have a code and details', { skip }, async (t) => {
    const { client } = await serve(t);
    await assert.rejects(client.get('ticked', 1), (error) => {
        assert.ok(error instanceof RelataError);
        assert.equal(error.name, 'RelataError');
        assert.equal(error.code, 'unknown_resource');
        assert.equal(error.details.resource, 'ticked');
        return true;
    });
    await assert.rejects(client.update('ticket', 5, { priority: 1 }), { code: 'not_found' });
    await assert.rejects(client.createMany('ticket', [{ id: 1, subject: 'a' }, { id: 2 }]),
        (error) => error.code === 'invalid_value' && error.details.index === 1);
    await assert.rejects(client.read('ticket', { filter: 'priority >' }), { code: 'invalid_filter' });
    await assert.rejects(client.call('nonsense'), { code: 'unknown_method' });
});

test('values of every type come back as they were', { skip }, async (t) => {
    const { client } = await serve(t);
    const at = new Date('2024-02-03T04:05:06.789Z');
    const details = { n: 4294967296, list: [1, -5000000000, 2.5, null, true], deep: { at } };
    const record = { id: 7, subject: 'ü', rating: 2, created_at: at, details,
        picture: new Uint8Array([0, 255, 7]) };
    await client.create('ticket', record);
    const stored = await client.get('ticket', 7);
    assert.deepEqual({ ...stored, picture: [...stored.picture] },
        { ...record, picture: [0, 255, 7], status: 'open', priority: 3, representative_id: null });
    assert.equal(stored.created_at.getTime(), at.getTime());
});

test('datetimes to the nanosecond, by option', { skip }, async (t) => {
    const { client } = await serve(t, { datetimes: 'exact' });
    for (const [seconds, nanoseconds] of [[1700000000, 123456789], [-5, 1], [0, 0], [2 ** 35, 999999999]]) {
        const at = new Timestamp(seconds, nanoseconds);
        const stored = await client.upsert('ticket', { id: 1, subject: 'x', created_at: at });
        assert.deepEqual(stored.created_at, at);
    }
    assert.equal(String(new Timestamp(0, 120000000)), '1970-01-01T00:00:00.120Z');
    assert.equal(String(new Timestamp(1)), '1970-01-01T00:00:01Z');
    assert.deepEqual(Timestamp.fromDate(new Date(-1)), new Timestamp(-1, 999000000));
});

test('integers are numbers, and beyond 2^53 an error', { skip }, async (t) => {
    const { client } = await serve(t);
    await client.create('ticket', { id: 1, subject: 'a', priority: Number.MAX_SAFE_INTEGER });
    assert.equal((await client.get('ticket', 1)).priority, Number.MAX_SAFE_INTEGER);
    assert.equal((await client.get('ticket', 1)).id, 1);
    await client.call('create', ['ticket', { id: 2n ** 53n + 1n, subject: 'b' }]).then(
        () => assert.fail(), (error) => assert.equal(error.code, 'invalid_value'));
    await assert.rejects(client.get('ticket', 2n ** 53n + 1n), /2\^53/);
    assert.equal(await client.count('ticket', { filter: { id: 2n ** 53n + 1n } }), 1);
    await assert.rejects(client.create('ticket', { id: 2n ** 63n, subject: 'c' }), /64 bits/);
});

test('integers are bigints, whatever their value, by option', { skip }, async (t) => {
    const { client } = await serve(t, { integers: 'bigint' });
    const large = 2n ** 63n - 1n;
    await client.create('representative', { id: large, name: 'Max' });
    await client.create('representative', { id: 1n, name: 'Ann' });
    for (const [id, owner] of [[1n, large], [-(2n ** 63n), large], [5000000000n, 1n]]) {
        const stored = await client.create('ticket',
            { id, subject: 'x', rating: 4, representative_id: owner });
        assert.deepEqual([stored.id, stored.priority, stored.rating], [id, 3n, 4]);
    }
    assert.deepEqual(
        await client.read('representative', { sort: 'id', select: ['id'], load: [
            { tickets: { as: 'mine', select: ['id', 'rating'],
                load: { representative: { select: ['id'] } } } }] }),
        [{ id: 1n, mine: [{ id: 5000000000n, rating: 4, representative: { id: 1n } }] },
            { id: large, mine: [
                { id: -(2n ** 63n), rating: 4, representative: { id: large } },
                { id: 1n, rating: 4, representative: { id: large } }] }]);
    assert.deepEqual(
        await client.load('representative', [large, 1], 'tickets', { query: { select: ['id'] } }),
        [[{ id: -(2n ** 63n) }, { id: 1n }], [{ id: 5000000000n }]]);
    assert.equal(await client.count('ticket'), 3);
});

test('a loader and a request load what load loads', { skip }, async (t) => {
    const { client } = await serve(t);
    await fill(client);
    const request = client.request();
    const representatives = await request.getMany('representative', [1, 2]);
    const query = { select: ['id'] };
    const loaded = await Promise.all(representatives.map(
        (representative) => request.load('representative.tickets_above_threshold', representative, query)));
    assert.deepEqual(loaded, [[{ id: 4 }], [{ id: 3 }, { id: 1 }]]);
    const loader = client.loader('representative.tickets', { query });
    assert.deepEqual(await loader.loadMany([1, 2, 3]), [[{ id: 2 }, { id: 4 }], [{ id: 1 }, { id: 3 }], null]);
    const stats = await client.stats();
    assert.equal(stats.relationships['representative.tickets_above_threshold'].loads, 1);
});

test('a write of a request is seen by its next load', { skip }, async (t) => {
    const { client } = await serve(t);
    await fill(client);
    const request = client.request();
    const query = { select: ['id'] };
    assert.equal((await request.load('representative.tickets', 1, query)).length, 2);
    const write = request.create('ticket', { id: 9, subject: 'new', representative_id: 1 });
    const loaded = request.load('representative.tickets', 1, query);
    assert.equal((await loaded).length, 3);
    await write;
    assert.equal((await request.load('representative.tickets', 1, query)).length, 3);
});

test('calls go on after the daemon was started again', { skip }, async (t) => {
    const { daemon, client } = await serve(t, { reconnect: { min: 5, max: 50 } });
    const greeting = await client.connect();
    assert.equal(greeting.server, 'relata');
    const lost = once(client.events, 'disconnect');
    await daemon.stop('SIGKILL');
    await lost;
    const waiting = client.count('ticket');
    await daemon.start();
    assert.equal(await waiting, 0);
    await fill(client);
    assert.equal(await client.count('ticket'), 4);
});
