/** What a datetime is with `datetimes: 'exact'`: to the nanosecond. */
export class Timestamp {
    constructor(seconds: number, nanoseconds?: number);
    static fromDate(date: Date): Timestamp;
    readonly seconds: number;
    readonly nanoseconds: number;
    toDate(): Date;
    toString(): string;
    toJSON(): string;
}

export type Code =
    | 'invalid_request' | 'unknown_method' | 'unknown_resource' | 'unknown_field'
    | 'unknown_relationship' | 'invalid_value' | 'invalid_filter' | 'not_found' | 'conflict'
    | 'forbidden' | 'unauthenticated' | 'timeout' | 'unavailable' | 'loader_failed' | 'too_large'
    | 'overloaded' | 'internal';

export const CODES: readonly Code[];

export interface ErrorDetails {
    resource?: string;
    field?: string;
    relationship?: string;
    key?: unknown;
    index?: number;
    position?: number;
    path?: string;
    limit?: string;
    /** "unknown": a write may have been done. */
    outcome?: 'unknown';
    [name: string]: unknown;
}

export class RelataError extends Error {
    constructor(code: Code, message: string, details?: ErrorDetails, options?: { cause?: unknown });
    readonly code: Code;
    readonly details: ErrorDetails;
}

// --- Schemas -----------------------------------------------------------------
// `relata types --ts` writes an interface of such resources. Without one,
// everything is allowed and what comes is `any`.

export interface Relationship {
    destination: string;
    many: boolean;
}

export interface Resource {
    /** As it is read; nil is null. */
    record: object;
    /** As it is created: what is required, and what may be left out. */
    create: object;
    /** The names of the primary key's fields. */
    primaryKey: string;
    key: unknown;
    relationships: Record<string, Relationship>;
}

export type AnySchema = any;

type ResourceName<S> = keyof S & string;
type RecordOf<S, R extends ResourceName<S>> = S[R] extends { record: infer T } ? T : any;
type CreateOf<S, R extends ResourceName<S>> = S[R] extends { create: infer T } ? T : any;
type ChangesOf<S, R extends ResourceName<S>> = Partial<RecordOf<S, R>>;
type PrimaryKeyOf<S, R extends ResourceName<S>> = S[R] extends { primaryKey: infer T } ? T : string;
/** Composite keys also as a map of their fields. */
type KeyOf<S, R extends ResourceName<S>> = S[R] extends { key: infer K }
    ? K extends readonly unknown[] ? K | Pick<RecordOf<S, R>, PrimaryKeyOf<S, R> & keyof RecordOf<S, R>> : K
    : any;
/** What a loader takes: a key, or a record with at least its key. */
type SourceOf<S, R extends ResourceName<S>> = KeyOf<S, R>
    | Pick<RecordOf<S, R>, PrimaryKeyOf<S, R> & keyof RecordOf<S, R>>;
type RelationshipsOf<S, R extends ResourceName<S>> = S[R] extends { relationships: infer T } ? T : any;
type RelationshipName<S, R extends ResourceName<S>> = keyof RelationshipsOf<S, R> & string;
type DestinationOf<S, R extends ResourceName<S>, N extends RelationshipName<S, R>> =
    RelationshipsOf<S, R>[N] extends { destination: infer D extends ResourceName<S> } ? D : any;
type IsAny<T> = 0 extends 1 & T ? true : false;

/** A filter: text with params, or a map. */
export type Filter = string | { [name: string]: unknown };
type Sort<F> = string | readonly (string & (F extends string ? F | `-${F}` | `+${F}` : string) | (string & {}))[];

export interface Query<S = AnySchema, R extends ResourceName<S> = any> {
    filter?: Filter;
    params?: { [name: string]: unknown };
    sort?: Sort<keyof RecordOf<S, R>>;
    limit?: number | null;
    offset?: number;
    select?: readonly (keyof RecordOf<S, R> & string)[];
    load?: Loads<S, R>;
}

export interface LoadQuery<S = AnySchema, R extends ResourceName<S> = any> extends Query<S, R> {
    /** Another name in the record than the relationship's. */
    as?: string;
}

type LoadMap<S, R extends ResourceName<S>> = {
    [N in RelationshipName<S, R>]?: LoadQuery<S, DestinationOf<S, R, N>> | null;
};

/** A relationship, a list of relationships and maps, or a map of relationships to queries. */
export type Loads<S = AnySchema, R extends ResourceName<S> = any> =
    | RelationshipName<S, R>
    | LoadMap<S, R>
    | readonly (RelationshipName<S, R> | LoadMap<S, R>)[];

