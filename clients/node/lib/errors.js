/** The codes that the daemon answers; see docs/protocol.md. */
export const CODES = Object.freeze([
    'invalid_request', 'unknown_method', 'unknown_resource', 'unknown_field',
    'unknown_relationship', 'invalid_value', 'invalid_filter', 'not_found', 'conflict',
    'forbidden', 'unauthenticated', 'timeout', 'unavailable', 'loader_failed', 'too_large',
    'overloaded', 'internal',
]);

/**
 * What failed, by code. `details` holds what applies of resource, field,
 * relationship, key, index, position, path, limit and outcome; an `outcome` of
 * "unknown" says that a write may have been done.
 */
export class RelataError extends Error {
    constructor(code, message, details = {}, options = undefined) {
        super(message, options);
        this.code = code;
        this.details = details;
    }

    /** From what stood on the wire: a map, or the text `code: message`. */
    static from(value) {
        if (value instanceof RelataError) return value;
        if (typeof value === 'string') {
            const [, code, message] = /^([a-z_]+): ([^]*)$/.exec(value) ?? [null, 'internal', value];
            return new RelataError(code, message);
        }
        const { code, message, details } = value ?? {};
        return new RelataError(String(code ?? 'internal'), String(message ?? ''), details ?? {});
    }
}

Object.defineProperty(RelataError.prototype, 'name', {
    value: 'RelataError', configurable: true, writable: true,
});
