// What an integer becomes: a number, and beyond 2^53 an error, or a bigint.
// Which of the two is decided by option and by the field's type, never by the
// value. The decoder hands out integers of 64 bits as bigint, smaller ones as
// number.

import { Timestamp } from './codec.js';
import { RelataError } from './errors.js';

function narrow(value) {
    const number = Number(value);
    if (!Number.isSafeInteger(number)) {
        throw new RelataError('invalid_value',
            `the integer ${value} is beyond 2^53; connect with integers: 'bigint' to read it`);
    }
    return number;
}

/** Whether it is a map or a list, whose insides are values too. */
function isContainer(value) {
    return typeof value === 'object' && value !== null && !(value instanceof Date) &&
        !(value instanceof Timestamp) && !(value instanceof Error) && !ArrayBuffer.isView(value);
}

function narrowInside(value) {
    if (ArrayBuffer.isView(value)) return value.slice(); // not a view of all that was received
    if (!isContainer(value)) return value;
    if (Array.isArray(value)) {
        for (let i = 0; i < value.length; i++) value[i] = plain(value[i]);
    } else {
        for (const key in value) value[key] = plain(value[key]);
    }
    return value;
}

/** A decoded value with numbers for integers, all the way down. Changes it in place. */
export function plain(value) {
    switch (typeof value) {
    case 'bigint': return narrow(value);
    case 'object': return value === null ? null : narrowInside(value);
    default: return value;
    }
}

/** The value of an integer field where integers are bigints. */
export function big(value) {
    return typeof value === 'number' ? BigInt(value) : value;
}