type Simplify<T> = { [N in keyof T]: T[N] };
type UnionToIntersection<U> =
    (U extends unknown ? (value: U) => void : never) extends (value: infer I) => void ? I : never;

/** The record as `select` and `load` of a query make it. */
export type Shaped<S, R extends ResourceName<S>, Q> = IsAny<S> extends true ? any
    : Simplify<Selected<S, R, Q> & Loaded<S, R, Q extends { load: infer L } ? L : never>>;

type Selected<S, R extends ResourceName<S>, Q> =
    Q extends { select: readonly (infer F)[] }
        ? Pick<RecordOf<S, R>, (F | PrimaryKeyOf<S, R>) & keyof RecordOf<S, R>>
        : RecordOf<S, R>;

/** What is related, for a query of its own. */
export type Related<S, R extends ResourceName<S>, N, Q> = IsAny<S> extends true ? any
    : N extends RelationshipName<S, R>
        ? RelationshipsOf<S, R>[N] extends { many: true }
            ? Shaped<S, DestinationOf<S, R, N>, Q>[]
            : Shaped<S, DestinationOf<S, R, N>, Q> | null
        : never;

type Loaded<S, R extends ResourceName<S>, L> = [L] extends [never] ? unknown
    : L extends string ? { [N in L]: Related<S, R, N, {}> }
        : L extends readonly (infer E)[] ? UnionToIntersection<E extends unknown ? Loaded<S, R, E> : never>
            : { [N in keyof L & string as L[N] extends { as: infer A extends string } ? A : N]:
                Related<S, R, N, L[N]> };

// --- Options -----------------------------------------------------------------

export interface Context {
    /** Facts about who asks, for `actor.field` in filters and policies. */
    actor?: { [name: string]: unknown };
    tenant?: unknown;
    authorize?: boolean;
}

export interface How {
    /** Milliseconds; the daemon is told too. */
    timeout?: number;
    signal?: AbortSignal;
}

export interface CallOptions extends Context, How {}

export interface ReadOptions extends CallOptions {
    fresh?: boolean;
}

export interface GetOptions<S, R extends ResourceName<S>> extends ReadOptions {
    select?: readonly (keyof RecordOf<S, R> & string)[];
    load?: Loads<S, R>;
    identity?: string;
}

export interface LoadOptions<S, R extends ResourceName<S>, N extends RelationshipName<S, R>> extends ReadOptions {
    query?: LoadQuery<S, DestinationOf<S, R, N>>;
}

export interface WriteOptions<S, R extends ResourceName<S>> extends CallOptions {
    select?: readonly (keyof RecordOf<S, R> & string)[];
}

export interface ConditionalOptions<S, R extends ResourceName<S>> extends WriteOptions<S, R> {
    /** A filter on the stored record; where it is not true, `conflict`. */
    if?: Filter;
    params?: { [name: string]: unknown };
}

// --- What can be asked -------------------------------------------------------

export interface Reads<S = AnySchema> {
    get<R extends ResourceName<S>, const O extends GetOptions<S, R> = {}>(
        resource: R, key: O extends { identity: string } ? unknown : KeyOf<S, R>, options?: O,
    ): Promise<Shaped<S, R, O> | null>;
    getMany<R extends ResourceName<S>, const O extends GetOptions<S, R> = {}>(
        resource: R, keys: readonly (O extends { identity: string } ? unknown : KeyOf<S, R>)[], options?: O,
    ): Promise<(Shaped<S, R, O> | null)[]>;
    read<R extends ResourceName<S>, const Q extends Query<S, R> = {}>(
        resource: R, query?: Q, options?: ReadOptions,
    ): Promise<Shaped<S, R, Q>[]>;
    count<R extends ResourceName<S>>(
        resource: R, query?: Query<S, R>, options?: ReadOptions,
    ): Promise<number>;
}

export interface Loading<S = AnySchema> {
    /** What is related to each source: for one name itself, else an object of them. */
    load<R extends ResourceName<S>, const N extends RelationshipName<S, R>,
        const O extends LoadOptions<S, R, N> = {}>(
        resource: R, keys: readonly KeyOf<S, R>[], relationship: N, options?: O,
    ): Promise<(Related<S, R, N, O extends { query: infer Q } ? Q : {}> | null)[]>;
    load<R extends ResourceName<S>, const L extends Exclude<Loads<S, R>, string>>(
        resource: R, keys: readonly KeyOf<S, R>[], loads: L, options?: ReadOptions,
    ): Promise<((IsAny<S> extends true ? any : Simplify<Loaded<S, R, L>>) | null)[]>;
}

