// Functions of a database, which do what no text shows. They make greenroom careful with the whole database, so they have
// a file, and with it a greenroom, of their own.

import assert from 'node:assert/strict';

import { room } from '../support/room.js';

const here = room();

here.sameOnBothSides("a trigger that only computes needs no pin", {}, async plugin => {
  const knex = plugin.knex();
  await knex.raw('create table t (id int primary key, name text, upper_name text)');
  await knex.raw(`create function fill() returns trigger language plpgsql as
    $$ begin new.upper_name := upper(new.name); return new; end $$`);
  await knex.raw('create trigger fill before insert or update on t for each row execute function fill()');
  await Promise.all([1, 2, 3].map(async id => knex('t').insert({ id, name: `n${id}` })));
  return knex('t').orderBy('id').select();
});

here.throughGreenroom('more clients than connections are served when one plugin has a trigger that updates', { plugins: 8 }, async plugins => {
  const first = plugins[0].knex();
  await first.raw('create table t (id int primary key)');
  await first.raw('create table totals (n int not null)');
  await first.raw(`create function count_up() returns trigger language plpgsql as
    $$ begin update totals set n = n + 1; return new; end $$`);
  await first.raw('create trigger count_up after insert on t for each row execute function count_up()');
  // As Backstage's pools are: each plugin keeps two idle clients.
  const clients = await Promise.all(plugins.flatMap(plugin => [plugin.client(), plugin.client()]));
  for (const client of clients) {
    assert.deepEqual((await client.query('select 1 as a')).rows, [{ a: 1 }]);
  }
});

here.sameOnBothSides('a lock by advice that a function takes is held by its client', { mayPin: true }, async plugin => {
  const client = await plugin.client();
  const other = await plugin.client();
  await client.query("create function guard() returns void language sql as 'select pg_advisory_lock(4711)'");
  const seen = [];
  await client.query('select guard()');
  for (let round = 0; round < 3; round += 1) {
    seen.push((await other.query('select pg_try_advisory_lock(4711) as got')).rows[0].got);
  }
  await client.query('select pg_advisory_unlock_all()');
  seen.push((await other.query('select pg_try_advisory_lock(4711) as got')).rows[0].got);
  return seen;
});

here.sameOnBothSides('set_config and functions with settings of their own stay with their client', { mayPin: true }, async plugin => {
  const client = await plugin.client();
  const other = await plugin.client();
  await client.query("create function quietly() returns void language plpgsql as $$ begin perform set_config('work_mem', '3MB', false); end $$");
  const show = async who => (await who.query('show work_mem')).rows[0].work_mem;
  await client.query('select quietly()');
  await client.query("select set_config('my.tenant', 'blue', false)");
  const seen = [];
  for (let round = 0; round < 3; round += 1) {
    seen.push(await show(client), await show(other), (await client.query("select current_setting('my.tenant', true) as t")).rows[0].t);
    seen.push((await other.query("select current_setting('my.tenant', true) as t")).rows[0].t);
  }
  return seen;
});
