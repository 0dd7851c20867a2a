// A private PostgreSQL server, gone when the test file is done with it.

import { execFileSync } from 'node:child_process';
import { chownSync, existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import pg from 'pg';

import { Child, freePort } from './process.js';

const SUPERUSER = { user: 'postgres', password: 'the superuser of the tests' };

const SETTINGS = {
  listen_addresses: '127.0.0.1',
  unix_socket_directories: '',
  max_connections: 60,
  fsync: 'off',
  full_page_writes: 'off',
  synchronous_commit: 'off',
  autovacuum: 'off',
  log_checkpoints: 'off',
};

/** A PostgreSQL server of its own cluster and port. */
export class Postgres {
  #bin = findPrograms();
  #account = unprivilegedAccount();
  #settings;
  #directory;
  #server;
  #superuser;

  /** Starts a server; `settings` are laid over those of the tests. */
  static async start(settings = {}) {
    const postgres = new Postgres();
    postgres.#settings = { ...SETTINGS, ...settings };
    postgres.port = await freePort();
    try {
      postgres.#initialise();
      await postgres.up();
    } catch (error) {
      await postgres.stop();
      throw error;
    }
    return postgres;
  }

  /** Starts the server, for the first time or again on the same port. */
  async up() {
    const settings = Object.entries(this.#settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
    const args = ['-D', join(this.#directory, 'data'), '-p', this.port, ...settings];
    // SIGQUIT is the server's immediate shutdown: SIGKILL would leave its children behind.
    this.#server = new Child(join(this.#bin, 'postgres'), args, { signalAtOnce: 'SIGQUIT', ...this.#account });
    await this.#server.until(async () => this.query('select 1'));
  }

  /** Ends the server as an operator's fast restart does: clients are told 57P01. */
  async down() {
    await this.#superuser?.end().catch(() => {});
    this.#superuser = undefined;
    await this.#server?.end('SIGINT');
    this.#server = undefined;
  }

  async stop() {
    try {
      await this.down();
    } finally {
      rmSync(this.#directory, { recursive: true, force: true });
    }
  }

  /** The end of its log. */
  get said() {
    return this.#server?.said ?? '';
  }

  /** How the superuser connects. */
  get superuser() {
    return { host: '127.0.0.1', port: this.port, database: 'postgres', ...SUPERUSER };
  }

  /** Runs SQL as the superuser, directly, and returns the rows. */
  async query(sql, values) {
    const client = await this.#asSuperuser();
    return (await client.query(sql, values)).rows;
  }

  /** Runs SQL as the superuser in one database. */
  async queryIn(database, sql) {
    const client = new pg.Client({ ...this.superuser, database });
    await client.connect();
    try {
      return (await client.query(sql)).rows;
    } finally {
      await client.end();
    }
  }

  async #asSuperuser() {
    if (!this.#superuser) {
      const client = new pg.Client(this.superuser);
      client.on('error', () => {});
      await client.connect();
      this.#superuser = client;
    }
    return this.#superuser;
  }

  #initialise() {
    this.#directory = mkdtempSync(join(tmpdir(), 'greenroom-backstage-'));
    const passwordFile = join(this.#directory, 'password');
    writeFileSync(passwordFile, SUPERUSER.password, { mode: 0o600 });
    if (this.#account.uid !== undefined) {
      for (const path of [this.#directory, passwordFile]) {
        chownSync(path, this.#account.uid, this.#account.gid);
      }
    }
    const data = ['--pgdata', join(this.#directory, 'data'), '--no-sync', '--encoding=UTF8', '--locale=C'];
    const login = ['--username', SUPERUSER.user, '--pwfile', passwordFile, '--auth=scram-sha-256'];
    execFileSync(join(this.#bin, 'initdb'), [...data, ...login], { stdio: 'pipe', timeout: 60_000, ...this.#account });
  }
}

/** The directory of `initdb` and `postgres`; the same places in which greenroom itself looks. */
function findPrograms() {
  const named = process.env.GREENROOM_PG_BIN;
  const places = named ? [named] : [...pgConfig(), ...debian(), ...(process.env.PATH ?? '').split(':')];
  const found = places.find(place => existsSync(join(place, 'initdb')) && existsSync(join(place, 'postgres')));
  if (!found) {
    throw new Error(`no PostgreSQL server programs in ${places.join(', ')}; GREENROOM_PG_BIN names their directory`);
  }
  return found;
}

function pgConfig() {
  try {
    return [execFileSync('pg_config', ['--bindir'], { stdio: 'pipe', encoding: 'utf8' }).trim()];
  } catch {
    return [];
  }
}

function debian() {
  const root = '/usr/lib/postgresql';
  return existsSync(root) ? readdirSync(root).map(version => join(root, version, 'bin')) : [];
}

/** Options of a child process: PostgreSQL refuses to run as root, and settings of ours are not meant for it. */
function unprivilegedAccount() {
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('PG')));
  const options = { cwd: '/', env: { ...env, LC_ALL: 'C' } };
  if (process.getuid() !== 0) {
    return options;
  }
  const user = ['postgres', 'nobody'].find(name => id('-u', name) !== undefined);
  return { ...options, uid: id('-u', user), gid: id('-g', user) };
}

function id(what, user) {
  try {
    return Number(execFileSync('id', [what, user], { stdio: 'pipe', encoding: 'utf8' }));
  } catch {
    return undefined;
  }
}
