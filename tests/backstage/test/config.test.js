// Configuration, as Backstage's own packages read it and as greenroom does: the examples of Backstage's guide "Configuring
// Plugin Databases", and everything odd that the loader's and the connector's code has a rule for.

import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { backstage, comparable, expected, greenroom, inFiles, PLUGINS } from '../support/config.js';

const EXAMPLES = fileURLToPath(new URL('../config/', import.meta.url));

const POSTGRES = {
  POSTGRES_HOST: 'some.example-pg-instance.tld',
  POSTGRES_PORT: '6543',
  POSTGRES_USER: 'backstage',
  POSTGRES_PASSWORD: 'p@ss:w/rd',
};

/** What greenroom shows for each plugin, in the shape of what it is compared with. */
function shownFor(ours, plugins) {
  assert.equal(ours.refused, undefined, 'greenroom refuses what Backstage accepts');
  return Object.fromEntries(plugins.map(id => [id, comparable(ours.shown.plugins[id])]));
}

/** Holds what greenroom shows for each plugin against what Backstage does for it. */
async function same(given) {
  const theirs = await backstage(given);
  const wanted = Object.fromEntries(given.plugins.map(id => [id, expected(theirs[id])]));
  assert.deepEqual(shownFor(greenroom(given), given.plugins), wanted);
  return theirs;
}

for (const name of ['minimal', 'database-per-plugin', 'pool', 'schema', 'schema-prefix', 'prefix', 'sqlite-for-one', 'tls', 'environment']) {
  test(`the example ${name} leads each plugin where Backstage would go`, async () => {
    await same({ directory: EXAMPLES, files: [`${name}.yaml`], environment: POSTGRES, plugins: PLUGINS });
  });
}

test('a base connection that is only a server leaves those plugins that have a login of their own', async () => {
  const given = { directory: EXAMPLES, files: ['connection-per-plugin.yaml'] };
  await same({ ...given, plugins: ['auth', 'catalog'] });
  const { shown } = greenroom({ ...given, plugins: ['search'] });
  assert.equal(shown.plugins.search.proxied, false);
  assert.match(shown.plugins.search.reason, /names no user/);
});

for (const [name, reason] of [
  ['in-memory', /^in-memory\.yaml:3: backend\.database\.client: found "better-sqlite3".*nothing to proxy$/],
  ['nothing', /^nothing\.yaml: backend\.database: missing.*better-sqlite3, in memory: nothing to proxy/],
]) {
  test(`the example ${name} has nothing for greenroom to do, which it says`, async () => {
    const given = { directory: EXAMPLES, files: [`${name}.yaml`], plugins: PLUGINS };
    const theirs = await backstage(given);
    assert.ok(Object.values(theirs).every(({ client }) => client === 'better-sqlite3'));
    assert.match(greenroom(given).refused, reason);
  });
}

for (const name of ['minimal', 'database-per-plugin', 'pool', 'prefix', 'sqlite-for-one', 'tls', 'environment']) {
  test(`the example ${name} over schemas is asked for the same databases, by the same logins`, async () => {
    await inFiles({
      'greenroom.yaml': {
        backend: { database: { schemaPrefix: 'x_' } },
        greenroom: { division: 'schema' },
      },
      // Plugins' schemas need a database around them, which Backstage itself has no need to know.
      'shared.yaml': { backend: { database: { connection: { database: 'shared' } } } },
    }, async ({ directory }) => {
      const given = { directory: EXAMPLES, files: [`${name}.yaml`], environment: POSTGRES, plugins: PLUGINS };
      const theirs = await backstage(given);
      const text = ['sqlite-for-one'].includes(name);
      const more = text ? { APP_CONFIG_backend_database_connection: 'postgresql://foo:bar@some.example-pg-instance.tld:5432/shared' } : {};
      const files = [...given.files, join(directory, 'greenroom.yaml'), ...(text ? [] : [join(directory, 'shared.yaml')])];
      const ours = greenroom({ ...given, files, environment: { ...POSTGRES, ...more } });
      const shown = shownFor(ours, PLUGINS);
      for (const id of PLUGINS) {
        const wanted = expected(theirs[id]);
        if (wanted.proxied) {
          wanted.schema = `x_${id}`;
          const own = { 'database-per-plugin': { auth: 'pg_auth_set_by_user' }, tls: { search: 'searches' } }[name]?.[id];
          wanted.database = own ?? 'shared';
        }
        assert.deepEqual(shown[id], wanted, id);
      }
    });
  });
}

