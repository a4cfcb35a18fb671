// What the types know and what they refuse. It is compiled, never run.

import { connect, groupBy, RelataError, Timestamp, type Loader } from 'relata';
import type { Helpdesk } from './helpdesk.js';

type Equal<A, B> =
    (<T>() => T extends A ? 1 : 2) extends (<T>() => T extends B ? 1 : 2) ? true : false;
function is<A>() {
    return <B>(_value: B, ..._same: Equal<A, B> extends true ? [] : ['not the same', A, B]) => {};
}

const client = connect<Helpdesk>('unix:/run/relata/relata.sock', { integers: 'number' });

export async function records() {
    const ann = await client.get('representative', 1);
    is<Helpdesk['representative']['record'] | null>()(ann satisfies object | null);
    is<string | undefined>()(ann?.name);

    const some = await client.getMany('ticket', [1, 2], { select: ['subject'] });
    is<({ id: number; subject: string } | null)[]>()(some);

    const open = await client.read('ticket', {
        filter: 'status == $status', params: { status: 'open' }, sort: '-priority', limit: 5,
        select: ['subject'], load: 'representative',
    });
    is<string | undefined>()(open[0]?.representative?.name);
    is<string>()(open[0]!.subject);
    // @ts-expect-error was not selected
    open[0]!.priority;

    const nested = await client.get('representative', 1, {
        load: ['latest_ticket', { tickets: { as: 'all', select: ['subject'], load: {
            representative: { select: ['name'] } } } }],
    });
    is<Date | null | undefined>()(nested?.latest_ticket?.created_at);
    is<string | undefined>()(nested?.all[0]?.representative?.name);
    // @ts-expect-error is called otherwise
    nested?.tickets;

    // @ts-expect-error no such resource
    await client.get('ticked', 1);
    // @ts-expect-error no such field
    await client.get('ticket', 1, { select: ['subjekt'] });
    // @ts-expect-error no such relationship
    await client.get('ticket', 1, { load: 'tickets' });
    // @ts-expect-error a key of another type
    await client.get('ticket', 'one');
    await client.get('representative', 'ann@example.com', { identity: 'email' });
    await client.get('representative_skill', [1, 2]);
    await client.get('representative_skill', { representative_id: 1, skill_id: 2 });
    // @ts-expect-error half a key
    await client.get('representative_skill', [1]);
}

export async function writes() {
    const ticket = await client.create('ticket', { id: 1, subject: 'no ink' });
    is<'open' | 'waiting' | 'closed' | null>()(ticket.status);
    await client.update('ticket', 1, { status: 'closed' }, { if: 'status == "open"' });
    // @ts-expect-error no member of the enum
    await client.update('ticket', 1, { status: 'done' });
    // @ts-expect-error a required field is not there
    await client.create('ticket', { id: 1 });
    is<number>()(await client.createMany('ticket', [{ id: 1, subject: 'a' }]));
    is<true>()(await client.destroy('ticket', 1));
}

export async function loads() {
    const [first] = await client.load('representative', [1], 'tickets_above_threshold',
        { query: { select: ['subject'] } });
    is<{ id: number; subject: string }[] | null | undefined>()(first);
    const [both] = await client.load('representative', [1], { latest_ticket: null, tickets: { limit: 1 } });
    is<string | undefined>()(both?.tickets[0]?.subject);

    const request = client.request({ actor: { id: 7 }, tenant: 'acme' });
    const tickets = await request.load('representative.tickets_above_threshold', { id: 1 },
        { filter: 'status == "open"' });
    is<string | undefined>()(tickets?.[0]?.subject);
    // @ts-expect-error no such relationship
    await request.load('representative.tickets_below', 1);
    // @ts-expect-error no such resource
    await request.load('ticked.representative', 1);

    const loader = request.loader('representative.tickets', { query: { select: ['subject'] } });
    const loaded = await loader.load(1);
    is<{ id: number; subject: string }[] | null>()(loaded);
    const many = await loader.loadMany([1, { id: 2 }]);
    if (!(many[0] instanceof Error)) is<string | undefined>()(many[0]?.[0]?.subject);
    const byKey: Loader<number, unknown> = client.loader('ticket');
    byKey.prime(1, null).clear(1).clearAll();
}

export async function provides() {
    const registration = await client.provide('representative.tickets_above_threshold',
        async (records, { context, options, signal }) => {
            is<number | null>()(records[0]!.priority_threshold);
            signal.throwIfAborted();
            const tickets = await context.read('ticket', {
                filter: 'representative_id in $ids',
                params: { ids: records.map(({ id }) => id), from: options.from },
            });
            is<Map<number | null, typeof tickets>>()(groupBy(tickets, 'representative_id'));
            return groupBy(tickets, 'representative_id');
        }, { maxSize: 100 });
    await registration.unprovide();
    await client.provide('representative.tickets',
        (records) => records.map(() => new RelataError('not_found', 'no')));
    // @ts-expect-error a number is no answer
    await client.provide('representative.tickets', () => 5);
}

export async function otherTypes() {
    const exact = connect<Helpdesk<bigint, Timestamp>>({ integers: 'bigint', datetimes: 'exact' });
    const ticket = await exact.get('ticket', 1n);
    is<bigint | undefined>()(ticket?.id);
    is<number | undefined>()(ticket?.created_at?.nanoseconds);
    // @ts-expect-error keys are bigints
    await exact.get('ticket', 1);
}

export async function withoutSchema() {
    const untyped = connect();
    const whatever = await untyped.get('anything', [1, 'two'], { load: { some: null } });
    whatever.field.of.any.kind;
    await untyped.request().load('anything.some', 1, { limit: 1 });
    await untyped.loader('anything').load(1);
    await untyped.provide('anything.some', async (records) => records.map((record) => [record]));
    untyped.events.on('disconnect', (error) => is<RelataError>()(error));
    // @ts-expect-error no such option
    connect('unix:/x', { integers: 'auto' });
}
