// A Backstage with everything it stands on: PostgreSQL, with a login that may do what it needs and no more, a greenroom in
// front of it or none, and one or two replicas of the backend.

import { setTimeout as sleep } from 'node:timers/promises';

import { Backend } from './backend.js';
import { Greenroom } from './greenroom.js';
import { Postgres } from './postgres.js';

const LOGIN = { user: 'backstage', password: 'the login of all plugins' };
const SHARED_DATABASE = 'backstage';

/** The ceiling of greenroom's server connections. */
export const MAX_SERVER_CONNECTIONS = 12;

/** How a Backstage may reach its databases, and what its login then needs. */
export const WAYS = {
  direct: { name: 'directly', division: undefined },
  schemas: { name: 'through greenroom, as schemas of one database', division: 'schema' },
  databases: { name: 'through greenroom, as databases', division: 'database' },
};

/** PostgreSQL, greenroom and the replicas of a backend. */
export class Deployment {
  #division;
  #replicas = [];

  /** Starts PostgreSQL and greenroom, with nothing in them; `settings` are greenroom's own, by name. */
  static async open({ division, settings, postgres }) {
    const deployment = new Deployment();
    deployment.#division = division;
    try {
      deployment.postgres = await Postgres.start(postgres);
      await deployment.#allow();
      if (division) {
        deployment.greenroom = await Greenroom.start({
          postgres: deployment.postgres,
          login: LOGIN,
          database: SHARED_DATABASE,
          maxServerConnections: MAX_SERVER_CONNECTIONS,
          settings: { division, ...settings },
        });
      }
    } catch (error) {
      await deployment.close();
      throw error;
    }
    return deployment;
  }

  /** Starts one more replica of the backend; `configs` are laid over everything else. */
  async replica({ configs = [], ...options } = {}) {
    const replica = await Backend.start({ configs: [...this.#configs(), ...configs], ...options });
    this.#replicas.push(replica);
    return replica;
  }

  async close() {
    try {
      await Promise.all(this.#replicas.map(async replica => replica.stop()));
    } finally {
      try {
        await this.greenroom?.stop();
      } finally {
        await this.postgres?.stop();
      }
    }
  }

  /** Does `act`; when it fails, its message ends with what greenroom and the replicas logged last. */
  async explaining(act) {
    try {
      return await act();
    } catch (error) {
      const parts = [...this.#replicas.map((replica, i) => [`replica ${i + 1}`, replica]), ['greenroom', this.greenroom]];
      const said = parts.map(([name, part]) => `--- ${name} said:\n${part?.said.slice(-8_192) ?? 'nothing'}`);
      error.message = [error.message, ...said].join('\n');
      throw error;
    }
  }

  /** What each plugin has made of its place in PostgreSQL, by the plugin's id. */
  async inventory() {
    const inventory = {};
    for (const id of await this.#plugins()) {
      const ask = async sql => this.#inPlaceOf(id, sql);
      const names = rows => rows.map(row => Object.values(row)[0]);
      const tables = names(await ask('select tablename from pg_tables where schemaname = $schema order by 1'));
      const indexes = names(await ask('select indexname from pg_indexes where schemaname = $schema order by 1'));
      const columns = names(await ask(`select concat_ws(' ', table_name, column_name, udt_name, is_nullable)
        from information_schema.columns where table_schema = $schema order by 1`));
      const migrations = {};
      const locked = [];
      for (const table of tables.filter(name => name.endsWith('knex_migrations'))) {
        migrations[table] = names(await ask(`select name from $place."${table}" order by name`));
        locked.push(...names(await ask(`select is_locked from $place."${table}_lock"`)));
      }
      inventory[id] = { tables, indexes, columns, migrations, locked };
    }
    return inventory;
  }

  /** Connections of Backstage's login, as PostgreSQL counts them; `state` is the beginning of their state. */
  async connections(state = '') {
    const sql = 'select count(*)::int as count from pg_stat_activity where usename = $1 and coalesce(state, $2) like $3';
    return (await this.postgres.query(sql, [LOGIN.user, '', `${state}%`]))[0].count;
  }

  /** Counts those connections over and over until it is told to stop, and returns all counts. */
  sampleConnections(everyMillis = 20) {
    const counts = [];
    let stopped = false;
    const sampling = (async () => {
      while (!stopped) {
        // A PostgreSQL that is being started again has none to count.
        await this.connections().then(count => counts.push(count), () => {});
        await sleep(everyMillis);
      }
    })();
    return {
      counts,
      async stop() {
        stopped = true;
        await sampling;
        return counts;
      },
    };
  }

  /** The counts of so long a time. */
  async sampleFor(millis, everyMillis) {
    const sampling = this.sampleConnections(everyMillis);
    await sleep(millis);
    return sampling.stop();
  }

  #configs() {
    if (this.greenroom) {
      return [this.greenroom.configFile, this.greenroom.overlay];
    }
    return [{ backend: { database: { client: 'pg', connection: { host: '127.0.0.1', port: this.postgres.port, ...LOGIN } } } }];
  }

  /** Makes the login: where plugins are schemas it owns one empty database, and may neither create nor see another. */
  async #allow() {
    const { user, password } = LOGIN;
    const createDatabases = this.#division === 'schema' ? 'nocreatedb' : 'createdb';
    await this.postgres.query(`create role ${user} login password '${password}' ${createDatabases} nocreaterole nosuperuser`);
    if (this.#division === 'schema') {
      await this.postgres.query(`create database ${SHARED_DATABASE} owner ${user}`);
      await this.postgres.query('revoke connect on database postgres from public');
    }
  }

  /** The plugins that have a place of their own. */
  async #plugins() {
    const rows = this.#division === 'schema'
      ? await this.postgres.queryIn(SHARED_DATABASE, "select nspname as id from pg_namespace where nspname !~ '^(pg_|information_schema$|public$)'")
      : await this.postgres.query("select substr(datname, 18) as id from pg_database where datname like 'backstage\\_plugin\\_%'");
    return rows.map(({ id }) => id).sort();
  }

  /** Asks in a plugin's place: its schema of the shared database, or what its own database has in `public`. */
  async #inPlaceOf(id, sql) {
    const [database, schema] = this.#division === 'schema' ? [SHARED_DATABASE, id] : [`backstage_plugin_${id}`, 'public'];
    return this.postgres.queryIn(database, sql.replaceAll('$schema', `'${schema}'`).replaceAll('$place', `"${schema}"`));
  }
}