test("schemas are made as Backstage's own schema mode makes them, whatever a plugin says about role and schema", async () => {
  await inFiles({
    'app-config.yaml': {
      backend: {
        database: {
          client: 'pg',
          pluginDivisionMode: 'schema',
          ensureExists: false,
          role: 'owner',
          connection: { host: 'db', user: 'u', password: 'p', database: 'shared' },
          plugin: {
            auth: { role: 'other', ensureSchemaExists: true },
            search: { ensureExists: 'yes' },
            catalog: { ensureExists: 1, connection: { database: 'own' } },
          },
        },
      },
    },
  }, async given => {
    const theirs = await same(given);
    const { plugins } = greenroom(given).shown;
    for (const id of given.plugins) {
      const [schema] = theirs[id].ensured.schemas;
      assert.equal(plugins[id].provision, schema !== undefined, id);
      assert.equal(plugins[id].role, 'owner');
      if (schema) {
        assert.deepEqual(schema, { name: plugins[id].schema, role: plugins[id].role }, id);
      }
    }
  });
});

// Everything odd, by the name of the rule: files, and the environment. Both read the same out of it.
const base = more => ({ backend: { database: { client: 'pg', connection: { host: 'db', user: 'u', password: 'p', database: 'd' }, ...more } } });
const trusting = { greenroom: { listen: [{ auth: 'trust' }] } };
const ODD = {
  'a later file lies over an earlier one, and null takes away': {
    files: {
      'a.yaml': base({ knexConfig: { pool: { min: 1, max: 5 } }, plugin: { auth: { connection: { user: 'a' } } } }),
      'b.yaml': 'backend: { database: { knexConfig: { pool: null }, plugin: { auth: null, search: { connection: { port: null } } } } }',
      'c.yaml': base({ knexConfig: { pool: { max: 6 } }, plugin: { auth: { connection: { port: 7 } } } }),
    },
  },
  'a scalar over an object and an object over a scalar': {
    files: {
      'a.yaml': base({ plugin: { auth: { connection: 'postgres://x:y@z/w' } } }),
      'b.yaml': { backend: { database: { connection: 'postgres://v:w@x:1/y', plugin: { auth: { connection: { port: 7 } } } } } },
    },
  },
  'variables in every shape': {
    files: {
      'a.yaml': base({
        plugin: {
          app: { connection: { user: '${FULL}-${ FULL }', database: '${UNSET:-fall back}' } },
          auth: { connection: { user: '$${FULL}$FULL${DASH-x}', database: '${EMPTY:- spaced }' } },
          catalog: { connection: { user: 'x${UNSET}', database: '${EMPTY:-}${FULL}' } },
          search: { connection: { user: '${{FULL}}', database: '${FULL:-${UNSET}}' } },
          'user-settings': { connection: { user: '${EMPTY}e${SPACED}', database: '$$${FULL}${UNSET:-a:-b}' } },
        },
      }),
    },
    environment: { FULL: 'full', EMPTY: '', SPACED: ' \u00a0spaced out\ufeff\n', 'DASH-x': 'dash', 'FULL:-': 'no' },
  },
  'numbers that are strings': {
    files: { 'a.yaml': base({ connection: { host: 'db', port: '${PORT}', user: 'u', password: 'p' } }) },
    environment: { PORT: ' 6543 ' },
  },
  'numbers in every YAML shape': {
    files: {
      'a.yaml': `
backend:
  database:
    client: pg
    connection: { host: db, user: u, password: p, port: 0x1F90 }
    knexConfig: { pool: { min: 0o2, max: 1e1, idleTimeoutMillis: 0050, createTimeoutMillis: +7, reapIntervalMillis: 9.0 } }
`,
    },
  },
  'anchors, merge keys that are keys, quotes and comments': {
    files: {
      'a.yaml': `
backend:
  database:
    client: pg
    connection: &base { host: db, user: u, password: 'it''s', database: d } # comment
    plugin:
      auth: { connection: { <<: *base, user: "a\\tb", password: "\\u00e9" } }
      search: { connection: *base }
      catalog:
        connection:
          user: yes
          database: >-
            folded
            text
`,
    },
  },
  'words that older YAML took for something else': {
    files: {
      'a.yaml': `\ufeff%YAML 1.2
---
backend:\r
  database:\r
    ? client
    : pg
    connection: { host: db, user: u, password: p, database: d }
    plugin:
      app: { connection: { user: off, database: 2001-01-01 } }
      auth: { connection: { user: !!str 17, database: 1_000 } }
      search: { connection: { user: 1:30, database: 1e } }
      catalog: { connection: { user: "a\\
        b", database: 'two

        lines' } }
      user-settings: { connection: { user: plain
          text # and a comment
          , database: ~ } }
...
`,
    },
  },
  'includes, relative to their file, with their argument substituted': {
    files: {
      'a.yaml': base({
        connection: { $include: 'deep/${STAGE}.yaml#db.pg' },
        plugin: {
          auth: { connection: { user: { $env: 'SPACED' }, database: { $env: 'EMPTY_NOT' } } },
          search: { connection: { $include: 'deep/search.json' } },
          catalog: { $include: 'deep/live.yaml#catalog.nothing.here' },
          app: { connection: { database: { $include: 'deep/live.yaml#text' } } },
        },
      }),
      'deep/live.yaml': {
        db: { pg: { host: 'db', user: { $file: 'user.txt' }, password: { $include: './deeper/p.yml' }, database: '${SPACED}' } },
        catalog: { nothing: {} },
        text: 'text ${SPACED}',
      },
      'deep/user.txt': ' u ${SPACED} \n\n',
      'deep/deeper/p.yml': '"${SPACED}!"',
      'deep/search.json': '{\t"user": "s\\/\\ud83d\\ude00", "user": "last", "host": {"$file": "user.txt"}, "port": 1}',
    },
    environment: { STAGE: 'live', SPACED: ' spaced\t', EMPTY_NOT: 'x' },
  },
  'a whole file and a whole section by include': {
    files: { 'a.yaml': { $include: 'b.yaml#all' }, 'b.yaml': { all: { backend: { $include: 'c.yaml' } } }, 'c.yaml': base({}).backend },
  },
  'other keys with a dollar are keys': { files: { 'a.yaml': { $schema: 'x', ...base({ $comment: 'x', connection: { $vault: 'x', ...base({}).backend.database.connection } }) } } },
  'the environment over all files': {
    files: { 'a.yaml': base({ plugin: { auth: { connection: { user: 'a' } } } }) },
    environment: {
      APP_CONFIG_backend_database_connection: '{"host": "over", "ssl": {"rejectUnauthorized": false}, "database": null}',
      APP_CONFIG_backend_database_connection_port: '6543',
      'APP_CONFIG_backend_database_plugin_user-settings_connection_user': '${NOTHING}',
      APP_CONFIG_backend_database_plugin_auth_connection_password: '"5"',
      APP_CONFIG_backend_database_plugin_auth_connection_user: '',
      APP_CONFIG_backend_database_knexConfig_pool_max: '12',
      APP_CONFIG_backend_database_plugin_search_ensureExists: 'false',
      APP_CONFIG_app_title: 'title',
    },
  },
  'the default files, in their order': {
    named: [],
    files: {
      'app-config.yaml': base({ plugin: { app: { connection: { user: '1', database: '1' } } } }),
      'app-config.a.yaml': { backend: { database: { plugin: { app: { connection: { user: '2' } }, auth: { connection: { user: '2', database: '2' } } } } } },
      'app-config.b.yaml': { backend: { database: { plugin: { auth: { connection: { user: '3' } }, search: { connection: { user: '3' } } } } } },
      'app-config.local.yaml': { backend: { database: { plugin: { search: { connection: { user: '4', database: '4' } }, catalog: { connection: { user: '4' } } } } } },
      'app-config.a.local.yaml': { backend: { database: { plugin: { catalog: { connection: { user: '5' } } } } } },
      'app-config.production.yaml': { backend: { database: { plugin: { app: { connection: { user: 'not me' } } } } } },
    },
    environment: { BACKSTAGE_ENV: 'b, a,,nowhere' },
  },
  'an empty file among others, and no file but the first': {
    files: { 'a.yaml': base({}), 'b.yaml': '# nothing\n', 'c.yaml': 'null\n', 'd.yaml': '' },
  },
  'libpq\'s variables fill in what nobody says': {
    files: { 'a.yaml': base({ connection: { user: '', port: '' }, plugin: { auth: { connection: 'postgres://' } } }) },
    environment: { PGHOST: 'pg', PGPORT: '1234', PGUSER: 'pguser', PGPASSWORD: 'pgpassword', PGSSLMODE: 'no-verify', PGDATABASE: 'unused' },
  },
  'the database of schema mode may be libpq\'s': {
    files: { 'a.yaml': base({ pluginDivisionMode: 'schema', connection: { host: 'db', user: 'u', password: 'p' } }) },
    environment: { PGDATABASE: 'shared' },
  },
  'connection strings in every shape': {
    files: {
      'a.yaml': base({
        plugin: {
          app: { connection: 'postgresql://us%40er:p%3A%23w%2f@DB.Example:6543/sh%20ared?sslmode=require&application_name=x' },
          auth: { connection: '/run/pg own' },
          catalog: { connection: 'postgres://c@%2Frun%2Fpg/a%2Fb?password=q+w' },
          search: { connection: 'socket://s:p w%41@/run/pg?db=searches' },
          'user-settings': { connection: 'POSTGRES://us:p@ss@db?ssl=no-verify&port=99' },
        },
      }),
    },
  },
  'pool settings out of every place': {
    files: {
      'a.yaml': base({
        pool: { max: 7, reapIntervalMillis: 11 },
        acquireConnectionTimeout: 5000,
        knexConfig: { pool: { min: 1, createTimeoutMillis: 22, propagateCreateError: false } },
        plugin: {
          auth: { knexConfig: { pool: { min: 0, max: 4, acquireTimeoutMillis: 9000 } } },
          search: { knexConfig: { acquireConnectionTimeout: 90_000, pool: { destroyTimeoutMillis: 1, createRetryIntervalMillis: 2 } } },
          catalog: { pool: { max: 99 }, knexConfig: { pool: { afterCreate: null } } },
        },
      }),
    },
  },
  'ssl of a plugin over that of the base': {
    files: {
      'a.yaml': base({
        connection: { host: 'db', user: 'u', password: 'p', ssl: { ca: ['-----BEGIN A', '-----BEGIN B'], servername: 's' } },
        plugin: {
          app: { connection: { user: 'a', ssl: true } },
          auth: { connection: { user: 'b', ssl: { rejectUnauthorized: false } } },
          search: { connection: { user: 'c', ssl: { ca: ['-----BEGIN C'] } } },
          catalog: { connection: 'postgres://d:p@db/d?sslmode=require' },
          'user-settings': { connection: { user: 'e', ssl: false } },
        },
      }),
    },
  },
  'another client as the base, whose object lies below': {
    files: {
      'a.yaml': {
        backend: {
          database: {
            client: 'mysql2',
            connection: { host: 'my', port: 3306, user: 'm', password: 'p' },
            plugin: {
              auth: { client: 'pg', connection: { host: 'db', port: 5432 } },
              search: { client: 'pg', connection: 'postgres://s:p@db/own' },
              app: { client: 'better-sqlite3', connection: ':memory:' },
            },
          },
        },
      },
    },
  },
  'schema mode with a plugin elsewhere and a schema prefix': {
    files: {
      'a.yaml': base({
        pluginDivisionMode: 'schema',
        schemaPrefix: '_x1',
        prefix: 'ignored_',
        plugin: { auth: { connection: { database: 'own', user: 'a' } }, search: { connection: 'postgres://s:p@far/away' } },
      }),
    },
  },
  'type default, and keys that node-postgres alone knows': {
    files: { 'a.yaml': base({ connection: { type: 'default', host: 'db', user: 'u', password: 'p', keepAlive: true, statement_timeout: 5 } }) },
  },
};

