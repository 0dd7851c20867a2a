// Backstage's DatabaseManager: where it puts plugins of any name, and who gets which.

import assert from 'node:assert/strict';

import pg from 'pg';

import { deployments, LAYOUTS, ROLE, SHARED_DATABASE } from '../support/deployment.js';
import { owners, places, PLUGINS, use } from '../support/items.js';

const here = deployments();

here.sameOnBothSides('thirteen plugins start on an empty server, and each has its own data after a restart', {}, async side => {
  const first = await side.backstage().knexes(PLUGINS);
  await use(first, PLUGINS);
  assert.deepEqual(await side.placesOf('items'), places(side, PLUGINS));
  const again = await side.backstage().knexes(PLUGINS);
  assert.deepEqual(await owners(again), PLUGINS.map(id => [id]));
  return Promise.all(again.map(async knex => Object.keys(await knex('items').columnInfo())));
});

here.throughGreenroom('a login that may neither create databases nor connect to postgres is enough', {
  layouts: [LAYOUTS.databasesAreSchemas, LAYOUTS.schemas],
}, async side => {
  const knexes = await side.backstage().knexes(PLUGINS);
  await use(knexes, PLUGINS);
  const { user, password } = side.config().connection;
  const direct = new pg.Client({ host: '127.0.0.1', port: here.postgres.port, user, password, database: 'postgres' });
  await assert.rejects(direct.connect(), { code: '42501' });
  const rights = await here.postgres.query('select rolcreatedb, rolsuper from pg_roles where rolname = $1', [user]);
  assert.deepEqual(rights, [{ rolcreatedb: false, rolsuper: false }]);
  const databases = await here.postgres.query('select datname from pg_database where not datistemplate order by 1');
  assert.deepEqual(databases, [{ datname: 'postgres' }, { datname: SHARED_DATABASE }]);
});

here.sameOnBothSides('ids with dashes, capitals and digits stay apart', {}, async side => {
  const ids = ['user-settings', 'user_settings', 'User-Settings', 'techDocs', 'techdocs', 'oauth2', 'select'];
  const knexes = await side.backstage().knexes(ids);
  await use(knexes, ids);
  assert.deepEqual(await side.placesOf('items'), places(side, ids));
  return owners(await side.backstage().knexes(ids));
});

here.sameOnBothSides('a schemaPrefix names the schemas', { backend: { schemaPrefix: 'stage_' } }, async side => {
  const ids = ['catalog', 'user-settings', 'stage_catalog'];
  const knexes = await side.backstage().knexes(ids);
  await use(knexes, ids);
  assert.deepEqual(await side.placesOf('items'), places(side, ids, { schemaPrefix: 'stage_' }));
  return owners(await side.backstage().knexes(ids));
});

here.sameOnBothSides('a prefix of its own names the databases', {
  backend: { prefix: 'stage_', schemaPrefix: 'stage_' },
}, async side => {
  const ids = ['catalog', 'user-settings'];
  await use(await side.backstage().knexes(ids), ids);
  const named = id => (side.hasDatabases ? `stage_${id}/public` : `${SHARED_DATABASE}/stage_${id}`);
  assert.deepEqual(await side.placesOf('items'), ids.map(named).sort());
  return owners(await side.backstage().knexes(ids));
});

const OWN_DATABASES = {
  backend: { plugin: { auth: { connection: { database: 'logins' } }, scaffolder: { connection: { database: 'Tasks of ours' } } } },
};

here.sameOnBothSides('databases that plugins have of their own are created where databases are created', {
  ...OWN_DATABASES,
  layouts: [LAYOUTS.databases],
}, async side => {
  const ids = ['auth', 'scaffolder', 'catalog'];
  await use(await side.backstage().knexes(ids), ids);
  assert.deepEqual(await side.placesOf('items'), ['Tasks of ours/public', 'backstage_plugin_catalog/public', 'logins/public']);
  return owners(await side.backstage().knexes(ids));
});

