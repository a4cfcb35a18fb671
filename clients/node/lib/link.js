// The link to the daemon over all its connections: calls wait here until they
// can be sent, and a connection is made, and made again, while somebody wants
// one. What was sent when a connection ends is lost with it, what was not yet
// sent goes out on the next one.

import { Call } from './call.js';
import { Connection } from './connection.js';
import { RelataError } from './errors.js';
import { Turn } from './turn.js';

// Half of what the daemon lets wait by default, until it has said what it does.
const WINDOW_DEFAULT = 5000;
const WAITING_MAX = 100000;
const COMPACT_AT = 1024;

export class Link {
    #endpoint;
    #codec;
    #options;
    #owner;
    #turn = new Turn(() => this.#send());
    #connection = null;
    #ready = false; // calls may be sent
    #window = WINDOW_DEFAULT;
    #waiting = [];
    #first = 0; // of those that wait
    #urgent = []; // calls for a batch, which may be what others wait for
    #failures = 0;
    #retry = null;
    #ended = null; // why no more connections are made

    /**
     * @param options connectTimeout, offlineTimeout, reconnect
     * @param owner greet(call) a new connection and resolve once calls may be sent, with the
     *   daemon's limits; wanted(): whether to connect without calls; request(id, method, params);
     *   lost(error); idle(): perhaps nothing is under way any more
     */
    constructor(endpoint, codec, options, owner) {
        this.#endpoint = endpoint;
        this.#codec = codec;
        this.#options = options;
        this.#owner = owner;
    }

    /** The connection that there is, to answer on it later; null where there is none. */
    get connection() {
        return this.#connection;
    }

    get isIdle() {
        return this.#first === this.#waiting.length && this.#urgent.length === 0 &&
            (this.#connection === null ||
                (this.#connection.pending === 0 && !this.#connection.hasOutput));
    }

    /** Ends the tick with `batch`, if any, and the writing of all that is queued. */
    schedule(batch) {
        this.#turn.schedule(batch);
    }

    /** Takes a call, to be sent at the end of this tick or once it can be. */
    submit(call) {
        if (this.#ended) {
            call.fail(this.#ended);
        } else if (this.#waiting.length - this.#first >= WAITING_MAX) {
            call.fail(new RelataError('overloaded', `${WAITING_MAX} calls are waiting already`));
        } else {
            (call.batch === undefined ? this.#waiting : this.#urgent).push(call);
            this.#turn.schedule();
        }
    }

    /** Ends for good: what is pending or waiting is rejected. What was written still goes out. */
    end(error) {
        if (this.#ended) return;
        this.#ended = error;
        clearTimeout(this.#retry);
        this.#connection?.finish(error);
        this.#rejectWaiting(error, 0);
    }

    // --- Sending ---------------------------------------------------------------

    #send() {
        if (!this.#ready) {
            if (!this.isIdle || this.#owner.wanted()) this.#connect();
            return;
        }
        for (const call of this.#urgent) this.#sendCall(call);
        this.#urgent = [];
        this.#sendWaiting();
        this.#connection.flush();
        this.#owner.idle();
    }

    #sendWaiting() {
        while (this.#first < this.#waiting.length && this.#connection.ordinary < this.#window) {
            const call = this.#waiting[this.#first];
            this.#waiting[this.#first++] = undefined;
            this.#sendCall(call);
        }
        if (this.#first === this.#waiting.length || this.#first >= COMPACT_AT) {
            this.#waiting = this.#waiting.slice(this.#first);
            this.#first = 0;
        }
    }

    #sendCall(call) {
        if (call.settled) return;
        call.sent = true;
        this.#connection.request(call);
    }

    // --- Connecting --------------------------------------------------------------

    #connect() {
        if (this.#connection !== null || this.#retry !== null || this.#ended) return;
        const connection = new Connection(this.#endpoint, this.#codec, this.#options.connectTimeout, {
            connect: () => this.#greet(connection),
            request: (id, method, params) => this.#owner.request(id, method, params),
            answer: () => this.#afterAnswers(),
            close: (error) => this.#lost(error),
        });
        this.#connection = connection;
    }

    /** One write for the greeting and, unless it must be awaited, all that waits. */
    async #greet(connection) {
        const call = (method, params, finish) => new Promise((resolve, reject) => {
            const made = new Call(method, this.#codec.encode(params), {}, finish, resolve, reject);
            connection.request(made);
        });
        const opened = () => {
            if (connection.closed) return;
            this.#ready = true;
            this.#send();
        };
        try {
            const greeted = this.#owner.greet(call, opened);
            connection.flush(); // where calls have to wait for it
            const limits = await greeted;
            const most = limits?.requests_waiting_per_connection ?? 2 * WINDOW_DEFAULT;
            this.#window = Math.max(1, Math.floor(most / 2));
            this.#failures = 0;
        } catch (error) {
            connection.destroy(error);
        }
    }

    #afterAnswers() {
        if (this.#first < this.#waiting.length) this.#turn.schedule();
        this.#owner.idle();
    }

    #lost(error) {
        this.#connection = null;
        this.#ready = false;
        this.#owner.lost(error);
        if (this.#ended) return;
        this.#rejectWaiting(error, this.#options.offlineTimeout);
        if (this.isIdle && !this.#owner.wanted()) {
            this.#failures = 0;
            this.#owner.idle();
            return;
        }
        const { min, max } = this.#options.reconnect;
        const delay = Math.min(max, min * 2 ** this.#failures) * (0.5 + Math.random() / 2);
        this.#failures += 1;
        this.#retry = setTimeout(() => {
            this.#retry = null;
            this.#send();
        }, delay);
    }

    /** Those that were made at least `age` ms ago. */
    #rejectWaiting(error, age) {
        const calls = [...this.#urgent, ...this.#waiting.slice(this.#first)];
        const deadline = performance.now() - age;
        for (const call of calls) if (call.madeAt <= deadline) call.lose(error);
        this.#urgent = []; // their batch ended with its connection
        this.#waiting = calls.filter((call) => !call.settled && call.batch === undefined);
        this.#first = 0;
        for (const call of calls) if (call.batch !== undefined) call.lose(error);
    }
}
