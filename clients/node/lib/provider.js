// The other direction: the daemon asks, and the application answers what is
// related to a batch of records.

import { RelataError } from './errors.js';
import { plain } from './integers.js';
import { keyOf, keyText } from './keys.js';
import { Scoped } from './methods.js';
import { fromMap } from './rows.js';

const LIMITS = { maxSize: 'max_size', maxInFlight: 'max_in_flight' };

function wireLimits(limits) {
    const wire = {};
    for (const [name, value] of Object.entries(limits)) {
        if (!Object.hasOwn(LIMITS, name)) {
            throw new RelataError('invalid_request',
                `provide has no option ${name}; there are ${Object.keys(LIMITS).join(', ')}`);
        }
        if (value !== undefined) wire[LIMITS[name]] = value;
    }
    return wire;
}

function errorText(error) {
    if (error instanceof RelataError) return `${error.code}: ${error.message}`;
    // A response without an error would be an answer, so there must be some text.
    return (error instanceof Error && error.message) || String(error) || 'the loader failed';
}

/** What a batch is for; reads through it are made on behalf of the batch. */
class BatchContext extends Scoped {
    #signal;

    constructor(client, resource, relationship, context, signal) {
        super(client, context.batch === undefined ? {} : { batch: context.batch });
        this.#signal = signal;
        this.resource = resource;
        this.relationship = relationship;
        this.query = context.query ?? {};
        this.actor = context.actor;
        this.tenant = context.tenant;
        this.authorize = context.authorize;
        this.timeoutMs = context.timeout_ms;
        this.batch = context.batch;
    }

    get client() {
        return this;
    }

    ask(method, params, options, how) {
        return super.ask(method, params, { signal: this.#signal, ...options }, how);
    }
}

export class Providers {
    #client;
    #link;
    #entries = new Map(); // by relationship
    #batches = new Set(); // that are being answered

    constructor(client, link) {
        this.#client = client;
        this.#link = link;
    }

    get size() {
        return this.#entries.size;
    }

    get isIdle() {
        return this.#batches.size === 0;
    }

    async add(name, answer, limits) {
        if (typeof answer !== 'function') {
            throw new TypeError(`provide expects a function that answers ${name}`);
        }
        if (this.#entries.has(name)) {
            throw new RelataError('invalid_request', `${name} is provided by this client already`);
        }
        const entry = { name, answer, limits: wireLimits(limits), confirmed: false };
        this.#entries.set(name, entry); // the first batch may come right behind the answer
        try {
            await this.#client.call('provide', [name, entry.limits]);
        } catch (error) {
            this.#forget(entry);
            throw error;
        }
        entry.confirmed = true;
        return { name, unprovide: () => this.#remove(entry) };
    }

    /** For a new connection: what was provided on the one before. */
    announce(call) {
        const again = [...this.#entries.values()].filter((entry) => entry.confirmed);
        return Promise.all(again.map(async (entry) => {
            try {
                await call('provide', [entry.name, entry.limits], plain);
            } catch (error) {
                if (error.code === 'unavailable') return; // there will be another connection
                this.#forget(entry);
                this.#client.warn(error);
            }
        }));
    }

    /** Nobody waits for the answers to that connection's batches any more. */
    lost(error) {
        for (const batch of this.#batches) batch.abort.abort(error);
    }

    async removeAll() {
        await Promise.allSettled([...this.#entries.values()].map((entry) => this.#remove(entry)));
    }

    request(id, method, params) {
        const { connection } = this.#link;
        const [resource, relationship, records, options, context] = params;
        const entry = this.#entries.get(`${resource}.${relationship}`);
        if (method !== 'load_relationship' || entry === undefined) {
            connection.respond(id, method === 'load_relationship'
                ? `unavailable: ${resource}.${relationship} is not provided here`
                : `unknown_method: a client has no method ${method}`, null);
            this.#client.schedule();
            return;
        }
        this.#answer(connection, id, entry, { resource, relationship, records, options, context });
    }

    async #answer(connection, id, entry, { resource, relationship, records, options, context }) {
        const abort = new AbortController();
        const batch = { abort };
        this.#batches.add(batch);
        const timer = context?.timeout_ms && setTimeout(() => abort.abort(new RelataError('timeout',
            `${entry.name}: the batch was not answered in time`)), context.timeout_ms);
        try {
            const sources = await this.#sources(records, resource);
            const about = new BatchContext(this.#client, resource, relationship,
                plain(context ?? {}), abort.signal);
            const answer = await entry.answer(sources,
                { options: plain(options ?? {}), context: about, signal: abort.signal });
            connection.respond(id, null, await this.#onWire(answer, sources, entry.name));
        } catch (error) {
            connection.respond(id, errorText(error), null);
        } finally {
            clearTimeout(timer);
            this.#batches.delete(batch);
            this.#client.schedule();
            this.#client.checkIdle();
        }
    }

    async #sources(records, resource) {
        const { bigints } = this.#client;
        const description = bigints ? await this.#client.describe() : undefined;
        return records.map((record) => fromMap(record, resource, bigints, description));
    }

    /** A list or an object as it is; a Map, which may have any keys, as a list. */
    async #onWire(answer, sources, name) {
        if (!(answer instanceof Map)) {
            if (typeof answer === 'object' && answer !== null) return answer;
            throw new RelataError('loader_failed', `${name} answered ${answer === null ? 'null'
                : typeof answer}; expected a list in the order of the records, or a map by key`);
        }
        const [resource] = name.split('.');
        const description = await this.#client.describe();
        const textOf = (value) => keyText(keyOf(value, resource, description));
        const byText = new Map();
        for (const [key, value] of answer) byText.set(textOf(key), value);
        return sources.map((source) => byText.get(textOf(source)) ?? null);
    }

    #forget(entry) {
        if (this.#entries.get(entry.name) === entry) this.#entries.delete(entry.name);
    }

    async #remove(entry) {
        this.#forget(entry);
        if (this.#link.connection === null) return;
        try {
            await this.#client.call('unprovide', [entry.name]);
        } catch (error) {
            if (error.code !== 'unavailable') throw error; // gone with its connection
        }
    }
}
