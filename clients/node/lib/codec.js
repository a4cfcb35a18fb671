// Values to MessagePack and back. The codec is @msgpack/msgpack; what stands
// here is what it leaves open: datetimes, errors in the place of values, and
// the values that it would change without a word.

import { Decoder, Encoder, ExtensionCodec } from '@msgpack/msgpack';
import {
    decodeTimestampToTimeSpec, encodeDateToTimeSpec, encodeTimeSpecToTimestamp,
} from '@msgpack/msgpack';
import { RelataError } from './errors.js';

const EXT_TIMESTAMP = -1;
const EXT_ERROR = 1;
const INT64_MIN = -(2n ** 63n);
const INT64_MAX = 2n ** 63n - 1n;

/** A datetime to the nanosecond; a Date ends at milliseconds. */
export class Timestamp {
    /** @param seconds since 1970, whole; @param nanoseconds 0 to 999,999,999 */
    constructor(seconds, nanoseconds = 0) {
        if (!Number.isSafeInteger(seconds) || !(nanoseconds >= 0 && nanoseconds < 1e9) ||
            !Number.isInteger(nanoseconds)) {
            throw new RelataError('invalid_value',
                `a timestamp is whole seconds and 0 to 999999999 nanoseconds, not ${seconds} and ${nanoseconds}`);
        }
        this.seconds = seconds;
        this.nanoseconds = nanoseconds;
    }

    static fromDate(date) {
        const { sec, nsec } = encodeDateToTimeSpec(date);
        return new Timestamp(sec, nsec);
    }

    toDate() {
        return new Date(this.seconds * 1000 + Math.floor(this.nanoseconds / 1e6));
    }

    /** ISO 8601 in UTC, with as many digits as it has. */
    toString() {
        const digits = String(this.nanoseconds).padStart(9, '0').replace(/(000)+$/, '');
        const whole = new Date(this.seconds * 1000).toISOString().slice(0, -5);
        return `${whole}${digits && '.' + digits}Z`;
    }

    toJSON() {
        return this.toString();
    }
}

function refuse(message) {
    throw new RelataError('invalid_value', message);
}

/**
 * Refuses what would be written as something else: an integer beyond 64 bits
 * would wrap around, a Map would be an empty map.
 */
function check(value) {
    if (typeof value === 'bigint') {
        if (value < INT64_MIN || value > INT64_MAX) refuse(`${value} does not fit into 64 bits`);
    } else if (typeof value === 'function' || typeof value === 'symbol') {
        refuse(`a ${typeof value} is no value`);
    } else if (typeof value === 'object' && value !== null) {
        if (Array.isArray(value)) {
            for (const element of value) check(element);
        } else if (value instanceof Map || value instanceof Set) {
            refuse(`a ${value.constructor.name} is no value; give an object or an array`);
        } else if (value instanceof Date) {
            if (Number.isNaN(value.getTime())) refuse('an invalid Date is no datetime');
        } else if (!ArrayBuffer.isView(value) && !(value instanceof Error)) {
            for (const key in value) check(value[key]);
        }
    }
}

function encodeTime(value) {
    if (value instanceof Timestamp) {
        return encodeTimeSpecToTimestamp({ sec: value.seconds, nsec: value.nanoseconds });
    }
    return value instanceof Date ? encodeTimeSpecToTimestamp(encodeDateToTimeSpec(value)) : null;
}

/** What an Error says on the wire, in the place of one source's answer. */
export function errorMap(error) {
    const known = error instanceof RelataError;
    return {
        code: known ? error.code : 'loader_failed',
        message: String(error.message || error.name),
        details: known ? error.details : {},
    };
}

export class Codec {
    #encoder;
    #decoder;

    /** @param datetimes "date" or "exact": what a datetime becomes */
    constructor(datetimes) {
        const extensions = new ExtensionCodec();
        extensions.register({
            type: EXT_TIMESTAMP,
            encode: encodeTime,
            decode: (data) => {
                const { sec, nsec } = decodeTimestampToTimeSpec(data);
                const exact = new Timestamp(sec, nsec);
                return datetimes === 'exact' ? exact : exact.toDate();
            },
        });
        extensions.register({
            type: EXT_ERROR,
            encode: (value) => (value instanceof Error ? this.encode(errorMap(value)) : null),
            decode: (data) => RelataError.from(this.decode(data)),
        });
        // undefined in a record is a field that is not given, not a nil.
        this.#encoder = new Encoder({
            extensionCodec: extensions, useBigInt64: true, ignoreUndefined: true,
        });
        // Integers of 64 bits as bigint, so that nothing is lost before
        // integers.js decides what they become.
        this.#decoder = new Decoder({ extensionCodec: extensions, useBigInt64: true });
    }

    /** Bytes of their own. Throws a RelataError. */
    encode(value) {
        check(value);
        try {
            return this.#encoder.encode(value);
        } catch (error) {
            throw error instanceof RelataError ? error
                : new RelataError('invalid_value', error.message, {}, { cause: error });
        }
    }

    decode(bytes) {
        return this.#decoder.decode(bytes);
    }

    /** The first two values of a message, of which the rest cannot be read. */
    decodeHead(bytes) {
        const values = this.#decoder.decodeMulti(bytes.subarray(1));
        try {
            return [values.next().value, values.next().value];
        } finally {
            values.return();
        }
    }
}
