// TypeORM as the RBAC plugin's adapter uses it, and as a plugin might: its migrations, query runners and transactions.

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';

import { errorOf, room } from '../support/room.js';

const here = room();

const { DataSource, EntitySchema } = createRequire(import.meta.url)('typeorm');

const Rule = new EntitySchema({
  name: 'Rule',
  tableName: 'rule',
  columns: {
    id: { type: Number, primary: true, generated: true },
    role: { type: String, unique: true },
    kind: { type: 'enum', enum: ['allow', 'deny'], default: 'allow' },
    tags: { type: 'simple-json', nullable: true },
  },
});

class CreateRules1700000000000 {
  name = 'CreateRules1700000000000';

  async up(runner) {
    await runner.query(`create type "rule_kind_enum" as enum ('allow', 'deny')`);
    await runner.query(`create table "rule" ("id" serial primary key, "role" varchar not null unique, "kind" "rule_kind_enum" not null default 'allow')`);
  }

  async down(runner) {
    await runner.query('drop table "rule"');
    await runner.query('drop type "rule_kind_enum"');
  }
}

class AddTags1700000000001 {
  name = 'AddTags1700000000001';

  async up(runner) {
    await runner.query('alter table "rule" add "tags" text');
  }

  async down(runner) {
    await runner.query('alter table "rule" drop column "tags"');
  }
}

/** A data source with more connections than most of its neighbours have servers. */
async function source(plugin, more = {}) {
  const { host, port, user: username, password, database } = plugin.connection;
  const made = new DataSource({
    type: 'postgres', host, port, username, password, database, schema: plugin.id, entities: [Rule], poolSize: 20, ...more,
  });
  await made.initialize();
  plugin.onClose(async () => made.destroy());
  return made;
}

here.sameOnBothSides('migrations run once, fail whole, and go back', {}, async plugin => {
  const migrations = [CreateRules1700000000000, AddTags1700000000001];
  const first = await source(plugin, { migrations });
  const seen = [(await first.runMigrations({ transaction: 'all' })).map(({ name }) => name)];
  const again = await source(plugin, { migrations });
  seen.push(await again.runMigrations(), await again.showMigrations());
  class Breaks1700000000002 {
    name = 'Breaks1700000000002';

    async up(runner) {
      await runner.query('alter table "rule" add "size" int');
      await runner.query('select 1/0');
    }
  }
  const broken = await source(plugin, { migrations: [...migrations, Breaks1700000000002] });
  seen.push((await errorOf(broken.runMigrations({ transaction: 'each' }))).code);
  await first.undoLastMigration();
  const runner = first.createQueryRunner();
  const table = await runner.getTable(`${plugin.id}.rule`);
  await runner.release();
  seen.push(table.columns.map(({ name, type, isNullable, isGenerated }) => ({ name, type, isNullable, isGenerated })));
  assert.deepEqual(seen.at(-1).map(({ name }) => name), ['id', 'role', 'kind']);
  return seen;
});

here.sameOnBothSides('a schema is made and kept in step by what entities say', {}, async plugin => {
  const made = await source(plugin, { synchronize: true });
  const again = await source(plugin);
  const { upQueries } = await again.driver.createSchemaBuilder().log();
  assert.deepEqual(upQueries.map(({ query }) => query), [], 'nothing is left to be done');
  const saved = await made.getRepository('Rule').save({ role: 'first', kind: 'deny', tags: ['a', 1] });
  return [saved, await again.getRepository('Rule').find()];
});

here.sameOnBothSides('transactions nest, fail, roll back, and run beside each other', { timeout: 60_000 }, async plugin => {
  const made = await source(plugin, { synchronize: true });
  const rules = made.getRepository('Rule');
  const seen = [];
  await Promise.all(Array.from({ length: 60 }, async (_, i) => made.transaction(async manager => {
    await manager.insert('Rule', { role: `role ${i}` });
    const inner = manager.transaction(async nested => {
      await nested.insert('Rule', { role: `nested ${i}` });
      await nested.insert('Rule', { role: i % 2 ? `role ${i}` : `more ${i}` });
    });
    const failed = await inner.then(() => undefined, error => error.code);
    assert.equal(failed, i % 2 ? '23505' : undefined);
    await manager.update('Rule', { role: `role ${i}` }, { kind: 'deny' });
  })));
  seen.push(await rules.count(), await rules.countBy({ kind: 'deny' }));
  seen.push(await errorOf(made.transaction('SERIALIZABLE', async manager => {
    await manager.delete('Rule', { kind: 'deny' });
    throw new TypeError('given up');
  })));
  seen.push(await rules.count());
  const runner = made.createQueryRunner();
  await runner.startTransaction('REPEATABLE READ');
  seen.push((await runner.manager.find('Rule', { where: { kind: 'deny' }, lock: { mode: 'pessimistic_write' } })).length);
  const stream = await runner.stream('select role from rule order by role');
  const roles = [];
  for await (const { role } of stream) {
    roles.push(role);
    if (roles.length === 5) {
      break;
    }
  }
  await runner.rollbackTransaction();
  await runner.release();
  seen.push(roles, await rules.createQueryBuilder('r').where('r.role like :like', { like: 'nested%' }).orderBy('r.role').getMany());
  return seen.map(one => JSON.parse(JSON.stringify(one, (key, value) => (key === 'id' ? undefined : value))));
});
