// One connection: messages in, messages out. It begins with a greeting, gives
// every call that is pending its answer or an error, and ends once.

import { createConnection } from 'node:net';
import { RelataError } from './errors.js';
import { Framer } from './framer.js';

const REQUEST = 0, RESPONSE = 1;
const ID_MAX = 0xffffffff;
const FINISH_MS = 1000;

/** `unix:PATH` or `tcp:HOST:PORT` (`tcp:[::1]:PORT`), as net.connect takes it. */
export function parseAddress(address) {
    const unix = /^unix:(.+)$/.exec(address);
    if (unix) return { path: unix[1] };
    const tcp = /^tcp:(?:\[([^\]]+)\]|([^:]+)):(\d{1,5})$/.exec(address);
    if (tcp && Number(tcp[3]) <= 65535) return { host: tcp[1] ?? tcp[2], port: Number(tcp[3]) };
    throw new RelataError('invalid_request',
        `${address} is no address: unix:PATH or tcp:HOST:PORT is expected`);
}

/** [0, id, method, params] around params that are encoded. */
function requestBytes(codec, id, method, params) {
    const head = Buffer.from([0x94, REQUEST, 0xce, 0, 0, 0, 0]);
    head.writeUInt32BE(id, 3);
    return [head, codec.encode(method), params];
}

export class Connection {
    #socket;
    #codec;
    #framer = new Framer();
    #out = [];
    #pending = new Map(); // by id; calls that were given up stay until they are answered
    #ordinary = 0;
    #lastId = 0;
    #onRequest;
    #onClose;
    #onAnswer;
    #closed = false;

    /**
     * @param events connect(), request(id, method, params), answer() after those
     *   of one read, close(error) once
     */
    constructor(endpoint, codec, connectTimeout, events) {
        this.#codec = codec;
        this.#onRequest = events.request;
        this.#onAnswer = events.answer;
        this.#onClose = events.close;
        this.#socket = createConnection({ ...endpoint, noDelay: true });
        const timer = setTimeout(() => this.destroy(new RelataError('unavailable',
            `no connection within ${connectTimeout} ms`)), connectTimeout);
        this.#socket.on('connect', () => {
            clearTimeout(timer);
            events.connect();
        });
        this.#socket.on('data', (chunk) => this.#read(chunk));
        this.#socket.on('error', (error) => this.destroy(new RelataError('unavailable',
            `the connection failed: ${error.message}`, {}, { cause: error })));
        this.#socket.on('close', () => {
            clearTimeout(timer);
            this.destroy(new RelataError('unavailable', 'the connection was closed'));
        });
    }

    /** Calls that wait for an answer, and of these the ones for no batch. */
    get pending() {
        return this.#pending.size;
    }

    get ordinary() {
        return this.#ordinary;
    }

    /** Whether something is queued that was not flushed. */
    get hasOutput() {
        return this.#out.length > 0;
    }

    get closed() {
        return this.#closed;
    }

    /** Queues a call for the next flush. It is settled with its answer, or when the connection ends. */
    request(call) {
        do {
            this.#lastId = this.#lastId === ID_MAX ? 1 : this.#lastId + 1;
        } while (this.#pending.has(this.#lastId));
        this.#pending.set(this.#lastId, call);
        if (!call.batch) this.#ordinary += 1;
        this.#out.push(...requestBytes(this.#codec, this.#lastId, call.method, call.params));
    }

    /** Queues the answer to a request of the daemon's; nothing if the connection has ended. */
    respond(id, error, result) {
        if (!this.#closed) this.#out.push(this.#codec.encode([RESPONSE, id, error, result]));
    }

    /** Everything that is queued, in one write. */
    flush() {
        if (this.#out.length === 0 || this.#closed) return;
        const out = this.#out;
        this.#out = [];
        this.#socket.write(out.length === 1 ? out[0] : Buffer.concat(out));
    }

    /** Ends it at once. */
    destroy(error) {
        this.#end(error, () => this.#socket.destroy());
    }

    /** Ends it once what was written is on its way. */
    finish(error) {
        this.#end(error, () => {
            this.#socket.setTimeout(FINISH_MS, () => this.#socket.destroy());
            this.#socket.end(() => this.#socket.destroy());
        });
    }

    #read(chunk) {
        try {
            this.#framer.push(chunk, (bytes) => this.#take(bytes));
        } catch (error) {
            this.destroy(new RelataError('unavailable',
                `the daemon was not understood: ${error.message}`, {}, { cause: error }));
        }
        this.#onAnswer();
    }

    #take(bytes) {
        let message;
        try {
            message = this.#codec.decode(bytes);
        } catch (error) {
            this.#refuse(bytes, error);
            return;
        }
        if (!Array.isArray(message)) throw new RangeError('what came is no message');
        if (message[0] === RESPONSE && message.length === 4) {
            const [, id, error, result] = message;
            this.#settle(id, (call) => (error === null ? call.answer(result)
                : call.fail(RelataError.from(error))));
        } else if (message[0] === REQUEST && message.length === 4) {
            this.#onRequest(message[1], message[2], message[3] ?? []);
        } // a notification: there is none that we know
    }

    /** A message whose content cannot be read concerns only the call that it is for. */
    #refuse(bytes, error) {
        const answer = new RelataError('invalid_value',
            `the answer cannot be read: ${error.message}`, {}, { cause: error });
        const [kind, id] = this.#codec.decodeHead(bytes);
        if (kind === RESPONSE) this.#settle(id, (call) => call.fail(answer));
        else if (kind === REQUEST) this.respond(id, `invalid_value: ${error.message}`, null);
    }

    #settle(id, how) {
        const call = this.#pending.get(id);
        if (call === undefined) return;
        this.#pending.delete(id);
        if (!call.batch) this.#ordinary -= 1;
        how(call);
    }

    #end(error, leave) {
        if (this.#closed) return;
        this.#closed = true;
        leave();
        this.#out = [];
        for (const call of this.#pending.values()) call.lose(error);
        this.#pending.clear();
        this.#onClose(error);
    }
}