for (const [rule, { files, named = Object.keys(files).filter(name => !name.includes('/')), environment }] of Object.entries(ODD)) {
  test(`both read alike: ${rule}`, async () => {
    await inFiles(files, async given => same({ ...given, files: named, environment: { ...environment } }));
  });
}

// What both refuse, by what greenroom says.
const REFUSED = {
  'an include with a neighbour': [{ 'a.yaml': base({ connection: { $env: 'X', host: 'db' } }) }, /a\.yaml:\d+: .*\.connection: \$env has other keys beside it/],
  'an include of nothing': [{ 'a.yaml': base({ connection: { $file: 'nowhere' } }) }, /a\.yaml:\d+: backend\.database\.connection: cannot read .*nowhere/],
  'an include below a scalar': [{ 'a.yaml': base({ connection: { $include: 'b.yaml#a.b.c' } }), 'x/b.yaml': '', 'b.yaml': 'a: { b: 1 }' }, /a\.b is not a mapping/, ['a.yaml']],
  'an include whose argument has no value': [{ 'a.yaml': base({ connection: { $file: '${UNSET}' } }) }, /needs the variable UNSET/],
  'an include that is no text': [{ 'a.yaml': base({ connection: { $env: ['X'] } }) }, /\$env expects text/],
  'an include of another kind of file': [{ 'a.yaml': base({ connection: { $include: 'b.toml' } }), 'b.toml': '' }, /expected a \.yaml, \.yml or \.json file/, ['a.yaml']],
  'a file that is no mapping': [{ 'a.yaml': base({}), 'b.yaml': '- 1' }, /b\.yaml: not a mapping/],
  'a file that is no YAML': [{ 'a.yaml': base({}), 'b.yaml': 'a: [' }, /b\.yaml:\d+: not valid YAML/],
  'a key given twice': [{ 'a.yaml': 'backend: { database: { client: pg, client: pg } }' }, /duplicate/],
  'a variable in a flow sequence': [{ 'a.yaml': 'backend: { database: { connection: [${X}] } }' }, /not valid YAML/],
  'a file that is not there': [{}, /nowhere\.yaml: cannot be read/, ['nowhere.yaml']],
  'no app-config.yaml': [{ 'b.yaml': '' }, /app-config\.yaml: cannot be read/, []],
  'null in the environment': [{ 'a.yaml': base({}) }, /APP_CONFIG_backend_database_client: may not be null/, ['a.yaml'], { APP_CONFIG_backend_database_client: 'null' }],
  'an impossible key in the environment': [{ 'a.yaml': base({}) }, /"9a" is no key/, ['a.yaml'], { APP_CONFIG_greenroom_9a: '1' }],
  'a path below a scalar in the environment': [
    { 'a.yaml': base({}) },
    /connection_host: cannot stand below APP_CONFIG_backend_database_connection,/,
    ['a.yaml'],
    { APP_CONFIG_backend_database_connection: 'postgres://u:p@h/d', APP_CONFIG_backend_database_connection_host: 'x' },
  ],
  'a key set twice in the environment': [
    { 'a.yaml': base({}) },
    /connection_host: is set by APP_CONFIG_backend_database_connection already/,
    ['a.yaml'],
    { APP_CONFIG_backend_database_connection: '{"host":"h"}', APP_CONFIG_backend_database_connection_host: 'x' },
  ],
  'an unknown client': [{ 'a.yaml': base({ client: 'postgres' }) }, /found "postgres", expected pg/],
  'a schemaPrefix that is none': [{ 'a.yaml': base({ schemaPrefix: '7up' }) }, /schemaPrefix: found "7up"/],
  'a schema name of 64 bytes': [{ 'a.yaml': base({ pluginDivisionMode: 'schema', schemaPrefix: 'x'.repeat(60), plugin: { auth: {} } }) }, /its schema x+auth has 64 bytes/],
  'no client': [{ 'a.yaml': 'backend: { database: { connection: { host: db } } }' }, /client: missing/],
  'no connection': [{ 'a.yaml': 'backend: { database: { client: pg } }' }, /connection: missing/],
};

