import { Client } from './client.js';

/**
 * A client. It connects with the first call.
 * @param address `unix:PATH` or `tcp:HOST:PORT`; by default RELATA_ADDRESS, else
 *   unix:/run/relata/relata.sock
 */
export function connect(address = undefined, options = {}) {
    if (typeof address === 'object' && address !== null) return new Client(undefined, address);
    return new Client(address, options);
}

export { Client } from './client.js';
export { Timestamp } from './codec.js';
export { CODES, RelataError } from './errors.js';
export { groupBy } from './keys.js';
