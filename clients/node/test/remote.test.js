// Providers under the real daemon.

import { test } from 'node:test';
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, groupBy, RelataError } from 'relata';
import { Daemon, withoutDaemon } from './support/daemon.js';
import { until } from './support/fake.js';

const skip = withoutDaemon;
const NAME = 'representative.tickets_above_threshold';
const SCHEMA = `
version: 1
resources:
  representative:
    fields:
      id: integer
      name: {type: string, required: true}
      priority_threshold: {type: integer, default: 5}
    relationships:
      tickets: {has_many: ticket}
      by_filter:
        has_many: ticket
        manual:
          filter: representative_id == parent.id and priority > parent.priority_threshold
        sort: -priority
      tickets_above_threshold:
        has_many: ticket
        manual: {remote: {options: {from: memory}}}
        actor: none
        sort: -priority
        batch: {timeout: 2s}
  ticket:
    fields:
      id: integer
      subject: {type: string, required: true}
      priority: {type: integer, default: 3}
      representative_id: integer
    relationships:
      representative: {belongs_to: representative}
`;

async function aboveThreshold(records, { context }) {
    const tickets = await context.read('ticket', {
        filter: 'representative_id in $ids', params: { ids: records.map(({ id }) => id) },
    });
    const thresholds = new Map(records.map(({ id, priority_threshold: t }) => [id, t]));
    return groupBy(tickets.filter(
        ({ priority, representative_id: id }) => priority > thresholds.get(id)), 'representative_id');
}

async function serve(t, options) {
    const daemon = await Daemon.start(t, SCHEMA);
    const connectTo = (more) => {
        const client = connect(daemon.address, { reconnect: { min: 5, max: 50 }, ...options, ...more });
        t.after(() => client.terminate());
        return client;
    };
    const client = connectTo();
    await client.createMany('representative',
        [1, 2, 3].map((id) => ({ id, name: `name ${id}`, priority_threshold: 3 * id })));
    await client.createMany('ticket', Array.from({ length: 60 }, (_, n) => (
        { id: n + 1, subject: `ticket ${n + 1}`, priority: n % 10, representative_id: 1 + n % 3 })));
    return { daemon, client, connectTo };
}

test('answers as the filter does, under queries and nested', { skip }, async (t) => {
    const { client, connectTo } = await serve(t);
    const provider = connectTo();
    await provider.provide(NAME, aboveThreshold, { maxSize: 100 });
    for (const query of [{}, { limit: 2 }, { filter: 'priority < 9', sort: 'id', offset: 1 },
        { select: ['subject'], load: 'representative' }]) {
        const [remote, filter] = await Promise.all(['tickets_above_threshold', 'by_filter'].map(
            (name) => client.load('representative', [3, 1, 9, 2], name, { query })));
        assert.deepEqual(remote, filter);
        assert.ok(remote[1].length > 0);
    }
});

test('a client provides for itself, with bigints too', { skip }, async (t) => {
    const { client } = await serve(t, { integers: 'bigint' });
    await client.provide(NAME, aboveThreshold);
    const [[first]] = await client.load('representative', [1n], 'tickets_above_threshold');
    assert.equal(first.priority, 9n);
});

test('an error for one source is that source\'s', { skip }, async (t) => {
    const { client } = await serve(t);
    await client.provide(NAME, (records) => records.map(({ id }) => (
        id === 2 ? new RelataError('not_found', 'no such shop') : [])));
    const loader = client.loader(NAME);
    const [one, two, three, wrong] = await loader.loadMany([1, 2, 3, 'x']);
    assert.equal(wrong.code, 'invalid_value');
    assert.deepEqual([one, three], [[], []]);
    assert.equal(two.code, 'loader_failed');
    assert.equal(two.details.code, 'not_found');
    assert.match(two.message, /no such shop/);
    await assert.rejects(client.load('representative', [2], 'tickets_above_threshold'),
        { code: 'loader_failed' });
});

test('what the provider throws fails the batch', { skip }, async (t) => {
    const { client } = await serve(t);
    let works = false;
    await client.provide(NAME, (records) => {
        if (!works) throw new Error('no database');
        return records.map(() => []);
    });
    const request = client.request();
    const errors = await Promise.all([1, 2].map((id) => request.load(NAME, id).catch((error) => error)));
    for (const error of errors) {
        assert.equal(error.code, 'loader_failed');
        assert.match(error.message, /no database/);
    }
    works = true;
    assert.deepEqual(await request.loadMany(NAME, [1, 2]), [[], []]);
});

test('without a provider loads are unavailable, and with it again available', { skip }, async (t) => {
    const { daemon, client, connectTo } = await serve(t);
    const load = () => client.load('representative', [1], 'tickets_above_threshold');
    await assert.rejects(load(), { code: 'unavailable' });
    const provider = connectTo();
    const registration = await provider.provide(NAME, () => [[]]);
    assert.deepEqual(await load(), [[]]);
    await registration.unprovide();
    await assert.rejects(load(), { code: 'unavailable' });
    await provider.provide(NAME, () => [[]]);
    const lost = once(client.events, 'disconnect');
    await daemon.stop();
    await lost;
    const back = once(provider.events, 'connect');
    await daemon.start();
    await back;
    await client.create('representative', { id: 1, name: 'Ann' });
    assert.deepEqual(await load(), [[]]);
});

test('a batch that takes too long is a timeout, and its signal says so', { skip }, async (t) => {
    const { client } = await serve(t);
    let signal;
    await client.provide(NAME, (records, about) => {
        signal = about.signal;
        return new Promise(() => {});
    });
    await assert.rejects(client.load('representative', [1], 'tickets_above_threshold'), { code: 'timeout' });
    await until(() => signal.aborted);
});

test('keys that many connections ask for are one batch at a time, each key once', { skip }, async (t) => {
    const { connectTo } = await serve(t);
    const provider = connectTo();
    const batches = [];
    await provider.provide(NAME, async (records) => {
        batches.push(records.map(({ id }) => id));
        await new Promise((resolve) => setTimeout(resolve, 5));
        return records.map(() => []);
    }, { maxInFlight: 1 });
    const clients = Array.from({ length: 10 }, () => connectTo());
    await Promise.all(clients.flatMap((client) => Array.from({ length: 50 },
        (_, n) => client.request().load(NAME, 1 + n % 3))));
    for (const batch of batches) assert.equal(new Set(batch).size, batch.length);
    assert.ok(batches.flat().length < 500 / 5, `${batches.flat().length} keys were asked for`);
});
