// How many connections a Backstage takes from PostgreSQL, directly and through greenroom: prints a table in Markdown.
//
//   node measure/connections.js
//   node measure/connections.js --no-keepalive
//
// Backstage asks `select 1` for each plugin every minute, all at once; the second leaves that out, as `NODE_ENV=test` does.
// Both sides run at once, on a PostgreSQL each. It takes ten minutes, most of which are spent doing nothing: that is what
// an idle backend is measured by.

import { setTimeout as sleep } from 'node:timers/promises';

import { Deployment, WAYS } from '../support/installation.js';
import { Load } from '../support/load.js';
import { eventually } from '../support/process.js';

const ENTITIES = 13;
const EVERY_MILLIS = 20;
const LOAD_MILLIS = 15_000;

/** What was used under load goes after 30 seconds, in Knex and in greenroom; then a minute has one of Backstage's keepalives. */
const SETTLE_MILLIS = 70_000;
const IDLE_MILLIS = 65_000;

/** Plugins beside the ten of npm that make thirty, each asked ten things at once. */
const PADDING = 20;
const REQUESTS = 10;

/** The pace of a real Backstage, where tests are in a hurry. */
const PACE = {
  catalog: { processingInterval: null },
  search: { collators: { catalog: { schedule: { frequency: { minutes: 10 }, initialDelay: { seconds: 10 } } } } },
};

const KEEPALIVE = !process.argv.includes('--no-keepalive');

const sides = await Promise.all([WAYS.direct, WAYS.schemas].map(measure));
const [direct, through] = sides.map(rows => new Map(rows));
console.log('| | directly | through greenroom |\n|---|---|---|');
for (const name of direct.keys()) {
  console.log(`| ${name} | ${direct.get(name)} | ${through.get(name)} |`);
}

/** Everything that is measured on one side. */
async function measure(way) {
  const ten = await deployed(way, async deployment => {
    const rows = [];
    const first = await starting(deployment, rows, 'ten plugins');
    const token = await prepare(first);
    rows.push(...await busyThenIdle(deployment, 'ten plugins', () => users([first], token)));
    const second = await starting(deployment, rows, 'a second replica');
    rows.push(...await busyThenIdle(deployment, 'two replicas of ten plugins', () => users([first, second], token)));
    return rows;
  });
  const thirty = await deployed(way, async deployment => {
    const rows = [];
    const replica = await starting(deployment, rows, 'thirty plugins', PADDING);
    const token = await prepare(replica);
    rows.push(...await busyThenIdle(deployment, 'thirty plugins with pools of ten', () => everybody(replica, token)));
    return rows;
  });
  return [...ten, ...thirty];
}

async function deployed(way, act) {
  const deployment = await Deployment.open({ ...way, postgres: { max_connections: 500 } });
  try {
    return await deployment.explaining(async () => act(deployment));
  } finally {
    await deployment.close();
  }
}

async function starting(deployment, rows, name, padding) {
  const counts = deployment.sampleConnections(EVERY_MILLIS);
  const replica = await deployment.replica({ configs: [PACE], padding, keepalive: KEEPALIVE });
  rows.push([`${name}, starting: at most`, Math.max(...await counts.stop())]);
  return replica;
}

/** Gives the catalog something to show and search for. */
async function prepare(replica) {
  const token = await replica.signIn();
  await replica.post('/api/catalog/locations', { type: 'url', target: `${replica.url}/static/catalog.yaml` });
  await eventually(async () => {
    const { totalItems } = await replica.get('/api/catalog/entities/by-query?limit=0');
    const { results } = await replica.get('/api/search/query?term=thing');
    if (totalItems !== ENTITIES || results.length === 0) {
      throw new Error(`the catalog has ${totalItems} entities, a search finds ${results.length}`);
    }
  }, 40_000);
  await replica.asUser(token, 'POST', '/api/scaffolder/v2/tasks', { templateRef: 'template:default/greeting', values: { name: 'you' } });
  return token;
}

async function busyThenIdle(deployment, name, start) {
  const busy = deployment.sampleConnections(EVERY_MILLIS);
  const load = start();
  await sleep(LOAD_MILLIS);
  await load.stop();
  const most = Math.max(...await busy.stop());
  if (load.failures.length > 0) {
    throw new Error(`${load.failures.length} requests failed, the last: ${load.failures.at(-1).error.message}`);
  }
  const answers = Object.values(load.answered).reduce((sum, n) => sum + n, 0);
  console.error(`${name}: ${answers} answers in ${LOAD_MILLIS / 1000} s, at most ${most} connections`);
  await sleep(SETTLE_MILLIS);
  const idle = (await deployment.sampleFor(IDLE_MILLIS, EVERY_MILLIS)).sort((a, b) => a - b);
  return [
    [`${name}, under load: at most`, most],
    [`${name}, idle: usually, at most`, `${idle[Math.floor(idle.length / 2)]}, ${idle.at(-1)}`],
  ];
}

function users(replicas, token) {
  return Load.start(replicas, { token, entities: ENTITIES, workers: 40 });
}

/** Users of the ten plugins, and ten requests at once for each of the others. */
function everybody(replica, token) {
  const load = users([replica], token);
  let stopped = false;
  const workers = Array.from({ length: PADDING * REQUESTS }, async (_, i) => {
    while (!stopped) {
      try {
        await replica.get(`/api/padding-${1 + (i % PADDING)}`);
        load.answered.padding = (load.answered.padding ?? 0) + 1;
      } catch (error) {
        load.failures.push({ error });
        await sleep(20);
      }
    }
  });
  return {
    failures: load.failures,
    answered: load.answered,
    async stop() {
      stopped = true;
      await Promise.all([load.stop(), ...workers]);
    },
  };
}
