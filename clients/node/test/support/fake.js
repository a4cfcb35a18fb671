// A daemon of whose every byte a test decides: for what the real one does not
// do, does not do when asked, or does only when something breaks.

import { createServer } from 'node:net';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { once } from 'node:events';
import { ExtensionCodec, Encoder, decodeMulti } from '@msgpack/msgpack';

export const SCHEMA = {
    resources: {
        representative: {
            primary_key: 'id',
            fields: { id: { type: 'integer' }, name: { type: 'string' } },
            relationships: {
                tickets: { destination: 'ticket', cardinality: 'many' },
                urgent: { destination: 'ticket', cardinality: 'many' },
            },
        },
        ticket: {
            primary_key: 'id',
            fields: {
                id: { type: 'integer' }, rating: { type: 'float' }, details: { type: 'any' },
            },
            relationships: { representative: { destination: 'representative', cardinality: 'one' } },
        },
        rating: {
            primary_key: ['representative_id', 'ticket_id'],
            fields: { representative_id: { type: 'integer' }, ticket_id: { type: 'integer' } },
            relationships: { tickets: { destination: 'ticket', cardinality: 'many' } },
        },
    },
};

const extensions = new ExtensionCodec();
extensions.register({
    type: 1,
    encode: (value) => (value instanceof Error
        ? encoder.encode({ code: value.code, message: value.message, details: value.details ?? {} })
        : null),
    decode: (data) => ({ ext1: decodeMulti(data).next().value }),
});
const encoder = new Encoder({ useBigInt64: true, extensionCodec: extensions });

export function failure(code, message, details = {}) {
    return Object.assign(new Error(message), { code, details });
}

class Peer {
    constructor(fake, socket) {
        this.fake = fake;
        this.socket = socket;
        this.reads = 0; // chunks that came
        this.requests = [];
        this.asked = 0;
        this.waiting = new Map();
        socket.on('error', () => {});
        socket.on('data', (chunk) => this.take(chunk));
    }

    take(chunk) {
        this.reads += 1;
        // Tests send small frames only, which come whole.
        for (const message of decodeMulti(chunk, { useBigInt64: true, extensionCodec: extensions })) {
            if (message[0] === 1) {
                this.waiting.get(message[1])?.({ error: message[2], result: message[3] });
                this.waiting.delete(message[1]);
            } else {
                const [, id, method, params] = message;
                this.requests.push({ id, method, params });
                this.answer(id, method, params);
            }
        }
    }

    async answer(id, method, params) {
        try {
            const result = await this.fake.handle(method, params, this, id);
            if (result !== Peer.SILENT) this.send([1, id, null, result]);
        } catch (error) {
            this.send([1, id, { code: error.code ?? 'internal', message: error.message,
                details: error.details ?? {} }, null]);
        }
    }

    send(message) {
        if (!this.socket.destroyed) this.socket.write(encoder.encodeSharedRef(message).slice());
    }

    /** A request to the client; its answer. */
    ask(method, ...params) {
        const id = ++this.asked;
        return new Promise((resolve) => {
            this.waiting.set(id, resolve);
            this.send([0, id, method, params]);
        });
    }

    close() {
        this.socket.destroy();
    }

    methods() {
        return this.requests.map(({ method }) => method);
    }
}

Peer.SILENT = Symbol('no answer');

export class Fake {
    static SILENT = Peer.SILENT;
    peers = [];
    methods = {
        hello: () => ({ server: 'relata', version: '0', protocol: 1, resources: [],
            limits: { requests_waiting_per_connection: 10000 } }),
        schema: () => SCHEMA,
        ping: () => 'pong',
        provide: () => true,
        unprovide: () => true,
    };

    /** @param methods by name: (params, peer) => result; may throw, or answer Fake.SILENT */
    static async start(t, methods = {}) {
        const fake = new Fake();
        Object.assign(fake.methods, methods);
        fake.folder = await mkdtemp(join(tmpdir(), 'relata-fake-'));
        fake.path = join(fake.folder, 'relata.sock');
        fake.address = `unix:${fake.path}`;
        await fake.listen();
        t.after(async () => {
            fake.shut();
            await rm(fake.folder, { recursive: true, force: true });
        });
        return fake;
    }

    async listen() {
        this.server = createServer((socket) => this.peers.push(new Peer(this, socket)));
        this.server.listen(this.path);
        await once(this.server, 'listening');
    }

    /** No more connections, and those that there are end. */
    shut() {
        this.server.close();
        for (const peer of this.peers) peer.close();
    }

    get peer() {
        return this.peers.at(-1);
    }

    handle(method, params, peer, id) {
        const known = this.methods[method];
        if (known === undefined) throw failure('unknown_method', method);
        return known(params, peer, id);
    }

    /** The requests of a method on the last connection. */
    of(method) {
        return this.peer.requests.filter((request) => request.method === method);
    }
}

/** A `load` of one relationship, answered as rows: key to a list of ticket ids. */
export function loadRows(ticketsOf) {
    return ([, keys, loads]) => {
        const [name] = Object.keys(loads);
        return {
            columns: [[loads[name]?.as ?? name, 'many', ['id']]],
            data: keys.map((key) => {
                const tickets = ticketsOf(key);
                return Array.isArray(tickets) ? [tickets.map((id) => [id])] : tickets;
            }),
        };
    };
}

/** Waits for a condition. */
export async function until(condition, what = String(condition)) {
    const deadline = performance.now() + 20000;
    while (!condition()) {
        if (performance.now() > deadline) throw new Error(`waited too long for ${what}`);
        await new Promise((resolve) => setTimeout(resolve, 2));
    }
}
