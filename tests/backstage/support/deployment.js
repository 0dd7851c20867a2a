// Where a whole Backstage meets its PostgreSQL: the three layouts, directly and through greenroom, each on a server of no
// database.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import pg from 'pg';

import { Backstage } from './backstage.js';
import { Greenroom } from './greenroom.js';
import { Postgres } from './postgres.js';
import { Sampler } from './sampler.js';

const LOGIN = { user: 'backstage', password: 'the login of all plugins' };

/** The one database there is: Backstage's own in schema mode, and greenroom's for all schemas. */
export const SHARED_DATABASE = 'shared';

/** The role that a Backstage with `backend.database.role` acts as. */
export const ROLE = 'backstage_owner';

/** The ceiling of server connections. */
export const MAX_SERVER_CONNECTIONS = 12;

/** How Backstage believes that plugins are kept apart, and how they really are behind greenroom. */
export const LAYOUTS = {
  databasesAreSchemas: { name: 'database mode over schemas', mode: 'database', division: 'schema' },
  databases: { name: 'database mode over databases', mode: 'database', division: 'database' },
  schemas: { name: 'schema mode over schemas', mode: 'schema', division: 'schema' },
};

/** Declares the hooks that start and end the PostgreSQL for the tests of a file. */
export function deployments(postgresSettings) {
  const here = new Deployments(postgresSettings);
  before(async () => here.open(), { timeout: 120_000 });
  after(async () => here.close(), { timeout: 120_000 });
  return here;
}

class Deployments {
  #settings;

  constructor(settings) {
    this.#settings = settings;
  }

  async open() {
    this.postgres = await Postgres.start(this.#settings);
    const { user, password } = LOGIN;
    await this.postgres.query(`create role ${user} login password '${password}' nocreaterole nosuperuser`);
    await this.postgres.query(`create role ${ROLE} role ${user}`);
    await this.postgres.query('revoke connect on database postgres from public');
  }

  async close() {
    // A test that ran out of time may wait for ever; its file must not.
    setTimeout(() => process.exit(1), 60_000).unref();
    await this.postgres?.stop();
  }

  /**
   * A test for each layout that does the same directly and through greenroom, and wants the same answers.
   *
   * `act` is given its side and returns what the two are compared by. `backend` are more keys of `backend.database`, for
   * Backstage and greenroom alike; `settings` are more keys of `greenroom`; `prepare` is run on the PostgreSQL before
   * anything starts. What Backstage does all day must not pin a session to its server, so a test has to say why it does,
   * with `pins`: the reasons by plugin.
   */
  sameOnBothSides(promise, { layouts = Object.values(LAYOUTS), timeout = 60_000, pins = {}, ...options }, act) {
    for (const layout of layouts) {
      test(`${promise}, in ${layout.name}`, { timeout: 2 * timeout }, async t => {
        let expected;
        await t.test('directly', { timeout }, async () => {
          expected = { answer: await this.#on(new Side(this.postgres, layout), options, act) };
        });
        await t.test('through greenroom', { timeout }, async () => {
          const side = new Side(this.postgres, layout, { settings: options.settings });
          const answer = await this.#on(side, options, async () => {
            const result = await act(side);
            assert.deepEqual(await side.greenroom.pinReasons(), pins, 'pins');
            return result;
          });
          assert.ok(expected, 'the direct side failed, there is nothing to compare with');
          assert.deepEqual(answer, expected.answer);
        });
      });
    }
  }

  /** A test of what only greenroom does, for each layout. */
  throughGreenroom(promise, { layouts = Object.values(LAYOUTS), timeout = 60_000, ...options }, act) {
    for (const layout of layouts) {
      test(`${promise}, in ${layout.name}`, { timeout }, async () => {
        const side = new Side(this.postgres, layout, { settings: options.settings });
        await this.#on(side, options, act);
      });
    }
  }

  async #on(side, { backend = {}, prepare }, act) {
    await side.open(backend, prepare);
    try {
      return await act(side);
    } finally {
      await side.close();
    }
  }
}

/** One layout on one side, from an empty server to what a test made of it. */
class Side {
  #greenroomSettings;
  #backend;
  #closers = [];

  constructor(postgres, layout, greenroom) {
    this.postgres = postgres;
    this.layout = layout;
    this.isDirect = greenroom === undefined;
    this.#greenroomSettings = greenroom?.settings ?? {};
  }

