// A Backstage backend: `createBackend` and the plugins of npm, none of which knows of greenroom. Where its databases are,
// and all else, is said by the configuration files that it is given.

import { createBackend } from '@backstage/backend-defaults';

import { padding } from './padding.js';

const backend = createBackend();

// Ten plugins with a database each, and modules that share the database of theirs.
backend.add(import('@backstage/plugin-app-backend'));
backend.add(import('@backstage/plugin-auth-backend'));
backend.add(import('@backstage/plugin-auth-backend-module-guest-provider'));
backend.add(import('@backstage/plugin-catalog-backend'));
backend.add(import('@backstage/plugin-catalog-backend-module-scaffolder-entity-model'));
backend.add(import('@backstage/plugin-events-backend'));
backend.add(import('@backstage/plugin-notifications-backend'));
backend.add(import('@backstage/plugin-proxy-backend'));
backend.add(import('@backstage/plugin-scaffolder-backend'));
backend.add(import('@backstage/plugin-search-backend'));
backend.add(import('@backstage/plugin-search-backend-module-catalog'));
backend.add(import('@backstage/plugin-search-backend-module-pg'));
backend.add(import('@backstage/plugin-signals-backend'));
backend.add(import('@backstage/plugin-user-settings-backend'));

// As many more as a measurement wants.
for (let i = 1; i <= Number(process.env.PADDING_PLUGINS ?? 0); i += 1) {
  backend.add(padding(i));
}

await backend.start();
