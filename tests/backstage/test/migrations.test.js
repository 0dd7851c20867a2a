// Migrations as Backstage runs them: many plugins at once, all with tables of the same names.

import assert from 'node:assert/strict';
import { fileURLToPath } from 'node:url';

import { errorOf, room } from '../support/room.js';

const here = room();

const directory = fileURLToPath(new URL('../migrations', import.meta.url));

/** One migration that is no file, as Knex takes them from a package. */
function migration(name, up) {
  const down = async () => {};
  return { getMigrations: async () => [name], getMigrationName: () => name, getMigration: async () => ({ up, down }) };
}

/** A second set of migrations in the same database, as the scheduler's beside a plugin's own. */
const tasks = {
  tableName: 'backstage_backend_tasks__knex_migrations',
  migrationSource: migration('20240101_init', async knex => {
    await knex.schema.createTable('backstage_backend_tasks__tasks', table => table.text('id').primary());
  }),
};

/** Brings a plugin's database to its newest state, then uses it. */
async function start(plugin, knex) {
  const [, names] = await knex.migrate.latest({ directory });
  const [, others] = await knex.migrate.latest(tasks);
  const refs = ['a', 'b', 'c'].map(ref => ({ ref, plugin: plugin.id, kind: 'component' }));
  const ids = await knex('entities').insert(refs).returning('id');
  await knex('relations').insert({ source: ids[0].id, target: ids[1].id });
  return [...names, ...others];
}

/** Everything that is in the plugin's schema, by Backstage's own ways of asking. */
async function inventory(knex) {
  const tables = await knex('information_schema.tables').whereRaw('table_schema = current_schema()').orderBy('table_name').pluck('table_name');
  const indexes = await knex('pg_indexes').whereRaw('schemaname = current_schema()').orderBy('indexname').pluck('indexname');
  return { tables, indexes, columns: Object.keys(await knex('entities').columnInfo()), done: await knex('knex_migrations').orderBy('id').pluck('name') };
}

here.sameOnBothSides('ten plugins migrate at once, and each sees only its own', { plugins: 10, timeout: 120_000 }, async plugins => {
  const knexes = plugins.map(plugin => plugin.knex());
  const done = await Promise.all(plugins.map(async (plugin, i) => start(plugin, knexes[i])));
  const found = await Promise.all(knexes.map(inventory));
  const own = await Promise.all(knexes.map(async knex => knex('entities').distinct('plugin').pluck('plugin')));
  assert.deepEqual(own, plugins.map(plugin => [plugin.id]));
  assert.deepEqual(done[0].slice(0, 3), found[0].done);
  await Promise.all(knexes.map(async knex => knex.migrate.latest({ directory })));
  return [done, found];
});

here.sameOnBothSides('a second start changes nothing, and rollback takes everything away', { timeout: 60_000 }, async plugin => {
  const first = plugin.knex();
  const seen = [await start(plugin, first)];
  const second = plugin.knex();
  seen.push((await second.migrate.latest({ directory }))[1], await second.migrate.currentVersion({ directory }));
  seen.push((await second.migrate.status({ directory })), (await second.migrate.rollback({ directory }, true))[1]);
  seen.push(await second.schema.hasTable('entities'), await second('knex_migrations').count({ n: '*' }).first());
  return seen;
});

here.sameOnBothSides('two replicas that start at once migrate once', { timeout: 60_000 }, async plugin => {
  const slow = migration('1_slow', async knex => {
    await knex.schema.createTable('slow', table => table.increments());
    await knex.raw('select pg_sleep(0.3)');
    await knex('slow').insert({});
  });
  const replicas = [plugin.knex(), plugin.knex()];
  await replicas[0].migrate.currentVersion();
  const results = await Promise.allSettled(replicas.map(async knex => knex.migrate.latest({ migrationSource: slow })));
  assert.ok(results.some(result => result.status === 'fulfilled'));
  return [(await replicas[0]('slow').count({ n: '*' }).first()).n, await replicas[1]('knex_migrations').pluck('name')];
});

here.sameOnBothSides('a migration that fails leaves nothing and frees the lock', {}, async plugin => {
  const knex = plugin.knex();
  const source = broken => migration('1_broken', async trx => {
    await trx.schema.createTable('halfway', table => table.increments());
    await trx.raw(broken ? 'select * from nowhere' : 'select 1');
  });
  const error = await errorOf(knex.migrate.latest({ migrationSource: source(true) }));
  const left = await knex.schema.hasTable('halfway');
  const [, mended] = await knex.migrate.latest({ migrationSource: source(false) });
  assert.equal(left, false);
  return [error.code, mended];
});
