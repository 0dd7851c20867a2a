// What breaks: clients that vanish, a greenroom or a PostgreSQL that is started again.

import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';

import { eventually } from '../support/process.js';
import { MAX_SERVER_CONNECTIONS, room } from '../support/room.js';

const here = room();

/** A pool whose connections are all open, and a table with one row. */
async function warm(plugin, size = 4) {
  const knex = plugin.knex({ pool: { min: 2, max: size } });
  await knex.schema.createTable('t', table => table.integer('id').primary());
  await knex('t').insert({ id: 1 });
  await Promise.all(Array.from({ length: size }, async () => knex.raw('select pg_sleep(0.05)')));
  return knex;
}

/** Queries without a pause until told to stop; keeps what failed. */
function keepQuerying(knex) {
  const errors = [];
  let stopped = false;
  let done = 0;
  const workers = [1, 2, 3].map(async () => {
    while (!stopped) {
      try {
        await knex.transaction(async trx => trx('t').where({ id: 1 }).update({ id: 1 }));
        done += 1;
      } catch (error) {
        errors.push(error);
      }
      await sleep(5);
    }
  });
  return {
    errors,
    get done() {
      return done;
    },
    async stop() {
      stopped = true;
      await Promise.all(workers);
    },
  };
}

/** Waits until ten more transactions than now have succeeded, and that no error came since. */
async function recovered(load) {
  const before = load.done;
  await eventually(() => assert.ok(load.done >= before + 10, 'no query succeeds'), 20_000);
  const errors = load.errors.length;
  await sleep(500);
  assert.equal(load.errors.length, errors, `it still fails: ${load.errors.at(-1)?.message}`);
}

here.sameOnBothSides('clients that vanish in a transaction are rolled back and hold no lock', {}, async plugin => {
  const knex = await warm(plugin);
  for (let round = 0; round < 3; round += 1) {
    const doomed = await Promise.all(Array.from({ length: 8 }, async () => plugin.client()));
    for (const [i, client] of doomed.entries()) {
      await client.query('BEGIN');
      await client.query('insert into t values ($1)', [100 + i]);
    }
    doomed.forEach(client => client.connection.stream.destroy());
    await Promise.all(doomed.map(async (_, i) => knex('t').insert({ id: 100 + i })));
    await knex('t').where('id', '>=', 100).delete();
  }
  await eventually(async () => assert.equal(await here.serverConnections('idle in transaction'), 0));
  return knex('t').pluck('id');
});

here.sameOnBothSides('a client that vanishes while its query runs leaves nothing behind', {}, async plugin => {
  const knex = await warm(plugin);
  const client = await plugin.client();
  await client.query('begin');
  await client.query('insert into t values (7)');
  client.query("select pg_sleep(1), 'vanished'").catch(() => {});
  await sleep(50);
  client.connection.stream.destroy();
  await knex('t').insert({ id: 7 });
  await eventually(async () => assert.equal(await here.serverConnections('idle in transaction'), 0));
  return knex('t').orderBy('id').pluck('id');
});

here.throughGreenroom('more vanished clients than connections leave all connections usable', {}, async ([plugin]) => {
  const knex = await warm(plugin, 10);
  for (let round = 0; round < 4; round += 1) {
    const doomed = await Promise.all(Array.from({ length: 30 }, async () => plugin.client()));
    doomed.forEach(client => client.query('begin; insert into t values (50)').catch(() => {}));
    await sleep(30);
    doomed.forEach(client => client.connection.stream.destroy());
  }
  await Promise.all(Array.from({ length: 20 }, async () => knex.raw('select pg_sleep(0.01)')));
  assert.deepEqual(await knex('t').pluck('id'), [1]);
  assert.ok((await here.serverConnections()) <= MAX_SERVER_CONNECTIONS);
  assert.equal(await here.serverConnections('idle in transaction'), 0);
});

here.throughGreenroom('a Knex pool that was idle does not notice a restart of greenroom', {}, async ([plugin]) => {
  const knex = await warm(plugin);
  assert.deepEqual(await here.greenroom.down('SIGTERM'), { code: 0, signal: null });
  await here.greenroom.up();
  assert.deepEqual(await Promise.all([1, 2, 3, 4].map(async () => knex('t').pluck('id'))), [[1], [1], [1], [1]]);
});

here.throughGreenroom('a transaction that is open ends well while greenroom drains', {}, async ([plugin]) => {
  const knex = await warm(plugin);
  const trx = await knex.transaction();
  await trx('t').insert({ id: 2 });
  const down = here.greenroom.down('SIGTERM');
  await sleep(300);
  await trx('t').insert({ id: 3 });
  await trx.commit();
  assert.deepEqual(await down, { code: 0, signal: null });
  await here.greenroom.up();
  assert.deepEqual(await knex('t').orderBy('id').pluck('id'), [1, 2, 3]);
});

here.throughGreenroom('greenroom ends at once when servers are being opened for clients that have gone', {}, async ([plugin]) => {
  for (let round = 0; round < 3; round += 1) {
    const gone = await Promise.all(Array.from({ length: 8 }, async () => plugin.client()));
    gone.forEach(client => client.query('select 1').catch(() => {}));
    await sleep(10);
    gone.forEach(client => client.connection.stream.destroy());
    await sleep(10);
    try {
      assert.deepEqual(await here.greenroom.down('SIGTERM', 10_000), { code: 0, signal: null });
    } finally {
      await here.greenroom.up();
    }
  }
});

for (const signal of ['SIGTERM', 'SIGKILL']) {
  here.throughGreenroom(`a busy Knex pool recovers on its own from a restart of greenroom by ${signal}`, {}, async ([plugin]) => {
    const load = keepQuerying(await warm(plugin));
    await recovered(load);
    await here.greenroom.down(signal);
    await here.greenroom.up();
    await recovered(load);
    await load.stop();
    await eventually(async () => assert.equal(await here.serverConnections('idle in transaction'), 0));
  });
}

here.sameOnBothSides('a Knex pool that was idle does not notice a restart of PostgreSQL', { timeout: 60_000 }, async plugin => {
  const knex = await warm(plugin);
  await here.postgres.down();
  await here.postgres.up();
  return Promise.all([1, 2, 3, 4].map(async () => knex('t').pluck('id')));
});

here.sameOnBothSides('a busy Knex pool recovers on its own from a restart of PostgreSQL', { timeout: 60_000 }, async plugin => {
  const knex = await warm(plugin);
  const load = keepQuerying(knex);
  await recovered(load);
  await here.postgres.down();
  await eventually(() => assert.ok(load.errors.length > 3, 'nothing failed'));
  await here.postgres.up();
  await recovered(load);
  await load.stop();
  return knex('t').pluck('id');
});
