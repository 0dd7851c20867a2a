// Knex as Backstage's plugins use it: queries, schema building, transactions, locks, timeouts, roles.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';

import { eventually } from '../support/process.js';
import { errorOf, ROLE, room, SHARED_DATABASE } from '../support/room.js';

const here = room();

/** A table of tasks, as several of Backstage's plugins have one. */
async function createTasks(knex, count = 0) {
  await knex.schema.createTable('tasks', table => {
    table.increments('id');
    table.string('name').notNullable().unique();
    table.string('state').notNullable().defaultTo('open');
    table.jsonb('spec');
    table.timestamp('due_at', { useTz: true });
  });
  const rows = Array.from({ length: count }, (_, i) => ({ name: `task ${i}`, spec: JSON.stringify({ i }) }));
  await knex.batchInsert('tasks', rows);
}

here.sameOnBothSides('the query builder reads and writes', {}, async plugin => {
  const knex = plugin.knex();
  await createTasks(knex);
  const seen = [];
  seen.push(await knex('tasks').insert([{ name: 'a', spec: { x: 1 } }, { name: 'b', due_at: new Date(0) }]).returning('*'));
  seen.push(await knex('tasks').where({ name: 'a' }).update({ state: 'done' }, ['id', 'state']));
  seen.push(await knex('tasks').whereIn('name', ['a', 'b']).orderBy('id').select('name', knex.raw("spec->>'x' as x")));
  seen.push(await knex('tasks').count({ n: '*' }).first(), await knex('tasks').where('id', '>', 100).first());
  seen.push(await knex.with('open', knex('tasks').where({ state: 'open' })).select('name').from('open'));
  seen.push(await knex('tasks').where({ name: 'b' }).delete(), await knex('tasks').pluck('name'));
  seen.push((await knex.raw('select ?::int + ?::int as sum', [1, 2])).rows, await errorOf(knex('tasks').insert({ name: 'a' })));
  return seen;
});

here.sameOnBothSides('upserts insert, merge and ignore', {}, async plugin => {
  const knex = plugin.knex();
  await createTasks(knex, 3);
  const merged = await knex('tasks').insert({ name: 'task 1', state: 'merged' }).onConflict('name').merge(['state']).returning('state');
  const ignored = await knex('tasks').insert([{ name: 'task 2', state: 'x' }, { name: 'task 9', state: 'y' }]).onConflict('name').ignore().returning('name');
  await Promise.all(Array.from({ length: 20 }, async (_, i) => knex('tasks').insert({ name: 'hot', state: `${i}` }).onConflict('name').merge()));
  return [merged, ignored, await knex('tasks').count({ n: '*' }).first()];
});

here.sameOnBothSides('batchInsert writes all chunks or none', {}, async plugin => {
  const knex = plugin.knex();
  await createTasks(knex);
  const rows = Array.from({ length: 2500 }, (_, i) => ({ name: `task ${i}` }));
  const ids = await knex.batchInsert('tasks', rows, 100).returning('id');
  const again = await errorOf(knex.batchInsert('tasks', [{ name: 'new' }, { name: 'task 1' }], 1));
  return [ids.length, again.code, await knex('tasks').count({ n: '*' }).first()];
});

here.sameOnBothSides('the schema builder sees the plugin\'s own schema', { plugins: 2 }, async ([mine, others]) => {
  const knex = mine.knex();
  const other = others.knex();
  await createTasks(knex);
  await other.schema.createTable('tasks', table => table.text('theirs'));
  await other.schema.createTable('only_theirs', table => table.increments());
  const seen = [
    await knex.schema.hasTable('tasks'), await knex.schema.hasTable('only_theirs'), await knex.schema.hasColumn('tasks', 'spec'),
    await knex.schema.hasColumn('tasks', 'theirs'), await knex('tasks').columnInfo(), await other('tasks').columnInfo(),
  ];
  assert.deepEqual(seen.slice(0, 4), [true, false, true, false]);
  await knex.schema.alterTable('tasks', table => {
    table.text('note').nullable().index('note_index');
    table.renameColumn('state', 'status');
  });
  await knex.schema.createView('open_tasks', view => view.as(knex('tasks').where({ status: 'open' })));
  await knex('tasks').insert({ name: 'a' });
  seen.push(await knex('open_tasks').pluck('name'), await knex.schema.hasTable('open_tasks'));
  await knex.schema.dropView('open_tasks');
  await knex.schema.renameTable('tasks', 'jobs');
  seen.push(await knex.schema.hasTable('tasks'), await knex('jobs').columnInfo('note'), await other.schema.hasTable('jobs'));
  await knex.schema.dropTable('jobs');
  return seen;
});

