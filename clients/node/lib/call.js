// One call, from the moment it is made until its promise is settled, which
// happens once: with its answer, an error, its timeout, an abort, or the end
// of the connection.

import { RelataError } from './errors.js';

const WRITES = new Set([
    'create', 'upsert', 'update', 'destroy', 'create_many', 'upsert_many', 'destroy_many',
]);

// By signal, the calls that it aborts: one listener for all of them, since a web
// request may make hundreds of calls under one signal.
const watched = new WeakMap();

function watch(signal, call) {
    let calls = watched.get(signal);
    if (calls === undefined) {
        calls = new Set();
        watched.set(signal, calls);
        signal.addEventListener('abort', () => {
            for (const each of [...calls]) each.fail(signal.reason);
        }, { once: true });
    }
    calls.add(call);
}

export class Call {
    #settled = false;
    #resolve;
    #reject;
    #timer;
    #signal;
    #finish;
    sent = false;
    madeAt = performance.now();

    /**
     * @param method @param params encoded
     * @param how batch, timeout (ms, 0 for none), signal
     * @param finish makes the value from the answer; may throw
     */
    constructor(method, params, how, finish, resolve, reject) {
        this.method = method;
        this.params = params;
        this.batch = how.batch;
        this.#finish = finish;
        this.#resolve = resolve;
        this.#reject = reject;
        if (how.timeout > 0) {
            this.#timer = setTimeout(() => this.#give(new RelataError('timeout',
                `${method} was not answered within ${how.timeout} ms`, this.#outcome())),
            how.timeout);
        }
        if (how.signal) {
            this.#signal = how.signal;
            watch(how.signal, this);
        }
    }

    get settled() {
        return this.#settled;
    }

    answer(result) {
        if (this.#settled) return;
        this.#release();
        try {
            this.#resolve(this.#finish(result));
        } catch (error) {
            this.#reject(error);
        }
    }

    fail(error) {
        this.#give(error);
    }

    /** The connection is gone, and what became of the call is not known. */
    lose(error) {
        this.#give(new RelataError(error.code, `${this.method}: ${error.message}`,
            { ...error.details, ...this.#outcome() }, { cause: error }));
    }

    #outcome() {
        return this.sent && WRITES.has(this.method) ? { outcome: 'unknown' } : {};
    }

    #give(error) {
        if (this.#settled) return;
        this.#release();
        this.#reject(error);
    }

    /** It stays with the connection until its id is free again: nothing else is held. */
    #release() {
        this.#settled = true;
        this.params = undefined;
        clearTimeout(this.#timer);
        if (this.#signal) watched.get(this.#signal).delete(this);
        this.#signal = this.#timer = undefined;
    }
}
