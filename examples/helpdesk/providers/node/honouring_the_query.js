// The same for `query: hint` (examples/helpdesk/schema-hint.yaml): it is shown
// what the caller asks, and reads no more than that.

import { connect } from 'relata';

const client = connect();

await client.provide('representative.tickets_above_threshold', async (representatives, { context }) => {
    const { filter, params, sort, limit, select } = context.query;
    const own = 'representative_id == $representative and priority > representative.priority_threshold';
    // One read each, since the limit is for each; all of them go out in one write.
    return Promise.all(representatives.map(({ id }) => context.read('ticket', {
        filter: filter === undefined ? own : `(${own}) and (${filter})`,
        params: { ...params, representative: id },
        sort,
        limit,
        select,
    })));
});

console.log('providing');
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => client.close());
