// Backstage's events, which LISTEN on a connection of their own beside the pool.

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { setTimeout as sleep } from 'node:timers/promises';

import { logger } from '../support/backstage.js';
import { deployments } from '../support/deployment.js';
import { inPackage } from '../support/packages.js';

const here = deployments();

// The package does not export it; its own plugin makes one of it.
const { DatabaseEventBusStore } = createRequire(import.meta.url)(
  inPackage('@backstage/plugin-events-backend', 'dist', 'service', 'hub', 'DatabaseEventBusStore.cjs.js'),
);

const credentials = { principal: { subject: 'plugin:catalog' } };

/** The store of a replica; what it would have scheduled and done at its end is the test's. */
async function store(side) {
  const ends = [];
  side.onClose(async () => Promise.all(ends.map(async end => end())));
  return DatabaseEventBusStore.create({
    database: side.backstage().database('events'),
    logger,
    scheduler: { scheduleTask: async () => {} },
    lifecycle: { addShutdownHook: end => ends.push(end) },
  });
}

here.sameOnBothSides('an event that one replica publishes wakes the listener of another', {}, async side => {
  const [publisher, subscriber] = [await store(side), await store(side)];
  await subscriber.upsertSubscription('search.index', ['entity.changed', 'user.left'], credentials);
  const seen = [];
  for (const [n, topic] of ['entity.changed', 'user.left', 'entity.changed'].entries()) {
    const { waitForUpdate } = await subscriber.setupListener('search.index', { signal: AbortSignal.timeout(10_000) });
    await publisher.publish({ event: { topic: 'of.no.interest', eventPayload: { n } }, credentials });
    await publisher.publish({ event: { topic, eventPayload: { n, text: "it's" } }, credentials });
    seen.push(await waitForUpdate(), await subscriber.readSubscription('search.index'));
  }
  const woken = seen.flatMap(({ topic }) => topic ?? []);
  assert.deepEqual(woken, ['entity.changed', 'user.left', 'entity.changed']);
  return seen;
});

here.sameOnBothSides('who listens is not woken by what does not concern it', {}, async side => {
  const [publisher, subscriber] = [await store(side), await store(side)];
  await subscriber.upsertSubscription('mine', ['mine'], credentials);
  await subscriber.upsertSubscription('yours', ['yours'], credentials);
  const abort = new AbortController();
  const mine = await subscriber.setupListener('mine', { signal: abort.signal });
  const yours = await subscriber.setupListener('yours', { signal: AbortSignal.timeout(10_000) });
  const published = await publisher.publish({ event: { topic: 'yours', eventPayload: {} }, credentials });
  const woken = await yours.waitForUpdate();
  const slept = await Promise.race([mine.waitForUpdate(), sleep(300, 'asleep')]);
  abort.abort();
  return [published, woken, slept];
});
