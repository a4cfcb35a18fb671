// Primary keys: of records, as text, as keys of a Map.

import { Timestamp } from './codec.js';
import { RelataError } from './errors.js';

function isRecord(value) {
    return typeof value === 'object' && value !== null && !Array.isArray(value) &&
        !(value instanceof Date) && !(value instanceof Timestamp) && !ArrayBuffer.isView(value);
}

/** Whether only the schema can tell which key is meant. */
export const needsSchema = isRecord;

/** The key of a record; a key is its own. */
export function keyOf(value, resource, description) {
    if (!isRecord(value)) return value;
    const about = description.resources[resource];
    if (about === undefined) {
        throw new RelataError('unknown_resource', `there is no resource ${resource}`, { resource });
    }
    const names = [about.primary_key].flat();
    const missing = names.find((name) => value[name] === undefined);
    if (missing !== undefined) {
        throw new RelataError('invalid_value',
            `a record of ${resource} without its primary key ${missing}`,
            { resource, field: missing });
    }
    return Array.isArray(about.primary_key) ? names.map((name) => value[name])
        : value[about.primary_key];
}

/** Equal for equal keys, whatever they are written as; 1 and 1n are equal, 1 and "1" not. */
export function cacheKey(key) {
    switch (typeof key) {
    case 'bigint': {
        const number = Number(key);
        return Number.isSafeInteger(number) ? number : key;
    }
    case 'object': return key === null ? key : `\0${canonical(key)}`;
    default: return key;
    }
}

/** The text of a key, as maps of a provider's answer are keyed. */
export function keyText(key) {
    return typeof key === 'object' ? canonical(Array.isArray(key) ? key.map(keyText) : key)
        : String(key);
}

/** One text for equal values: names in order, undefined left out. */
export function canonical(value) {
    switch (typeof value) {
    case 'undefined': return 'null';
    case 'bigint': return String(value);
    case 'object': break;
    default: return JSON.stringify(value) ?? String(value);
    }
    if (value === null) return 'null';
    if (value instanceof Date) return `@${value.getTime()}`;
    if (value instanceof Timestamp) return `@${value}`;
    if (ArrayBuffer.isView(value)) {
        const { buffer, byteOffset, byteLength } = value;
        return `#${Buffer.from(buffer, byteOffset, byteLength).toString('hex')}`;
    }
    if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`;
    const names = Object.keys(value).filter((name) => value[name] !== undefined).sort();
    return `{${names.map((name) => `${JSON.stringify(name)}:${canonical(value[name])}`).join(',')}}`;
}

/**
 * Groups by a field, by a list of fields (composite keys) or by what a function
 * answers: a Map from key to the list of items, as a provider may answer it.
 */
export function groupBy(items, by) {
    const key = typeof by === 'function' ? by
        : Array.isArray(by) ? (item) => by.map((name) => item[name]) : (item) => item[by];
    const groups = new Map();
    const known = new Map();
    for (const item of items) {
        const value = key(item);
        const text = cacheKey(value);
        let group = known.get(text);
        if (group === undefined) {
            group = [];
            known.set(text, group);
            groups.set(value, group);
        }
        group.push(item);
    }
    return groups;
}
