// The client: it connects when there is something to do, keeps the calls that
// wait for a connection, and connects again for those and for its providers.

import { EventEmitter } from 'node:events';
import { Call } from './call.js';
import { Codec } from './codec.js';
import { Connection, parseAddress } from './connection.js';
import { RelataError } from './errors.js';
import { plain } from './integers.js';
import { keyOf } from './keys.js';
import { Loader } from './loader.js';
import { loaderOf } from './load.js';
import { Methods } from './methods.js';
import { Providers } from './provider.js';
import { Request } from './request.js';
import { Rows, throwIfError } from './rows.js';
import { Turn } from './turn.js';

const ADDRESS_DEFAULT = 'unix:/run/relata/relata.sock';
// Until the daemon has said how many requests of one connection may wait.
const WINDOW_DEFAULT = 5000;
const WAITING_MAX = 100000;

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
    const unknown = Object.keys(given).find((name) => !(name in DEFAULTS));
    if (unknown !== undefined) {
        throw new RelataError('invalid_request', `there is no option ${unknown}; expected one of ` +
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
    #endpoint;
    #options;
    #codec;
    #bigints;
    #rows;
    #turn = new Turn(() => this.#send());
    #connection = null;
    #ready = false; // calls may be sent
    #window = WINDOW_DEFAULT;
    #waiting = []; // calls that were not sent yet, and where the first of them stands
    #first = 0;
    #urgent = []; // those that work for a batch: the batch may be what others wait for
    #failures = 0;
    #retry = null;
    #greeting = null;
    #description = null;
    #providers = new Providers(this);
    #idle = [];
    #closing = null;
    #closed = false;
    /** 'connect' with the daemon's greeting, 'disconnect' and 'error' with a RelataError. */
    events = new EventEmitter();

    constructor(address, options) {
        super();
        this.address = address ?? process.env.RELATA_ADDRESS ?? ADDRESS_DEFAULT;
        this.#endpoint = parseAddress(this.address);
        this.#options = optionsOf(options);
        this.#codec = new Codec(this.#options.datetimes);
        this.#bigints = this.#options.integers === 'bigint';
        this.#rows = new Rows(this.#bigints);
    }

    /** Connects now, instead of with the first call. Answers what the daemon said of itself. */
    async connect() {
        await this.ping();
        return this.#greeting;
    }

    /** Any method of the daemon's, as it is on the wire; integers are numbers. */
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
        const how = { timeout, signal, batch: wire.batch };
        return this.#submit(method, [...params, wire], how,
            rows ? (result) => this.#records(result, rows) : plain);
    }

    /** What is loaded for one web request is remembered for it. */
    request(context = {}) {
        return new Request(this, context);
    }

    /** An object with DataLoader's face over a relationship, or over a resource's records. */
    loader(name, options = {}) {
        return loaderOf(this, this, name, options);
    }

    /** Answers loads of a relationship from now on. See docs/clients-node.md. */
    provide(name, answer, limits = {}) {
        return this.#providers.add(name, answer, limits);
    }

    /** Lets answers under way come in, then ends; after `timeout` ms in any case. */
    close({ timeout = 5000 } = {}) {
        this.#closing ??= this.#close(timeout);
        return this.#closing;
    }

    /** Ends at once; what is pending is rejected. */
    destroy() {
        const error = new RelataError('unavailable', 'the client was closed');
        this.#closing ??= Promise.resolve();
        this.#closed = true;
        clearTimeout(this.#retry);
        this.#retry = null;
        this.#connection?.destroy(error);
        this.#rejectWaiting(error, () => true);
        this.#checkIdle();
    }

    // --- For the modules of this package ------------------------------------

    get codec() {
        return this.#codec;
    }

    get bigints() {
        return this.#bigints;
    }

    /** What the schema says, if that is known by now. */
    get description() {
        return this.#description;
    }

    /** What the schema says, which is asked for where it is not known. */
    async describe() {
        return this.#description ?? (this.#description = await this.schema());
    }

    keyOf(value, resource) {
        return keyOf(value, resource, this.#description);
    }

    newLoader(batchLoad, options) {
        return new Loader(batchLoad, options, (batch) => this.#turn.schedule(batch));
    }

    /** Something was queued on the connection. */
    scheduleWrite() {
        this.#turn.schedule();
    }

    warn(error) {
        if (this.events.listenerCount('error') > 0) this.events.emit('error', error);
        else process.emitWarning(error);
    }

    /** Whether everything that was begun has ended. */
    checkIdle() {
        this.#checkIdle();
    }

    // --- Calls -----------------------------------------------------------------

    #submit(method, params, { timeout = this.#options.timeout, signal, batch }, finish) {
        return new Promise((resolve, reject) => {
            signal?.throwIfAborted();
            if (this.#closed || (this.#closing && batch === undefined && method !== 'unprovide')) {
                throw new RelataError('unavailable', 'the client was closed');
            }
            if (this.#waiting.length - this.#first >= WAITING_MAX) {
                throw new RelataError('overloaded', `${WAITING_MAX} calls are waiting already`);
            }
            const bytes = this.#codec.encode(params);
            const call = new Call(method, bytes, { timeout, signal, batch }, finish, resolve, reject);
            (batch === undefined ? this.#waiting : this.#urgent).push(call);
            this.#turn.schedule();
        });
    }

    #records(result, { resource, loads, single }) {
        const { columns, data } = throwIfError(result);
        const build = this.#rows.builder(columns, resource, loads, this.#description);
        const one = single === undefined ? build : (row) => {
            const loaded = build(row);
            return loaded === null || loaded instanceof Error ? loaded : loaded[single];
        };
        // A record is a row of values, a list of them a list of rows: which one
        // it is follows from the method, and is told by its first element.
        return one, this.#rows.spread(data, one);
    }

    /** The end of a tick: what waits is sent, as far as the window allows. */
    #send() {
        if (!this.#ready) {
            if (this.#first < this.#waiting.length || this.#urgent.length > 0) this.#connect();
            return;
        }
        const connection = this.#connection;
        for (const call of this.#urgent) this.#sendCall(call);
        this.#urgent = [];
        while (this.#first < this.#waiting.length && connection.ordinary < this.#window) {
            const call = this.#waiting[this.#first];
            this.#waiting[this.#first++] = undefined;
            this.#sendCall(call);
        }
        if (this.#first === this.#waiting.length) {
            this.#waiting = [];
            this.#first = 0;
        }
        connection.flush();
        this.#checkIdle();
    }

    #sendCall(call) {
        if (call.settled) return;
        call.sent = true;
        this.#connection.request(call);
    }
}
