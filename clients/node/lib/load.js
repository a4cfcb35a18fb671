// Loaders over what the daemon loads.

import { RelataError } from './errors.js';
import { keyOf, needsSchema } from './keys.js';
import { Loader } from './loader.js';

const LOADER_OPTIONS = [
    'batch', 'maxBatchSize', 'batchScheduleFn', 'cache', 'cacheKeyFn', 'cacheMap', 'name',
];

/** Whether an error is of the one key that was asked for, and not of the call or its batch. */
function isOfKey(error) {
    return error instanceof RelataError &&
        (error.details?.key !== undefined || error.details?.index !== undefined);
}

/** A list for the keys; a key that failed has its error, also where it was alone. */
async function loadKeys(loadAll, keys) {
    try {
        return await loadAll(keys);
    } catch (error) {
        if (!isOfKey(error)) throw error;
        if (keys.length === 1) return [error];
        const { index } = error.details;
        if (!(index >= 0 && index < keys.length)) throw error;
        // One that is no key at all fails the call. The others were only in one tick with it.
        const values = await loadKeys(loadAll, keys.filter((_, i) => i !== index));
        return [...values.slice(0, index), error, ...values.slice(index)];
    }
}

/** Takes records where a Loader takes keys. */
class RecordLoader extends Loader {
    #client;
    #resource;

    constructor(client, resource, batchLoad, options) {
        super(batchLoad, options, (batch) => client.schedule(batch), isOfKey);
        this.#client = client;
        this.#resource = resource;
    }

    load(keyOrRecord) {
        if (!needsSchema(keyOrRecord)) return super.load(keyOrRecord);
        if (this.#client.description !== null) return super.load(this.#keyOf(keyOrRecord));
        return this.#client.describe().then(() => super.load(this.#keyOf(keyOrRecord)));
    }

    clear(keyOrRecord) {
        return super.clear(this.#keyOf(keyOrRecord));
    }

    prime(keyOrRecord, value) {
        return super.prime(this.#keyOf(keyOrRecord), value);
    }

    #keyOf(keyOrRecord) {
        if (!needsSchema(keyOrRecord)) return keyOrRecord;
        // Before the schema is known nothing can be loaded by a record, or kept.
        const { description } = this.#client;
        if (description !== null) return keyOf(keyOrRecord, this.#resource, description);
        throw new RelataError('unavailable',
            'the schema is not known yet: call connect() first, or give a key');
    }
}

/**
 * @param methods what loads: a client, or a client on behalf of somebody
 * @param name `resource.relationship`, or `resource`
 * @param options of DataLoader, and those of the call (query, select, actor ...)
 */
export function loaderOf(client, methods, name, options) {
    const [resource, relationship, ...rest] = String(name).split('.');
    if (rest.length > 0 || resource === '' || relationship === '') {
        throw new RelataError('invalid_request',
            `${name} is neither resource.relationship nor a resource`);
    }
    const own = {}, ofCall = {};
    for (const [option, value] of Object.entries(options)) {
        (LOADER_OPTIONS.includes(option) ? own : ofCall)[option] = value;
    }
    own.name ??= name;
    const loadAll = relationship === undefined
        ? (keys) => methods.getMany(resource, keys, ofCall)
        : (keys) => methods.load(resource, keys, relationship, ofCall);
    const batchLoad = (keys) => loadKeys(loadAll, keys);
    return new RecordLoader(client, resource, batchLoad, own);
}

/** Whether the options ask for a loader of their own. */
export function isPrivate(options) {
    return LOADER_OPTIONS.some((option) => options[option] !== undefined);
}