export interface Writes<S = AnySchema> {
    create<R extends ResourceName<S>, const O extends WriteOptions<S, R> = {}>(
        resource: R, record: CreateOf<S, R>, options?: O): Promise<Shaped<S, R, O>>;
    upsert<R extends ResourceName<S>, const O extends ConditionalOptions<S, R> & { identity?: string } = {}>(
        resource: R, record: ChangesOf<S, R>, options?: O): Promise<Shaped<S, R, O>>;
    update<R extends ResourceName<S>, const O extends ConditionalOptions<S, R> = {}>(
        resource: R, key: KeyOf<S, R>, changes: ChangesOf<S, R>, options?: O): Promise<Shaped<S, R, O>>;
    destroy<R extends ResourceName<S>>(
        resource: R, key: KeyOf<S, R>, options?: ConditionalOptions<S, R>): Promise<true>;
    createMany<R extends ResourceName<S>>(
        resource: R, records: readonly CreateOf<S, R>[], options?: CallOptions): Promise<number>;
    upsertMany<R extends ResourceName<S>>(
        resource: R, records: readonly ChangesOf<S, R>[], options?: CallOptions & { identity?: string },
    ): Promise<number>;
    destroyMany<R extends ResourceName<S>>(
        resource: R, keys: readonly KeyOf<S, R>[], options?: CallOptions): Promise<number>;
    /** A resource, or `resource.relationship`. Answers how many cached entries were dropped. */
    invalidate(name: ResourceName<S> | Path<S>, keys?: readonly unknown[] | null,
        options?: CallOptions): Promise<number>;
}

/** `resource.relationship` */
export type Path<S> = IsAny<S> extends true ? string
    : { [R in ResourceName<S>]: `${R}.${RelationshipName<S, R>}` }[ResourceName<S>];

type SourceOfPath<S, P> = IsAny<S> extends true ? any
    : P extends `${infer R extends ResourceName<S>}.${string}` ? SourceOf<S, R>
        : P extends ResourceName<S> ? SourceOf<S, P> : never;
type QueryOfPath<S, P> = IsAny<S> extends true ? LoadQuery
    : P extends `${infer R extends ResourceName<S>}.${infer N}`
        ? N extends RelationshipName<S, R> ? Query<S, DestinationOf<S, R, N>> : never : never;
type ValueOfPath<S, P, Q> = IsAny<S> extends true ? any
    : P extends `${infer R extends ResourceName<S>}.${infer N}` ? Related<S, R, N, Q> | null
        : P extends ResourceName<S> ? Shaped<S, P, Q> | null : never;

// --- Loaders -----------------------------------------------------------------

/** The face of DataLoader. */
export interface Loader<K, V> {
    load(key: K): Promise<V>;
    loadMany(keys: ArrayLike<K>): Promise<(V | Error)[]>;
    clear(key: K): this;
    clearAll(): this;
    prime(key: K, value: V | PromiseLike<V> | Error): this;
    name: string | null;
}

export interface DataLoaderOptions<K = any> {
    batch?: boolean;
    /** 10,000 unless it is given. */
    maxBatchSize?: number;
    batchScheduleFn?: (callback: () => void) => void;
    cache?: boolean;
    cacheKeyFn?: (key: K) => unknown;
    cacheMap?: {
        get(key: any): Promise<any> | void;
        set(key: any, value: Promise<any>): any;
        delete(key: any): any;
        clear(): any;
    } | null;
    name?: string | null;
}

export interface Loaders<S, C = {}> {
    loader<const P extends Path<S>, const Q extends QueryOfPath<S, P> = {} & QueryOfPath<S, P>>(
        relationship: P, options?: { query?: Q; fresh?: boolean } & C & DataLoaderOptions,
    ): Loader<SourceOfPath<S, P>, ValueOfPath<S, P, Q>>;
    loader<R extends ResourceName<S>, const O extends GetOptions<S, R> = {}>(
        resource: R, options?: O & C & DataLoaderOptions,
    ): Loader<SourceOf<S, R>, Shaped<S, R, O> | null>;
}

// --- For one web request -----------------------------------------------------

export interface Request<S = AnySchema> extends Reads<S>, Writes<S>, Loaders<S> {
    /** What is related to one source; remembered for the request. */
    load<const P extends Path<S>, const Q extends QueryOfPath<S, P> = {} & QueryOfPath<S, P>>(
        relationship: P, source: SourceOfPath<S, P>, query?: Q): Promise<ValueOfPath<S, P, Q>>;
    loadMany<const P extends Path<S>, const Q extends QueryOfPath<S, P> = {} & QueryOfPath<S, P>>(
        relationship: P, sources: readonly SourceOfPath<S, P>[], query?: Q): Promise<ValueOfPath<S, P, Q>[]>;
    /** Forgets everything. */
    clear(): this;
}

