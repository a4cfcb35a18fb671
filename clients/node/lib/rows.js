// Records from rows. The daemon tells the names of the columns once; for each
// list of them one function is made that turns a row into an ordinary object,
// so that all objects of one list have one hidden class.

import { RelataError } from './errors.js';
import { big, plain } from './integers.js';

const BUILDERS_MAX = 1000; // a client that asks for ever new columns starts over

/** What to load, in all its forms, as [name in the record, relationship, its own loads]. */
function* namesOfLoads(loads) {
    if (typeof loads === 'string') {
        yield [loads, loads, undefined];
    } else if (Array.isArray(loads)) {
        for (const element of loads) yield* namesOfLoads(element);
    } else if (loads) {
        for (const [name, query] of Object.entries(loads)) {
            yield [query?.as ?? name, name, query?.load];
        }
    }
}

/** A function from a row to an object; `readers` has one function for each value. */
function compile(names, readers) {
    try {
        // A computed name, since "__proto__": x in a literal is no property.
        const properties = names.map(
            (name, i) => `[${JSON.stringify(name)}]: readers[${i}](row[${i}])`);
        return new Function('readers', `return (row) => ({ ${properties.join(', ')} });`)(readers);
    } catch (error) {
        if (!(error instanceof EvalError)) throw error;
        // Node was told to make no code from strings.
        return (row) => Object.fromEntries(names.map((name, i) => [name, readers[i](row[i])]));
    }
}

export class Rows {
    #builders = new Map();
    #bigints;

    /** @param bigints whether integer fields become bigints: then resources must be described */
    constructor(bigints) {
        this.#bigints = bigints;
    }

    /**
     * A function from a row to a record of the resource, whatever stands for
     * one: a row, nil, an error.
     * @param description of the schema; undefined unless integers are bigints
     */
    builder(columns, resource, loads, description) {
        const key = JSON.stringify(this.#bigints ? [columns, resource, loads ?? null] : columns,
            (_, value) => (typeof value === 'bigint' ? String(value) : value));
        let builder = this.#builders.get(key);
        if (builder === undefined) {
            if (this.#builders.size >= BUILDERS_MAX) this.clear();
            builder = this.#build(columns, resource, loads, description);
            this.#builders.set(key, builder);
        }
        return builder;
    }

    /** What the schema says may have changed. */
    clear() {
        this.#builders.clear();
    }

    #build(columns, resource, loads, description) {
        const about = this.#bigints ? description?.resources[resource] : undefined;
        const origins = this.#bigints ? [...namesOfLoads(loads)] : [];
        const names = [];
        const readers = columns.map((column) => {
            if (!Array.isArray(column)) {
                names.push(column);
                return about?.fields[column]?.type === 'integer' ? big : plain;
            }
            const [name, kind, inner] = column;
            names.push(name);
            const [, relationship, nested] = origins.find(([as]) => as === name) ?? [];
            const destination = about?.relationships[relationship]?.destination;
            const one = this.#build(inner, destination, nested, description);
            return kind === 'many' ? (rows) => (Array.isArray(rows) ? rows.map(one) : rows) : one;
        });
        const make = compile(names, readers);
        return (row) => (Array.isArray(row) ? make(row) : row);
    }
}

/** A record that came as a map (to a provider), its integers as the option says. */
export function fromMap(record, resource, bigints, description) {
    const fields = bigints ? description?.resources[resource]?.fields : undefined;
    for (const name in record) {
        record[name] = fields?.[name]?.type === 'integer' ? big(record[name]) : plain(record[name]);
    }
    return record;
}

/** A value, unless an error stands in its place. */
export function throwIfError(value) {
    if (value instanceof RelataError) throw value;
    return value;
}
