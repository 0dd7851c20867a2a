// A Backstage backend, as far as its database goes: the real DatabaseManager, which plugins get their Knex from.

import assert from 'node:assert/strict';

import { DatabaseManager } from '@backstage/backend-defaults/database';
import { ConfigReader } from '@backstage/config';

import { eventually } from './process.js';

// Backstage leaves timers of a minute behind when it ends; they must not keep a test's process.
for (const name of ['setTimeout', 'setInterval']) {
  const set = globalThis[name];
  const wrapped = (callback, millis, ...args) => {
    const timer = set(callback, millis, ...args);
    return millis >= 60_000 ? timer.unref() : timer;
  };
  globalThis[name] = Object.defineProperties(wrapped, Object.getOwnPropertyDescriptors(set));
}

/** Backstage's log, which nobody reads. */
export const logger = { debug() {}, info() {}, warn() {}, error() {}, child: () => logger };

/** One replica of a backend; `database` is its `backend.database`. */
export class Backstage {
  #manager;
  #shutdown = [];
  #knexes = new Set();

  constructor(database) {
    const rootLifecycle = { addShutdownHook: hook => this.#shutdown.push(hook) };
    this.#manager = DatabaseManager.fromConfig(new ConfigReader({ backend: { database } }), { rootLifecycle, rootLogger: logger });
  }

  /** What a plugin is given as `coreServices.database`. */
  database(id) {
    const service = this.#manager.forPlugin(id, { logger });
    const getClient = async () => {
      const knex = await service.getClient();
      this.#knexes.add(knex);
      return knex;
    };
    return { ...service, getClient };
  }

  /** A plugin's Knex. */
  async knex(id) {
    return this.database(id).getClient();
  }

  /** The Knex of each of some plugins, all asked for at once, as at a start. */
  async knexes(ids) {
    return Promise.all(ids.map(async id => this.knex(id)));
  }

  /**
   * Waits until every connection that is being opened is, with what Backstage does to it first: nobody there waits for its
   * SET ROLE, and an end before the answer would be nobody's error.
   */
  async #settle() {
    await Promise.allSettled([...this.#knexes].map(async ({ client }) => {
      await eventually(() => assert.equal(client.pool.numPendingCreates(), 0));
      const connections = await Promise.all(Array.from({ length: client.pool.numFree() }, async () => client.acquireConnection()));
      await Promise.allSettled(connections.map(async connection => connection.query('select 1')));
      connections.forEach(connection => client.releaseConnection(connection));
    }));
  }

  /** Ends it. Backstage's own shutdown stops its timers, but leaves its pools open; they would keep the test running. */
  async close() {
    await this.#settle();
    await Promise.allSettled(this.#shutdown.splice(0).map(async hook => hook()));
    await Promise.allSettled([...this.#knexes].map(async knex => knex.destroy()));
  }
}
