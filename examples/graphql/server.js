// One of the web processes: GraphQL over HTTP. POST /WAY {"query": ...}, where the
// way says how the tickets of a representative are come by.
//
//   node server.js TICKETS_URL     the parent process is told the HTTP port

import { createServer } from 'node:http';
import { json } from 'node:stream/consumers';
import DataLoader from 'dataloader';
import { buildSchema, graphql } from 'graphql';
import { connect } from 'relata';

const TICKETS = 'tickets_above_threshold';

const schema = buildSchema(`
    type Query { representatives(first: Int!): [Representative!]! }
    type Representative { id: Int!, name: String!, ticketsAboveThreshold(first: Int): [Ticket!]! }
    type Ticket { id: Int!, subject: String!, priority: Int! }
`);

const client = connect();

async function askTheirHome(representatives) {
    const response = await fetch(process.argv[2], {
        method: 'POST', body: JSON.stringify(representatives),
    });
    return response.json();
}

function first(tickets, count) {
    const sorted = tickets.sort((a, b) => b.priority - a.priority || a.id - b.id);
    return sorted.slice(0, count);
}

// For each way: what one web request loads with.
const ways = {
    naive: () => async (representative, count) => {
        const [tickets] = await askTheirHome([representative]);
        return first(tickets, count);
    },
    dataloader: () => {
        const loader = new DataLoader(askTheirHome, { cacheKeyFn: ({ id }) => id });
        return async (representative, count) => first(await loader.load(representative), count);
    },
    relata: () => {
        const request = client.request();
        return (representative, count) =>
            request.load(`representative.${TICKETS}`, representative, { limit: count });
    },
    'naive-over-relata': () => async (representative, count) => {
        const [tickets] = await client.load('representative', [representative.id], TICKETS,
            { query: { limit: count } });
        return tickets;
    },
};

async function answer(way, query) {
    const load = ways[way]();
    const withTickets = (representative) => ({
        ...representative,
        ticketsAboveThreshold: ({ first: count }) => load(representative, count),
    });
    const rootValue = {
        representatives: async ({ first: count }) =>
            (await client.read('representative', { limit: count })).map(withTickets),
    };
    return graphql({ schema, source: query, rootValue });
}

const server = createServer(async (request, response) => {
    const { query } = await json(request);
    response.end(JSON.stringify(await answer(request.url.slice(1), query)));
});
await client.connect();
server.listen(0, '127.0.0.1', () => process.send({ port: server.address().port }));

process.on('disconnect', async () => {
    server.close();
    await client.close();
    server.closeAllConnections();
});
