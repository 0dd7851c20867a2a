// The migrations of Backstage's own packages, and what they leave.

import assert from 'node:assert/strict';

import { deployments } from '../support/deployment.js';
import { inventory } from '../support/inventory.js';
import { MIGRATIONS, migrationsOf } from '../support/packages.js';

// Directly, replicas open many more connections than greenroom does.
const here = deployments({ max_connections: 200 });

const PLUGINS = Object.keys(MIGRATIONS);

/** Has every plugin migrate as it starts, all at once, and tells which migrations were run. */
async function migrate(knexes) {
  return Promise.all(knexes.map(async (knex, i) => {
    const done = [];
    for (const migrations of migrationsOf(PLUGINS[i])) {
      done.push((await knex.migrate.latest(migrations))[1]);
    }
    return done;
  }));
}

async function inventories(knexes) {
  return Promise.all(knexes.map(inventory));
}

here.sameOnBothSides('all packages migrate up, again, down and up', { timeout: 120_000 }, async side => {
  const knexes = await side.backstage().knexes(PLUGINS);
  const up = await migrate(knexes);
  const made = await inventories(knexes);
  made.forEach(({ indexes }) => assert.ok(indexes.every(({ valid }) => valid), 'an index is not valid'));

  const restarted = await side.backstage().knexes(PLUGINS);
  assert.deepEqual((await migrate(restarted)).flat(2), [], 'a restart migrates nothing');
  assert.deepEqual(await inventories(restarted), made);

  const down = await Promise.all(restarted.map(async (knex, i) => (await knex.migrate.rollback(MIGRATIONS[PLUGINS[i]], true))[1]));
  const left = await inventories(restarted);
  const upAgain = await migrate(restarted);
  assert.deepEqual(upAgain.map(([own]) => own), up.map(([own]) => own));
  assert.deepEqual(await inventories(restarted), made);
  return { up, down, made, left };
});

here.sameOnBothSides('two replicas migrate at once, and nothing is done twice', { timeout: 120_000 }, async side => {
  const replicas = await Promise.all([1, 2].map(async () => side.backstage().knexes(PLUGINS)));
  for (const [i, id] of PLUGINS.entries()) {
    for (const migrations of migrationsOf(id)) {
      // Knex makes its own tables without its lock; that race is Knex's, and ends in either's error.
      await replicas[0][i].migrate.currentVersion(migrations);
      const results = await Promise.allSettled(replicas.map(async knexes => knexes[i].migrate.latest(migrations)));
      assert.ok(results.some(({ status }) => status === 'fulfilled'), `${id}: ${results[0].reason}`);
      results.filter(({ reason }) => reason).forEach(({ reason }) => assert.equal(reason.name, 'MigrationLocked', id));
    }
  }
  // What Kubernetes does with a replica that lost.
  assert.deepEqual((await migrate(replicas[1])).flat(2), []);
  const done = await Promise.all(replicas[0].map(async knex => knex('knex_migrations').orderBy('name').pluck('name')));
  done.forEach(names => assert.equal(new Set(names).size, names.length));
  return { done, made: await inventories(replicas[0]) };
});
