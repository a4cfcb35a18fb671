// The other direction: batches that a provider answers.

import { test } from 'node:test';
import assert from 'node:assert/strict';
import { connect, groupBy, RelataError } from 'relata';
import { Fake, failure, until } from './support/fake.js';

const NAME = 'representative.tickets';

async function serve(t, answer, { limits, options, methods, name = NAME } = {}) {
    const fake = await Fake.start(t, methods);
    const client = connect(fake.address, { reconnect: { min: 1, max: 5 }, ...options });
    t.after(() => client.terminate());
    const registration = await client.provide(name, answer, limits);
    return {
        fake,
        client,
        registration,
        load: (records, context = {}, options = {}) => fake.peer.ask('load_relationship',
            ...name.split('.'), records, options, { query: {}, ...context }),
    };
}

const representatives = [{ id: 1 }, { id: 2 }, { id: 3 }];

test('offers itself with its limits', async (t) => {
    const { fake } = await serve(t, () => [], { limits: { maxSize: 10, maxInFlight: 2 } });
    assert.deepEqual(fake.of('provide')[0].params, [NAME, { max_size: 10, max_in_flight: 2 }]);
});

test('is shown the records, the options and the context', async (t) => {
    let seen;
    const { load } = await serve(t, (records, about) => {
        seen = { records, ...about };
        return records.map(() => []);
    });
    await load(representatives, { query: { filter: 'priority > 5' }, actor: { id: 7 },
        tenant: 'acme', authorize: false, timeout_ms: 5000, batch: 12 }, { from: 'elsewhere' });
    assert.deepEqual(seen.records, representatives);
    assert.deepEqual(seen.options, { from: 'elsewhere' });
    const { resource, relationship, query, actor, tenant, authorize, timeoutMs, batch } = seen.context;
    assert.deepEqual({ resource, relationship, query, actor, tenant, authorize, timeoutMs, batch },
        { resource: 'representative', relationship: 'tickets', query: { filter: 'priority > 5' },
            actor: { id: 7 }, tenant: 'acme', authorize: false, timeoutMs: 5000, batch: 12 });
    assert.equal(seen.signal.aborted, false);
});

test('answers a list', async (t) => {
    const { load } = await serve(t, async (records) => records.map(({ id }) => [{ id: 10 * id }]));
    assert.deepEqual(await load(representatives),
        { error: null, result: [[{ id: 10 }], [{ id: 20 }], [{ id: 30 }]] });
});

test('answers an object by key', async (t) => {
    const { load } = await serve(t, () => ({ 1: [{ id: 10 }], 3: [] }));
    assert.deepEqual((await load(representatives)).result, { 1: [{ id: 10 }], 3: [] });
});

test('answers a Map, as groupBy makes it', async (t) => {
    const tickets = [{ id: 1, owner: 2 }, { id: 2, owner: 1 }, { id: 3, owner: 2 }];
    const { load } = await serve(t, () => groupBy(tickets, 'owner'));
    assert.deepEqual((await load(representatives)).result,
        [[tickets[1]], [tickets[0], tickets[2]], null]);
});

test('answers a Map by composite keys', async (t) => {
    const tickets = [{ id: 1, a: 1, b: 1 }, { id: 2, a: 1, b: 2 }, { id: 3, a: 1, b: 2 }];
    const { load } = await serve(t, () => groupBy(tickets, ['a', 'b']), { name: 'rating.tickets' });
    const answer = await load([
        { representative_id: 1, ticket_id: 2 }, { representative_id: 2, ticket_id: 1 },
        { representative_id: 1, ticket_id: 1 }]);
    assert.deepEqual(answer.result, [[tickets[1], tickets[2]], null, [tickets[0]]]);
});

test('groups by what a function answers, equal keys together', () => {
    const groups = groupBy([1, 2, 3, 4], (n) => (n % 2 === 0 ? 2n : 1));
    assert.deepEqual([...groups], [[1, [1, 3]], [2n, [2, 4]]]);
    assert.deepEqual([...groupBy([{ at: new Date(1), n: 1 }, { at: new Date(1), n: 2 }], 'at').values()]
        .map((group) => group.length), [2]);
});

test('an Error in the list is the error of one source', async (t) => {
    const { load } = await serve(t, () => [[], new Error('gone'),
        new RelataError('not_found', 'no such shop', { shop: 5 })]);
    const { result } = await load(representatives);
    assert.deepEqual(result, [[],
        { ext1: { code: 'loader_failed', message: 'gone', details: {} } },
        { ext1: { code: 'not_found', message: 'no such shop', details: { shop: 5 } } }]);
});

test('what it throws is the error of the batch', async (t) => {
    let thrown;
    const { load } = await serve(t, () => {
        throw thrown;
    });
    for (const [what, text] of [[new Error('no database'), 'no database'],
        [new RelataError('timeout', 'slow'), 'timeout: slow'], ['text', 'text'],
        [new Error(''), 'Error'], [undefined, 'undefined']]) {
        thrown = what;
        assert.deepEqual(await load(representatives), { error: text, result: null });
    }
});

test('an answer that is none is the error of the batch', async (t) => {
    let answer;
    const { load } = await serve(t, () => answer);
    for (const wrong of [undefined, null, 5, 'text']) {
        answer = wrong;
        assert.match((await load(representatives)).error, /expected a list/);
    }
    answer = [[{ id: new Map() }]];
    assert.match((await load(representatives)).error, /Map is no value/);
});

