// node-postgres: queries, values, errors and the session of one client.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';

import pg from 'pg';

import { eventually } from '../support/process.js';
import { errorOf, room } from '../support/room.js';

const here = room();

/** What of a result does not depend on the server's object ids. */
function resultOf({ command, rowCount, rows, fields }) {
  const columns = fields?.map(({ name, format, dataTypeSize, dataTypeModifier }) => ({ name, format, dataTypeSize, dataTypeModifier }));
  return { command, rowCount, rows, columns };
}

here.sameOnBothSides('simple and parameterised queries give the same results', {}, async plugin => {
  const client = await plugin.client();
  const texts = [
    ['create table things (id serial primary key, name text unique, weight numeric(8,3))'],
    ["insert into things (name, weight) values ('chair', 4.5), ('table', 12)"],
    ['insert into things (name, weight) values ($1, $2) returning *', ['lamp', '1.125']],
    ['select * from things where weight > $1::numeric order by id', [2]],
    ['select id, name from things where name = any($1::text[]) order by id', [['chair', 'lamp', 'door']]],
    ['update things set weight = weight + $1 where id = $2', [1, 1]],
    ['delete from things where name = $1 returning id', ['table']],
    ['select * from things where false'],
    ['select $1::int as a, $1::int + 1 as b', [41]],
    ['select'],
    [''],
    ['-- only a comment'],
    ['explain (costs off) select 1'],
    ['show server_version_num'],
    ['select current_schema() as schema'],
  ];
  const results = [];
  for (const [text, values] of texts) {
    results.push(resultOf(await client.query(text, values)));
  }
  assert.deepEqual(results[3].rows.map(row => row.name), ['chair', 'table']);
  results.push(resultOf(await client.query({ text: 'select 1 as a, 2 as b', rowMode: 'array' })));
  return results;
});

here.sameOnBothSides('values of every kind come back as they went', {}, async plugin => {
  const client = await plugin.client();
  await client.query("create type mood as enum ('calm', 'wild')");
  await client.query('create type pair as (left_side int, right_side text)');
  await client.query('create domain positive as int check (value > 0)');
  const values = [
    ['int2', -32768], ['int4', 2147483647], ['int8', '9223372036854775807'], ['numeric', '12345678901234567890.123456789'],
    ['float4', 1.5], ['float8', Math.PI], ['float8', NaN], ['bool', true], ['bool', false], ['text', ''], ['text', 'ἀρχή 😀 \\ \' " \n'],
    ['varchar(3)', 'abc'], ['char(5)', 'ab'], ['bytea', Buffer.from([0, 1, 127, 128, 255])], ['date', '2024-02-29'],
    ['timestamp', '2024-02-29 12:34:56.789012'], ['timestamptz', new Date(Date.UTC(2024, 1, 29, 12, 34, 56, 789))],
    ['interval', '1 year 2 days 03:04:05.6'], ['time', '23:59:59.999999'], ['json', { a: [1, null, 'x'] }], ['jsonb', { b: { c: true } }],
    ['uuid', '6f2a4e6c-8f0b-4a52-9f5c-0d4a6b1f3e77'], ['int[]', [1, null, 3]], ['text[]', ['a,b', '"', null, '{}']],
    ['int[]', [[1, 2], [3, 4]]], ['inet', '10.0.0.0/8'], ['point', '(1,2)'], ['int4range', '[1,5)'], ['mood', 'wild'],
    ['pair', '(1,"a b")'], ['positive', 7], ['tsvector', "'a':1 'b':2"], ['xml', '<a>b</a>'], ['bit(4)', '1010'], ['money', '12.50'],
    ['int', null],
  ];
  const rows = [];
  for (const [type, value] of values) {
    // Some builds of PostgreSQL are without XML.
    const withoutXml = error => (type === 'xml' && error.code === '0A000' ? { rows: [error.code] } : Promise.reject(error));
    const text = `select $1::${type} as value, pg_typeof($1::${type})::text as type`;
    rows.push((await client.query(text, [value]).catch(withoutXml)).rows[0]);
  }
  rows.push((await client.query({ text: 'select 7::int4 as a, 8::int8 as b, true as c', binary: true })).rows[0]);
  assert.equal(rows[10].value, values[10][1]);
  assert.deepEqual(rows[13].value, values[13][1]);
  return rows;
});

