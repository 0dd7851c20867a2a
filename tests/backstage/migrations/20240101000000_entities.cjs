// As the catalog's first migration: tables that refer to each other.

exports.up = async function up(knex) {
  await knex.schema.createTable('entities', table => {
    table.bigIncrements('id').notNullable();
    table.string('ref').notNullable().unique();
    table.text('plugin').notNullable();
    table.timestamp('created_at', { useTz: true }).defaultTo(knex.fn.now()).notNullable();
  });
  await knex.schema.createTable('relations', table => {
    table.bigInteger('source').notNullable().references('id').inTable('entities').onDelete('CASCADE');
    table.bigInteger('target').notNullable().references('id').inTable('entities').onDelete('CASCADE');
    table.primary(['source', 'target']);
  });
};

exports.down = async function down(knex) {
  await knex.schema.dropTable('relations');
  await knex.schema.dropTable('entities');
};
