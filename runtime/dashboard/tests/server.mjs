// A real server with two real models, and what there is to see in it.

import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { copyFileSync, linkSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

/** A name that no column is wide enough for. */
export const LONG = 'second-of-the-same-file-under-a-name-that-is-longer-than-any-column-instruct-q4_k_m-imatrix-v2.1';

/** Someone who is soon poor, machines to compare with, and an operator who pays more than before. */
const CONFIGURED = `
[tenants.anonymous]
budgets = ["100000 tokens/day", "1 USD/month"]
[tenants.poor]
budgets = ["40 tokens/day"]
[savings]
realised_per_hour = -0.02
machines_source = "a list"
[[savings.machines]]
name = "small"
memory = "8GiB"
price_per_hour = 0.05
`;

export class Server {
  #dayfly;
  #child;
  #listen = '127.0.0.1:0';
  #folder = mkdtempSync(join(tmpdir(), 'dayfly-dashboard-'));
  #environment = { ...process.env, XDG_STATE_HOME: join(this.#folder, 'state'), XDG_CONFIG_HOME: join(this.#folder, 'config') };

  constructor(dayfly) {
    this.#dayfly = dayfly;
    const pulled = JSON.parse(execFileSync(dayfly, ['pull', 'smollm2', '--json'], { encoding: 'utf8' }));
    mkdirSync(this.#in('models'));
    for (const name of ['first', LONG]) {
      const path = this.#in('models', `${name}.gguf`);
      try {
        linkSync(pulled.path, path);
      } catch {
        copyFileSync(pulled.path, path);
      }
    }
    writeFileSync(this.#in('models', 'broken.gguf'), readFileSync(pulled.path).subarray(0, 3_000_000));
    writeFileSync(this.#in('dayfly.toml'), CONFIGURED);
  }

  /** Where its pages are, the same each time that it starts. There is room for one model and its sequences. */
  async start() {
    const flags = ['--no-pull', '--listen', this.#listen, '--memory-budget', '160MB', '--ledger', this.#in('ledger.sqlite')];
    const places = ['--config', this.#in('dayfly.toml'), '--models-dir', this.#in('models')];
    const stdio = ['ignore', 'pipe', 'pipe'];
    this.#child = spawn(this.#dayfly, ['serve', ...flags, ...places], { env: this.#environment, stdio });
    this.#child.stderr.resume();
    for await (const line of createInterface({ input: this.#child.stdout })) {
      const address = /http:\/\/([0-9.:]+)/.exec(line);
      if (!address) continue;
      this.#listen = address[1];
      this.address = address[0];
      return;
    }
    throw new Error('the server told no address');
  }

  async stop() {
    const over = new Promise((resolve) => this.#child.once('exit', resolve));
    this.#child.kill();
    await over;
  }

  remove() {
    this.#child?.kill();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  #key(...flags) {
    const command = ['key', ...flags, '--ledger', this.#in('ledger.sqlite')];
    return execFileSync(this.#dayfly, command, { encoding: 'utf8', env: this.#environment });
  }

  createKey(...flags) {
    return JSON.parse(this.#key('create', '--json', ...flags));
  }

  revokeKey(id) {
    this.#key('revoke', id);
  }

  /** Asks without the page. */
  async ask(path, body) {
    const options = body ? { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) } : {};
    const response = await fetch(`${this.address}${path}`, options);
    assert.equal(response.status, 200, path);
    return response.json();
  }

  /** Something to see. */
  complete(model, words) {
    return this.ask('/v1/completions', { model, prompt: 'A mayfly '.repeat(words), max_tokens: 24 });
  }

  #in(...names) {
    return join(this.#folder, ...names);
  }
}
