// Thirty plugins at once over a dozen connections.

import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';

import { MAX_SERVER_CONNECTIONS, room } from '../support/room.js';

const here = room();

const PLUGINS = 30;
const WORKERS = 10;
const ROUNDS = 6;

here.throughGreenroom('thirty plugins under load share twelve connections and no row', { plugins: PLUGINS, timeout: 240_000 }, async plugins => {
  const sampler = sampleServerConnections();
  let counts;
  const knexes = plugins.map(plugin => plugin.knex({ pool: { min: 2, max: 10, acquireTimeoutMillis: 60_000 } }));
  try {
    await Promise.all(knexes.map(async knex => knex.schema.createTable('items', table => {
      table.increments('id');
      table.text('owner').notNullable();
      table.integer('worker').notNullable();
      table.integer('value').notNullable();
    })));
    const workers = Array.from({ length: WORKERS }, (_, i) => i);
    await Promise.all(plugins.flatMap((plugin, i) => workers.map(async worker => work(plugin, knexes[i], worker))));
    for (const [i, plugin] of plugins.entries()) {
      const kept = await knexes[i]('items').select('owner').count({ n: '*' }).sum({ sum: 'value' }).groupBy('owner');
      assert.deepEqual(kept, [{ owner: plugin.id, n: String(WORKERS * ROUNDS), sum: String(WORKERS * ROUNDS * 2) }]);
    }
    const clients = knexes.reduce((sum, knex) => sum + knex.client.pool.numUsed() + knex.client.pool.numFree(), 0);
    assert.ok(clients > 5 * MAX_SERVER_CONNECTIONS, `only ${clients} clients were connected`);
  } finally {
    counts = await sampler.stop();
  }
  assert.ok(counts.length > 20, `only ${counts.length} samples`);
  assert.ok(Math.max(...counts) <= MAX_SERVER_CONNECTIONS, `PostgreSQL counted ${Math.max(...counts)} connections`);
  assert.ok(Math.max(...counts) > 1, 'the load never met');
  for (const plugin of plugins) {
    assert.deepEqual(await plugin.pins(), {}, plugin.id);
  }
});

/** What a plugin does all day, in one of its connections at a time; every answer is checked. */
async function work(plugin, knex, worker) {
  const mine = () => knex('items').where({ worker });
  for (let round = 0; round < ROUNDS; round += 1) {
    await knex.transaction(async trx => {
      await trx('items').insert({ owner: plugin.id, worker, value: 1 });
      const { n } = await trx('items').where({ worker }).count({ n: '*' }).first();
      assert.equal(n, String(round + 1));
      await trx('items').where({ worker, value: 1 }).update({ value: 2 });
    });
    const failing = knex.transaction(async trx => {
      await trx('items').insert({ owner: 'nobody', worker, value: 1000 });
      throw new Error('undo');
    });
    await assert.rejects(failing, { message: 'undo' });
    assert.deepEqual(await mine().distinct('owner').pluck('owner'), [plugin.id]);
    const { rows } = await knex.raw('select count(*)::int as n, current_schema() as schema from items where owner <> ?', [plugin.id]);
    assert.deepEqual(rows, [{ n: 0, schema: plugin.id }]);
    const simple = await knex.raw(`select ${worker} as worker, current_schema() as schema`);
    assert.deepEqual(simple.rows, [{ worker, schema: plugin.id }]);
  }
}

/** Counts the plugins' connections, as PostgreSQL has them, over and over. */
function sampleServerConnections() {
  const counts = [];
  let stopped = false;
  const sampling = (async () => {
    while (!stopped) {
      counts.push(await here.serverConnections());
      await sleep(15);
    }
  })();
  return {
    async stop() {
      stopped = true;
      await sampling;
      return counts;
    },
  };
}