// --- Providers ---------------------------------------------------------------

export interface BatchContext<S = AnySchema> extends Reads<S>, Loading<S> {
    /** Reads on behalf of the batch, as the context itself does. */
    readonly client: BatchContext<S>;
    readonly resource: string;
    readonly relationship: string;
    /** What the answer may honour; the daemon does in any case. */
    readonly query: Query;
    readonly actor?: { [name: string]: unknown };
    readonly tenant?: unknown;
    readonly authorize?: boolean;
    readonly timeoutMs?: number;
    readonly batch?: number;
}

type AnswerOf<T> = T | readonly T[] | Error | null | undefined;

/** A list in the order of the records, or a map by the records' primary key. */
export type ProviderAnswer<T = any> =
    | readonly AnswerOf<T>[] | Map<any, AnswerOf<T>> | { [key: string]: AnswerOf<T> };

type SourceRecord<S, P> = IsAny<S> extends true ? any
    : P extends `${infer R extends ResourceName<S>}.${string}` ? RecordOf<S, R> : never;

export type Provider<S = AnySchema, P = string> = (
    records: SourceRecord<S, P>[],
    about: { options: { [name: string]: any }; context: BatchContext<S>; signal: AbortSignal },
) => ProviderAnswer | Promise<ProviderAnswer>;

export interface Registration {
    readonly name: string;
    unprovide(): Promise<void>;
}

/** Lists by a field, by several (composite keys), or by what a function answers. */
export function groupBy<T, K extends keyof T>(items: Iterable<T>, by: K): Map<T[K], T[]>;
export function groupBy<T>(items: Iterable<T>, by: readonly (keyof T)[]): Map<unknown[], T[]>;
export function groupBy<T, K>(items: Iterable<T>, by: (item: T) => K): Map<K, T[]>;

// --- The client --------------------------------------------------------------

export interface Greeting {
    server: string;
    version: string;
    protocol: number;
    resources: string[];
    limits: { [name: string]: number };
}

export interface Options {
    /** How the client calls itself. */
    name?: string;
    token?: string;
    /** What integers are. Beyond 2^53 numbers are an error. */
    integers?: 'number' | 'bigint';
    /** What datetimes are: Date, or Timestamp. */
    datetimes?: 'date' | 'exact';
    /** Milliseconds that a call may take, unless it says so itself; 0 is no limit. */
    timeout?: number;
    connectTimeout?: number;
    /** Milliseconds that calls wait for a daemon that is not there. */
    offlineTimeout?: number;
    /** Milliseconds between attempts to connect, doubling from min to max. */
    reconnect?: { min?: number; max?: number };
}

export interface Events {
    connect: [greeting: Greeting];
    disconnect: [error: RelataError];
    error: [error: RelataError];
}

export interface Emitter {
    on<E extends keyof Events>(event: E, listener: (...args: Events[E]) => void): unknown;
    once<E extends keyof Events>(event: E, listener: (...args: Events[E]) => void): unknown;
    off<E extends keyof Events>(event: E, listener: (...args: Events[E]) => void): unknown;
}

export class Client<S = AnySchema> {
    private constructor();
    readonly address: string;
    readonly events: Emitter;
    /** Connects now, instead of with the first call. */
    connect(): Promise<Greeting>;
    /** Any method, with its parameters as they are on the wire. */
    call(method: string, params?: readonly unknown[], how?: How): Promise<any>;
    ping(how?: How): Promise<'pong'>;
    stats(how?: How): Promise<any>;
    schema(how?: How): Promise<any>;
    /** For one web request: what it loads is remembered. */
    request(context?: Context): Request<S>;
    /** Answers the loads of a relationship from now on. */
    provide<const P extends Path<S>>(
        relationship: P, answer: Provider<S, P>, limits?: { maxSize?: number; maxInFlight?: number },
    ): Promise<Registration>;
    /** Takes no more calls, lets those under way be answered, and ends. */
    close(options?: { timeout?: number }): Promise<void>;
    /** Ends at once: what is under way is rejected. */
    terminate(): void;
}

export interface Client<S = AnySchema> extends Reads<S>, Loading<S>, Writes<S>, Loaders<S, CallOptions> {}

/**
 * A client; it connects with its first call.
 * @param address `unix:PATH` or `tcp:HOST:PORT`; else RELATA_ADDRESS, else
 *   unix:/run/relata/relata.sock
 */
export function connect<S = AnySchema>(address?: string, options?: Options): Client<S>;
export function connect<S = AnySchema>(options: Options): Client<S>;
