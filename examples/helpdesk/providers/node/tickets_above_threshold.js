// Provides representative.tickets_above_threshold: those of a representative's
// tickets whose priority is above her own threshold. Ends with its terminal, or
// by SIGTERM, after what is under way was answered.
//
//   relatad --schema examples/helpdesk/schema-remote.yaml
//   RELATA_ADDRESS=unix:... node tickets_above_threshold.js

import { connect, groupBy } from 'relata';

const client = connect();

await client.provide('representative.tickets_above_threshold', async (representatives, { context }) => {
    const tickets = await context.read('ticket', {
        filter: 'representative_id in $ids and priority > representative.priority_threshold',
        params: { ids: representatives.map((representative) => representative.id) },
    });
    return groupBy(tickets, 'representative_id');
});

console.log('providing');
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => client.close());
