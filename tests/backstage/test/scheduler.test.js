// Tasks that several replicas of a backend share: Backstage's scheduler, coordinated by nothing but the database.

import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';

import { DefaultSchedulerService } from '@backstage/backend-defaults/scheduler';

import { logger } from '../support/backstage.js';
import { deployments } from '../support/deployment.js';
import { eventually } from '../support/process.js';

const here = deployments();

const PLUGINS = ['catalog', 'search', 'events'];
const TASKS = ['refresh', 'clean-up', 'index'];

const instrument = { add() {}, record() {} };
const metrics = { createCounter: () => instrument, createHistogram: () => instrument, createGauge: () => instrument };

/** A replica's schedulers, and its end. */
function replica(backstage) {
  const hooks = [];
  const scheduler = id => DefaultSchedulerService.create({
    database: backstage.database(id),
    logger,
    metrics,
    rootLifecycle: { addShutdownHook: hook => hooks.push(hook) },
    httpRouter: { use() {} },
    pluginMetadata: { getId: () => id },
  });
  return { schedulers: PLUGINS.map(scheduler), end: () => hooks.forEach(hook => hook()) };
}

/** Counts the runs of a task over all replicas, and those that met another. */
class Runs {
  #running = 0;
  met = 0;
  byReplica = {};

  async run(replicaName, work) {
    this.#running += 1;
    this.met += this.#running > 1 ? 1 : 0;
    this.byReplica[replicaName] = (this.byReplica[replicaName] ?? 0) + 1;
    try {
      await work();
    } finally {
      this.#running -= 1;
    }
  }
}

here.sameOnBothSides('tasks of two replicas never run twice at once, and go on when a replica ends', { timeout: 90_000 }, async side => {
  const runs = new Map(PLUGINS.flatMap(id => TASKS.map(task => [`${id}/${task}`, new Runs()])));
  const replicas = [];
  for (const name of ['first', 'second']) {
    const backstage = side.backstage();
    const { schedulers, end } = replica(backstage);
    side.onClose(end);
    replicas.push({ name, schedulers, end, backstage });
  }
  // The tables are there before both begin: Knex makes its own without its lock.
  for (const id of PLUGINS) {
    await replicas[0].schedulers[PLUGINS.indexOf(id)].triggerTask('none').catch(() => {});
  }
  await Promise.all(replicas.flatMap(({ name, schedulers, backstage }) => schedulers.flatMap((scheduler, i) => TASKS.map(async task => {
    const knex = await backstage.knex(PLUGINS[i]);
    await scheduler.scheduleTask({
      id: task,
      frequency: { milliseconds: 100 },
      timeout: { seconds: 30 },
      fn: async () => runs.get(`${PLUGINS[i]}/${task}`).run(name, async () => {
        await knex.raw('select pg_sleep(0.02)');
        await sleep(20);
      }),
    });
  }))));
  const total = which => [...runs.values()].reduce((sum, { byReplica }) => sum + (byReplica[which] ?? 0), 0);
  await eventually(() => assert.ok(total('first') > 20 && total('second') > 20, JSON.stringify([...runs])), 30_000);
  replicas[0].end();
  await sleep(300);
  const [atEnd, before] = [total('first'), total('second')];
  await eventually(() => {
    for (const [task, { byReplica }] of runs) {
      assert.ok(byReplica.second > 0, `${task} does not go on`);
    }
    assert.ok(total('second') >= before + 20, 'the second replica does not go on');
  }, 30_000);
  assert.equal(total('first'), atEnd, 'a replica that has ended runs nothing');
  return [...runs].map(([task, { met }]) => [task, met]);
});
