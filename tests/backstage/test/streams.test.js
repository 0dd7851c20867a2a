// Rows that come and go in pieces: pg-cursor, pg-query-stream, pg-copy-streams.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';

import copy from 'pg-copy-streams';
import Cursor from 'pg-cursor';
import QueryStream from 'pg-query-stream';

import { errorOf, room } from '../support/room.js';

const here = room();

here.sameOnBothSides('a cursor reads in batches, to the end or closed before it', {}, async plugin => {
  const client = await plugin.client();
  const batches = [];
  const cursor = client.query(new Cursor('select i from generate_series(1, $1::int) i', [250]));
  for (let rows = await cursor.read(100); rows.length > 0; rows = await cursor.read(100)) {
    batches.push(rows.length);
  }
  await cursor.close();
  assert.deepEqual(batches, [100, 100, 50]);
  const early = client.query(new Cursor('select i from generate_series(1, 1000000) i'));
  batches.push(await early.read(3));
  await early.close();
  batches.push((await client.query('select 1 as next')).rows);
  return batches;
});

here.sameOnBothSides('a cursor keeps its place while neighbours use the pool between its reads', {}, async plugin => {
  const client = await plugin.client();
  const pool = plugin.pool({ max: 4 });
  const cursor = client.query(new Cursor('select i from generate_series(1, 30) i'));
  const seen = [];
  for (let round = 0; round < 4; round += 1) {
    seen.push(...(await cursor.read(10)).map(row => row.i));
    await Promise.all([1, 2, 3, 4].map(async i => pool.query('select $1::int', [i])));
  }
  await cursor.close();
  assert.deepEqual(seen, Array.from({ length: 30 }, (_, i) => i + 1));
  return seen;
});

here.sameOnBothSides('a cursor whose query fails, at once or in the middle, frees its client', {}, async plugin => {
  const client = await plugin.client();
  const broken = client.query(new Cursor('select * from nowhere'));
  const errors = [await errorOf(broken.read(1))];
  const halfway = client.query(new Cursor('select 10 / (5 - i) as q from generate_series(1, 10) i'));
  const first = await halfway.read(3);
  errors.push(await errorOf(halfway.read(3)));
  return [errors, first, (await client.query('select 1 as next')).rows];
});

here.sameOnBothSides('cursors work inside a transaction', {}, async plugin => {
  const client = await plugin.client();
  await client.query('create table t as select i from generate_series(1, 20) i');
  await client.query('begin');
  await client.query('update t set i = i + 100');
  const cursor = client.query(new Cursor('select i from t order by i'));
  const rows = await cursor.read(5);
  await cursor.close();
  await client.query('rollback');
  return [rows, (await client.query('select min(i) from t')).rows];
});

here.sameOnBothSides('a slow reader of a stream gets every row, in order', { timeout: 60_000 }, async plugin => {
  const client = await plugin.client();
  const text = "select i, repeat('x', 1000) as filler from generate_series(1, 20000) i";
  const stream = client.query(new QueryStream(text, [], { batchSize: 50, highWaterMark: 50 }));
  let last = 0;
  for await (const row of stream) {
    assert.equal(row.i, last + 1);
    last = row.i;
    if (last % 2000 === 0) {
      await sleep(20);
    }
  }
  return [last, (await client.query('select 1 as next')).rows];
});

here.sameOnBothSides('a stream that nobody reads waits, and its neighbours do not', {}, async plugin => {
  const client = await plugin.client();
  const other = await plugin.client();
  const text = "select i, repeat('x', 10000) as filler from generate_series(1, 100000) i";
  const stream = client.query(new QueryStream(text, [], { batchSize: 10, highWaterMark: 10 }));
  await once(stream, 'readable');
  await sleep(200);
  const neighbour = (await other.query('select 1 as neighbour')).rows;
  const buffered = stream.readableLength;
  assert.ok(buffered <= 20, `${buffered} rows were read ahead`);
  stream.destroy();
  await once(stream, 'close');
  return [neighbour, (await client.query('select 1 as next')).rows];
});

here.sameOnBothSides('a stream that is destroyed early leaves its client usable, again and again', {}, async plugin => {
  const client = await plugin.client();
  const seen = [];
  for (let round = 0; round < 10; round += 1) {
    const stream = client.query(new QueryStream('select i from generate_series(1, 100000) i'));
    for await (const row of stream) {
      if (row.i > round) {
        break;
      }
    }
    seen.push((await client.query('select $1::int as round', [round])).rows[0].round);
  }
  return seen;
});

here.sameOnBothSides('COPY carries rows both ways', { timeout: 60_000 }, async plugin => {
  const client = await plugin.client();
  await client.query('create table t (a int, b text)');
  const lines = Array.from({ length: 50_000 }, (_, i) => `${i}\trow ${i}\n`);
  await pipeline(Readable.from(lines), client.query(copy.from('copy t from stdin')));
  const chunks = [];
  for await (const chunk of client.query(copy.to('copy (select * from t order by a) to stdout'))) {
    chunks.push(chunk);
  }
  assert.equal(Buffer.concat(chunks).toString(), lines.join(''));
  return (await client.query('select count(*)::int, sum(a)::int from t')).rows;
});

here.sameOnBothSides('a COPY that fails or is given up leaves nothing behind', {}, async plugin => {
  const client = await plugin.client();
  await client.query('create table t (a int primary key)');
  const twice = pipeline(Readable.from(['1\n', '1\n']), client.query(copy.from('copy t from stdin')));
  const errors = [await errorOf(twice)];
  const given = client.query(copy.from('copy t from stdin'));
  const failed = errorOf(once(given, 'close'));
  given.write('2\n');
  given.destroy();
  errors.push(await failed);
  errors.push((await client.query('select count(*)::int as n from t')).rows);
  errors.push(await errorOf(client.query('copy t from stdin')));
  errors.push((await client.query('select count(*)::int as n from t')).rows);
  return errors;
});
