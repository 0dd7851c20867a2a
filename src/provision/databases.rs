//! What stands for pg_database where databases are schemas.

use std::sync::Arc;

use crate::route::VirtualDatabases;
use crate::sql::quote::literal;

/// A query whose only column, datname, has the databases that there are: schemas under the names of their databases, and
/// every real database that is not hidden behind one.
pub fn databases_sql(databases: &VirtualDatabases) -> String {
    let VirtualDatabases { prefix, schema_prefix, schemas, elsewhere, real } = databases;
    let id = "'^[A-Za-z0-9][A-Za-z0-9_-]*$'";
    let named = list(schemas.iter().map(|(name, _)| name).chain(elsewhere));
    let (real, constants) = (list(real), list(elsewhere));
    let own_schemas = list(schemas.iter().map(|(_, schema)| schema));
    let pairs: Vec<String> =
        schemas.iter().map(|(name, schema)| format!("({}, {})", literal(name), literal(schema))).collect();
    let pairs = if pairs.is_empty() { "(null, null)".to_owned() } else { pairs.join(", ") };
    let (at, schema_at) = (prefix.chars().count(), schema_prefix.chars().count());
    let (prefix, schema_prefix) = (literal(prefix), literal(schema_prefix));
    let begins = |name: &str, length: usize, prefix: &str| {
        format!(
            "pg_catalog.left({name}::text, {length}) = {prefix} and pg_catalog.substr({name}::text, {}) ~ {id}",
            length + 1
        )
    };
    let by_rule = begins("d.datname", at, &prefix);
    let of_rule = begins("n.nspname", schema_at, &schema_prefix);
    let from = schema_at + 1;
    format!(
        "select d.datname from pg_catalog.pg_database d \
         where d.datname::text <> all ({named}) and (d.datname::text = any ({real}) or not ({by_rule})) \
         union all select c.name::pg_catalog.name from pg_catalog.unnest({constants}) c(name) \
         union all select v.name::pg_catalog.name from (values {pairs}) v(name, schema) \
         join pg_catalog.pg_namespace n on n.nspname::text = v.schema \
         union all select ({prefix} || pg_catalog.substr(n.nspname::text, {from}))::pg_catalog.name \
         from pg_catalog.pg_namespace n \
         where {of_rule} and n.nspname::text <> all ({own_schemas}) \
         and n.nspname::text <> all (array['public', 'information_schema']) and n.nspname::text !~ '^pg_'"
    )
}

fn list<'n>(names: impl IntoIterator<Item = &'n Arc<str>>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| literal(name)).collect();
    format!("array[{}]::text[]", names.join(", "))
}
