// The migrations that Backstage's packages bring along, as the packages themselves run them.

import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';

const require = createRequire(import.meta.url);

/** A path within an installed package. */
export const inPackage = (name, ...path) => join(dirname(require.resolve(`${name}/package.json`)), ...path);

/** Options of `knex.migrate` for what each plugin has of its own. */
export const MIGRATIONS = {
  app: { directory: inPackage('@backstage/plugin-app-backend', 'migrations') },
  auth: { directory: inPackage('@backstage/plugin-auth-backend', 'migrations') },
  catalog: { directory: inPackage('@backstage/plugin-catalog-backend', 'migrations') },
  events: { directory: inPackage('@backstage/plugin-events-backend', 'migrations') },
  notifications: { directory: inPackage('@backstage/plugin-notifications-backend', 'migrations') },
  scaffolder: { directory: inPackage('@backstage/plugin-scaffolder-backend', 'migrations') },
  search: { directory: inPackage('@backstage/plugin-search-backend-module-pg', 'migrations') },
};

/** The same for the sets that Backstage's own services put beside them into every plugin's database. */
export const SERVICE_MIGRATIONS = {
  scheduler: {
    directory: inPackage('@backstage/backend-defaults', 'migrations', 'scheduler'),
    tableName: 'backstage_backend_tasks__knex_migrations',
  },
  publicKeys: {
    directory: inPackage('@backstage/backend-defaults', 'migrations', 'auth'),
    tableName: 'backstage_backend_public_keys__knex_migrations',
  },
};

/** All sets that are run in the database of a plugin. */
export function migrationsOf(id) {
  return [MIGRATIONS[id], ...Object.values(SERVICE_MIGRATIONS)];
}