for (const [rule, [files, reason, named = Object.keys(files), environment = {}]] of Object.entries(REFUSED)) {
  test(`both refuse ${rule}`, async () => {
    await inFiles(files, async given => {
      await assert.rejects(backstage({ ...given, files: named, environment }), 'Backstage takes it');
      assert.match(greenroom({ ...given, files: named, environment }).refused ?? 'greenroom takes it', reason);
    });
  });
}

test('what neither of us wrote down is read alike by both', async t => {
  const seed = Number(process.env.GREENROOM_CONFIG_SEED ?? Math.floor(Math.random() * 2 ** 32));
  t.diagnostic(`GREENROOM_CONFIG_SEED=${seed}`);
  const random = generator(seed);
  const outcomes = { same: 0, refused: 0, 'greenroom alone refused': 0 };
  const rounds = Number(process.env.GREENROOM_CONFIG_ROUNDS ?? 150);
  for (let round = 0; round < rounds; round += 1) {
    const { files, named, environment } = odd(random);
    await inFiles(files, async given => {
      const outcome = await compare({ ...given, files: named, environment });
      outcomes[outcome] += 1;
    }).catch(error => {
      error.message += `\nseed ${seed}, round ${round}: ${JSON.stringify({ files, environment }, null, 1)}`;
      throw error;
    });
  }
  t.diagnostic(JSON.stringify(outcomes));
  assert.ok(outcomes.same >= rounds / 3, `too few could be compared: ${JSON.stringify(outcomes)}`);
});

