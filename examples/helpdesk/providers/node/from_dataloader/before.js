// Tickets above the threshold, with the packages dataloader and ioredis: before
// there was Relata. after.js does the same.

import DataLoader from 'dataloader';
import Redis from 'ioredis';

const redis = new Redis();
const CACHE_S = 30;

const cacheKey = (id) => `tickets_above_threshold:${id}`;

/** For each representative, from the cache, else from the tickets' home. */
async function load(representatives, fetchTickets) {
    const cached = await redis.mget(representatives.map(({ id }) => cacheKey(id)));
    const missing = representatives.filter((_, i) => cached[i] === null);
    const found = new Map();
    if (missing.length > 0) {
        for (const ticket of await fetchTickets(missing)) {
            if (!found.has(ticket.representative_id)) found.set(ticket.representative_id, []);
            found.get(ticket.representative_id).push(ticket);
        }
        const pipeline = redis.pipeline();
        for (const { id } of missing) {
            pipeline.set(cacheKey(id), JSON.stringify(found.get(id) ?? []), 'EX', CACHE_S);
        }
        await pipeline.exec();
    }
    return representatives.map(({ id }, i) =>
        (cached[i] === null ? found.get(id) ?? [] : JSON.parse(cached[i])));
}

/** For one web request. */
export function loaders(fetchTickets) {
    return {
        tickets: new DataLoader((representatives) => load(representatives, fetchTickets),
            { cacheKeyFn: ({ id }) => id }),
    };
}

/** The most urgent of a representative's open ones: all are loaded, and most thrown away. */
export async function urgent({ tickets }, representative) {
    const all = await tickets.load(representative);
    return all.filter(({ status }) => status === 'open')
        .sort((a, b) => b.priority - a.priority || a.id - b.id).slice(0, 3);
}

/** Whoever changes a ticket must know what was cached because of it. */
export async function changeTicket(saveTicket, before, after) {
    await saveTicket(after);
    await redis.del(cacheKey(before.representative_id), cacheKey(after.representative_id));
}
