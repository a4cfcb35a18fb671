// What an application holds: the methods, and what they are decoded with. How
// there comes to be a connection is link.js.

import { EventEmitter } from 'node:events';
import { Call } from './call.js';
import { Codec } from './codec.js';
import { parseAddress } from './connection.js';
import { RelataError } from './errors.js';
import { plain } from './integers.js';
import { Link } from './link.js';
import { loaderOf } from './load.js';
import { Methods } from './methods.js';
import { Providers } from './provider.js';
import { Request } from './request.js';
import { Rows, throwIfError } from './rows.js';

const ADDRESS_DEFAULT = 'unix:/run/relata/relata.sock';

const DEFAULTS = {
    name: 'relata-node',
    token: undefined,
    integers: 'number',
    datetimes: 'date',
    timeout: 30000,
    connectTimeout: 5000,
    offlineTimeout: 2000,
    reconnect: { min: 50, max: 2000 },
};

const CHOICES = { integers: ['number', 'bigint'], datetimes: ['date', 'exact'] };

function optionsOf(given) {
    const unknown = Object.keys(given).find((name) => !Object.hasOwn(DEFAULTS, name));
    if (unknown !== undefined) {
        throw new RelataError('invalid_request', `there is no option ${unknown}; there are ` +
            Object.keys(DEFAULTS).join(', '));
    }
    const options = { ...DEFAULTS };
    for (const name in given) if (given[name] !== undefined) options[name] = given[name];
    for (const name in CHOICES) {
        if (!CHOICES[name].includes(options[name])) {
            throw new RelataError('invalid_request',
                `${name} is ${CHOICES[name].join(' or ')}, not ${options[name]}`);
        }
    }
    options.reconnect = { ...DEFAULTS.reconnect, ...given.reconnect };
    return options;
}

export class Client extends Methods {
    #options;
    #codec;
    #rows;
    #link;
    #providers;
    #greeting = null;
    #description = null;
    #whenIdle = [];
    #closing = null;
    /** 'connect' with the daemon's greeting, 'disconnect' and 'error' with a RelataError. */
    events = new EventEmitter();

    constructor(address, options) {
        super();
        this.address = address ?? process.env.RELATA_ADDRESS ?? ADDRESS_DEFAULT;
        this.#options = optionsOf(options);
        this.#codec = new Codec(this.#options.datetimes);
        this.#rows = new Rows(this.bigints);
        this.#link = new Link(parseAddress(this.address), this.#codec, this.#options, {
            greet: (call, opened) => this.#greet(call, opened),
            wanted: () => this.#closing === null && this.#providers.size > 0,
            request: (id, method, params) => this.#providers.request(id, method, params),
            lost: (error) => this.#lost(error),
            idle: () => this.checkIdle(),
        });
        this.#providers = new Providers(this, this.#link);
    }

    /** Connects now, instead of with the first call. Answers what the daemon says of itself. */
    async connect() {
        await this.ping();
        return this.#greeting; // of the connection that answered
    }

    /** Any method, with its parameters as on the wire; integers are numbers. */
    call(method, params = [], how = {}) {
        return this.#submit(method, params, how, plain);
    }

    ping(how = {}) {
        return this.call('ping', [], how);
    }

    stats(how = {}) {
        return this.call('stats', [], how);
    }

    schema(how = {}) {
        return this.call('schema', [], how);
    }

    /** For Methods. */
    ask(method, params, options, { rows }) {
        const { timeout, signal, ...wire } = options;
        if (timeout !== undefined) wire.timeout_ms = timeout;
        if (rows) wire.shape = 'rows';
        return this.#submit(method, [...params, wire], { timeout, signal, batch: wire.batch },
            rows ? (result) => this.#records(result, rows) : plain);
    }

    /** For one web request: what it loads is remembered. */
    request(context = {}) {
        return new Request(this, context);
    }

    /** DataLoader's face over a relationship, or over the records of a resource. */
    loader(name, options = {}) {
        return loaderOf(this, this, name, options);
    }

    /** Answers the loads of a relationship from now on. */
    provide(name, answer, limits = {}) {
        return this.#providers.add(name, answer, limits);
    }

    /** Takes no more calls, lets those under way be answered, and ends. */
    close({ timeout = 5000 } = {}) {
        this.#closing ??= this.#close(timeout);
        return this.#closing;
    }

    /** Ends at once: what is under way is rejected. */
    terminate() {
        this.#closing ??= Promise.resolve();
        this.#link.end(new RelataError('unavailable', 'the client was closed'));
        this.checkIdle();
    }

    async [Symbol.asyncDispose ?? Symbol.for('Symbol.asyncDispose')]() {
        await this.close();
    }

    // --- For the modules of this package ----------------------------------------

    get bigints() {
        return this.#options.integers === 'bigint';
    }

    /** What the schema says, where that is known by now; else null. */
    get description() {
        return this.#description;
    }

    async describe() {
        this.#description ??= await this.schema();
        return this.#description;
    }

    /** Runs a loader's batch at the end of this tick. */
    schedule(batch) {
        this.#link.schedule(batch);
    }

    /** What went wrong in the background: nobody waits for it. */
    warn(error) {
        if (this.events.listenerCount('error') > 0) this.events.emit('error', error);
        else process.emitWarning(error);
    }

    checkIdle() {
        if (this.#whenIdle.length === 0 || !this.#link.isIdle || !this.#providers.isIdle) return;
        for (const resolve of this.#whenIdle.splice(0)) resolve();
    }

    // ------------------------------------------------------------------------------

    #submit(method, params, { timeout = this.#options.timeout, signal, batch }, finish) {
        return new Promise((resolve, reject) => {
            signal?.throwIfAborted();
            // What is under way may be a batch, which reads until it is answered.
            if (this.#closing !== null && batch === undefined && method !== 'unprovide') {
                throw new RelataError('unavailable', 'the client was closed');
            }
            const bytes = this.#codec.encode(params);
            const how = { timeout, signal, batch };
            this.#link.submit(new Call(method, bytes, how, finish, resolve, reject));
        });
    }

    #records(result, { resource, loads, single, many }) {
        const { columns, data } = throwIfError(result);
        const build = this.#rows.builder(columns, resource, loads, this.#description);
        if (!many) return throwIfError(build(data));
        if (single === undefined) return data.map(build);
        return data.map((row) => (Array.isArray(row) ? build(row)[single] : row));
    }

    /** Sends what a connection begins with. Calls may follow at once, unless they need the schema. */
    async #greet(call, opened) {
        const { name, token } = this.#options;
        const hello = call('hello', [{ client: name, token, errors: 'map' }], plain);
        const schema = call('schema', [], plain);
        const providing = this.#providers.announce(call);
        this.#greeting = hello;
        if (!this.bigints) opened();
        const [greeting, description] = await Promise.all([hello, schema, providing]);
        this.#description = description;
        this.#rows.clear();
        if (this.bigints) opened();
        this.events.emit('connect', greeting);
        return greeting.limits;
    }

    #lost(error) {
        this.#providers.lost(error);
        this.events.emit('disconnect', error);
    }

    async #close(timeout) {
        let timer;
        const late = new Promise((resolve) => {
            timer = setTimeout(resolve, timeout);
        });
        const idle = this.#providers.removeAll().then(() => new Promise((resolve) => {
            this.#whenIdle.push(resolve);
            this.checkIdle();
        }));
        await Promise.race([idle, late]);
        clearTimeout(timer);
        this.#link.end(new RelataError('unavailable', 'the client was closed'));
    }
}
