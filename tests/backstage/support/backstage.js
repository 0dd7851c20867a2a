// A Backstage backend, as far as its database goes: the real DatabaseManager, which plugins get their Knex from.

import { DatabaseManager } from '@backstage/backend-defaults/database';
import { ConfigReader } from '@backstage/config';

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

  /** Ends it. Backstage's own shutdown stops its timers, but leaves its pools open; they would keep the test running. */
  async close() {
    await Promise.allSettled(this.#shutdown.splice(0).map(async hook => hook()));
    await Promise.allSettled([...this.#knexes].map(async knex => knex.destroy()));
  }
}
