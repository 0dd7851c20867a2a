// Counts connections in a thread of its own: under load, a test's own thread has no time to look every ten milliseconds.

import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker, isMainThread, parentPort, workerData } from 'node:worker_threads';

import pg from 'pg';

const EVERY_MILLIS = 10;

/** Samples how many connections a login has, until stopped. `connection` is a superuser's. */
export class Sampler {
  #worker;

  static async start(connection, user) {
    const sampler = new Sampler();
    sampler.#worker = new Worker(new URL(import.meta.url), { workerData: { connection, user } });
    await once(sampler.#worker, 'message');
    return sampler;
  }

  /** Ends it, and tells what it has counted. */
  async stop() {
    this.#worker.postMessage('stop');
    try {
      return (await once(this.#worker, 'message'))[0];
    } finally {
      await this.#worker.terminate();
    }
  }
}

if (!isMainThread) {
  const counts = [];
  let stopped = false;
  parentPort.once('message', () => {
    stopped = true;
  });
  const client = new pg.Client(workerData.connection);
  await client.connect();
  parentPort.postMessage('started');
  while (!stopped) {
    const { rows } = await client.query({
      name: 'count',
      text: 'select count(*)::int as count from pg_stat_activity where usename = $1',
      values: [workerData.user],
    });
    counts.push(rows[0].count);
    await sleep(EVERY_MILLIS);
  }
  await client.end();
  parentPort.postMessage(counts);
}
