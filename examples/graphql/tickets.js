// The home of the tickets, a process of its own: it answers which of them are
// above the threshold of each of some representatives, and counts how often it
// is asked. It can be asked over HTTP, and is Relata's provider as well.
//
//   node tickets.js FILE     the parent process is told the HTTP port

import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { json } from 'node:stream/consumers';
import { setTimeout as wait } from 'node:timers/promises';
import { connect, groupBy } from 'relata';

const ROUND_TRIP_MS = 20; // what a database would take

const lines = readFileSync(process.argv[2], 'utf8').trim().split('\n');
const byRepresentative = groupBy(lines.map((line) => JSON.parse(line)), 'representative_id');
let seen = { calls: 0, representatives: 0 };

async function ticketsAboveThreshold(representatives) {
    seen.calls += 1;
    seen.representatives += representatives.length;
    await wait(ROUND_TRIP_MS);
    return representatives.map(({ id, priority_threshold: threshold }) =>
        (byRepresentative.get(id) ?? []).filter(({ priority }) => priority > threshold));
}

const client = connect();
await client.provide('representative.tickets_above_threshold', ticketsAboveThreshold);

const server = createServer(async (request, response) => {
    const answer = await ticketsAboveThreshold(await json(request));
    response.end(JSON.stringify(answer));
});
server.listen(0, '127.0.0.1', () => process.send({ port: server.address().port }));

process.on('message', () => {
    process.send(seen);
    seen = { calls: 0, representatives: 0 };
});
process.on('disconnect', async () => {
    server.close();
    await client.close();
    server.closeAllConnections();
});
