// A loader with the face of the package `dataloader`, and its documented
// behaviour. Where that behaviour is a known fault (a batch that failed removes
// what was put in the cache for its keys since), the fault is left out.

import { RelataError } from './errors.js';
import { cacheKey } from './keys.js';

const BATCH_SIZE_MAX = 10000;
const CACHE_METHODS = ['get', 'set', 'delete', 'clear'];

function optionOf(options, name, fallback, isValid, expected) {
    const value = options[name];
    if (value === undefined) return fallback;
    if (!isValid(value)) throw new TypeError(`${name} must be ${expected}, not ${String(value)}`);
    return value;
}

function cacheMapOf(options) {
    if (options.cache === false || options.cacheMap === null) return null;
    const map = options.cacheMap ?? new Map();
    const missing = CACHE_METHODS.filter((name) => typeof map[name] !== 'function');
    if (missing.length > 0) throw new TypeError(`cacheMap must have ${missing.join(', ')}`);
    return map;
}

const isFunction = (value) => typeof value === 'function';
const isBoolean = (value) => typeof value === 'boolean';

export class Loader {
    #batchLoad;
    #isOfKey;
    #schedule;
    #cacheKey;
    #cache;
    #maxBatchSize;
    #batch = null; // the one that loads join

    /**
     * @param batchLoad async (keys) => a list of as many values and Errors
     * @param options of dataloader: batch, maxBatchSize, batchScheduleFn, cache,
     *   cacheKeyFn, cacheMap, name
     * @param schedule when batches go, if batchScheduleFn does not say it
     * @param isOfKey whether an error is its key's own, and remembered
     */
    constructor(batchLoad, options, schedule, isOfKey) {
        this.#isOfKey = isOfKey;
        this.#batchLoad = batchLoad;
        const batches = optionOf(options, 'batch', true, isBoolean, 'true or false');
        const size = optionOf(options, 'maxBatchSize', BATCH_SIZE_MAX,
            (value) => typeof value === 'number' && value >= 1, 'a positive number');
        this.#maxBatchSize = batches ? size : 1;
        this.#schedule = optionOf(options, 'batchScheduleFn', schedule, isFunction, 'a function');
        this.#cacheKey = optionOf(options, 'cacheKeyFn', cacheKey, isFunction, 'a function');
        optionOf(options, 'cache', true, isBoolean, 'true or false');
        this.#cache = cacheMapOf(options);
        this.name = options.name ?? null;
    }

    /** A promise of the value of the key. Throws at once where there is no key. */
    load(key) {
        if (key === null || key === undefined) {
            throw new TypeError(`load expects a key, not ${key}`);
        }
        const batch = this.#openBatch();
        if (this.#cache === null) return this.#enqueue(batch, key, undefined);
        const cacheKey = this.#cacheKey(key);
        const known = this.#cache.get(cacheKey);
        if (known !== undefined) {
            // With the batch, so that what both lead to is in one batch too.
            return new Promise((resolve) => batch.hits.push(() => resolve(known)));
        }
        const promise = this.#enqueue(batch, key, cacheKey);
        this.#cache.set(cacheKey, promise);
        return promise;
    }

    /** The values of all keys, with Errors in the places of those that failed. */
    loadMany(keys) {
        if (typeof keys?.length !== 'number' || typeof keys === 'string') {
            throw new TypeError(`loadMany expects a list of keys, not ${String(keys)}`);
        }
        const loads = [];
        for (let i = 0; i < keys.length; i++) {
            loads.push(this.load(keys[i]).catch((error) => error));
        }
        return Promise.all(loads);
    }

    clear(key) {
        this.#cache?.delete(this.#cacheKey(key));
        return this;
    }

    clearAll() {
        this.#cache?.clear();
        return this;
    }

    /** Keeps a value, a promise or an Error for the key, unless there is one. */
    prime(key, value) {
        if (this.#cache === null) return this;
        const cacheKey = this.#cacheKey(key);
        if (this.#cache.get(cacheKey) !== undefined) return this;
        const promise = value instanceof Error ? Promise.reject(value) : Promise.resolve(value);
        promise.catch(() => {}); // whoever loads it is told
        this.#cache.set(cacheKey, promise);
        return this;
    }

    #openBatch() {
        if (this.#batch === null || this.#batch.keys.length >= this.#maxBatchSize) {
            const batch = { keys: [], loads: [], hits: [] };
            this.#batch = batch;
            this.#schedule(() => this.#dispatch(batch));
        }
        return this.#batch;
    }

    #enqueue(batch, key, cacheKey) {
        const load = { cacheKey };
        load.promise = new Promise((resolve, reject) => {
            load.resolve = resolve;
            load.reject = reject;
        });
        batch.keys.push(key);
        batch.loads.push(load);
        return load.promise;
    }

    async #dispatch(batch) {
        if (this.#batch === batch) this.#batch = null;
        try {
            if (batch.keys.length > 0) this.#settle(batch, await this.#values(batch.keys));
            else settleHits(batch);
        } catch (error) {
            this.#fail(batch, error);
        }
    }

    async #values(keys) {
        const values = await this.#batchLoad([...keys]);
        if (!Array.isArray(values) || values.length !== keys.length) {
            throw new RelataError('internal', `${keys.length} keys were asked for, ` +
                `${Array.isArray(values) ? values.length : 'no list of'} values came`);
        }
        return values;
    }

    #settle(batch, values) {
        settleHits(batch);
        batch.loads.forEach((load, i) => {
            if (values[i] instanceof Error) this.#reject(load, values[i], this.#isOfKey(values[i]));
            else load.resolve(values[i]);
        });
    }

    #reject(load, error, isRemembered) {
        if (!isRemembered && this.#cache?.get(load.cacheKey) === load.promise) {
            this.#cache.delete(load.cacheKey);
        }
        load.reject(error);
    }

    /** A batch that failed is not remembered, unlike a key that failed alone. */
    #fail(batch, error) {
        settleHits(batch);
        for (const load of batch.loads) this.#reject(load, error, false);
    }
}

function settleHits(batch) {
    for (const resolve of batch.hits) resolve();
}
