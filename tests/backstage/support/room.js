// Where tests happen: a PostgreSQL, a greenroom in front of it, and plugins that live on both sides.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { Greenroom } from './greenroom.js';
import { Plugin } from './plugin.js';
import { Postgres } from './postgres.js';

/** May neither create databases nor roles; owns the one database that greenroom keeps all plugins in. */
const LOGIN = { user: 'backstage', password: 'the login of all plugins' };

export const SHARED_DATABASE = 'backstage';

/** The role that a Backstage with `backend.database.role` acts as. */
export const ROLE = 'backstage_owner';

/** The ceiling of server connections. */
export const MAX_SERVER_CONNECTIONS = 12;

/** Declares the hooks that start and end a room for the tests of a file. */
export function room(settings) {
  const here = new Room(settings);
  before(async () => here.open(), { timeout: 120_000 });
  after(async () => here.close(), { timeout: 120_000 });
  return here;
}

class Room {
  #settings;
  #plugins = 0;

  constructor(settings) {
    this.#settings = settings;
  }

  async open() {
    this.postgres = await Postgres.start();
    const { user, password } = LOGIN;
    await this.postgres.query(`create role ${user} login password '${password}' nocreatedb nocreaterole nosuperuser`);
    await this.postgres.query(`create role ${ROLE} role ${user}`);
    await this.postgres.query(`create database ${SHARED_DATABASE} owner ${user}`);
    this.greenroom = await Greenroom.start({
      postgres: this.postgres,
      login: LOGIN,
      database: SHARED_DATABASE,
      maxServerConnections: MAX_SERVER_CONNECTIONS,
      settings: this.#settings,
    });
  }

  async close() {
    // A test that ran out of time may wait for ever; its file must not.
    setTimeout(() => process.exit(1), 60_000).unref();
    try {
      await this.greenroom?.stop();
    } finally {
      await this.postgres?.stop();
    }
  }

  /** The plugin's database directly: a real one of the name and schema that greenroom makes it believe in. */
  async direct(id) {
    const database = `"backstage_plugin_${id}"`;
    await this.postgres.query(`create database ${database} owner ${LOGIN.user}`);
    await this.postgres.query(`alter database ${database} set search_path to "${id}"`);
    await this.postgres.queryIn(`backstage_plugin_${id}`, `create schema "${id}" authorization ${LOGIN.user}`);
    return new Plugin({ id, port: this.postgres.port, login: LOGIN });
  }

  /** The plugin's database through greenroom, which makes it on first use. */
  through(id) {
    return new Plugin({ id, port: this.greenroom.port, login: LOGIN, greenroom: this.greenroom });
  }

  /** How many connections PostgreSQL counts for the plugins' login now. */
  async serverConnections(state = '') {
    const where = state ? `and state like '${state}%'` : '';
    const sql = `select count(*)::int as count from pg_stat_activity where usename = '${LOGIN.user}' ${where}`;
    return (await this.postgres.query(sql))[0].count;
  }

  /**
   * A test that does the same directly and through greenroom, and wants the same answers.
   *
   * `act` is given a plugin of its own (or as many as `plugins` says) and returns what the two sides are compared by. What
   * Backstage does all day must not pin a session to its server, so a test has to say when it does what may. `todo` says
   * what greenroom has still to learn before the test can pass.
   */
  sameOnBothSides(promise, { mayPin = false, plugins, timeout = 30_000, todo }, act) {
    const names = Array.from({ length: plugins ?? 1 }, () => `p${++this.#plugins}`);
    const given = all => (plugins === undefined ? all[0] : all);
    test(promise, { timeout: 2 * timeout, todo }, async t => {
      let expected;
      await t.test('directly', { timeout }, async () => {
        const all = await Promise.all(names.map(async name => this.direct(name)));
        expected = { answers: await closing(all, async () => act(given(all))) };
      });
      await t.test('through greenroom', { timeout, todo }, async () => {
        const all = names.map(name => this.through(name));
        const answers = await closing(all, async () => act(given(all)));
        if (!mayPin) {
          assert.deepEqual(await Promise.all(all.map(async plugin => plugin.pins())), all.map(() => ({})), 'pins');
        }
        assert.ok(expected, 'the direct side failed, there is nothing to compare with');
        assert.deepEqual(answers, expected.answers);
      });
    });
  }

  /** A test of what only greenroom does; `plugins` are that many plugins of its own. */
  throughGreenroom(promise, { plugins = 1, timeout = 60_000, todo }, act) {
    const names = Array.from({ length: plugins }, () => `p${++this.#plugins}`);
    test(promise, { timeout, todo }, async () => {
      const all = names.map(name => this.through(name));
      await closing(all, async () => act(all));
    });
  }
}

/** Does `act`, then closes what it opened, whatever came of it. */
async function closing(plugins, act) {
  try {
    return await act();
  } finally {
    await Promise.all(plugins.map(async plugin => plugin.close()));
  }
}

/** What of an error a client of PostgreSQL can see; everything that is the same on any server. */
export async function errorOf(promise) {
  try {
    await promise;
  } catch (error) {
    const { name, message, severity, code, detail, hint, position, where, schema, table, column, dataType, constraint, routine } = error;
    return { name, message, severity, code, detail, hint, position, where, schema, table, column, dataType, constraint, routine };
  }
  throw new assert.AssertionError({ message: 'expected an error' });
}
