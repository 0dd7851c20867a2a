// Migrations by hand: Knex's own command line, as Backstage's guide has an operator use it.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createRequire } from 'node:module';
import { join } from 'node:path';

import { deployments, LAYOUTS, SHARED_DATABASE } from '../support/deployment.js';
import { inventory } from '../support/inventory.js';
import { MIGRATIONS } from '../support/packages.js';

const here = deployments();

const CLI = join(createRequire(import.meta.url).resolve('knex/package.json'), '..', 'bin', 'cli.js');

/** Runs a command and tells everything that an operator sees of it. */
async function knexCli(command, url, directory) {
  const options = ['--client', 'pg', '--connection', url, '--migrations-directory', directory];
  // What a shell has set for other servers is not meant for this one.
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('PG')));
  const args = [CLI, ...command, ...options];
  return new Promise(resolve => {
    execFile(process.execPath, args, { timeout: 30_000, env: { ...env, NO_COLOR: '1' } }, (error, stdout, stderr) => {
      resolve({ command: command.join(' '), code: error ? error.code : 0, stdout, stderr });
    });
  });
}

async function run(side, id, commands) {
  const seen = [];
  for (const command of commands) {
    seen.push(await knexCli(command.split(' '), side.url(id), MIGRATIONS[id].directory));
  }
  return seen;
}

const GUIDE = [
  'migrate:status', 'migrate:currentVersion', 'migrate:down', 'migrate:status', 'migrate:currentVersion', 'migrate:rollback',
  'migrate:status', 'migrate:up', 'migrate:latest', 'migrate:rollback --all', 'migrate:latest',
];

async function rollBackByHand(side) {
  const knex = await side.backstage().knex('scaffolder');
  await knex.migrate.latest(MIGRATIONS.scaffolder);
  const before = await inventory(knex);
  const seen = await run(side, 'scaffolder', GUIDE);
  seen.forEach(({ command, code, stderr }) => assert.equal(code, 0, `${command}: ${stderr}`));
  assert.match(seen[2].stdout, /rolled back the following migration/);
  assert.match(seen[5].stdout, /rolled back: \d+ migrations/);
  assert.deepEqual(await inventory(knex), before);
  return seen;
}

here.sameOnBothSides('the scaffolder is rolled back and brought forward by hand', {
  layouts: [LAYOUTS.databasesAreSchemas, LAYOUTS.databases],
  timeout: 120_000,
}, rollBackByHand);

// A command line has no other way to say the schema than in its login, which greenroom keeps a server for.
here.sameOnBothSides('the scaffolder is rolled back and brought forward by hand', {
  layouts: [LAYOUTS.schemas],
  timeout: 120_000,
  pins: { [SHARED_DATABASE]: ['startup_settings'] },
}, rollBackByHand);

here.sameOnBothSides('the catalog is rolled back by hand, indexes that are built concurrently and all', {
  layouts: [LAYOUTS.databasesAreSchemas],
  timeout: 120_000,
}, async side => {
  const knex = await side.backstage().knex('catalog');
  await knex.migrate.latest(MIGRATIONS.catalog);
  const commands = ['migrate:down', 'migrate:currentVersion', 'migrate:rollback --all', 'migrate:status', 'migrate:latest'];
  const seen = await run(side, 'catalog', commands);
  seen.forEach(({ command, code, stderr }) => assert.equal(code, 0, `${command}: ${stderr}`));
  return [seen, await inventory(knex)];
});

here.sameOnBothSides('a lock that was left behind is told and taken away by hand', {
  layouts: [LAYOUTS.databasesAreSchemas],
  timeout: 120_000,
}, async side => {
  const knex = await side.backstage().knex('scaffolder');
  await knex.migrate.up(MIGRATIONS.scaffolder);
  await knex('knex_migrations_lock').update({ is_locked: 1 });
  const seen = await run(side, 'scaffolder', ['migrate:latest', 'migrate:unlock', 'migrate:latest']);
  assert.notEqual(seen[0].code, 0);
  assert.match(seen[0].stderr + seen[0].stdout, /already locked/);
  assert.equal(seen[2].code, 0, seen[2].stderr);
  return seen;
});

here.sameOnBothSides('a wrong password is told by hand as well', { layouts: [LAYOUTS.databasesAreSchemas] }, async side => {
  await side.backstage().knex('scaffolder');
  const seen = await knexCli(['migrate:status'], side.url('scaffolder', { password: 'wrong' }), MIGRATIONS.scaffolder.directory);
  assert.notEqual(seen.code, 0);
  assert.match(seen.stderr + seen.stdout, /password authentication failed for user "backstage"/);
  return seen;
});