  async open(backend, prepare) {
    this.#backend = { pluginDivisionMode: this.layout.mode, ...backend };
    try {
      await this.#makeRights();
      await prepare?.(this.postgres, LOGIN);
      if (!this.isDirect) {
        this.greenroom = await Greenroom.start({
          postgres: this.postgres,
          login: LOGIN,
          database: SHARED_DATABASE,
          maxServerConnections: MAX_SERVER_CONNECTIONS,
          backstage: this.#backend,
          settings: { division: this.layout.division, ...this.#greenroomSettings },
        });
      }
    } catch (error) {
      await this.close();
      throw error;
    }
  }

  /** Whether plugins are really databases; else they are schemas of the shared one. */
  get hasDatabases() {
    return (this.isDirect ? this.layout.mode : this.layout.division) === 'database';
  }

  /** `backend.database` as this side's Backstage has it: greenroom's overlay changes the port. */
  config(more = {}) {
    const connection = { host: '127.0.0.1', port: this.port, ...LOGIN, database: SHARED_DATABASE };
    return { client: 'pg', connection, ...this.#backend, ...more };
  }

  get port() {
    return this.isDirect ? this.postgres.port : this.greenroom.port;
  }

  /** What an operator's tool connects to a plugin's data by, as Backstage's guide writes it. */
  url(id, { password = LOGIN.password } = {}) {
    const inSchema = this.layout.mode === 'schema';
    const database = inSchema ? SHARED_DATABASE : `backstage_plugin_${id}`;
    const options = inSchema ? `?options=${encodeURIComponent(`-c search_path="${id}"`)}` : '';
    return `postgresql://${LOGIN.user}:${encodeURIComponent(password)}@127.0.0.1:${this.port}/${database}${options}`;
  }

  /** A replica of a Backstage; `more` are keys of its `backend.database` that greenroom does not know of. */
  backstage(more) {
    const backstage = new Backstage(this.config(more));
    this.onClose(() => backstage.close());
    return backstage;
  }

  /** Where the tables of a name are, as PostgreSQL itself has it: `database/schema`. */
  async placesOf(table) {
    const places = [];
    for (const datname of await this.#databases()) {
      const sql = `select schemaname from pg_tables where tablename = '${table}' order by 1`;
      places.push(...(await this.postgres.queryIn(datname, sql)).map(({ schemaname }) => `${datname}/${schemaname}`));
    }
    return places;
  }

  async #databases() {
    const rows = await this.postgres.query('select datname from pg_database where not datistemplate order by 1');
    return rows.map(({ datname }) => datname);
  }

  /** Begins to count the connections that PostgreSQL has of the plugins' login. */
  async sampler() {
    return Sampler.start(this.postgres.superuser, LOGIN.user);
  }

  /** How many they are now. */
  async serverConnections() {
    const sql = `select count(*)::int as count from pg_stat_activity where usename = '${LOGIN.user}'`;
    return (await this.postgres.query(sql))[0].count;
  }

  /** Has `close` called when the test is over. */
  onClose(close) {
    this.#closers.push(close);
  }

  async close() {
    await Promise.allSettled(this.#closers.splice(0).map(async close => close()));
    try {
      await this.greenroom?.stop();
    } finally {
      await this.#dropDatabases();
    }
  }

  /**
   * Gives the login what this side needs and no more. Where plugins are schemas behind greenroom, that is the shared
   * database and nothing else: it may not create databases, nor connect to `postgres`.
   */
  async #makeRights() {
    const { user } = LOGIN;
    await this.#dropDatabases();
    await this.postgres.query(`create database ${SHARED_DATABASE} owner ${user}`);
    const creates = this.hasDatabases;
    for (const role of [user, ROLE]) {
      await this.postgres.query(`alter role ${role} ${creates ? 'createdb' : 'nocreatedb'}`);
    }
    const [verb, preposition] = creates || this.isDirect ? ['grant', 'to'] : ['revoke', 'from'];
    await this.postgres.query(`${verb} connect on database postgres ${preposition} ${user}`);
  }

  async #dropDatabases() {
    for (const datname of (await this.#databases()).filter(name => name !== 'postgres')) {
      await this.postgres.query(`drop database ${pg.escapeIdentifier(datname)} with (force)`);
    }
  }
}
