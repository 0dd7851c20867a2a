// pg-native: node-postgres, Knex and TypeORM over libpq, in its asynchronous mode, in its synchronous one and in pipelines.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createRequire } from 'node:module';
import { promisify } from 'node:util';

import { eventually } from '../support/process.js';
import { errorOf, room } from '../support/room.js';

const SERVERS = 3;
const here = room({ pool: { max: SERVERS } });

const require = createRequire(new URL('../native/', import.meta.url));
const { native: pg } = require('pg');
const Libpq = require('pg-native');
const Knex = require('knex');
const { DataSource } = require('typeorm');

/** node-postgres's client over libpq. */
async function client(plugin, more = {}) {
  const made = new pg.Client({ ...plugin.connection, ...more });
  made.on('error', () => {});
  await made.connect();
  plugin.onClose(async () => made.end());
  return made;
}

/** More clients than there are servers. */
async function crowd(plugin, more) {
  return Promise.all(Array.from({ length: 4 * SERVERS }, async () => client(plugin, more)));
}

/** The binding itself, without node-postgres around it. */
async function binding(plugin) {
  const { host, port, user, password, database } = plugin.connection;
  const made = new Libpq();
  await promisify(made.connect.bind(made))(`host=${host} port=${port} user=${user} password='${password}' dbname=${database}`);
  plugin.onClose(() => made.end());
  return made;
}

here.sameOnBothSides('libpq: simple and parameterised queries give the same results', {}, async plugin => {
  const mine = await client(plugin);
  const texts = [
    ['create table things (id serial primary key, name text unique, weight numeric(8,3), raw bytea)'],
    ["insert into things (name, weight) values ('chair', 4.5), ('table', 12)"],
    ['insert into things (name, weight, raw) values ($1, $2, $3) returning *', ['lamp', '1.125', '\\x00275cff']],
    ['select * from things where weight > $1::numeric order by id', [2]],
    ['select id, name from things where name = any($1::text[]) order by id', [['chair', 'lamp', 'door']]],
    ['update things set weight = null where id = $1', [1]],
    ['select $1::int as a, $2::text as b, $3::timestamptz as c', [41, null, new Date(0)]],
    ['begin; delete from things; select count(*)::int from things; rollback; select count(*)::int from things'],
    ['select * from things where false'],
    ['select'],
    [''],
    ['-- only a comment'],
    ['show server_version_num'],
  ];
  const seen = [];
  for (const [text, values] of texts) {
    const results = [await mine.query(text, values)].flat();
    seen.push(results.map(({ command, rowCount, rows, fields }) => ({ command, rowCount, rows, names: fields.map(({ name }) => name) })));
  }
  assert.deepEqual(seen[3][0].rows.map(({ name }) => name), ['chair', 'table']);
  assert.deepEqual(seen[2][0].rows[0].raw, Buffer.from([0, 39, 92, 255]));
  assert.deepEqual([seen[7][2].rows, seen[7][4].rows], [[{ count: 0 }], [{ count: 3 }]]);
  return seen;
});

here.sameOnBothSides("libpq: errors keep PostgreSQL's words, SQLSTATE and fields, and the client goes on", {}, async plugin => {
  const mine = await client(plugin);
  await mine.query('create table grown (id int primary key, age int constraint of_age check (age > 17))');
  await mine.query('insert into grown values (1, 18)');
  const failing = [
    ['selekt 1'], ['select * from nowhere'], ['select 1/$1::int', [0]], ['insert into grown values (1, 18)'],
    ['insert into grown values (2, $1)', [3]], ['select $1::int', ['x']], ['select 1; select 1/0; select 2'],
    [{ name: 'broken', text: 'select missing from grown' }], [{ name: 'broken', text: 'select 1/$1::int', values: [0] }],
    ['select nofunction(1)'],
  ];
  const errors = [];
  for (const [text, values] of failing) {
    errors.push(await errorOf(mine.query(text, values)));
    assert.deepEqual((await mine.query('select count(*)::int as n from grown')).rows, [{ n: 1 }]);
  }
  const codes = ['42601', '42P01', '22012', '23505', '23514', '22P02', '22012', '42703', '22012', '42883'];
  assert.deepEqual(errors.map(({ code }) => code), codes);
  return errors.map(error => ({ ...error, schema: error.schema && 'own' }));
});

