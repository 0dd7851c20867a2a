// What Backstage's own packages make of configuration files, and what greenroom makes of the same.

import { createHash } from 'node:crypto';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';

import { PROGRAM } from './greenroom.js';

const require = createRequire(import.meta.url);
const { ConfigReader } = require('@backstage/config');
const { ConfigSources } = require('@backstage/config-loader');
const { DatabaseManager } = require('@backstage/backend-defaults/database');
const ConnectionParameters = require('pg/lib/connection-parameters');

const SALT = 'the salt of a test';

/** Whose databases are asked for. */
export const PLUGINS = ['app', 'auth', 'catalog', 'search', 'user-settings'];

/**
 * What Backstage does for each of `plugins`, in a process with just this environment: the client, and for pg what a
 * connection of the plugin's pool would open, and with which limits. Nothing is dialled.
 */
export async function backstage({ files = [], directory, environment = {}, plugins }) {
  return inEnvironment({ ...environment, NODE_ENV: 'test' }, async () => {
    const argv = ['node', 'backend', ...files.flatMap(file => ['--config', resolve(directory, file)])];
    const config = await ConfigSources.toConfig(ConfigSources.default({ argv, rootDir: directory, watch: false }));
    const inMemory = { backend: { database: { client: 'better-sqlite3', connection: ':memory:' } } };
    const manager = DatabaseManager.fromConfig(
      config.getOptional('backend.database') ? config : new ConfigReader(inMemory),
    );
    config.close();
    const answers = {};
    for (const id of plugins) {
      answers[id] = await ofPlugin(manager.impl, id);
    }
    return answers;
  });
}

async function ofPlugin(manager, id) {
  const { client } = manager.getClientType(id);
  manager.forPlugin(id);
  if (client !== 'pg') {
    return { client, proxied: false };
  }
  const ensured = { databases: [], schemas: [] };
  const connector = manager.connectors.pg;
  connector.customEnsureDatabaseExists = async (_config, name) => ensured.databases.push(name);
  connector.databaseEnsureCache.clear();
  const admin = { raw: async (_sql, [name, role = null]) => ensured.schemas.push({ name, role }), destroy: async () => {} };
  connector.schemaAdminPool.createClient = async () => admin;
  const knex = await connector.getClient(id, {});
  try {
    await connector.schemaAdminPool.invalidate();
    return ofKnex(knex, ensured);
  } finally {
    await knex.destroy();
  }
}

function ofKnex(knex, ensured) {
  const { config, connectionSettings, pool } = knex.client;
  const parameters = new ConnectionParameters(connectionSettings);
  const { host, port, user, database, password, ssl } = parameters;
  return {
    client: 'pg',
    proxied: true,
    server: host.startsWith('/') ? `${host}/.s.PGSQL.${port}` : `${host.includes(':') && host[0] !== '[' ? `[${host}]` : host}:${port}`,
    user,
    database,
    schema: config.searchPath?.[0] ?? null,
    password: password ? digest(SALT + password) : null,
    tls: {
      mode: !ssl ? 'disable' : ssl.rejectUnauthorized === false ? 'require' : 'verify-full',
      caSha256: ssl?.ca ? digest([ssl.ca].flat().map(pem => pem.trim()).join('\n')) : null,
      hasCertificate: Boolean(ssl?.cert),
      servername: ssl?.servername ?? null,
    },
    ensured,
    knexPool: {
      min: pool.min,
      max: pool.max,
      acquireTimeoutMillis: pool.acquireTimeoutMillis,
      createTimeoutMillis: pool.createTimeoutMillis,
      destroyTimeoutMillis: pool.destroyTimeoutMillis,
      idleTimeoutMillis: pool.idleTimeoutMillis,
      reapIntervalMillis: pool.reapIntervalMillis,
      createRetryIntervalMillis: pool.createRetryIntervalMillis,
      propagateCreateError: pool.propagateCreateError,
    },
    // What somebody wrote down, as opposed to what Knex and tarn fill in.
    written: config.pool ?? {},
  };
}

