// Many plugins of one Backstage at once, with pools of ten, over a dozen connections.

import assert from 'node:assert/strict';

import { deployments, LAYOUTS, MAX_SERVER_CONNECTIONS } from '../support/deployment.js';
import { eventually } from '../support/process.js';

// Directly, thirty pools of ten want three hundred.
const here = deployments({ max_connections: 400 });

/** The most connections that idle plugins may hold, with a floor of none. */
const MAX_IDLE = 3;

const OPTIONS = {
  backend: { knexConfig: { pool: { min: 2, max: 10 } } },
  settings: { pool: { min: 0, idleTimeoutMillis: 500, reapIntervalMillis: 100 } },
  timeout: 120_000,
};

const PROMISE = 'plugins under load share twelve connections and no row, and idle ones hold three at most';

here.sameOnBothSides(`thirty ${PROMISE}`, {
  ...OPTIONS,
  layouts: [LAYOUTS.databasesAreSchemas],
}, async side => load(side, { plugins: 30, workers: 10, rounds: 3 }));

here.sameOnBothSides(`thirty ${PROMISE}`, {
  ...OPTIONS,
  layouts: [LAYOUTS.schemas],
}, async side => load(side, { plugins: 30, workers: 10, rounds: 1 }));

// A database needs connections of its own: here they change hands by being closed and opened.
here.sameOnBothSides(`twenty ${PROMISE}`, {
  ...OPTIONS,
  layouts: [LAYOUTS.databases],
}, async side => load(side, { plugins: 20, workers: 2, rounds: 1 }));

/** The day of some plugins, and what they keep of it. */
async function load(side, { plugins, workers, rounds }) {
  const ids = Array.from({ length: plugins }, (_, i) => `plugin-${i}`);
  const knexes = await side.backstage().knexes(ids);
  await Promise.all(knexes.map(async knex => knex.schema.createTable('items', table => {
    table.increments('id');
    table.text('owner').notNullable();
    table.integer('worker').notNullable();
    table.integer('value').notNullable();
  })));
  const sampler = await side.sampler();
  let counts;
  try {
    const all = Array.from({ length: workers }, (_, worker) => worker);
    await Promise.all(ids.flatMap((id, i) => all.map(async worker => work(id, knexes[i], worker, rounds))));
  } finally {
    counts = await sampler.stop();
  }
  const summed = knex => knex('items').select('owner').count({ n: '*' }).sum({ sum: 'value' }).groupBy('owner');
  const kept = await Promise.all(knexes.map(async knex => summed(knex)));
  const n = workers * rounds;
  assert.deepEqual(kept, ids.map(owner => [{ owner, n: String(n), sum: String(2 * n) }]));

  const clients = knexes.reduce((sum, { client: { pool } }) => sum + pool.numUsed() + pool.numFree(), 0);
  assert.ok(clients > MAX_SERVER_CONNECTIONS, `only ${clients} clients were connected`);
  const most = Math.max(...counts);
  if (side.isDirect) {
    assert.ok(most > MAX_SERVER_CONNECTIONS, `directly, only ${most} connections`);
  } else {
    assert.ok(counts.length > 10, `only ${counts.length} samples`);
    assert.ok(most <= MAX_SERVER_CONNECTIONS, `PostgreSQL counted ${most} connections`);
    assert.ok(most > 1, 'the load never met');
    await eventually(async () => {
      const idle = await side.serverConnections();
      assert.ok(idle <= MAX_IDLE, `${idle} connections while ${clients} clients were idle`);
    });
  }
  return kept;
}

/** What a plugin does all day, in one of its connections at a time; every answer is checked. */
async function work(id, knex, worker, rounds) {
  for (let round = 0; round < rounds; round += 1) {
    await knex.transaction(async trx => {
      await trx('items').insert({ owner: id, worker, value: 1 });
      const { n } = await trx('items').where({ worker }).count({ n: '*' }).first();
      assert.equal(n, String(round + 1));
      await trx('items').where({ worker, value: 1 }).update({ value: 2 });
    });
    const failing = knex.transaction(async trx => {
      await trx('items').insert({ owner: 'nobody', worker, value: 1000 });
      throw new Error('undo');
    });
    await assert.rejects(failing, { message: 'undo' });
    assert.deepEqual(await knex('items').where({ worker }).distinct('owner').pluck('owner'), [id]);
    const { rows } = await knex.raw('select count(*)::int as n from items where owner <> ?', [id]);
    assert.deepEqual(rows, [{ n: 0 }]);
    const simple = await knex.raw(`select ${worker} as worker, count(*)::int as n from items where owner <> '${id}'`);
    assert.deepEqual(simple.rows, [{ worker, n: 0 }]);
  }
}
