// A whole Backstage backend, unmodified: ten plugins of npm that start on an empty PostgreSQL, serve, are killed, and go on.
//
// First directly, on a PostgreSQL where their login may create databases; then through greenroom, given nothing but its
// overlay: as schemas of one database, under a login that may neither create a database nor enter `postgres`, and as databases.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

import { Deployment, MAX_SERVER_CONNECTIONS, WAYS } from '../support/installation.js';
import { Load, Lost } from '../support/load.js';
import { eventually } from '../support/process.js';

const PLUGINS = ['app', 'auth', 'catalog', 'events', 'notifications', 'proxy', 'scaffolder', 'search', 'signals', 'user-settings'];

/** What `catalog.yaml` describes, and the location itself. */
const ENTITIES = 13;

/** How soon after the end of an outage everything works again. */
const RECOVERY_MILLIS = 3_000;

/** What a backend holds when only its own clocks tick: the events' LISTEN, and what a plugin's task needs now and then. */
const IDLE_CONNECTIONS = 3;

/** What the names of a scheduler's tables begin with. */
const TASKS = 'backstage_backend_tasks__';

/** What the plugins have made of their databases when nothing stands in between. */
let expected;

// A test that ran out of time may wait for ever; its file must not.
after(() => void setTimeout(() => process.exit(1), 60_000).unref());

