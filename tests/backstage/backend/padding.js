// A plugin of a company's own, to make a backend as large as one likes: a table, a scheduled task and a route.

import { coreServices, createBackendPlugin } from '@backstage/backend-plugin-api';

export function padding(number) {
  return createBackendPlugin({
    pluginId: `padding-${number}`,
    register(env) {
      env.registerInit({
        deps: { database: coreServices.database, httpRouter: coreServices.httpRouter, scheduler: coreServices.scheduler },
        async init({ database, httpRouter, scheduler }) {
          const knex = await database.getClient();
          await knex.migrate.latest({ migrationSource: migrations });
          const work = async () => knex.transaction(async trx => {
            const [{ id }] = await trx('notes').insert({ text: `note of ${number}` }).returning('id');
            return trx('notes').where({ id }).first('text');
          });
          await scheduler.scheduleTask({ id: 'note', frequency: { minutes: 1 }, timeout: { minutes: 1 }, fn: async () => void (await work()) });
          httpRouter.use((_, response, next) => {
            work().then(note => response.json(note), next);
          });
        },
      });
    },
  });
}

const migrations = {
  getMigrations: async () => ['1_notes'],
  getMigrationName: name => name,
  getMigration: async () => ({
    async up(knex) {
      await knex.schema.createTable('notes', table => {
        table.increments('id');
        table.text('text').notNullable();
      });
    },
    async down(knex) {
      await knex.schema.dropTable('notes');
    },
  }),
};