here.sameOnBothSides('transactions commit, roll back and nest', {}, async plugin => {
  const knex = plugin.knex();
  await createTasks(knex);
  const names = async who => who('tasks').orderBy('id').pluck('name');
  const seen = [];
  await knex.transaction(async outer => {
    await outer('tasks').insert({ name: 'kept' });
    seen.push(await errorOf(outer.transaction(async inner => {
      await inner('tasks').insert({ name: 'undone' });
      await inner('tasks').insert({ name: 'kept' });
    })));
    await outer.transaction(async inner => {
      await inner('tasks').insert({ name: 'inner' });
      await inner.transaction(async innermost => innermost('tasks').insert({ name: 'innermost' }));
    });
    seen.push(await names(outer), await names(knex));
  });
  seen.push(await names(knex));
  seen.push(await errorOf(knex.transaction(async trx => {
    await trx('tasks').insert({ name: 'lost' });
    throw new Error('of the plugin');
  })));
  const trx = await knex.transaction({ isolationLevel: 'repeatable read', readOnly: true });
  seen.push(await errorOf(trx('tasks').insert({ name: 'refused' })), await errorOf(trx('tasks').select()));
  await trx.rollback();
  seen.push(await names(knex));
  assert.deepEqual(seen.at(-1), ['kept', 'inner', 'innermost']);
  return seen.map(value => (value?.message ? { code: value.code, message: value.message.replace(/trx\d+/, 'trx') } : value));
});

here.sameOnBothSides('transactions of many connections at once keep apart', { timeout: 60_000 }, async plugin => {
  const knex = plugin.knex();
  await createTasks(knex, 1);
  await knex.schema.createTable('counters', table => {
    table.integer('id').primary();
    table.integer('value').notNullable();
  });
  await knex('counters').insert({ id: 1, value: 0 });
  await Promise.all(Array.from({ length: 60 }, async (_, i) => {
    const work = knex.transaction(async trx => {
      const { value } = await trx('counters').where({ id: 1 }).forUpdate().first();
      await trx('counters').where({ id: 1 }).update({ value: value + 1 });
      if (i % 3 === 0) {
        throw new Error('not this one');
      }
    });
    await work.catch(error => assert.equal(error.message, 'not this one'));
  }));
  const { value } = await knex('counters').first();
  assert.equal(value, 40);
});

here.sameOnBothSides('FOR UPDATE SKIP LOCKED gives each worker work of its own', {}, async plugin => {
  const knex = plugin.knex();
  await createTasks(knex, 40);
  const taken = await Promise.all(Array.from({ length: 8 }, async () => knex.transaction(async trx => {
    const tasks = await trx('tasks').where({ state: 'open' }).orderBy('id').limit(5).forUpdate().skipLocked();
    const ids = tasks.map(task => task.id);
    await trx('tasks').whereIn('id', ids).update({ state: 'taken' });
    await trx.raw('select pg_sleep(0.05)');
    return ids;
  })));
  const all = taken.flat().sort((a, b) => a - b);
  assert.equal(new Set(all).size, all.length);
  const nowait = await knex.transaction(async trx => {
    await trx('tasks').where({ id: 1 }).forUpdate();
    return errorOf(knex('tasks').where({ id: 1 }).forUpdate().noWait());
  });
  assert.equal(nowait.code, '55P03');
  return [nowait, (await knex('tasks').where({ state: 'taken' }).count({ n: '*' }).first()).n === `${all.length}`];
});

here.sameOnBothSides('a query that outlasts its timeout is cancelled', {}, async plugin => {
  const knex = plugin.knex({ pool: { min: 0, max: 2 } });
  const bystander = knex.raw("select pg_sleep(2), 'unhurt' as state");
  const marked = 'select pg_sleep(60) as outlasts';
  const error = await errorOf(knex.raw(marked).timeout(300, { cancel: true }));
  assert.equal(error.name, 'KnexTimeoutError');
  const running = `select 1 from pg_stat_activity where query = '${marked}' and state = 'active'`;
  await eventually(async () => assert.equal((await here.postgres.query(running)).length, 0));
  return [error.message, (await knex.raw('select 1 as next')).rows, (await bystander).rows];
});

