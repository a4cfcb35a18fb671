// What the types know and refuse stands in types/sample.ts; here it is checked.

import { test } from 'node:test';
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as relata from 'relata';

const root = dirname(dirname(fileURLToPath(import.meta.url)));

test('the types are what the sample says', () => {
    const tsc = createRequire(import.meta.url).resolve('typescript/bin/tsc');
    const { status, stdout } = spawnSync(process.execPath, [tsc, '--noEmit', '-p', root],
        { encoding: 'utf8' });
    assert.equal(status, 0, stdout);
});

test('what the package exports is declared', () => {
    assert.deepEqual(Object.keys(relata).sort(),
        ['CODES', 'Client', 'RelataError', 'Timestamp', 'connect', 'groupBy']);
});
