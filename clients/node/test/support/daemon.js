// A relatad of a test's own, in a folder of its own.

import { spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { once } from 'node:events';

const RELATAD = process.env.RELATAD;
export const withoutDaemon = RELATAD ? false : 'RELATAD does not name a daemon';

export const HELPDESK = `
version: 1
resources:
  representative:
    fields:
      id: integer
      name: {type: string, required: true}
      email: string
      priority_threshold: {type: integer, default: 5}
    identities:
      email: [email]
    relationships:
      tickets: {has_many: ticket}
      latest_ticket: {has_one: ticket, sort: -created_at}
      tickets_above_threshold:
        has_many: ticket
        manual:
          filter: representative_id == parent.id and priority > parent.priority_threshold
        sort: -priority
  ticket:
    fields:
      id: integer
      subject: {type: string, required: true}
      status: {type: {enum: [open, waiting, closed]}, default: open}
      priority: {type: integer, default: 3}
      rating: float
      representative_id: integer
      created_at: datetime
      picture: binary
      details: any
    relationships:
      representative: {belongs_to: representative}
  rating:
    primary_key: [representative_id, ticket_id]
    fields:
      representative_id: integer
      ticket_id: integer
      stars: integer
    relationships:
      representative: {belongs_to: representative}
`;

export class Daemon {
    constructor(folder) {
        this.folder = folder;
        this.address = `unix:${join(folder, 'relata.sock')}`;
    }

    static async start(t, schema = HELPDESK) {
        const daemon = new Daemon(await mkdtemp(join(tmpdir(), 'relata-node-')));
        await writeFile(join(daemon.folder, 'schema.yaml'), schema);
        t.after(async () => {
            await daemon.stop();
            await rm(daemon.folder, { recursive: true });
        });
        await daemon.start();
        return daemon;
    }

    async start() {
        this.log = '';
        this.process = spawn(RELATAD,
            ['--schema', join(this.folder, 'schema.yaml'), '--listen', this.address],
            { stdio: ['ignore', 'ignore', 'pipe'] });
        this.ended = once(this.process, 'exit');
        const ready = new Promise((resolve) => {
            this.process.stderr.on('data', (text) => {
                this.log += text;
                if (this.log.includes('event=ready')) resolve();
            });
        });
        await Promise.race([ready, this.ended.then(() => {
            throw new Error(`relatad did not start:\n${this.log}`);
        })]);
    }

    async stop(signal = 'SIGTERM') {
        if (this.process.exitCode === null && this.process.signalCode === null) {
            this.process.kill(signal);
        }
        await this.ended;
    }
}