/** Where greenroom is stricter than Backstage, on purpose and with a reason. */
const STRICTER = [
  /connection\.user: missing/,
  /connection\.database: missing.*, expected the database that holds/,
  /connection\.database: found "", expected a name/,
  /connection\.(password|ssl): differs from that of/,
  /: found a mapping, expected text/,
  /: found something else \(not shown\), expected text/,
  /: cannot be honoured: PostgreSQL speaks no TLS over a unix socket/,
  /connection\.database: .* is also the name of a plugin's database/,
];

/** Where Backstage fails and greenroom goes on: the trouble is its own, and told as a remark. */
const LAXER = [
  [/Tarn: opt\.max is smaller than opt\.min/, /pool\.max: \d+ is less than min/],
  [/Tarn: opt\.(min|max) must be an integer|Tarn: invalid opt/, /is text, as every variable's value is/],
  [/got empty-string, wanted string/, /./],
];

async function compare(given) {
  const ours = greenroom(given);
  let theirs;
  try {
    theirs = await backstage(given);
  } catch (error) {
    const laxer = LAXER.find(([message]) => message.test(error.message));
    if (laxer && ours.shown) {
      assert.ok(ours.shown.warnings.some(warning => laxer[1].test(warning)), `no remark on: ${error.message}`);
      return 'refused';
    }
    assert.ok(ours.refused, `Backstage refuses it: ${error.message}`);
    return 'refused';
  }
  if (ours.refused) {
    for (const line of ours.refused.split('\n')) {
      assert.ok(STRICTER.some(reason => reason.test(line)), `Backstage takes it, greenroom refuses: ${line}`);
    }
    return 'greenroom alone refused';
  }
  for (const id of given.plugins) {
    if (/names no user/.test(ours.shown.plugins[id].reason)) {
      continue;
    }
    assert.deepEqual(comparable(ours.shown.plugins[id]), expected(theirs[id]), id);
  }
  if (ours.shown.pluginDivisionMode === 'database') {
    overSchemas(given, theirs);
  }
  return 'same';
}

/** Holds greenroom to it that a Backstage over schemas asks for the same, and finds a schema of the plugin's. */
function overSchemas(given, theirs) {
  const ours = greenroom({ ...given, environment: { ...given.environment, APP_CONFIG_greenroom_division: 'schema' } });
  if (ours.refused) {
    assert.ok(ours.refused.split('\n').every(line => STRICTER.some(reason => reason.test(line))), ours.refused);
    return;
  }
  const { plugins, schemaPrefix } = ours.shown;
  const shared = name => Object.values(plugins).filter(({ logicalDatabase }) => logicalDatabase === name).length > 1;
  for (const id of given.plugins.filter(id => plugins[id].proxied && !shared(plugins[id].logicalDatabase))) {
    const { database, ...shown } = comparable(plugins[id]);
    const { database: asked, ...wanted } = expected(theirs[id]);
    assert.deepEqual(shown, { ...wanted, schema: `${schemaPrefix}${id}` }, `${id} over schemas`);
    assert.ok(asked === `backstage_plugin_${id}` ? database : database === asked, `${id} is in ${database}`);
  }
}

/** Files and an environment out of the shapes that anyone might write. */
function odd(random) {
  const { pick, chance, int } = random;
  const variable = () => pick(['A', 'B', 'C', 'D', 'NOPE']);
  const reference = () =>
    pick([`\${${variable()}}`, `\${ ${variable()} }`, `\${${variable()}:-dflt}`, `\${${variable()}:-}`, `$\${${variable()}}`, `\${${variable()}-x}`, `$${variable()}`, `\${{${variable()}}}`]);
  const text = word => {
    if (chance(0.55)) {
      return word;
    }
    return pick([
      () => `${word}${reference()}`,
      () => reference(),
      () => `${reference()}-${reference()}`,
      () => ({ $env: variable() }),
      () => ({ $file: pick(['text.txt', 'sub/text.txt']) }),
      () => ({ $include: pick(['inc.yaml#text', 'inc.yaml#deep.text', 'sub/inc.json#text', 'sub/inc.json#nothing', 'inc.yaml#${A}']) }),
    ])();
  };
  const some = entries => Object.fromEntries(Object.entries(entries).filter(() => chance(0.6)).map(([key, make]) => [key, make()]));
  const pool = () =>
    some({
      min: () => int(0, 3),
      max: () => (chance(0.97) ? int(3, 12) : pick([1, '${PORT}'])),
      acquireTimeoutMillis: () => int(1, 90_000),
      createTimeoutMillis: () => int(1, 90_000),
      idleTimeoutMillis: () => int(1, 90_000),
      propagateCreateError: () => chance(0.5),
    });
  const ssl = () =>
    pick([false, false, true, {}, { rejectUnauthorized: false }, { ca: { $file: 'ca.pem' } }, { ca: ['-----BEGIN A', '-----BEGIN B'] }, { ca: ['-----BEGIN C'], servername: 's' }, 'no-verify']);
  const url = id =>
    pick([
      `postgres://${id}:p%20w@far:6543/own_${id}`,
      `postgresql://${id}:p@far`,
      `postgres://${chance(0.8) ? `${id}:p@` : ''}far/own?sslmode=${pick(['require', 'disable', 'no-verify'])}`,
      `postgres://${id}:p w@${chance(0.5) ? '%2Frun%2Fpg' : 'far'}/o%2Fwn?ssl=1`,
      `socket://${id}:p@/run/pg?db=own_${id}`,
      '/run/pg own',
      `postgres://\${A:-${id}}:\${B:-p}@far/own`,
    ]);
  const object = id => some({ host: () => text('far'), user: () => text(`u-${id}`), password: () => text('pw'), port: () => pick([5433, '5434', '${PORT:-5435}', '${PORT}']), database: () => text(`own_${id}`), ssl });
  const plugin = id =>
    some({
      connection: () => (chance(0.3) ? url(id) : object(id)),
      knexConfig: () => ({ pool: pool(), ...some({ acquireConnectionTimeout: () => int(1, 90_000) }) }),
      role: () => 'r',
      ensureExists: () => pick([true, false, 'no', 1]),
      ...(chance(0.1) ? { client: () => 'better-sqlite3' } : {}),
    });
  const database = {
    client: 'pg',
    connection: chance(0.2) ? url('base') : { ...object('base'), host: 'db', user: 'base', password: 'p', database: 'shared' },
    ...some({ pool, knexConfig: () => ({ pool: pool() }), role: () => 'owner' }),
    ...(chance(0.3) ? { pluginDivisionMode: pick(['schema', 'database']) } : {}),
    ...(chance(0.2) ? { schemaPrefix: pick(['s_', '']) } : {}),
    plugin: some(Object.fromEntries(PLUGINS.map(id => [id, () => plugin(id)]))),
  };
  const overlay = { plugin: some(Object.fromEntries(PLUGINS.map(id => [id, () => (chance(0.2) ? null : plugin(id))]))) };
  if (chance(0.3)) {
    overlay.connection = object('over');
  }
  for (const key of ['knexConfig', 'pool', 'role'].filter(() => chance(0.15))) {
    overlay[key] = null;
  }
  const environment = some({
    A: () => pick(['a', ' a ', '', 'text', 'deep.text']),
    B: () => pick(['b', '', '${A}', '$${A}']),
    C: () => '\tc\n',
    D: () => '',
    PORT: () => pick(['7777', ' 7778 ']),
    'A-x': () => 'dash',
  });
  if (chance(0.3)) {
    Object.assign(
      environment,
      some({
        APP_CONFIG_backend_database_connection_host: () => pick(['env', '"env"', '']),
        APP_CONFIG_backend_database_knexConfig_pool_max: () => String(int(3, 9)),
        APP_CONFIG_backend_database_plugin_auth: () => pick(['{"connection": {"user": "e"}}', '{"connection": null}']),
        'APP_CONFIG_backend_database_plugin_user-settings_connection_port': () => '7',
      }),
    );
  }
  return {
    files: {
      'a.yaml': { backend: { database }, ...trusting },
      'b.yaml': { backend: { database: overlay } },
      'inc.yaml': { text: 'included ${A}', deep: { text: '${A:-x}' } },
      'text.txt': ' of a file ${A}\n \n',
      'sub/text.txt': 'below\n',
      'sub/inc.json': '{"text": "json ${B}"}',
      'ca.pem': '-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n',
    },
    named: chance(0.5) ? ['a.yaml'] : ['a.yaml', 'b.yaml'],
    environment,
  };
}

/** A small random number generator (mulberry32), the same for the same seed. */
function generator(seed) {
  let state = seed >>> 0;
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  const int = (least, most) => least + Math.floor(next() * (most - least + 1));
  return { chance: share => next() < share, int, pick: list => list[int(0, list.length - 1)] };
}