test('reads on behalf of its batch, while the daemon waits for it', async (t) => {
    const { fake, load } = await serve(t, async (records, { context }) => {
        const found = await context.read('ticket', { filter: context.query.filter });
        const same = await context.client.get('ticket', 1, { select: ['id'] });
        assert.deepEqual(found, [{ id: 5 }]);
        assert.deepEqual(same, { id: 1 });
        return records.map(() => found);
    }, { methods: {
        read: () => ({ columns: ['id'], data: [[5]] }),
        get: () => ({ columns: ['id'], data: [1] }),
    } });
    const answer = await load([{ id: 1 }], { batch: 33, query: { filter: 'x' } });
    assert.deepEqual(answer, { error: null, result: [[{ id: 5 }]] });
    assert.equal(fake.of('read')[0].params[2].batch, 33);
    assert.equal(fake.of('get')[0].params[2].batch, 33);
});

test('reads for a batch do not wait behind calls that may wait for the batch', async (t) => {
    const { fake, client, load } = await serve(t, async (records, { context }) => {
        await context.count('ticket');
        return records.map(() => []);
    }, { methods: {
        hello: () => ({ limits: { requests_waiting_per_connection: 4 } }),
        slow: () => Fake.SILENT,
        count: () => 1,
    } });
    const calls = Array.from({ length: 5 }, () => client.call('slow').catch(() => {}));
    await until(() => fake.of('slow').length === 2);
    assert.equal((await load(representatives, { batch: 1 })).error, null);
    client.terminate();
    await Promise.all(calls);
});

test('a batch that is late is told, and answered all the same', async (t) => {
    let told;
    const { load } = await serve(t, (records, { signal, context }) => new Promise((resolve) => {
        signal.addEventListener('abort', () => {
            told = context.get('ticket', 1).catch((error) => error);
            resolve(records.map(() => []));
        });
    }));
    assert.equal((await load(representatives, { timeout_ms: 5 })).error, null);
    assert.equal((await told).code, 'timeout');
});

test('provides again after a reconnect; what was under way is not answered there', async (t) => {
    let finish;
    let signal;
    const { fake, load } = await serve(t, (records, about) => {
        if (finish) return records.map(() => [{ id: 1 }]);
        signal = about.signal;
        return new Promise((resolve) => {
            finish = () => resolve(records.map(() => []));
        });
    }, { limits: { maxSize: 3 } });
    load(representatives);
    await until(() => finish);
    fake.peer.close();
    await until(() => signal.aborted);
    await until(() => fake.peers.length === 2 && fake.of('provide').length === 1);
    assert.deepEqual(fake.of('provide')[0].params, [NAME, { max_size: 3 }]);
    assert.deepEqual(fake.peer.methods().slice(0, 3), ['hello', 'schema', 'provide']);
    const answers = [];
    fake.peer.waiting.get = function get(id) {
        answers.push(id);
        return Map.prototype.get.call(this, id);
    };
    finish();
    assert.deepEqual((await load([{ id: 1 }])).result, [[{ id: 1 }]]);
    assert.deepEqual(answers, [1]);
});

test('a provider that is refused after a reconnect is told of', async (t) => {
    const { fake, client } = await serve(t, () => []);
    fake.methods.provide = () => {
        throw failure('unknown_relationship', 'gone from the schema');
    };
    const told = new Promise((resolve) => client.events.once('error', resolve));
    fake.peer.close();
    assert.equal((await told).code, 'unknown_relationship');
});

test('a provider that is refused is none', async (t) => {
    const fake = await Fake.start(t, {
        provide: () => {
            throw failure('unknown_relationship', 'no');
        },
    });
    const client = connect(fake.address);
    t.after(() => client.terminate());
    await assert.rejects(client.provide(NAME, () => []), { code: 'unknown_relationship' });
    await assert.rejects(client.provide(NAME, null), TypeError);
    await assert.rejects(client.provide(NAME, () => [], { max: 1 }), { code: 'invalid_request' });
    fake.methods.provide = () => true;
    await client.provide(NAME, () => []);
    await assert.rejects(client.provide(NAME, () => []), { code: 'invalid_request' });
});

test('unprovide ends it', async (t) => {
    const { fake, registration, load } = await serve(t, () => []);
    await registration.unprovide();
    assert.deepEqual(fake.of('unprovide')[0].params, [NAME]);
    assert.match((await load(representatives)).error, /unavailable/);
});

test('close answers the batch that is under way', async (t) => {
    let finish;
    const { fake, client, load } = await serve(t, (records) => new Promise((resolve) => {
        finish = () => resolve(records.map(() => []));
    }));
    const answer = load(representatives);
    await until(() => finish);
    const closed = client.close();
    await until(() => fake.of('unprovide').length === 1);
    finish();
    assert.deepEqual(await answer, { error: null, result: [[], [], []] });
    await closed;
});

test('other requests of the daemon are refused', async (t) => {
    const { fake } = await serve(t, () => []);
    assert.match((await fake.peer.ask('dance')).error, /^unknown_method/);
});

test('integers of records are as the option says', async (t) => {
    let seen;
    const answer = (records) => {
        seen = records;
        return records.map(({ id }) => [{ id }]);
    };
    const large = 2n ** 60n;
    const exact = await serve(t, answer, { options: { integers: 'bigint' } });
    assert.deepEqual((await exact.load([{ id: 1 }, { id: large }])).result, [[{ id: 1n }], [{ id: large }]]);
    assert.deepEqual(seen, [{ id: 1n }, { id: large }]);
    const numbers = await serve(t, answer);
    assert.match((await numbers.load([{ id: large }])).error, /2\^53/);
});