/** What `greenroom config` shows for the same files, environment and plugins, or what it refuses them for. */
export function greenroom({ plugins, ...given }) {
  const { text, refused } = said('config', given, ['--format', 'json', '--password-salt', SALT, ...plugins.flatMap(id => ['--plugin', id])]);
  return refused === undefined ? { shown: JSON.parse(text) } : { refused };
}

/** The YAML of `greenroom overlay` for the same files and environment; `args` are more of its options. */
export function overlay({ args = [], ...given }) {
  const { text, refused } = said('overlay', given, args);
  if (refused !== undefined) {
    throw new Error(`greenroom has no overlay: ${refused}`);
  }
  return text;
}

function said(command, { files = [], directory, environment = {} }, args) {
  const { status, stdout, stderr, error } = spawnSync(PROGRAM, [command, ...files.flatMap(file => ['--config', file]), ...args], {
    cwd: directory,
    env: environment,
    encoding: 'utf8',
    timeout: 20_000,
  });
  if (error) {
    throw error;
  }
  return status === 0 ? { text: stdout } : { refused: stderr.replace(/^greenroom: /, '').trimEnd() };
}

/** Does `act` with files in a directory of their own. What is not text is written as JSON, which is YAML and quotes itself. */
export async function inFiles(files, act) {
  const directory = mkdtempSync(join(tmpdir(), 'greenroom-config-'));
  try {
    for (const [file, content] of Object.entries(files)) {
      mkdirSync(dirname(join(directory, file)), { recursive: true });
      writeFileSync(join(directory, file), typeof content === 'string' ? content : JSON.stringify(content, null, 1));
    }
    return await act({ directory, files: Object.keys(files), plugins: PLUGINS });
  } finally {
    rmSync(directory, { recursive: true });
  }
}

/** What greenroom has to show for a plugin of which Backstage makes `theirs`, when it keeps its data where Backstage says. */
export function expected(theirs) {
  const { client, proxied, server, user, database, schema, password, tls, knexPool, written } = theirs;
  if (!proxied) {
    return { client, proxied };
  }
  const pool = {
    min: written.min ?? 0,
    max: written.max ?? 10,
    createTimeoutMillis: written.createTimeoutMillis ?? 30_000,
    destroyTimeoutMillis: written.destroyTimeoutMillis ?? 5_000,
    idleTimeoutMillis: written.idleTimeoutMillis ?? 30_000,
    reapIntervalMillis: written.reapIntervalMillis ?? 1_000,
    createRetryIntervalMillis: written.createRetryIntervalMillis ?? 200,
    propagateCreateError: written.propagateCreateError ?? true,
  };
  return { client, proxied, server, user, logicalDatabase: database, database, schema, password, tls, knexPool, pool };
}

/** The same of what greenroom shows. */
export function comparable({ client, proxied, pool, knexPool, ...shown }) {
  if (!proxied) {
    return { client, proxied };
  }
  const { server, user, logicalDatabase, database, schema, passwordSha256: password = null, tls } = shown;
  const { min, max, createTimeoutMillis, destroyTimeoutMillis, idleTimeoutMillis, reapIntervalMillis } = pool;
  const { createRetryIntervalMillis, propagateCreateError } = pool;
  return {
    client,
    proxied,
    server,
    user,
    logicalDatabase,
    database,
    schema,
    password,
    tls,
    knexPool,
    pool: {
      min,
      max,
      createTimeoutMillis,
      destroyTimeoutMillis,
      idleTimeoutMillis,
      reapIntervalMillis,
      createRetryIntervalMillis,
      propagateCreateError,
    },
  };
}

async function inEnvironment(environment, act) {
  const before = process.env;
  process.env = environment;
  try {
    return await act();
  } finally {
    process.env = before;
  }
}

function digest(text) {
  return createHash('sha256').update(text).digest('hex');
}