here.sameOnBothSides('big values and many rows arrive whole, both ways', { timeout: 60_000 }, async plugin => {
  const client = await plugin.client();
  const big = 'x'.repeat(5_000_000) + 'end';
  const { rows } = await client.query('select $1::text as value, length($1::text) as length', [big]);
  assert.equal(rows[0].value, big);
  const many = await client.query("select i, repeat('y', i % 100) as filler from generate_series(1, 50000) i");
  const wide = await client.query(`select ${Array.from({ length: 1500 }, (_, i) => `${i} as c${i}`).join(', ')}`);
  return [rows[0].length, many.rowCount, many.rows.at(-1), wide.rows];
});

here.sameOnBothSides("errors keep PostgreSQL's words, SQLSTATE and fields, and the client goes on", { mayPin: true }, async plugin => {
  const client = await plugin.client();
  await client.query('create table parents (id int primary key)');
  await client.query(`create table children (
    id int primary key, parent int not null references parents, age int constraint grown check (age > 17), name varchar(3))`);
  await client.query('insert into parents values (1)');
  await client.query("insert into children values (1, 1, 18, 'a')");
  const failing = [
    ['selekt 1'], ['select * from nowhere'], ['select missing from parents'], ['select 1/0'], ['select 1/$1::int', [0]],
    ['insert into children values (1, 1, 18)'], ['insert into children values (2, 2, 18)'],
    ['insert into children values (3, null, 18)'], ['insert into children values (4, 1, $1)', [3]],
    ["insert into children values (5, 1, 20, 'long')"], ["select 'x'::int"], ['select $1::int', ['x']], ['select $2::int', [1]],
    ['select $1', []], ['create table parents (id int)'], ['drop table parents'], ['select nofunction(1)'],
    ['create database other'], ['create schema pg_mine'], ['select pg_read_file($1)', ['/etc/hostname']], ['rollback to savepoint x'],
    ['select * from parents order by "unterminated'], ['vacuum nowhere'], ['execute nothing'], ['close nothing'],
  ];
  const errors = [];
  for (const [text, values] of failing) {
    errors.push(await errorOf(client.query(text, values)));
    assert.deepEqual((await client.query('select count(*)::int as n from children')).rows, [{ n: 1 }], text);
  }
  assert.equal(errors[5].code, '23505');
  assert.equal(errors[5].schema, plugin.id);
  return errors.map(error => ({ ...error, schema: error.schema && 'own', message: error.message.replaceAll(plugin.id, 'own') }));
});

here.sameOnBothSides('several statements in one query are one transaction', {}, async plugin => {
  const client = await plugin.client();
  const results = await client.query('create table t (a int); insert into t values (1), (2); select * from t order by a; select 3 as b');
  const error = await errorOf(client.query('insert into t values (3); select 1/0; insert into t values (4)'));
  const after = await client.query('select count(*)::int as n from t');
  const block = await client.query('begin; insert into t values (5); savepoint s; rollback to s; commit; select count(*)::int as n from t');
  assert.deepEqual(after.rows, [{ n: 2 }]);
  assert.deepEqual(block.at(-1).rows, [{ n: 3 }]);
  return [results.map(resultOf), error, block.map(resultOf)];
});

here.sameOnBothSides('named statements are prepared once per client and never a stranger\'s', { mayPin: true }, async plugin => {
  const first = await plugin.client();
  const second = await plugin.client();
  const answers = [];
  for (let round = 0; round < 5; round += 1) {
    answers.push((await first.query({ name: 'same', text: 'select $1::int + 1 as a', values: [round] })).rows);
    answers.push((await second.query({ name: 'same', text: "select $1::text || '!' as b", values: [`${round}`] })).rows);
  }
  answers.push((await first.query('select name, statement from pg_prepared_statements')).rows);
  answers.push(await errorOf(first.query({ name: 'broken', text: 'select * from nowhere' })));
  answers.push((await first.query({ name: 'broken', text: 'select 1 as mended' })).rows);
  assert.deepEqual(answers[1], [{ b: '0!' }]);
  return answers;
});

here.sameOnBothSides('a named statement whose table was altered ends in the same way', { mayPin: true }, async plugin => {
  const client = await plugin.client();
  const query = { name: 'all', text: 'select * from t' };
  await client.query('create table t (a int)');
  const before = resultOf(await client.query(query));
  await client.query('alter table t add column b int default 2');
  const inBlock = await errorOf(client.query(query));
  return [before, inBlock];
});

