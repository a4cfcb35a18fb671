// Asks four web processes at once for 50 representatives with their tickets above
// the threshold, once for each way to load these, and prints how many calls the
// tickets' home saw.
//
//   RELATA_ADDRESS=unix:... node main.js FILE

import assert from 'node:assert/strict';
import { fork } from 'node:child_process';
import { once } from 'node:events';

const WAYS = ['naive', 'dataloader', 'relata', 'naive-over-relata'];
const SERVERS = 4;
const QUERY = `{
    representatives(first: 50) { id name ticketsAboveThreshold(first: 5) { id subject priority } }
}`;

const children = [];

async function start(program, ...args) {
    const child = fork(new URL(program, import.meta.url), args);
    children.push(child);
    const [told] = await Promise.race([
        once(child, 'message'),
        once(child, 'exit').then(() => { throw new Error(`${program} did not start`); }),
    ]);
    return { child, url: `http://127.0.0.1:${told.port}` };
}

async function ask(server, way) {
    const response = await fetch(`${server.url}/${way}`, {
        method: 'POST', body: JSON.stringify({ query: QUERY }), signal: AbortSignal.timeout(20000),
    });
    const { data, errors } = await response.json();
    if (errors) throw new Error(`${way}: ${errors[0].message}`);
    return data;
}

/** What the tickets' home saw since it was last asked. */
async function seen(home) {
    const told = once(home.child, 'message');
    home.child.send('what was seen?');
    return (await told)[0];
}

async function end() {
    const ended = children.map((child) => child.exitCode ?? once(child, 'exit'));
    for (const child of children) if (child.connected) child.disconnect();
    await Promise.all(ended);
}

try {
    const home = await start('tickets.js', process.argv[2]);
    const servers = await Promise.all(
        Array.from({ length: SERVERS }, () => start('server.js', home.url)));

    const answers = [];
    console.log(`${'way'.padEnd(20)}${'calls'.padStart(8)}${'representatives in them'.padStart(26)}`);
    for (const way of WAYS) {
        answers.push(...await Promise.all(servers.map((server) => ask(server, way))));
        const { calls, representatives } = await seen(home);
        console.log(way.padEnd(20) + String(calls).padStart(8) + String(representatives).padStart(26));
    }
    for (const answer of answers) assert.deepEqual(answer, answers[0]);
    console.log(`${answers.length} answers, all equal`);
} finally {
    await end();
}
