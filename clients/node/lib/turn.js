// The end of a tick. What is asked for in one tick of the application, and in
// all promise jobs that it leads to, belongs together: first the batches of the
// loaders are made into calls, then all calls are written at once.

export class Turn {
    #batches = [];
    #waits = false;
    #finish;

    /** @param finish is called at the end of each turn, after its batches */
    constructor(finish) {
        this.#finish = finish;
    }

    /** Runs `batch`, if any, and then `finish`, at the end of this tick. */
    schedule(batch = undefined) {
        if (batch !== undefined) this.#batches.push(batch);
        if (this.#waits) return;
        this.#waits = true;
        // After the promise jobs that are there, and those that they add.
        Promise.resolve().then(() => process.nextTick(() => this.#run()));
    }

    #run() {
        for (let i = 0; i < this.#batches.length; i++) this.#batches[i]();
        this.#batches = [];
        this.#waits = false;
        this.#finish();
    }
}
