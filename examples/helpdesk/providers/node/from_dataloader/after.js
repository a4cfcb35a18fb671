// The same with Relata, under examples/helpdesk/schema-cached.yaml.

import { connect, groupBy } from 'relata';

const client = connect();

/** Once in each process that can fetch tickets. */
export function provide(fetchTickets) {
    return client.provide('representative.tickets_above_threshold',
        async (representatives) => groupBy(await fetchTickets(representatives), 'representative_id'));
}

/** For one web request. */
export function loaders(actor) {
    const request = client.request({ actor });
    return {
        tickets: request.loader('representative.tickets_above_threshold', {
            query: { filter: "status == 'open'", sort: '-priority', limit: 3 },
        }),
    };
}

/** The most urgent of a representative's open ones. */
export function urgent({ tickets }, representative) {
    return tickets.load(representative);
}

/** Where the daemon has the tickets, it sees the write: nothing more is to be said. */
export function changeTicket(ticket) {
    return client.upsert('ticket', ticket);
}

/** Where they are elsewhere, it is told of whom. */
export async function changeTicketElsewhere(saveTicket, before, after) {
    await saveTicket(after);
    await client.invalidate('representative.tickets_above_threshold',
        [before.representative_id, after.representative_id]);
}

export const close = () => client.close();