here.sameOnBothSides('transactions commit, roll back, fail and recover as they do directly', {}, async plugin => {
  const client = await plugin.client();
  const other = await plugin.client();
  await client.query('create table t (a int)');
  const count = async who => (await who.query('select count(*)::int as n from t')).rows[0].n;
  const seen = [];
  await client.query('BEGIN');
  await client.query('insert into t values ($1)', [1]);
  seen.push(await count(client), await count(other));
  await client.query('COMMIT');
  seen.push(await count(other));
  await client.query('BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY');
  seen.push((await client.query('show transaction_isolation')).rows, await errorOf(client.query('insert into t values (2)')));
  seen.push(await errorOf(client.query('select 1')), await errorOf(client.query('select $1::int', [1])));
  seen.push((await client.query('COMMIT')).command);
  await client.query('START TRANSACTION');
  await client.query('insert into t values (3)');
  await client.query('ROLLBACK');
  seen.push(await count(client), (await client.query('COMMIT')).command, (await client.query('show transaction_isolation')).rows);
  assert.deepEqual(seen.slice(0, 3), [1, 0, 1]);
  return seen;
});

here.sameOnBothSides('a pool of ten answers many concurrent queries, each its own', { timeout: 60_000 }, async plugin => {
  const pool = plugin.pool({ max: 10 });
  await pool.query('create table t (a int primary key, b text)');
  const numbers = Array.from({ length: 500 }, (_, i) => i);
  await Promise.all(numbers.map(async i => pool.query('insert into t values ($1, $2)', [i, `row ${i}`])));
  const found = await Promise.all(numbers.map(async i => {
    const text = i % 2 ? `select b from t where a = ${i}` : 'select b from t where a = $1';
    return (await pool.query(text, i % 2 ? undefined : [i])).rows[0].b;
  }));
  assert.deepEqual(found, numbers.map(i => `row ${i}`));
  assert.ok(pool.totalCount > 1 && pool.totalCount <= 10);
  return found;
});

here.sameOnBothSides('queries queued on one client are answered in order', {}, async plugin => {
  const client = await plugin.client();
  const queued = Array.from({ length: 200 }, async (_, i) => {
    if (i % 17 === 0) {
      return errorOf(client.query('select 1/0'));
    }
    return (await (i % 2 ? client.query(`select ${i} as i`) : client.query('select $1::int as i', [i]))).rows[0].i;
  });
  return Promise.all(queued);
});

here.sameOnBothSides('notices reach the client that caused them', { mayPin: true }, async plugin => {
  const client = await plugin.client();
  const other = await plugin.client();
  const notices = [];
  client.on('notice', ({ message, severity, code, detail, hint }) => notices.push({ message, severity, code, detail, hint }));
  other.on('notice', () => notices.push('a stranger\'s'));
  await client.query('drop table if exists nowhere');
  await client.query("do $$ begin raise warning 'careful' using detail = 'why', hint = 'what', errcode = '01234'; end $$");
  await client.query('commit');
  await other.query('select 1');
  assert.equal(notices.length, 3);
  return notices;
});

here.sameOnBothSides('a client that listens hears what its plugin notifies, at once and while it is idle', {}, async plugin => {
  const listener = await plugin.client();
  const pool = plugin.pool({ max: 2 });
  const heard = [];
  listener.on('notification', ({ channel, payload }) => heard.push({ channel, payload }));
  await listener.query('LISTEN event_bus_publish');
  await pool.query('select pg_notify($1, $2)', ['event_bus_publish', 'first']);
  await eventually(() => assert.equal(heard.length, 1));
  await pool.query("begin; notify event_bus_publish, 'never'; rollback");
  await pool.query("notify event_bus_publish, 'second'");
  await eventually(() => assert.equal(heard.length, 2));
  await listener.query('select pg_notify($1, $2)', ['event_bus_publish', 'own']);
  await listener.query('UNLISTEN *');
  await pool.query("notify event_bus_publish, 'unheard'");
  await listener.query('select 1');
  await sleep(100);
  return heard;
});

// PostgreSQL's channels are those of a database, and the plugins share one: documented in the README.
here.throughGreenroom('channels are those of the shared database', { mayPin: true, plugins: 2 }, async ([mine, others]) => {
  const listener = await mine.client();
  const stranger = await others.client();
  const heard = [];
  listener.on('notification', ({ payload }) => heard.push(payload));
  await listener.query('LISTEN event_bus_publish');
  await stranger.query('select pg_notify($1, $2)', ['event_bus_publish', 'from another plugin']);
  await listener.query('select pg_notify($1, $2)', ['event_bus_publish', 'mine']);
  await eventually(async () => assert.deepEqual([...heard].sort(), ['from another plugin', 'mine']), 3_000);
});

