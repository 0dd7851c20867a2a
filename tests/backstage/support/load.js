// Users and services that keep a backend busy, and remember what they were told.

import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';

/** Requests without an end, spread over replicas, each of which reads and writes in another plugin's database. */
export class Load {
  /** What failed: what was asked, when, and how it ended. */
  failures = [];
  /** What was answered, by what was asked. */
  answered = {};
  #replicas;
  #token;
  #entities;
  #stopped = false;
  #workers;

  /** Starts `workers` that each do one thing after the other as the user of `token`; the catalog has `entities`. */
  static start(replicas, { token, entities, workers = 6 }) {
    const load = new Load();
    load.#replicas = replicas;
    load.#token = token;
    load.#entities = entities;
    load.#workers = Array.from({ length: workers }, async (_, i) => load.#work(i));
    return load;
  }

  /** Waits for the answers that are still to come. */
  async stop() {
    this.#stopped = true;
    await Promise.all(this.#workers);
  }

  /** How many of everything were answered at least. */
  get least() {
    return Math.min(...Object.keys(ACTS).map(what => this.answered[what] ?? 0));
  }

  async #work(worker) {
    const state = { worker, acknowledged: 0, tried: 0 };
    for (let i = worker; !this.#stopped; i += 1) {
      const [what, act] = Object.entries(ACTS)[i % Object.keys(ACTS).length];
      const replica = this.#replicas[(i + worker) % this.#replicas.length];
      const since = Date.now();
      try {
        await act({ replica, token: this.#token, entities: this.#entities, state });
        this.answered[what] = (this.answered[what] ?? 0) + 1;
      } catch (error) {
        this.failures.push({ what, since, until: Date.now(), error });
        // As a user does, or a client with a back-off.
        await sleep(20);
      }
    }
  }
}

const ACTS = {
  async 'write a setting'({ replica, token, state }) {
    state.tried += 1;
    const value = state.tried;
    await replica.asUser(token, 'PUT', setting(state), { value });
    state.acknowledged = value;
  },
  async 'read a setting'({ replica, token, state }) {
    if (state.acknowledged === 0) {
      return;
    }
    const { value } = await replica.asUser(token, 'GET', setting(state));
    // A write without an answer may have happened; one with an answer has.
    lost(value >= state.acknowledged && value <= state.tried, `${setting(state)} is ${value}, not ${state.acknowledged}`);
  },
  async 'list the catalog'({ replica, entities }) {
    const { totalItems } = await replica.get('/api/catalog/entities/by-query?limit=5');
    lost(totalItems === entities, `the catalog has ${totalItems} entities, not ${entities}`);
  },
  async 'search'({ replica }) {
    const { results } = await replica.get('/api/search/query?term=thing');
    lost(results.length > 0, 'the search index is empty');
  },
  async 'notify'({ replica }) {
    await replica.post('/api/notifications', { recipients: { type: 'broadcast' }, payload: { title: 'a load' } });
  },
  async 'list tasks'({ replica }) {
    const { tasks } = await replica.get('/api/scaffolder/v2/tasks');
    lost(tasks.length > 0, 'the task is gone');
  },
  async 'publish an event'({ replica }) {
    await replica.post('/api/events/bus/v1/events', { event: { topic: 'load', payload: {} } });
  },
};

function setting({ worker }) {
  return `/api/user-settings/buckets/load/keys/worker-${worker}`;
}

/** What has been lost is no failure that an outage excuses. */
export class Lost extends assert.AssertionError {}

function lost(kept, message) {
  if (!kept) {
    throw new Lost({ message });
  }
}
