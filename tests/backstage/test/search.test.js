// Backstage's search on PostgreSQL: an index that is replaced in one long transaction, and queries meanwhile.

import assert from 'node:assert/strict';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';

import { ConfigReader } from '@backstage/config';
import { PgSearchEngine } from '@backstage/plugin-search-backend-module-pg';

import { logger } from '../support/backstage.js';
import { deployments, LAYOUTS } from '../support/deployment.js';

const here = deployments();

const WORDS = ['payments', 'ledger', 'gateway', 'frontend', 'search', 'naïve café', 'Größe', 'C++', "o'clock", 'the'];

/** What a collator finds; the same on both sides. */
function documents(type, count, more = {}) {
  return Array.from({ length: count }, (_, i) => ({
    title: `${type} ${i} ${WORDS[i % WORDS.length]}`,
    text: `The ${WORDS[i % WORDS.length]} and the ${WORDS[(i * 7 + 3) % WORDS.length]} of ${type} number ${i}. \\ "quoted" {json}`,
    location: `/catalog/${type}/${i}`,
    kind: i % 3 ? 'Component' : 'API',
    lifecycle: i % 2 ? ['production', 'stable'] : ['experimental'],
    ...more,
  }));
}

async function engine(backstage, settings = {}) {
  const config = new ConfigReader({ search: { pg: { indexerBatchSize: 50, ...settings } } });
  return PgSearchEngine.fromConfig(config, { database: backstage.database('search'), logger });
}

async function index(search, type, found) {
  await pipeline(Readable.from(found), await search.getIndexer(type));
}

const QUERIES = [
  { term: 'ledger' },
  { term: 'naïve café' },
  { term: 'Größe', types: ['software'] },
  { term: "o'clock \\ (|&:*!<" },
  { term: 'C++ gateway' },
  { term: '', types: ['techdocs'] },
  { term: 'number', filters: { kind: 'API' }, pageLimit: 10 },
  { term: 'number', filters: { lifecycle: ['production', 'stable'] }, pageLimit: 5, pageCursor: Buffer.from('2').toString('base64') },
  { term: 'nothing of the kind' },
];

/** Everything that a user sees; the marks of a highlight are new in each engine, and equal ranks come in any order. */
async function answers(search) {
  return Promise.all(QUERIES.map(async query => {
    const { results, numberOfResults, nextPageCursor, previousPageCursor } = await search.query(query);
    const shown = results.map(({ type, document, highlight }) => {
      const marks = text => text?.replaceAll(highlight.preTag, '<b>').replaceAll(highlight.postTag, '</b>');
      const fields = Object.fromEntries(Object.entries(highlight.fields).map(([name, text]) => [name, marks(text)]));
      return { type, document, fields };
    });
    const sorted = shown.sort((a, b) => (a.document.location < b.document.location ? -1 : 1));
    // A page of equal ranks may be any of them.
    const whole = !query.pageLimit && numberOfResults <= 25;
    return { query, numberOfResults, nextPageCursor, previousPageCursor, count: results.length, shown: whole ? sorted : undefined };
  }));
}

async function stored(backstage) {
  const knex = await backstage.knex('search');
  return knex('documents').select('type', 'document', knex.raw("encode(hash, 'hex') as hash"), knex.raw('md5(body::text) as body')).orderBy('hash');
}

here.sameOnBothSides('an index is built, queried and replaced', {}, async side => {
  const backstage = side.backstage();
  const search = await engine(backstage);
  await Promise.all([index(search, 'software', documents('software', 230)), index(search, 'techdocs', documents('techdocs', 20))]);
  const first = [await answers(search), await stored(backstage)];
  assert.ok(first[0][0].numberOfResults > 10, 'ledger is found');
  // Some have gone, some are as they were, some are new.
  await index(search, 'software', [...documents('software', 100), ...documents('new', 30)]);
  return [first, await answers(search), await stored(backstage)];
});

here.sameOnBothSides('queries see the old index until the new one is whole', { layouts: [LAYOUTS.databasesAreSchemas] }, async side => {
  const backstage = side.backstage();
  const search = await engine(backstage);
  await index(search, 'software', documents('software', 60));
  const counts = [];
  const total = async () => counts.push((await search.query({ term: '', types: ['software'] })).numberOfResults);
  async function* slowly() {
    for (const [i, document] of documents('other', 150).entries()) {
      if (i % 40 === 0) {
        await total();
      }
      yield document;
    }
    await total();
  }
  await index(search, 'software', slowly());
  await total();
  assert.deepEqual(counts, [60, 60, 60, 60, 60, 150]);
  return counts;
});

here.sameOnBothSides('a collator that fails leaves the old index and no transaction', { layouts: [LAYOUTS.databasesAreSchemas] }, async side => {
  const backstage = side.backstage({ knexConfig: { pool: { min: 0, max: 2 } } });
  const search = await engine(backstage);
  await index(search, 'software', documents('software', 60));
  async function* failing() {
    yield* documents('other', 120);
    throw new Error('the catalog is away');
  }
  for (let i = 0; i < 5; i += 1) {
    await assert.rejects(index(search, 'software', failing()), /the catalog is away/);
  }
  await index(search, 'techdocs', documents('techdocs', 10));
  const open = await here.postgres.query("select count(*)::int as n from pg_stat_activity where state like 'idle in transaction%'");
  assert.deepEqual(open, [{ n: 0 }]);
  return stored(backstage);
});

here.sameOnBothSides('a document that is too long is cut within its transaction', { layouts: [LAYOUTS.databasesAreSchemas] }, async side => {
  const backstage = side.backstage();
  const search = await engine(backstage);
  const text = Array.from({ length: 220_000 }, (_, i) => `w${i}`).join(' ');
  await index(search, 'techdocs', [...documents('techdocs', 5), { title: 'long', text, location: '/long' }]);
  const rows = await stored(backstage);
  const long = rows.find(({ document }) => document.title === 'long');
  assert.equal(long.document.text.length, 50_000);
  return rows;
});