here.sameOnBothSides('settings are the client\'s own, and last', { mayPin: true }, async plugin => {
  const client = await plugin.client();
  const other = await plugin.client();
  const show = async (who, name) => (await who.query(`show ${name}`)).rows[0][name];
  await client.query("set application_name = 'mine'");
  await client.query("set statement_timeout = '7s'");
  await client.query('begin; set local work_mem = \'1MB\'; commit');
  const seen = [];
  for (const who of [client, other, client]) {
    for (const name of ['statement_timeout', 'application_name', 'work_mem']) {
      seen.push(await show(who, name));
    }
  }
  await client.query('reset all');
  seen.push(await show(client, 'statement_timeout'), await show(client, 'application_name'));
  return seen.map(value => value.replaceAll(plugin.id, 'own'));
});

here.sameOnBothSides('settings given at login hold', { mayPin: true }, async plugin => {
  const client = await plugin.client({ statement_timeout: 300, options: '-c geqo=off', lock_timeout: 1234 });
  const seen = [];
  for (const name of ['statement_timeout', 'geqo', 'lock_timeout', 'client_encoding']) {
    seen.push((await client.query(`show ${name}`)).rows[0][name]);
  }
  seen.push(await errorOf(client.query('select pg_sleep(10)')));
  return seen;
});

here.sameOnBothSides('a transaction that outlasts the limit given at login is ended as PostgreSQL ends it', { mayPin: true }, async plugin => {
  const client = await plugin.client({ idle_in_transaction_session_timeout: 200 });
  await client.query('begin');
  const [error] = await once(client, 'error');
  assert.equal(error.code, '25P03');
  return errorOf(Promise.reject(error));
});

here.sameOnBothSides('a client that says goodbye in a transaction has changed nothing', {}, async plugin => {
  const client = await plugin.client();
  const other = await plugin.client();
  await client.query('create table t (a int primary key)');
  await client.query('begin');
  await client.query('insert into t values (1)');
  await client.end();
  await other.query('insert into t values (1)');
  return (await other.query('select * from t')).rows;
});

here.sameOnBothSides('a temporary table is its client\'s own until it leaves', { mayPin: true }, async plugin => {
  const client = await plugin.client();
  const other = await plugin.client();
  await client.query('create temp table mine as select 1 as a');
  const seen = [(await client.query('select * from mine')).rows, await errorOf(other.query('select * from mine'))];
  await client.end();
  const next = await plugin.client();
  seen.push(await errorOf(next.query('select * from mine')));
  return seen;
});

here.sameOnBothSides('a cursor that is held is read after its transaction', { mayPin: true }, async plugin => {
  const client = await plugin.client();
  await client.query('begin; declare c cursor with hold for select i from generate_series(1, 5) i; commit');
  return [(await client.query('fetch 2 from c')).rows, (await client.query('fetch all from c')).rows, (await client.query('close c')).command];
});

here.sameOnBothSides('what SQL prepares is executed by its client and by no other', { mayPin: true }, async plugin => {
  const client = await plugin.client();
  const other = await plugin.client();
  await client.query('prepare plus (int) as select $1 + 1 as a');
  const seen = [(await client.query('execute plus(1)')).rows, await errorOf(other.query('execute plus(1)'))];
  await client.query('deallocate all');
  seen.push(await errorOf(client.query('execute plus(1)')));
  return seen;
});

here.sameOnBothSides('currval and lastval are of the session that drew the number', { mayPin: true }, async plugin => {
  const client = await plugin.client();
  const other = await plugin.client();
  await client.query('create sequence s');
  const seen = [(await client.query("select nextval('s')")).rows, await errorOf(other.query("select currval('s')"))];
  await other.query("select nextval('s')");
  seen.push((await client.query("select currval('s'), lastval()")).rows);
  await client.query('create table t (id serial, a int)');
  await client.query('insert into t (a) values (1), (2)');
  await other.query('insert into t (a) values (3)');
  seen.push((await client.query("select currval('t_id_seq'), lastval()")).rows);
  return seen;
});

here.throughGreenroom('lastval after an insert is the client\'s own or unknown, never a stranger\'s', {}, async ([plugin]) => {
  const [client, other] = [await plugin.client(), await plugin.client()];
  await client.query('create table t (id serial, a int)');
  await client.query('insert into t (a) values (1)');
  await other.query('insert into t (a) values (2)');
  // Nothing in the text of an insert says that a serial's sequence is drawn from, so its server may be gone.
  const { rows } = await client.query('select lastval()').catch(error => ({ rows: [{ lastval: error.code }] }));
  assert.ok(['1', '55000'].includes(rows[0].lastval), rows[0].lastval);
});

here.sameOnBothSides('a table of another plugin is not found by its name alone', { plugins: 2, mayPin: true }, async ([mine, others]) => {
  const client = await mine.client();
  await (await others.client()).query('create table secret (a int)');
  const seen = [await errorOf(client.query('select * from secret'))];
  seen.push((await client.query("select to_regclass('secret') as found")).rows);
  return seen;
});