// Behind greenroom a plugin's own database has its schema in it, as in Backstage's schema mode; Backstage itself creates that
// schema in the shared database, where it is of no use.
here.sameOnBothSides('databases that plugins have of their own are used where an operator has made them', {
  ...OWN_DATABASES,
  layouts: [LAYOUTS.databasesAreSchemas, LAYOUTS.schemas],
  prepare: async (postgres, { user }) => {
    await postgres.query(`create database logins owner ${user}`);
    await postgres.query(`create database "Tasks of ours" owner ${user}`);
    await postgres.queryIn('logins', `create schema auth authorization ${user}`);
    await postgres.queryIn('Tasks of ours', `create schema scaffolder authorization ${user}`);
  },
}, async side => {
  const ids = ['auth', 'scaffolder', 'catalog'];
  await use(await side.backstage().knexes(ids), ids);
  const expected = side.hasDatabases
    ? ['Tasks of ours/public', 'backstage_plugin_catalog/public', 'logins/public']
    : ['Tasks of ours/scaffolder', 'logins/auth', `${SHARED_DATABASE}/catalog`];
  assert.deepEqual((await side.placesOf('items')).sort(), expected);
  return owners(await side.backstage().knexes(ids));
});

here.sameOnBothSides("Backstage's role is the role of its own sessions only, and owns what it creates", {
  backend: { role: ROLE, knexConfig: { pool: { min: 0, max: 3 } } },
  prepare: async postgres => postgres.query(`grant create on database ${SHARED_DATABASE} to ${ROLE}`),
}, async side => {
  const ids = ['catalog', 'auth', 'search'];
  const knexes = await side.backstage().knexes(ids);
  await use(knexes, ids);
  // The same plugins by an operator's tool that knows of no role, over the same server connections.
  const plain = await side.backstage({ role: undefined }).knexes(ids);
  const roles = async knex => (await knex.raw('select current_user as acting, session_user as login')).rows[0];
  const asked = await Promise.all(Array.from({ length: 60 }, async (_, i) => {
    const [knex, expected] = i % 2 ? [knexes[i % 3], ROLE] : [plain[i % 3], 'backstage'];
    const { acting: found, login } = await roles(knex);
    return { expected, found, login };
  }));
  asked.forEach(({ expected, found, login }) => assert.deepEqual([found, login], [expected, 'backstage']));
  const ownerOf = knex => knex('pg_tables').where({ tablename: 'items' }).distinct('tableowner').pluck('tableowner');
  return Promise.all(knexes.map(async knex => ownerOf(knex)));
});

const PREFIX = 'backstage_plugin_';

/** A plugin of this id has its data, also after a restart. */
async function isUsedAsItIs(side, id) {
  await use([await side.backstage().knex(id)], [id]);
  assert.deepEqual(await side.placesOf('items'), places(side, [id]));
  return owners([await side.backstage().knex(id)]);
}

here.sameOnBothSides('a database of 63 bytes is used as it is', {
  layouts: [LAYOUTS.databasesAreSchemas, LAYOUTS.databases],
}, async side => isUsedAsItIs(side, 'd'.repeat(63 - PREFIX.length)));

// Backstage puts the id into application_name, of which PostgreSQL keeps 63 bytes; only a server can tell what it makes of it.
here.sameOnBothSides('a schema of 63 bytes is used as it is', {
  layouts: [LAYOUTS.schemas],
  pins: { ['s'.repeat(63)]: ['startup_settings'] },
}, async side => isUsedAsItIs(side, 's'.repeat(63)));

here.throughGreenroom('a database of 64 bytes is no limit when its schema is short', {
  layouts: [LAYOUTS.databasesAreSchemas],
}, async side => {
  const id = 'd'.repeat(64 - PREFIX.length);
  assert.deepEqual(await isUsedAsItIs(side, id), [[id]]);
});

// PostgreSQL cuts a longer name short when it creates, and when a client connects: two plugins would meet in one database.
here.throughGreenroom('nobody gets into a database of 64 bytes', { layouts: [LAYOUTS.databases] }, async side => {
  const id = 'd'.repeat(64 - PREFIX.length);
  const knex = await side.backstage().knex(id);
  const error = await knex.raw('select 1').then(() => assert.fail('accepted'), e => e);
  assert.match(error.message, /needs the name "backstage_plugin_d+" of 64 bytes, PostgreSQL keeps 63/);
});
