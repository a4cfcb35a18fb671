// Where messages end in a stream of bytes. Each MessagePack value is walked by
// its headers alone; nothing is decoded. What is incomplete is kept and the
// walk goes on where it stood, so a large message costs its size, once.

const FRAME_BYTES_MAX = 0x40000000; // as much as a daemon can be told to answer

// For 0xc0 to 0xdf: how many bytes of header follow the first, how many bytes
// of payload, and whether these header bytes are a length (of bytes or items).
const NONE = 0, BYTES = 1, ITEMS = 2, PAIRS = 3, EXT = 4;
const SHAPES = [
    [0, 0, NONE], null, [0, 0, NONE], [0, 0, NONE], // nil, unused, false, true
    [1, 0, BYTES], [2, 0, BYTES], [4, 0, BYTES], // bin
    [1, 1, EXT], [2, 1, EXT], [4, 1, EXT], // ext: a byte for its type
    [0, 4, NONE], [0, 8, NONE], // floats
    [0, 1, NONE], [0, 2, NONE], [0, 4, NONE], [0, 8, NONE], // uints
    [0, 1, NONE], [0, 2, NONE], [0, 4, NONE], [0, 8, NONE], // ints
    [0, 2, NONE], [0, 3, NONE], [0, 5, NONE], [0, 9, NONE], [0, 17, NONE], // fixext
    [1, 0, BYTES], [2, 0, BYTES], [4, 0, BYTES], // str
    [2, 0, ITEMS], [4, 0, ITEMS], [2, 0, PAIRS], [4, 0, PAIRS],
];

const EMPTY = Buffer.alloc(0);

export class Framer {
    #kept = EMPTY; // what came of a message that is not complete
    #end = 0; // bytes that are good in it
    #at = 0; // where the walk stands
    #values = 1; // values that are still to be walked past

    /** Calls `take` with each message that is complete; throws what is no MessagePack. */
    push(chunk, take) {
        const carried = this.#end > 0;
        const bytes = carried ? this.#keep(chunk) : chunk;
        const end = carried ? this.#end : chunk.length;
        let start = 0;
        while (this.#walk(bytes, end)) {
            // What is taken must outlive the kept bytes, which are used again.
            const message = bytes.subarray(start, this.#at);
            start = this.#at;
            this.#values = 1;
            take(message);
        }
        if (this.#at - start > FRAME_BYTES_MAX) throw new RangeError('a message is too large');
        this.#at -= start;
        if (carried) {
            bytes.copyWithin(0, start, end);
            this.#end = end - start;
        } else if (start < end) {
            this.#end = 0;
            this.#keep(chunk.subarray(start));
        }
        if (this.#end === 0) this.#kept = EMPTY;
    }

    #keep(chunk) {
        const needed = this.#end + chunk.length;
        if (needed > this.#kept.length) {
            const larger = Buffer.allocUnsafeSlow(Math.max(needed, 2 * this.#kept.length));
            this.#kept.copy(larger, 0, 0, this.#end);
            this.#kept = larger;
        }
        chunk.copy(this.#kept, this.#end);
        this.#end = needed;
        return this.#kept;
    }

    /** Whether a whole message ends at #at. */
    #walk(bytes, end) {
        while (this.#values > 0) {
            if (this.#at >= end) return false;
            const head = bytes[this.#at];
            if (head < 0xc0 || head > 0xdf) {
                this.#walkShort(head);
                continue;
            }
            const shape = SHAPES[head - 0xc0];
            if (shape === null) throw new RangeError('what came is no MessagePack');
            const [lengthBytes, payload, kind] = shape;
            if (this.#at + 1 + lengthBytes > end) return false;
            const length = lengthBytes === 0 ? 0 : bytes.readUIntBE(this.#at + 1, lengthBytes);
            const inBytes = kind === BYTES || kind === EXT ? length : 0;
            this.#at += 1 + lengthBytes + payload + inBytes;
            this.#values += -1 + (kind === ITEMS ? length : kind === PAIRS ? 2 * length : 0);
        }
        return this.#at <= end;
    }

    #walkShort(head) {
        this.#at += 1;
        this.#values -= 1;
        if (head >= 0x80 && head < 0x90) this.#values += 2 * (head - 0x80);
        else if (head >= 0x90 && head < 0xa0) this.#values += head - 0x90;
        else if (head >= 0xa0 && head < 0xc0) this.#at += head - 0xa0;
    }
}