for (const way of Object.values(WAYS)) {
  describe(way.name, () => {
    let deployment;
    let connections;
    let [first, second, token] = [];

    before(async () => {
      deployment = await Deployment.open({ ...way, settings: { pool: { idleTimeoutMillis: 1_000 } } });
      connections = deployment.sampleConnections();
    }, { timeout: 60_000 });

    after(async () => {
      await connections?.stop();
      await deployment?.close();
    }, { timeout: 60_000 });

    const promise = (name, act, timeout = 60_000) => test(name, { timeout }, async () => deployment.explaining(act));

    promise('ten plugins start on an empty server', async () => {
      first = await deployment.replica();
      // A plugin's scheduler makes its tables when there is a task, be the backend ready or not.
      await eventually(async () => {
        const inventory = await deployment.inventory();
        assert.deepEqual(Object.keys(inventory), PLUGINS);
        for (const { tables } of Object.values(inventory)) {
          assert.equal(tables.includes(`${TASKS}tasks`), tables.includes(`${TASKS}knex_migrations`), 'the scheduler is still migrating');
        }
        expected ??= inventory;
        assert.deepEqual(inventory, expected);
      });
    }, 90_000);

    promise('each of them does its work', async () => {
      token = await first.signIn();
      await first.post('/api/catalog/locations', { type: 'url', target: `${first.url}/static/catalog.yaml` });
      await eventually(async () => {
        const { totalItems } = await first.get('/api/catalog/entities/by-query?limit=0');
        assert.equal(totalItems, ENTITIES);
      }, 20_000);
      const component = await first.get('/api/catalog/entities/by-name/component/default/scaffolder');
      assert.equal(component.metadata.description, 'A thing that is called scaffolder');

      const { id } = await first.asUser(token, 'POST', '/api/scaffolder/v2/tasks', { templateRef: 'template:default/greeting', values: { name: 'you' } });
      await eventually(async () => assert.equal((await first.get(`/api/scaffolder/v2/tasks/${id}`)).status, 'completed'), 20_000);
      const events = await first.get(`/api/scaffolder/v2/tasks/${id}/events`);
      assert.ok(events.some(({ body }) => body.message.includes('hello, you')), JSON.stringify(events));

      const recipients = { type: 'entity', entityRef: 'user:default/guest' };
      await first.post('/api/notifications', { recipients, payload: { title: 'a greeting' } });
      const { notifications } = await first.asUser(token, 'GET', '/api/notifications');
      assert.deepEqual(notifications.map(({ payload }) => payload.title), ['a greeting']);

      const key = '/api/user-settings/buckets/mine/keys/colour';
      await first.asUser(token, 'PUT', key, { value: 'green' });
      assert.equal((await first.asUser(token, 'GET', key)).value, 'green');

      assert.match(await first.get('/static/main.js'), /Backstage/);
      assert.deepEqual(await first.get('/api/proxy/health/liveness'), { status: 'ok' });
      await eventually(async () => {
        const { results } = await first.get('/api/search/query?term=scaffolder');
        assert.ok(results.some(({ document }) => document.title === 'scaffolder'), JSON.stringify(results));
      }, 20_000);
    }, 90_000);

    promise('a second replica shares all of it, and hears the events of the first', async () => {
      second = await deployment.replica();
      assert.equal((await second.asUser(token, 'GET', '/api/user-settings/buckets/mine/keys/colour')).value, 'green');
      assert.equal((await second.get('/api/catalog/entities/by-query?limit=0')).totalItems, ENTITIES);

      const subscription = '/api/events/bus/v1/subscriptions/tests';
      await second.put(subscription, { topics: ['news'] });
      for (const round of [1, 2, 3]) {
        // 202 says that it listens. The answer ends when there is news, which the next one tells.
        const listening = await second.poll(`${subscription}/events`);
        assert.equal(listening.status, 202);
        await first.post('/api/events/bus/v1/events', { event: { topic: 'news', payload: { round } } });
        await listening.end;
        assert.deepEqual((await second.get(`${subscription}/events`)).events, [{ topic: 'news', payload: { round } }]);
      }
    });

    promise('killed under load, both leave nothing behind and start again at once', async () => {
      const load = Load.start([first, second], { token, entities: ENTITIES });
      await eventually(() => assert.ok(load.least > 2, `too little was answered: ${told(load)}`), 20_000);
      await Promise.all([first.down('SIGKILL'), second.down('SIGKILL')]);
      await load.stop();
      assert.deepEqual(load.failures.filter(({ error }) => error instanceof Lost), []);
      await eventually(async () => assert.equal(await deployment.connections('idle in transaction'), 0));

      await Promise.all([first.up(), second.up()]);
      assert.deepEqual(await deployment.inventory(), expected);
      for (const replica of [first, second]) {
        assert.equal((await replica.get('/api/catalog/entities/by-query?limit=0')).totalItems, ENTITIES);
      }
    }, 120_000);

    /** Has both replicas under load, does `act`, and wants all requests answered from soon after its end on. */
    const survives = async act => {
      const load = Load.start([first, second], { token, entities: ENTITIES });
      try {
        await eventually(() => assert.ok(load.least > 2, `too little was answered: ${told(load)}`), 20_000);
        assert.deepEqual(load.failures, [], 'before anything happened');
        await act();
        await sleep(RECOVERY_MILLIS);
        const since = Date.now();
        const before = load.least;
        await eventually(() => assert.ok(load.least > before + 2, `too little is answered: ${told(load)}`), 20_000);
        await load.stop();
        assert.deepEqual(load.failures.filter(failure => failure.since > since), [], 'it still fails');
      } finally {
        await load.stop();
      }
      assert.deepEqual(load.failures.filter(({ error }) => error instanceof Lost || error.name === 'TimeoutError'), [], 'lost or stuck');
      await eventually(async () => assert.equal(await deployment.connections('idle in transaction'), 0));
    };

    if (way.division) {
      for (const signal of ['SIGTERM', 'SIGKILL']) {
        promise(`a restart of greenroom by ${signal} under load is over when greenroom is back`, async () => {
          await survives(async () => {
            await deployment.greenroom.down(signal);
            await deployment.greenroom.up();
          });
        }, 90_000);
      }
    }

    promise('a restart of PostgreSQL under load is over when PostgreSQL is back', async () => {
      await survives(async () => {
        await deployment.postgres.down();
        await deployment.postgres.up();
      });
    }, 90_000);

    if (way.division === 'schema') {
      promise('an idle backend keeps few connections', async () => {
        await second.down('SIGKILL');
        await eventually(async () => {
          const most = Math.max(...await deployment.sampleFor(3_000));
          assert.ok(most <= IDLE_CONNECTIONS, `${most} connections of an idle backend`);
        }, 30_000);
      });
    }

    if (way.division) {
      promise('PostgreSQL never counted more connections than greenroom may open', async () => {
        const counts = await connections.stop();
        assert.ok(counts.length > 500, `only ${counts.length} samples`);
        const most = Math.max(...counts);
        assert.ok(most <= MAX_SERVER_CONNECTIONS, `PostgreSQL counted ${most} connections`);
      });
    }
  });
}

function told(load) {
  const last = load.failures.at(-1);
  return `${JSON.stringify(load.answered)}, ${load.failures.length} failures, the last: ${last?.what}: ${last?.error.message}`;
}
