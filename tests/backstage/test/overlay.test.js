// `greenroom overlay`, merged by Backstage's own loader over the files that it was made of: each plugin goes to greenroom in
// the clear, and is the same in all else.

import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { backstage, inFiles, overlay, PLUGINS } from '../support/config.js';

const EXAMPLES = fileURLToPath(new URL('../config/', import.meta.url));

const POSTGRES = {
  POSTGRES_HOST: 'some.example-pg-instance.tld',
  POSTGRES_PORT: '6543',
  POSTGRES_USER: 'backstage',
  POSTGRES_PASSWORD: 'p@ss:w/rd',
};

const GREENROOM = '127.0.0.1:6432';
const IN_THE_CLEAR = { mode: 'disable', caSha256: null, hasCertificate: false, servername: null };

/**
 * Holds what Backstage does with the overlay against what it does without. `greenroom` are files that greenroom alone reads,
 * `server` is where it is, `secrets` are what must not be in the overlay, and `past` is what plugins go past greenroom. `told`
 * are files with what Backstage has to be told about its login, where greenroom's at PostgreSQL is another one.
 */
async function assertLed({ greenroom = [], told = [], server = GREENROOM, secrets = ['p@ss:w/rd'], past = [], args, ...given }) {
  const direct = await backstage({ ...given, files: [...given.files, ...told] });
  const text = overlay({ ...given, files: [...given.files, ...greenroom], args });
  secrets.forEach(secret => assert.ok(!text.includes(secret), text));
  const printed = join(given.directory, 'app-config.greenroom.yaml');
  writeFileSync(printed, text);
  const led = await backstage({ ...given, files: [...given.files, printed] });
  for (const id of given.plugins) {
    const wanted = direct[id].proxied ? { ...direct[id], server, tls: IN_THE_CLEAR } : direct[id];
    assert.deepEqual(led[id], wanted, `${id}, of:\n${text}`);
  }
  assert.deepEqual(given.plugins.filter(id => !led[id].proxied), past);
}

/** The same with an example of Backstage's guide, in a directory where an overlay may be written. */
async function assertExampleLed(name, more) {
  await inFiles({}, async ({ directory }) => {
    await assertLed({ directory, files: [join(EXAMPLES, `${name}.yaml`)], environment: POSTGRES, plugins: PLUGINS, ...more });
  });
}

for (const name of ['minimal', 'database-per-plugin', 'pool', 'schema', 'prefix', 'environment']) {
  test(`the example ${name} is led to greenroom`, async () => {
    await assertExampleLed(name);
  });
}

// A string is replaced as a whole. Its password stands in clear and is not repeated, so Backstage is given it as the overlay says.
test('the example schema-prefix is led to greenroom, with the password in PGPASSWORD', async () => {
  await assertExampleLed('schema-prefix', { environment: { PGPASSWORD: 'password' }, secrets: [':password'] });
});

test('the example sqlite-for-one is led to greenroom, but for the one', async () => {
  await assertExampleLed('sqlite-for-one', { environment: { PGPASSWORD: 'bar' }, secrets: [':bar'], past: ['auth'] });
});

test('the example tls is led to greenroom in the clear, for greenroom takes no TLS', async () => {
  await assertExampleLed('tls', { environment: { PGPASSWORD: 'password' }, secrets: [':password', 'CERTIFICATE'] });
});

/** The example's plugins with a login of their own, with variables for their passwords. */
const OWN_LOGINS = {
  backend: {
    database: {
      client: 'pg',
      connection: 'postgresql://some.example-pg-instance.tld:5432',
      plugin: {
        auth: { connection: 'postgresql://fort:${AUTH_PASSWORD}@some.example-pg-instance.tld:5432/unwitting_fox_jumps' },
        catalog: { connection: 'postgresql://bank:${CATALOG_PASSWORD}@another-pg-instance.tld/shuffle_ransack_playback?ssl=true' },
      },
    },
  },
};

const base = more => ({ backend: { database: { client: 'pg', connection: { host: 'db', user: 'u', password: '${POSTGRES_PASSWORD}' }, ...more } } });

