// Loaders over what the daemon loads.

import { RelataError } from './errors.js';
import { keyOf, needsSchema } from './keys.js';
import { Loader } from './loader.js';

const LOADER_OPTIONS = [
    'batch', 'maxBatchSize', 'batchScheduleFn', 'cache', 'cacheKeyFn', 'cacheMap', 'name',
];

/** Whether an error is of the one key that was asked for, and not of the call. */
function isOfKey(error) {
    return error instanceof RelataError && error.details?.key !== undefined;
}

/** A list for the keys; a key that failed has its error, also where it was alone. */
async function loadKeys(methods, resource, relationship, keys, options) {
    try {
        if (relationship === undefined) return await methods.getMany(resource, keys, options);
        return await methods.load(resource, keys, relationship, options);
    } catch (error) {
        if (keys.length === 1 && isOfKey(error)) return [error];
        throw error;
    }
}

/** Takes records where a Loader takes keys. */
class RecordLoader extends Loader {
    #client;
    #resource;

    constructor(client, resource, batchLoad, options) {
        super(batchLoad, options, (batch) => client.schedule(batch));
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
    const batchLoad = (keys) => loadKeys(methods, resource, relationship, keys, ofCall);
    return new RecordLoader(client, resource, batchLoad, own);
}

/** Whether the options ask for a loader of their own. */
export function isPrivate(options) {
    return LOADER_OPTIONS.some((option) => options[option] !== undefined);
}