here.sameOnBothSides('a client has one number wherever it asks', {}, async plugin => {
  const client = await plugin.client();
  const other = await plugin.client();
  const own = client.processID;
  assert.notEqual(own, other.processID);
  const seen = [];
  client.on('notification', ({ processId, payload }) => seen.push([processId === own, payload]));
  for (const asked of [
    'select pg_backend_pid() as pid',
    { text: 'select pg_backend_pid() as pid', values: [], name: 'own' },
    { text: 'SELECT pg_backend_pid()::int as pid;', values: [] },
    { text: 'select pg_backend_pid() as pid, $1::text as note', values: ['x'] },
  ]) {
    assert.equal((await client.query(asked)).rows[0].pid, own);
    await other.query('select 1');
  }
  await client.query('listen ours');
  await client.query("notify ours, 'own'");
  await eventually(async () => assert.equal(seen.length, 1));
  return seen;
});

here.sameOnBothSides('a client is ended by its number', {}, async plugin => {
  const operator = await plugin.client();
  const seen = [];
  for (const begun of ['select 1', 'begin']) {
    const victim = await plugin.client();
    const gone = new Promise(resolve => victim.once('end', resolve));
    const error = new Promise(resolve => victim.once('error', told => resolve(told.code)));
    await victim.query(begun);
    const { rows } = await operator.query('select pg_terminate_backend($1) as ended', [victim.processID]);
    seen.push(rows, await error);
    await gone;
  }
  return seen;
});

here.sameOnBothSides('a query is cancelled through a second connection', {}, async plugin => {
  const client = await plugin.client();
  const bystander = await plugin.client();
  const patient = bystander.query("select pg_sleep(2), 'unhurt' as state");
  const slow = new pg.Query('select pg_sleep(60)');
  const failed = once(slow, 'error').then(([error]) => Promise.reject(error));
  client.query(slow);
  await eventually(async () => {
    const running = await here.postgres.query("select 1 from pg_stat_activity where query = 'select pg_sleep(60)' and state = 'active'");
    assert.equal(running.length, 1);
  });
  // node-postgres never logs this second connection in, so that it has no end() either.
  new pg.Client(plugin.connection).cancel(client, slow);
  const error = await errorOf(failed);
  assert.equal(error.code, '57014');
  return [error, (await client.query('select 1 as next')).rows, (await patient).rows];
});

here.sameOnBothSides('TLS that is not offered is refused in node-postgres\' own words', {}, async plugin => {
  const client = plugin.unconnected({ ssl: true });
  return errorOf(client.connect());
});

here.sameOnBothSides('a wrong login is told apart by its SQLSTATE', {}, async plugin => {
  const errors = [];
  for (const wrong of [{ password: 'no' }, { user: 'nobody' }, { database: 'nowhere' }]) {
    const { severity, code, message } = await errorOf(plugin.unconnected(wrong).connect());
    errors.push({ severity, code, message });
  }
  assert.deepEqual(errors.map(error => error.code), ['28P01', '28P01', '3D000']);
  return errors;
});

here.sameOnBothSides('idle clients of a pool whose connections PostgreSQL ended are replaced', {}, async plugin => {
  const pool = plugin.pool({ max: 3 });
  await Promise.all([1, 2, 3].map(async () => pool.query('select pg_sleep(0.1)')));
  await here.postgres.query("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'backstage'");
  await sleep(200);
  return Promise.all([1, 2, 3, 4].map(async i => (await pool.query('select $1::int as i', [i])).rows));
});

here.sameOnBothSides("a client whose server is ended in a transaction is told so in PostgreSQL's words", {}, async plugin => {
  const client = await plugin.client();
  const ended = new Promise(resolve => client.once('end', resolve));
  await client.query('begin');
  await client.query(`select 1 as "${plugin.id} marker"`);
  const failed = once(client, 'error');
  await here.postgres.query('select pg_terminate_backend(pid) from pg_stat_activity where query like $1', [`select 1 as "${plugin.id} marker"`]);
  const [error] = await failed;
  await ended;
  return errorOf(Promise.reject(error));
});

here.sameOnBothSides('a running query whose server is ended fails with 57P01', {}, async plugin => {
  const client = await plugin.client();
  const text = `select pg_sleep(30) as "${plugin.id}"`;
  const failed = errorOf(client.query(text));
  await eventually(async () => {
    const ended = await here.postgres.query('select pg_terminate_backend(pid) from pg_stat_activity where query = $1', [text]);
    assert.equal(ended.length, 1);
  });
  return failed;
});