here.sameOnBothSides('a query that outlasts its timeout fails alone', {}, async plugin => {
  const knex = plugin.knex({ pool: { min: 0, max: 2 } });
  const error = await errorOf(knex.raw("select pg_sleep(1), 'slow'").timeout(100));
  assert.equal(error.name, 'KnexTimeoutError');
  const next = await Promise.all([1, 2, 3].map(async i => (await knex.raw('select ?::int as i', [i])).rows));
  const inTime = (await knex.raw('select 1 as quick').timeout(5_000)).rows;
  return [error, next, inTime];
});

here.sameOnBothSides('rows are streamed, to the end and not', {}, async plugin => {
  const knex = plugin.knex();
  await createTasks(knex, 500);
  const names = [];
  for await (const row of knex('tasks').select('name').orderBy('id').stream({ highWaterMark: 20 })) {
    names.push(row.name);
  }
  for await (const row of knex('tasks').where('id', '>', 1).orderBy('id').stream()) {
    names.push(row.name);
    break;
  }
  const broken = knex('nowhere').stream();
  broken.resume();
  const [error] = await once(broken, 'error');
  const inBlock = await knex.transaction(async trx => {
    const rows = [];
    for await (const row of trx('tasks').orderBy('id').limit(3).stream()) {
      rows.push(row.id);
    }
    return rows;
  });
  await eventually(() => assert.equal(knex.client.pool.numUsed(), 0));
  return [names, error.code, inBlock, (await knex('tasks').count({ n: '*' }).first()).n];
});

here.sameOnBothSides('a connection outside the pool listens for events', {}, async plugin => {
  const knex = plugin.knex();
  const connection = await knex.client.acquireRawConnection();
  plugin.onClose(() => knex.client.destroyRawConnection(connection));
  const heard = [];
  connection.on('notification', ({ channel, payload }) => heard.push({ channel, payload }));
  await connection.query('LISTEN event_bus_publish');
  for (let i = 0; i < 5; i += 1) {
    await knex.raw('select pg_notify(?, ?)', ['event_bus_publish', `topic ${i}`]);
  }
  await eventually(() => assert.equal(heard.length, 5));
  await connection.query('select 1');
  return heard;
});

here.sameOnBothSides('a search_path that is set on a raw connection stays that connection\'s', { mayPin: true }, async plugin => {
  const knex = plugin.knex();
  await knex.raw('create table place (name text)');
  await knex('place').insert({ name: 'own' });
  const connection = await knex.client.acquireRawConnection();
  plugin.onClose(() => knex.client.destroyRawConnection(connection));
  await connection.query('set search_path to "pg_catalog"');
  const seen = [(await connection.query('select current_schema() as schema')).rows, await errorOf(connection.query('select * from place'))];
  seen.push(await Promise.all(Array.from({ length: 12 }, async () => knex('place').select())));
  await connection.query('reset search_path');
  seen.push((await connection.query('select * from place')).rows);
  return seen;
});

here.sameOnBothSides('a role that is set on new connections is that of every query, and of no other plugin\'s', { mayPin: true, plugins: 2 }, async ([mine, others]) => {
  const plain = others.knex();
  const owner = mine.knex();
  await owner.raw(`grant all on schema "${mine.id}" to ${ROLE}`);
  const knex = mine.knex({ pool: { min: 0, max: 4 } });
  // As Backstage does: not awaited, ahead of the connection's first query.
  knex.client.pool.on('createSuccess', (_event, connection) => connection.query(`SET ROLE ${ROLE}`));
  const who = async db => (await db.raw('select current_user as me, session_user as login, pg_sleep(0.01)')).rows[0];
  const seen = await Promise.all([knex, plain, knex, plain, knex, plain, knex, plain].map(who));
  assert.deepEqual(seen.map(row => row.me), [ROLE, 'backstage', ROLE, 'backstage', ROLE, 'backstage', ROLE, 'backstage']);
  await knex.raw('create table roles (a int)');
  const table = await knex('pg_catalog.pg_tables').where({ schemaname: mine.id, tablename: 'roles' }).first('tableowner');
  const inBlock = await knex.transaction(async trx => who(trx));
  return [seen, table, inBlock];
});

here.sameOnBothSides('a session that locks by advice keeps its lock, and lets it go with its connection', { mayPin: true }, async plugin => {
  const first = await plugin.client();
  const second = plugin.knex();
  const taken = async () => (await second.raw('select pg_try_advisory_xact_lock(42) as got')).rows[0].got;
  const seen = [(await first.query('select pg_advisory_lock(42)')).rowCount, await taken(), await taken()];
  await first.query('select pg_advisory_unlock(42)');
  seen.push(await taken());
  await first.query('select pg_advisory_lock(42)');
  await first.end();
  await eventually(async () => assert.equal(await taken(), true));
  assert.deepEqual(seen, [1, false, false, true]);
});

