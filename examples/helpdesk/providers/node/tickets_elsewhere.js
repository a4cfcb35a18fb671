// The same where the tickets are not the daemon's: another service has them,
// and answers them for many representatives at once. It knows nothing of
// thresholds, filters and limits; the daemon applies what its callers ask to
// what comes.

import { RelataError, connect, groupBy } from 'relata';

const client = connect();
const url = process.env.TICKETS_URL;

async function fetchTickets(ids, signal) {
    const response = await fetch(`${url}?representatives=${ids.join(',')}`, { signal });
    // What is thrown fails the whole batch.
    if (!response.ok) throw new Error(`the ticket service answered ${response.status}`);
    return response.json();
}

await client.provide('representative.tickets_above_threshold', async (representatives, { signal }) => {
    const ids = representatives.map((representative) => representative.id);
    const { tickets, sealed } = await fetchTickets(ids, signal);
    const byRepresentative = groupBy(tickets, 'representative_id');

    return representatives.map(({ id, name, priority_threshold: threshold }) => {
        if (sealed.includes(id)) {
            // In the place of an answer: this one's loads fail, no other's.
            return new RelataError('loader_failed', `the tickets of ${name} are sealed`);
        }
        // Nil is above nothing, and nothing is above it.
        const above = ({ priority }) => priority !== null && threshold !== null && priority > threshold;
        return (byRepresentative.get(id) ?? []).filter(above);
    });
});

console.log('providing');
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => client.close());
