// A table of the same name in many plugins: whether each has its own, and where it is.

import { SHARED_DATABASE } from './deployment.js';

/** Plugins of a usual Backstage, by the ids they have. */
export const PLUGINS = [
  'app', 'auth', 'catalog', 'events', 'kubernetes', 'notifications', 'permission', 'proxy', 'scaffolder', 'search', 'signals',
  'techdocs', 'user-settings',
];

/** Makes the table in each plugin, with a row that tells whose it is. */
export async function use(knexes, ids) {
  await Promise.all(knexes.map(async (knex, i) => {
    await knex.schema.createTable('items', table => {
      table.increments('id');
      table.text('owner').notNullable();
    });
    await knex('items').insert({ owner: ids[i] });
  }));
}

/** Whose rows each plugin sees. */
export async function owners(knexes) {
  return Promise.all(knexes.map(async knex => knex('items').pluck('owner')));
}

/** Where the tables must be. */
export function places(side, ids, { schemaPrefix = '' } = {}) {
  return ids.map(id => (side.hasDatabases ? `backstage_plugin_${id}/public` : `${SHARED_DATABASE}/${schemaPrefix}${id}`)).sort();
}
