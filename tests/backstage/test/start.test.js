// A Backstage starts: two replicas at once, with rights that come late, and with nothing to do afterwards.

import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';

import { deployments, LAYOUTS, MAX_SERVER_CONNECTIONS, SHARED_DATABASE } from '../support/deployment.js';
import { owners, places, PLUGINS, use } from '../support/items.js';
import { eventually } from '../support/process.js';
import { startReplica } from '../support/replica.js';

const here = deployments();

here.sameOnBothSides('two replicas may start at once on an empty server', { timeout: 90_000 }, async side => {
  const ids = PLUGINS.slice(0, 8);
  const config = side.config();
  const started = await Promise.all([orchestrated(config, ids), orchestrated(config, ids)]);
  const expected = ids.map(id => (side.hasDatabases ? 'public' : id));
  assert.deepEqual(started, [expected, expected]);
  const knexes = await side.backstage().knexes(ids);
  await use(knexes, ids);
  assert.deepEqual(await side.placesOf('items'), places(side, ids));
  return owners(knexes);
});

/**
 * A replica that is started again when it fails as PostgreSQL's CREATE SCHEMA IF NOT EXISTS does when two say it at the same
 * moment, directly too. Backstage, which says it in schema mode, does not try again; whoever runs Backstage does.
 */
async function orchestrated(config, ids, starts = 3) {
  return startReplica(config, ids).catch(error => {
    if (starts > 1 && error.message.includes('pg_namespace_nspname_index')) {
      return orchestrated(config, ids, starts - 1);
    }
    throw error;
  });
}

/** Who must be allowed what before Backstage can create a plugin's place, and what PostgreSQL says until then. */
function withheld(side) {
  const { user } = side.config().connection;
  if (side.hasDatabases) {
    return { take: `alter role ${user} nocreatedb`, give: `alter role ${user} createdb`, says: /permission denied to create database/g };
  }
  return {
    take: `alter database ${SHARED_DATABASE} owner to postgres`,
    give: `alter database ${SHARED_DATABASE} owner to ${user}`,
    says: new RegExp(`permission denied for database ${SHARED_DATABASE}`, 'g'),
  };
}

const CREATING = { layouts: [LAYOUTS.databasesAreSchemas, LAYOUTS.databases] };

here.sameOnBothSides('a creation that is refused is tried three times, then told', CREATING, async side => {
  const { take, give, says } = withheld(side);
  await here.postgres.query(take);
  const backstage = side.backstage();
  const before = count(here.postgres.said, says);
  const error = await withoutKeepalive(async () => backstage.knex('catalog').then(() => assert.fail('created'), e => e));
  assert.match(error.message, /^Failed to connect to the database to make sure that 'backstage_plugin_catalog' exists, /);
  assert.match(error.message, says);
  assert.equal(count(here.postgres.said, says) - before, 3);
  await here.postgres.query(give);
  const knex = await backstage.knex('auth');
  return (await knex.raw('select 1 as alive')).rows;
});

here.sameOnBothSides('a creation that is refused at first succeeds at a later try', CREATING, async side => {
  const { take, give, says } = withheld(side);
  await here.postgres.query(take);
  const before = count(here.postgres.said, says);
  const starting = side.backstage().knex('catalog');
  await eventually(() => assert.ok(count(here.postgres.said, says) > before, 'nothing was refused'));
  await here.postgres.query(give);
  const knex = await starting;
  await use([knex], ['catalog']);
  return owners([knex]);
});

function count(text, pattern) {
  return [...text.matchAll(pattern)].length;
}

// In nature a minute passes between two of a plugin's, and half of one until an idle connection is closed.
here.sameOnBothSides('what keeps the pools of idle plugins alive holds no server connection in between', {
  layouts: [LAYOUTS.databasesAreSchemas, LAYOUTS.schemas],
  backend: { knexConfig: { pool: { min: 2, max: 4 } } },
  settings: { pool: { min: 0, idleTimeoutMillis: 150, reapIntervalMillis: 50 } },
}, async side => {
  const backstage = await withKeepalive(1_000, async () => {
    const started = side.backstage();
    await started.knexes(PLUGINS);
    return started;
  });
  const knexes = await backstage.knexes(PLUGINS);
  await Promise.all(knexes.flatMap(knex => [1, 2].map(async () => knex.raw('select pg_sleep(0.05)'))));
  const asked = knexes.map(() => 0);
  knexes.forEach((knex, i) => knex.on('query-response', () => {
    asked[i] += 1;
  }));
  const counts = [];
  while (counts.length < 200 && Math.min(...asked) < 2) {
    counts.push(await side.serverConnections());
    await sleep(25);
  }
  assert.ok(Math.min(...asked) >= 2, `kept alive so many times: ${asked}`);
  const [least, most] = [Math.min(...counts), Math.max(...counts)];
  if (side.isDirect) {
    assert.ok(least >= 2 * PLUGINS.length, `directly, ${least} connections`);
  } else {
    assert.ok(least <= 3 && most <= MAX_SERVER_CONNECTIONS, `through greenroom, ${least} to ${most} connections`);
  }
  return Promise.all(knexes.map(async knex => (await knex.raw('select 1 as alive')).rows));
});

/** Does `act` without Backstage's keepalive: of a start that fails it makes a rejection that nobody handles. */
async function withoutKeepalive(act) {
  const { NODE_ENV } = process.env;
  process.env.NODE_ENV = 'test';
  try {
    return await act();
  } finally {
    process.env.NODE_ENV = NODE_ENV ?? '';
  }
}

/** Does `act` while Backstage's timer for its keepalive, a minute otherwise, is set for so many milliseconds. */
async function withKeepalive(millis, act) {
  const { setInterval } = globalThis;
  globalThis.setInterval = (callback, delay, ...rest) => setInterval(callback, delay === 60_000 ? millis : delay, ...rest);
  try {
    return await act();
  } finally {
    globalThis.setInterval = setInterval;
  }
}
