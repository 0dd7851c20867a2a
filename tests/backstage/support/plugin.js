// One Backstage plugin's database on one side: the same packages, directly at PostgreSQL or through greenroom.

import Knex from 'knex';
import pg from 'pg';

/** The database of one plugin, and everything that a test opened on it. */
export class Plugin {
  #closers = [];

  constructor({ id, port, login, greenroom }) {
    this.id = id;
    this.greenroom = greenroom;
    this.connection = {
      host: '127.0.0.1',
      port,
      ...login,
      database: `backstage_plugin_${id}`,
      application_name: `backstage_plugin_${id}`,
    };
  }

  /** A connected node-postgres client. */
  async client(more = {}) {
    const client = this.unconnected(more);
    await client.connect();
    return client;
  }

  /** A node-postgres client that is still to be connected. Its end may be an error: tests that care listen themselves. */
  unconnected(more = {}) {
    const client = new pg.Client({ ...this.connection, ...more });
    client.on('error', () => {});
    this.onClose(() => client.end());
    return client;
  }

  /** A node-postgres pool. */
  pool(more = {}) {
    const pool = new pg.Pool({ ...this.connection, ...more });
    pool.on('error', () => {});
    this.onClose(() => pool.end());
    return pool;
  }

  /** Knex as Backstage makes it. */
  knex({ pool, connection, ...more } = {}) {
    const knex = Knex({
      client: 'pg',
      connection: { ...this.connection, ...connection },
      useNullAsDefault: true,
      // Backstage's own pool without a configured one; what is unexpected should fail before a test's limit.
      pool: { min: 2, max: 10, acquireTimeoutMillis: 20_000, ...pool },
      log: { warn() {}, error() {}, deprecate() {}, debug() {} },
      ...more,
    });
    this.onClose(() => knex.destroy());
    return knex;
  }

  /** Has `close` called when the test is over. */
  onClose(close) {
    this.#closers.push(close);
  }

  async close() {
    const closing = this.#closers.splice(0).map(async close => close());
    await Promise.allSettled(closing);
  }

  /** Why greenroom pinned a session of this plugin; nothing, directly. */
  async pins() {
    return this.greenroom ? this.greenroom.pins(this.id) : {};
  }
}
