// The greenroom under test: the real program with a configuration file, on ports of its own.

import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { Child, freePort } from './process.js';

const BUILT = fileURLToPath(new URL('../../../target/debug/greenroom', import.meta.url));
/** The program under test. */
export const PROGRAM = process.env.GREENROOM ?? BUILT;

/** A running greenroom. */
export class Greenroom {
  #directory = mkdtempSync(join(tmpdir(), 'greenroom-config-'));
  #child;

  /**
   * Starts `greenroom serve`; `backstage` are more keys of `backend.database`, `settings` of `greenroom`, by name.
   */
  static async start({ postgres, login, database, maxServerConnections, backstage = {}, settings = {} }) {
    const greenroom = new Greenroom();
    greenroom.port = await freePort();
    greenroom.#httpPort = await freePort();
    greenroom.#configure({
      backend: {
        database: { client: 'pg', connection: { host: '127.0.0.1', port: postgres.port, ...login, database }, ...backstage },
      },
      greenroom: {
        listen: [{ host: '127.0.0.1', port: greenroom.port }],
        http: { host: '127.0.0.1', port: greenroom.#httpPort },
        division: 'schema',
        maxServerConnections,
        ...settings,
      },
    });
    try {
      await greenroom.up();
    } catch (error) {
      rmSync(greenroom.#directory, { recursive: true, force: true });
      throw error;
    }
    return greenroom;
  }

  #httpPort;

  /** The file that it reads. It is a Backstage's as well: greenroom's own key means nothing to Backstage. */
  get configFile() {
    return join(this.#directory, 'app-config.yaml');
  }

  /** The file that lies over that one for Backstage alone, and has it come here instead of to PostgreSQL: what the program prints. */
  get overlay() {
    const file = join(this.#directory, 'app-config.greenroom.yaml');
    writeFileSync(file, execFileSync(PROGRAM, ['overlay', '--config', this.configFile], { timeout: 20_000 }));
    return file;
  }

  /** Starts the program, for the first time or again with the same configuration and ports. */
  async up() {
    this.#child = new Child(PROGRAM, ['serve', '--config', this.configFile]);
    await this.#child.until(async () => this.#get('/readyz'));
  }

  /** Ends the program and tells how it ended; SIGTERM drains it. */
  async down(signal = 'SIGTERM', limitMillis = 40_000) {
    const child = this.#child;
    this.#child = undefined;
    return child?.end(signal, limitMillis);
  }

  async stop() {
    try {
      const ended = await this.down();
      if (ended && ended.code !== 0) {
        throw new Error(`greenroom did not end well: ${JSON.stringify(ended)}`);
      }
    } finally {
      rmSync(this.#directory, { recursive: true, force: true });
    }
  }

  /** What greenroom logged last, for the message of a failure. */
  get said() {
    return this.#child?.said ?? '';
  }

  /** Why sessions of a plugin kept their server beyond a transaction, and how often. */
  async pins(plugin) {
    return (await this.#allPins())[plugin] ?? {};
  }

  /** Why sessions kept their server, by plugin. */
  async pinReasons() {
    return Object.fromEntries(Object.entries(await this.#allPins()).map(([plugin, pins]) => [plugin, Object.keys(pins).sort()]));
  }

  async #allPins() {
    const pins = {};
    for (const [, labels, count] of (await this.#get('/metrics')).matchAll(/^greenroom_pins_total\{(.*)\} (\d+)$/gm)) {
      const [plugin, reason] = ['plugin', 'reason'].map(label => new RegExp(`${label}="([^"]*)"`).exec(labels)[1]);
      (pins[plugin] ??= {})[reason] = Number(count);
    }
    return pins;
  }

  async #get(path) {
    const answer = await fetch(`http://127.0.0.1:${this.#httpPort}${path}`, { signal: AbortSignal.timeout(5_000) });
    const body = await answer.text();
    if (!answer.ok) {
      throw new Error(`${path} answered ${answer.status}: ${body}`);
    }
    return body;
  }

  #configure(config) {
    // JSON is YAML, and quotes itself.
    writeFileSync(this.configFile, JSON.stringify(config), { mode: 0o600 });
  }
}
