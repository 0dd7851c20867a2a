// The RBAC plugin's policies: casbin's TypeORM adapter, a second pool beside Knex that no DatabaseManager knows of.

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';

import { deployments, LAYOUTS, SHARED_DATABASE } from '../support/deployment.js';

const here = deployments();

// CommonJS both, and of one TypeORM.
const require = createRequire(import.meta.url);
const TypeORMAdapter = require('typeorm-adapter').default;
const { newEnforcer, newModelFromString } = createRequire(require.resolve('typeorm-adapter'))('casbin');

const MODEL = `
[request_definition]
r = sub, obj, act
[policy_definition]
p = sub, obj, act, eft
[role_definition]
g = _, _
[policy_effect]
e = some(where (p.eft == allow)) && !some(where (p.eft == deny))
[matchers]
m = g(r.sub, p.sub) && r.obj == p.obj && r.act == p.act
`;

/** An enforcer as the plugin makes it out of its Knex and `backend.database.connection`. */
async function enforcerOf(side, knex) {
  const { host, port, user: username, password } = side.config().connection;
  const { connection: { database }, searchPath } = knex.client.config;
  const adapter = await TypeORMAdapter.newAdapter({
    type: 'postgres', host, port, username, password, database, schema: searchPath?.[0] ?? 'public', poolSize: 10,
  });
  side.onClose(async () => adapter.close());
  return newEnforcer(newModelFromString(MODEL), adapter);
}

const POLICIES = Array.from({ length: 60 }, (_, i) => [`role:default/${i % 5}`, `entity-${i}`, i % 2 ? 'read' : 'delete', i % 7 ? 'allow' : 'deny']);

here.sameOnBothSides('policies are kept and asked beside what Knex does', {}, async side => {
  const knex = await side.backstage().knex('permission');
  await knex.schema.createTable('role-metadata', table => table.text('role').primary());
  const enforcer = await enforcerOf(side, knex);
  // The plugin keeps its own table and casbin's in step, each by its own pool.
  await Promise.all(POLICIES.map(async (policy, i) => {
    await enforcer.addPolicy(...policy);
    await knex('role-metadata').insert({ role: `${i} ${policy[0]}` });
  }));
  await enforcer.addGroupingPolicies([['user:default/ann', 'role:default/1'], ['user:default/bob', 'role:default/2']]);
  await enforcer.removePolicies(POLICIES.slice(0, 10));
  const again = await enforcerOf(side, knex);
  await again.loadPolicy();
  const asked = await Promise.all(['user:default/ann', 'user:default/bob', 'user:default/eve'].flatMap(user =>
    POLICIES.map(async ([, entity, action]) => [user, entity, action, await again.enforce(user, entity, action)])));
  assert.ok(asked.some(([, , , allowed]) => allowed) && asked.some(([, , , allowed]) => !allowed));
  const roles = await knex('role-metadata').orderBy('role').pluck('role');
  return { asked, roles, policies: (await again.getPolicy()).map(String).sort() };
});

// The adapter names its schema by hand: where Backstage has no schema it is `public`, which with databases that are schemas
// is the shared database's. Two deployments in it would share their policies.
for (const [layout, place] of [
  [LAYOUTS.databasesAreSchemas, `${SHARED_DATABASE}/public`],
  [LAYOUTS.databases, 'backstage_plugin_permission/public'],
  [LAYOUTS.schemas, `${SHARED_DATABASE}/permission`],
]) {
  here.throughGreenroom(`casbin_rule is made in ${place}`, { layouts: [layout] }, async side => {
    await enforcerOf(side, await side.backstage().knex('permission'));
    assert.deepEqual(await side.placesOf('casbin_rule'), [place]);
  });
}