here.sameOnBothSides("libpq: statements with a name are each client's own", { timeout: 60_000 }, async plugin => {
  await (await client(plugin)).query('create table t as select generate_series(1, 100) as i');
  const clients = await crowd(plugin);
  const rounds = [];
  for (let round = 0; round < 4; round += 1) {
    rounds.push(await Promise.all(clients.map(async (mine, i) => {
      const shared = await mine.query({ name: 'shared', text: 'select count(*)::int as n from t where i <= $1', values: [i] });
      const own = await mine.query({ name: 'own', text: `select $1::int * ${i} as n`, values: [round] });
      return [shared.rows[0].n, own.rows[0].n];
    })));
  }
  assert.deepEqual(rounds, [0, 1, 2, 3].map(round => clients.map((_, i) => [i, round * i])));
  return rounds;
});

here.sameOnBothSides('libpq: queries of a client in pipelines answer in order, the failed among them', { timeout: 60_000 }, async plugin => {
  const clients = await crowd(plugin, { pipeline: true });
  const answers = await Promise.all(clients.map(async (mine, i) => Promise.all([
    mine.query('select $1::int as n', [i]),
    errorOf(mine.query('select 1/$1::int', [0])),
    mine.query({ name: 'named', text: `select ${i} + $1::int as n`, values: [1] }),
    errorOf(mine.query({ name: 'broken', text: 'select missing' })),
    mine.query({ name: 'again', text: 'select length($1::text) as n', values: ['x'.repeat(300_000)] }),
    mine.query("select repeat('y', 300000) as y"),
  ])));
  const again = await Promise.all(clients.map(async mine => Promise.all([
    mine.query({ name: 'named', text: 'as before', values: [2] }), mine.query('select 2 as n'),
  ])));
  assert.deepEqual(again.map(([{ rows }]) => rows[0].n), clients.map((_, i) => i + 2));
  assert.deepEqual(answers.map(([first, , named]) => [first.rows[0].n, named.rows[0].n]), clients.map((_, i) => [i, i + 1]));
  return answers.map(all => all.map(({ rows, code, message }) => rows ?? [code, message]));
});

here.sameOnBothSides('libpq: big values and many rows arrive whole, both ways', { timeout: 60_000 }, async plugin => {
  const clients = await crowd(plugin);
  const big = `${'x'.repeat(3_000_000)}end`;
  const answers = await Promise.all(clients.map(async (mine, i) => {
    const { rows } = await mine.query('select $1::text as value, $2::int as i', [big, i]);
    const many = await mine.query("select i, repeat('y', i % 100) as filler from generate_series(1, 20000) i");
    return [rows[0].value === big, rows[0].i, many.rowCount, many.rows.at(-1)];
  }));
  assert.ok(answers.every(([whole]) => whole));
  const wide = await clients[0].query(`select ${Array.from({ length: 1500 }, (_, i) => `${i} as c${i}`).join(', ')}`);
  return [answers, wide.rows];
});

here.sameOnBothSides('libpq: a cancel ends the query of its own client and no other', { timeout: 60_000 }, async plugin => {
  const clients = await crowd(plugin);
  const sleeping = clients.slice(0, SERVERS - 1);
  const ends = sleeping.map(async mine => errorOf(mine.query('select pg_sleep(60)')));
  const others = Promise.all(clients.slice(SERVERS).map(async (mine, i) => {
    await mine.query('select pg_sleep(0.2)');
    return (await mine.query('select $1::int as i', [i])).rows;
  }));
  await eventually(async () => {
    const asleep = "select from pg_stat_activity where query = 'select pg_sleep(60)' and wait_event = 'PgSleep'";
    assert.equal((await here.postgres.query(asleep)).length, sleeping.length);
  });
  for (const mine of sleeping) {
    await promisify(mine.native.cancel.bind(mine.native))();
  }
  const errors = await Promise.all(ends);
  assert.deepEqual(errors.map(({ code }) => code), sleeping.map(() => '57014'));
  const after = await Promise.all(sleeping.map(async mine => (await mine.query('select 1 as next')).rows));
  return [errors, await others, after];
});

here.sameOnBothSides('libpq: a client that listens hears at once, from whom, and holds no server', { timeout: 60_000 }, async plugin => {
  const listeners = await crowd(plugin);
  const heard = listeners.map(() => []);
  for (const [i, mine] of listeners.entries()) {
    mine.native.on('notification', ({ relname, extra, be_pid: pid }) => heard[i].push({ relname, extra, pid }));
    await mine.query('listen ours');
    await mine.query(`listen "only ${i}"`);
  }
  const sender = await client(plugin);
  const { pid } = (await sender.query('select pg_backend_pid() as pid')).rows[0];
  await sender.query("begin; notify ours, 'never'; rollback");
  await sender.query("notify ours, 'first'");
  await sender.query('select pg_notify($1, $2)', ['only 2', 'for one']);
  await eventually(() => assert.equal(heard.flat().length, listeners.length + 1));
  await listeners[0].query('unlisten *');
  await listeners[1].query('begin');
  await sender.query("notify ours, 'second'");
  await listeners[1].query('commit');
  await eventually(() => assert.equal(heard.flat().length, 2 * listeners.length));
  assert.ok(heard.flat().every(one => one.pid === pid), 'the pid is that of who notified');
  return heard.map(all => all.map(({ relname, extra }) => [relname, extra]));
});

