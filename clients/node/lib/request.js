// One web request: who asks, and what it has loaded so far.

import { canonical } from './keys.js';
import { isPrivate, loaderOf } from './load.js';
import { Scoped } from './methods.js';

const CONTEXT = ['actor', 'tenant', 'authorize'];
const CHANGING = new Set([
    'create', 'upsert', 'update', 'destroy', 'create_many', 'upsert_many', 'destroy_many',
    'invalidate',
]);

function contextOf(given) {
    const context = {};
    for (const name of CONTEXT) if (given[name] !== undefined) context[name] = given[name];
    return context;
}

export class Request extends Scoped {
    #client;
    #loaders = new Map();

    constructor(client, context) {
        super(client, contextOf(context));
        this.#client = client;
    }

    /**
     * The loader of a relationship under a query, or of a resource's records:
     * the same one whenever it is asked for, unless with options of DataLoader.
     */
    loader(name, options = {}) {
        // By the daemon's face of it, since get and load here lead to loaders.
        const daemon = {
            getMany: (...args) => super.getMany(...args),
            load: (...args) => super.load(...args),
        };
        if (isPrivate(options)) return loaderOf(this.#client, daemon, name, options);
        const key = `${name} ${canonical(options)}`;
        let loader = this.#loaders.get(key);
        if (loader === undefined) {
            loader = loaderOf(this.#client, daemon, name, options);
            this.#loaders.set(key, loader);
        }
        return loader;
    }

    /** What is related to one source, a record or a key; the query may be left out. */
    async load(name, source, query = undefined) {
        return this.loader(name, query === undefined ? {} : { query }).load(source);
    }

    /** The same for many sources: a list in their order. Rejects if one fails. */
    async loadMany(name, sources, query = undefined) {
        return Promise.all(sources.map((source) => this.load(name, source, query)));
    }

    async get(resource, key, options = {}) {
        const { fresh, timeout, signal, ...rest } = options;
        if (fresh || timeout !== undefined || signal !== undefined) {
            return super.get(resource, key, options);
        }
        return this.loader(resource, rest).load(key);
    }

    getMany(resource, keys, options = {}) {
        return Promise.all(keys.map((key) => this.get(resource, key, options)));
    }

    /** Forgets everything. */
    clear() {
        for (const loader of this.#loaders.values()) loader.clearAll();
        return this;
    }

    /** For Methods: what was loaded before a write is not good after it. */
    async ask(method, params, options, how) {
        if (!CHANGING.has(method)) return super.ask(method, params, options, how);
        this.clear();
        try {
            return await super.ask(method, params, options, how);
        } finally {
            this.clear();
        }
    }
}
