// A unix socket, as examples/kubernetes/sidecar.yaml has it: node-postgres and Knex find it by its directory.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after } from 'node:test';

import { room } from '../support/room.js';

const directory = mkdtempSync(join(tmpdir(), 'greenroom-socket-'));
const here = room({ listen: [{ socket: directory }] });
after(() => rmSync(directory, { recursive: true, force: true }));

here.throughGreenroom('a socket is addressed by its directory and the port in its name', {}, async ([plugin]) => {
  const socket = { host: directory, port: 6432 };
  const client = await plugin.client(socket);
  const { rows } = await client.query('select current_schema() as schema, $1::int as number', [42]);
  assert.deepEqual(rows, [{ schema: plugin.id, number: 42 }]);

  const knex = plugin.knex({ connection: socket });
  await knex.schema.createTable('things', table => table.increments('id'));
  assert.deepEqual(await knex('things').insert({}).returning('id'), [{ id: 1 }]);
});
