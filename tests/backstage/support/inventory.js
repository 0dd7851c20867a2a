// Everything that migrations have made, in words that are the same whatever the schema is called.

const QUERIES = {
  columns: `
    select table_name, column_name, data_type, udt_name, is_nullable, column_default, character_maximum_length, is_identity,
      generation_expression
    from information_schema.columns where table_schema = current_schema() order by table_name, column_name`,
  indexes: `
    select c.relname as name, pg_get_indexdef(i.indexrelid) as definition, i.indisvalid as valid, i.indisunique as is_unique
    from pg_index i join pg_class c on c.oid = i.indexrelid
    where c.relnamespace = current_schema()::regnamespace order by 1`,
  constraints: `
    select conrelid::regclass::text as table, conname as name, pg_get_constraintdef(oid) as definition, convalidated as valid
    from pg_constraint where connamespace = current_schema()::regnamespace order by 1, 2`,
  sequences: `
    select sequence_name, data_type, start_value, increment
    from information_schema.sequences where sequence_schema = current_schema() order by 1`,
  statistics: `
    select stxname as name, stxrelid::regclass::text as table, stxkind::text[] as kinds, stxkeys::text as keys
    from pg_statistic_ext where stxnamespace = current_schema()::regnamespace order by 1`,
  routines: `
    select routine_name, routine_definition from information_schema.routines where routine_schema = current_schema() order by 1`,
  triggers: `
    select event_object_table, trigger_name, event_manipulation, action_statement
    from information_schema.triggers where trigger_schema = current_schema() order by 1, 2, 3`,
};

/** What there is in the schema that a Knex looks in first. */
export async function inventory(knex) {
  const { rows: [{ schema }] } = await knex.raw('select quote_ident(current_schema()) as schema');
  const found = {};
  for (const [what, sql] of Object.entries(QUERIES)) {
    found[what] = (await knex.raw(sql)).rows;
  }
  return JSON.parse(JSON.stringify(found).replaceAll(`${JSON.stringify(schema).slice(1, -1)}.`, ''));
}
