// As seven of the catalog's migrations: outside a transaction, because the index is built without a lock.

exports.up = async function up(knex) {
  await knex.raw('CREATE INDEX CONCURRENTLY IF NOT EXISTS entities_plugin_index ON entities (plugin)');
};

exports.down = async function down(knex) {
  await knex.raw('DROP INDEX CONCURRENTLY IF EXISTS entities_plugin_index');
};

exports.config = { transaction: false };
