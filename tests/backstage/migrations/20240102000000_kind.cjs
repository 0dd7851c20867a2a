// A column that existing rows are given.

exports.up = async function up(knex) {
  if (!(await knex.schema.hasColumn('entities', 'kind'))) {
    await knex.schema.alterTable('entities', table => {
      table.string('kind').nullable().index('entities_kind_index');
    });
  }
  await knex('entities').update({ kind: 'component' });
  await knex.schema.alterTable('entities', table => table.dropNullable('kind'));
};

exports.down = async function down(knex) {
  await knex.schema.alterTable('entities', table => {
    table.dropIndex([], 'entities_kind_index');
    table.dropColumn('kind');
  });
};
