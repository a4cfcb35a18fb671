// The methods of the daemon under their names in JavaScript, for everything
// that can be asked: a client, a client on behalf of somebody, a batch.

/**
 * Whoever extends it answers `ask(method, params, options, how)`, where how is
 * `{rows: {resource, loads, single, many}}` for what answers records.
 */
export class Methods {
    get(resource, key, options = {}) {
        return this.ask('get', [resource, key], options, { rows: { resource, loads: options.load } });
    }

    getMany(resource, keys, options = {}) {
        return this.ask('get_many', [resource, keys], options,
            { rows: { resource, loads: options.load, many: true } });
    }

    read(resource, query = {}, options = {}) {
        return this.ask('read', [resource, query], options,
            { rows: { resource, loads: query.load ?? options.load, many: true } });
    }

    count(resource, query = {}, options = {}) {
        return this.ask('count', [resource, query], options, {});
    }

    load(resource, keys, loads, options = {}) {
        const { query, ...rest } = options;
        // As a map in any case: the answer then says what is one and what are many.
        const asMap = typeof loads === 'string' ? { [loads]: query ?? null } : loads;
        const single = typeof loads === 'string' ? query?.as ?? loads : undefined;
        const sent = typeof loads === 'string' || query === undefined ? rest : options;
        return this.ask('load', [resource, keys, asMap], sent,
            { rows: { resource, loads: asMap, single, many: true } });
    }

    create(resource, record, options = {}) {
        return this.ask('create', [resource, record], options, { rows: { resource } });
    }

    upsert(resource, record, options = {}) {
        return this.ask('upsert', [resource, record], options, { rows: { resource } });
    }

    update(resource, key, changes, options = {}) {
        return this.ask('update', [resource, key, changes], options, { rows: { resource } });
    }

    destroy(resource, key, options = {}) {
        return this.ask('destroy', [resource, key], options, {});
    }

    createMany(resource, records, options = {}) {
        return this.ask('create_many', [resource, records], options, {});
    }

    upsertMany(resource, records, options = {}) {
        return this.ask('upsert_many', [resource, records], options, {});
    }

    destroyMany(resource, keys, options = {}) {
        return this.ask('destroy_many', [resource, keys], options, {});
    }

    invalidate(name, keys = null, options = {}) {
        return this.ask('invalidate', [name, keys], options, {});
    }
}

/** The same with options that always stand beside. */
export class Scoped extends Methods {
    #client;
    #options;

    constructor(client, options) {
        super();
        this.#client = client;
        this.#options = options;
    }

    ask(method, params, options, how) {
        return this.#client.ask(method, params, { ...options, ...this.#options }, how);
    }
}
