// A Backstage backend in a process of its own, and the HTTP that its users and other services speak to it.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { Child, freePort } from './process.js';

const DIRECTORY = fileURLToPath(new URL('../backend', import.meta.url));

/** What an external service shows to be let in. */
const TOKEN = 'the-token-of-the-tests';

/** The longest that an answer may take; a request that takes longer is stuck. */
const ANSWER_LIMIT_MILLIS = 30_000;

const START_LIMIT_MILLIS = 60_000;

/** A running backend. */
export class Backend {
  #directory = mkdtempSync(join(tmpdir(), 'greenroom-backend-'));
  #arguments;
  #env;
  #child;

  /**
   * Starts a backend that reads its own settings and then `configs`: paths of files, or what is to stand in one. Without
   * `keepalive` nothing is asked of a database only to keep a connection of each plugin's pool in use.
   */
  static async start({ configs, padding = 0, keepalive = true }) {
    const backend = new Backend();
    try {
      backend.port = await freePort();
      backend.url = `http://127.0.0.1:${backend.port}`;
      const files = [ownConfig(backend), ...configs].map((config, i) => backend.#file(config, i));
      backend.#arguments = [join(DIRECTORY, 'index.js'), ...files.flatMap(file => ['--config', file])];
      backend.#env = { ...environment(), PADDING_PLUGINS: String(padding), ...(!keepalive && { NODE_ENV: 'test' }) };
      await backend.up();
    } catch (error) {
      await backend.stop();
      throw error;
    }
    return backend;
  }

  /** Starts the process, for the first time or again, and waits until it says that it is ready. */
  async up() {
    // Backstage looks for the packages of its repository from here on upwards.
    this.#child = new Child(process.execPath, this.#arguments, { cwd: DIRECTORY, env: this.#env });
    try {
      await this.#child.until(async () => this.get('/.backstage/health/v1/readiness'), START_LIMIT_MILLIS);
    } catch (error) {
      throw new Error(`the backend does not start: ${error.message}\n${this.said}`);
    }
  }

  /** Ends the process: SIGTERM as a deployment does, SIGKILL as a machine does that runs out of memory. */
  async down(signal) {
    const child = this.#child;
    this.#child = undefined;
    return child?.end(signal);
  }

  async stop() {
    try {
      await this.down('SIGKILL');
    } finally {
      rmSync(this.#directory, { recursive: true, force: true });
    }
  }

  /** What it logged last. */
  get said() {
    return this.#child?.said ?? '';
  }

  /** GETs as an external service. */
  async get(path) {
    return this.#answer('GET', path, TOKEN);
  }

  /** POSTs as an external service. */
  async post(path, body) {
    return this.#answer('POST', path, TOKEN, body);
  }

  /** PUTs as an external service. */
  async put(path, body) {
    return this.#answer('PUT', path, TOKEN, body);
  }

  /** GETs what has begun to answer but has not said all; `end` is when it has. */
  async poll(path) {
    const answer = await this.#ask('GET', path, TOKEN);
    return { status: answer.status, end: answer.text() };
  }

  /** Signs a user in and returns the token for `asUser`. */
  async signIn() {
    const { backstageIdentity } = await this.#answer('GET', '/api/auth/guest/refresh');
    return backstageIdentity.token;
  }

  /** Asks as the user of a token. */
  async asUser(token, method, path, body) {
    return this.#answer(method, path, token, body);
  }

  async #answer(method, path, token, body) {
    const answer = await this.#ask(method, path, token, body);
    const text = await answer.text();
    if (!answer.ok) {
      throw new Error(`${method} ${path} answered ${answer.status}: ${text}`);
    }
    return answer.headers.get('content-type')?.includes('json') ? JSON.parse(text) : text;
  }

  async #ask(method, path, token, body) {
    return fetch(this.url + path, {
      method,
      headers: {
        ...(token && { authorization: `Bearer ${token}` }),
        ...(body !== undefined && { 'content-type': 'application/json' }),
      },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(ANSWER_LIMIT_MILLIS),
    });
  }

  #file(config, i) {
    if (typeof config === 'string') {
      return config;
    }
    const file = join(this.#directory, `app-config.${i}.yaml`);
    // JSON is YAML, and quotes itself.
    writeFileSync(file, JSON.stringify(config), { mode: 0o600 });
    return file;
  }
}

/** Everything but the database. What Backstage does by the minute is done by the second. */
function ownConfig({ url, port }) {
  return {
    app: { title: 'Backstage', baseUrl: url, packageName: join(DIRECTORY, 'app') },
    organization: { name: 'The tests' },
    backend: {
      baseUrl: url,
      listen: `127.0.0.1:${port}`,
      auth: { externalAccess: [{ type: 'static', options: { token: TOKEN, subject: 'tests' } }] },
      // Where the catalog may read from: the backend's own static files.
      reading: { allow: [{ host: `127.0.0.1:${port}` }] },
      // A line for every request would hide what a failing test wants to show.
      logger: { overrides: [{ matchers: { service: 'rootHttpRouter' }, level: 'warn' }] },
    },
    auth: { providers: { guest: { dangerouslyAllowOutsideDevelopment: true, userEntityRef: 'user:default/guest' } } },
    proxy: { endpoints: { '/health': { target: `${url}/.backstage/health/v1`, credentials: 'dangerously-allow-unauthenticated' } } },
    catalog: { rules: [{ allow: ['Component', 'Location', 'Template', 'User'] }], processingInterval: { seconds: 30 } },
    search: { collators: { catalog: { schedule: { frequency: { seconds: 3 }, timeout: { minutes: 1 }, initialDelay: { seconds: 1 } } } } },
  };
}

/** The environment of a backend in production; settings of ours are not meant for it. */
function environment() {
  const foreign = /^(PG|APP_CONFIG_|BACKSTAGE_|LOG_LEVEL|NODE_TEST)/;
  const env = Object.entries(process.env).filter(([name]) => !foreign.test(name));
  return { ...Object.fromEntries(env), NODE_ENV: 'production' };
}