// What else a configuration may have, by what it is.
const LED = {
  'logins and servers of plugins\' own': {
    files: { 'a.yaml': OWN_LOGINS },
    environment: { AUTH_PASSWORD: 'knox', CATALOG_PASSWORD: 'reserve' },
    secrets: ['knox', 'reserve'],
    plugins: ['auth', 'catalog'],
  },
  'a connection string that is one variable': {
    files: { 'a.yaml': base({ connection: '${DATABASE_URL}' }) },
    environment: { DATABASE_URL: 'postgresql://u:hidden@db:5433/shared?sslmode=require' },
    secrets: ['hidden'],
  },
  'a connection string in a mapping': {
    files: {
      'a.yaml': base({
        pluginDivisionMode: 'schema',
        connection: { connectionString: 'postgresql://u:${POSTGRES_PASSWORD}@db/shared' },
      }),
    },
    environment: { POSTGRES_PASSWORD: 'hidden' },
    secrets: ['hidden'],
  },
  'passwords by $file and $env, relative to the file they are in': {
    files: {
      'a.yaml': base({
        connection: { host: 'db', user: { $env: 'POSTGRES_USER' }, password: { $file: 'secret/base' } },
        plugin: { auth: { connection: { user: 'a', password: { $env: 'POSTGRES_PASSWORD' } } } },
      }),
      'secret/base': 'in a file\n',
    },
    named: ['a.yaml'],
    secrets: ['in a file', 'p@ss:w/rd'],
  },
  'plugins with a host, port or ssl of their own': {
    files: {
      'a.yaml': base({
        connection: { host: 'db', port: 5433, user: 'u', password: '${POSTGRES_PASSWORD}', ssl: { rejectUnauthorized: false } },
        plugin: {
          app: { connection: { host: 'another' } },
          auth: { connection: { port: 5434, database: 'logins' } },
          search: { connection: { user: 's', ssl: { servername: 'x' } } },
        },
      }),
    },
  },
  'PostgreSQL for one plugin alone': {
    files: {
      'a.yaml': {
        backend: {
          database: {
            client: 'better-sqlite3',
            connection: ':memory:',
            plugin: { auth: { client: 'pg', connection: { host: 'db', user: 'u', password: '${POSTGRES_PASSWORD}', database: 'logins' } } },
          },
        },
      },
    },
    past: ['app', 'catalog', 'search', 'user-settings'],
  },
  'several files, of which greenroom reads one more': {
    files: {
      'a.yaml': base({ prefix: 'x_', role: 'owner' }),
      'b.yaml': { backend: { database: { role: null, connection: { port: '5433', ssl: true } } } },
      'greenroom.yaml': {
        backend: { database: { schemaPrefix: 'x_', connection: { database: 'shared' } } },
        greenroom: { division: 'schema' },
      },
    },
    named: ['a.yaml', 'b.yaml'],
    greenroom: ['greenroom.yaml'],
  },
  'a unix socket of greenroom\'s': {
    files: {
      'a.yaml': base({ connection: { host: 'db', user: 'u', password: '${POSTGRES_PASSWORD}', ssl: true } }),
      'greenroom.yaml': { greenroom: { listen: [{ socket: '/run/greenroom', port: 7000 }] } },
    },
    named: ['a.yaml'],
    greenroom: ['greenroom.yaml'],
    server: '/run/greenroom/.s.PGSQL.7000',
  },
  'passwords that clients prove instead of PostgreSQL\'s': {
    files: {
      'a.yaml': base({ plugin: { auth: { connection: { user: 'a', password: '${AUTH_PASSWORD}' } }, search: { connection: { user: 's' } } } }),
      'greenroom.yaml': {
        greenroom: { clientPassword: '${CLIENT_PASSWORD}', plugin: { search: { clientPassword: { $env: 'SEARCH_PASSWORD' } } } },
      },
      'told.yaml': base({
        connection: { password: '${CLIENT_PASSWORD}' },
        plugin: { search: { connection: { password: '${SEARCH_PASSWORD}' } } },
      }),
    },
    named: ['a.yaml'],
    greenroom: ['greenroom.yaml'],
    told: ['told.yaml'],
    environment: { POSTGRES_PASSWORD: 'one', AUTH_PASSWORD: 'two', CLIENT_PASSWORD: 'three', SEARCH_PASSWORD: 'four' },
    secrets: ['three', 'four'],
  },
  'a login with a cloud\'s tokens': {
    files: {
      'a.yaml': base({ connection: { type: 'rds', host: 'db', user: 'u', region: 'eu-west-1', ssl: true } }),
      'greenroom.yaml': { greenroom: { clientPassword: '${POSTGRES_PASSWORD}', passwordCommand: { command: ['token'] } } },
      'told.yaml': base({ connection: { type: 'default', password: '${POSTGRES_PASSWORD}' } }),
    },
    named: ['a.yaml'],
    greenroom: ['greenroom.yaml'],
    told: ['told.yaml'],
  },
  'Backstage\'s own schema mode by name': {
    files: {
      'a.yaml': base({
        pluginDivisionMode: 'schema',
        schemaPrefix: 'x_',
        ensureSchemaExists: true,
        connection: { host: 'db', user: 'u', password: '${POSTGRES_PASSWORD}', database: 'shared', ssl: true },
      }),
    },
    args: ['--host', 'greenroom', '--port', '5432'],
    server: 'greenroom:5432',
  },
};

for (const [what, { files, named = Object.keys(files), plugins = PLUGINS, environment = POSTGRES, ...more }] of Object.entries(LED)) {
  test(`led to greenroom: ${what}`, async () => {
    await inFiles(files, async ({ directory }) => assertLed({ directory, files: named, plugins, environment, ...more }));
  });
}