here.sameOnBothSides("the search plugin's index run needs no pin", {}, async plugin => {
  const knex = plugin.knex();
  await knex.raw('create table documents (type text not null, document jsonb not null, hash bytea primary key)');
  const index = async (type, texts) => {
    const trx = await knex.transaction();
    const version = (await trx.raw('SHOW server_version_num')).rows;
    await trx.raw(`CREATE TEMP TABLE documents_to_insert (
      type text NOT NULL, document jsonb NOT NULL,
      hash bytea NOT NULL GENERATED ALWAYS AS (sha256(replace(document::text || type, '\\', '\\\\')::bytea)) STORED) ON COMMIT DROP`);
    for (const text of texts) {
      await trx.transaction(async savepoint => savepoint('documents_to_insert').insert({ type, document: { text } }));
    }
    await trx('documents').insert(trx('documents_to_insert').select('type', 'document', 'hash')).onConflict('hash').ignore();
    await trx('documents').where({ type }).whereNotIn('hash', trx('documents_to_insert').select('hash')).delete();
    await trx.commit();
    return version.length;
  };
  await Promise.all([index('api', ['a', 'b', 'c']), index('user', ['d']), index('group', ['e', 'f'])]);
  await index('api', ['a', 'z']);
  const found = await knex('documents').orderBy('type').orderByRaw("document->>'text'").select('type', 'document');
  const ranked = await knex.raw(`select ts_headline('english', document->>'text', query) as headline from documents, to_tsquery('english', ?) query
    where to_tsvector('english', document::text) @@ query`, ['z']);
  const gone = await errorOf(knex('documents_to_insert').select());
  assert.equal(found.length, 5);
  assert.equal(gone.code, '42P01');
  assert.deepEqual(await plugin.pins(), {});
  return [found, ranked.rows, gone.message];
});

here.sameOnBothSides("the events plugin's statements do what they do", { mayPin: true }, async plugin => {
  const knex = plugin.knex();
  await knex.raw('create table event_bus_events (id bigserial primary key, topic text, data jsonb, notified text[])');
  await knex.raw('create table event_bus_subscriptions (id text primary key, read_until bigint not null, topics text[])');
  await knex('event_bus_subscriptions').insert({ id: 'sub', read_until: 0, topics: ['a', 'b'] });
  await Promise.all(['a', 'b', 'c'].map(async topic => knex('event_bus_events').insert({ topic, data: { topic } })));
  const read = async () => knex.with('sub', q => q.select('*').from('event_bus_subscriptions').where({ id: 'sub' }).forUpdate())
    .with('events', q => q.select('event_bus_events.*').from('event_bus_events').join('sub', knex.raw('event_bus_events.topic = ANY(sub.topics)'))
      .where('event_bus_events.id', '>', knex.ref('sub.read_until')).orderBy('event_bus_events.id').limit(10))
    .from('event_bus_subscriptions').where('event_bus_subscriptions.id', 'sub')
    .updateFrom('sub').update({ read_until: knex.raw('COALESCE((select max(id) from events), "sub"."read_until")') })
    .returning(knex.raw('(select json_agg(row_to_json(events)) from events) as events'));
  const [{ events }] = await read();
  const [again] = await read();
  assert.deepEqual(events.map(event => event.topic).sort(), ['a', 'b']);
  return [again, await knex('event_bus_subscriptions').select()];
});

here.throughGreenroom("Backstage's own schema mode works in the shared database", { plugins: 3 }, async plugins => {
  const admin = plugins[0].knex({ connection: { database: SHARED_DATABASE, application_name: undefined }, pool: { min: 0, max: 1 } });
  for (const { id } of plugins) {
    await admin.raw('CREATE SCHEMA IF NOT EXISTS ??', [id]);
  }
  const knexes = plugins.map(plugin => plugin.knex({ connection: { database: SHARED_DATABASE }, searchPath: [plugin.id], pool: { min: 0, max: 2 } }));
  await Promise.all(knexes.map(async (knex, i) => {
    await createTasks(knex, i + 1);
    await knex('tasks').insert({ name: plugins[i].id });
  }));
  const found = await Promise.all([...knexes, ...knexes].map(async knex => {
    await sleep(10);
    return [await knex('tasks').orderBy('id').pluck('name'), (await knex.raw('select current_schema() as schema')).rows[0].schema];
  }));
  plugins.forEach(({ id }, i) => assert.deepEqual(found[i], [[...Array.from({ length: i + 1 }, (_, n) => `task ${n}`), id], id]));
});