here.sameOnBothSides('libpq: the synchronous calls, and COPY both ways', {}, async plugin => {
  const mine = await binding(plugin);
  const seen = [mine.querySync('create table t (i int, name text)'), mine.querySync('select $1::int + 1 as n', ['41'])];
  mine.prepareSync('named', 'select $1::text || $2 as both', 2);
  seen.push(mine.executeSync('named', ['a', 'b']), mine.executeSync('named', ['c', null]));
  for (const text of ['select 1/0', 'selekt']) {
    assert.throws(() => mine.querySync(text), error => seen.push(error.message) > 0);
  }
  assert.throws(() => mine.prepareSync('broken', 'select missing', 0), error => seen.push(error.message) > 0);

  const rows = Array.from({ length: 50_000 }, (_, i) => `${i}\tname ${i}\n`);
  for (const [count, data] of [rows, ['1\tone\n', 'no number\tx\n']].entries()) {
    mine.querySync('copy t from stdin');
    const stream = mine.getCopyStream();
    for (let at = 0; at < data.length; at += 1000) {
      if (!stream.write(Buffer.from(data.slice(at, at + 1000).join('')))) {
        await once(stream, 'drain');
      }
    }
    const error = await new Promise(resolve => { stream.end(resolve); });
    seen.push(count, error?.message, mine.querySync('select count(*)::int as n, max(i) as last from t'));
  }
  assert.deepEqual(seen.at(-1), [{ n: 50_000, last: 49_999 }]);

  mine.querySync('copy (select i from t order by i) to stdout');
  const chunks = [];
  const out = mine.getCopyStream();
  out.on('data', chunk => chunks.push(chunk));
  await once(out, 'end');
  seen.push(Buffer.concat(chunks).toString());
  assert.equal(seen.at(-1), rows.map((_, i) => `${i}\n`).join(''));
  return seen;
});

here.sameOnBothSides("libpq: Knex's transactions, their savepoints, and its timeouts that cancel", { timeout: 60_000 }, async plugin => {
  const knex = Knex({ client: 'pgnative', connection: plugin.connection, pool: { min: 0, max: 4 * SERVERS } });
  plugin.onClose(async () => knex.destroy());
  await knex.schema.createTable('rules', table => {
    table.increments('id');
    table.string('role').unique();
  });
  await Promise.all(Array.from({ length: 40 }, async (_, i) => knex.transaction(async trx => {
    await trx('rules').insert({ role: `role ${i}` });
    const inner = trx.transaction(async nested => nested('rules').insert({ role: i % 2 ? `role ${i}` : `more ${i}` }));
    assert.equal(await inner.then(() => undefined, error => error.code), i % 2 ? '23505' : undefined);
  })));
  const given = await errorOf(knex.transaction(async trx => {
    await trx('rules').delete();
    throw new TypeError('given up');
  }));
  const late = await errorOf(knex.raw('select pg_sleep(60)').timeout(200, { cancel: true }));
  assert.equal(late.name, 'KnexTimeoutError');
  const streamed = [];
  for await (const { role } of knex('rules').select('role').orderBy('role').stream()) {
    streamed.push(role);
  }
  assert.equal(streamed.length, 60);
  return [given, late, streamed, await knex('rules').count().first()];
});

here.sameOnBothSides('libpq: TypeORM, which goes over it where it finds it', { timeout: 60_000 }, async plugin => {
  const { host, port, user: username, password, database } = plugin.connection;
  const source = new DataSource({ type: 'postgres', host, port, username, password, database, poolSize: 4 * SERVERS });
  await source.initialize();
  plugin.onClose(async () => source.destroy());
  assert.equal(source.driver.postgres, pg);
  await source.query('create table t (i int unique)');
  const failed = await Promise.all(Array.from({ length: 30 }, async (_, i) => source.transaction('SERIALIZABLE', async manager => {
    await manager.query('select $1::int', [i]);
    await manager.query('insert into t values ($1)', [i % 2 ? -i : i]);
    await manager.query('select 1/$1::int', [i % 2]);
  }).then(() => undefined, error => error.driverError.code)));
  assert.equal(failed.filter(code => code === '22012').length, 15);
  return [await source.query('select * from t where i >= 0'), (await source.query('select i from t')).every(({ i }) => i < 0)];
});
