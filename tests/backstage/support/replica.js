// A replica of a backend in a thread of its own: replicas of one process would share Backstage's limit of one creation at
// a time, and so never meet.

import { Worker, isMainThread, parentPort, workerData } from 'node:worker_threads';

import { Backstage } from './backstage.js';

/** Starts a replica, has it open the databases of these plugins all at once, and tells what each is called inside. */
export async function startReplica(database, ids) {
  const worker = new Worker(new URL(import.meta.url), { workerData: { database, ids } });
  try {
    return await new Promise((resolve, reject) => {
      worker.once('message', ({ error, value }) => (error ? reject(new Error(error)) : resolve(value)));
      worker.once('error', reject);
      worker.once('exit', code => reject(new Error(`the replica ended with ${code}`)));
    });
  } finally {
    await worker.terminate();
  }
}

if (!isMainThread) {
  const backstage = new Backstage(workerData.database);
  try {
    const knexes = await backstage.knexes(workerData.ids);
    const value = await Promise.all(knexes.map(async knex => (await knex.raw('select current_schema() as name')).rows[0].name));
    parentPort.postMessage({ value });
  } catch (error) {
    parentPort.postMessage({ error: String(error) });
  } finally {
    await backstage.close();
  }
}
