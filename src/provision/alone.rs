//! The catalog wants its database for itself: a second one in another schema of it is refused.
//!
//! Some of the catalog's migrations look up their indexes by name in the whole database. With two catalogs there, the second
//! one's migrations find the first one's indexes, make none of their own, and leave it broken without an error.

use super::{ProvisionError, mark};
use crate::route::Target;
use crate::server::{QueryError, Server};
use crate::sql::quote;

/// The plugin that wants to be alone.
const CATALOG: &str = "catalog";

/// What tells a schema that a catalog lives in, if no mark does.
const TABLES: [&str; 2] = ["refresh_state", "final_entities"];

/// Begins a transaction in which no other greenroom looks for a catalog or makes one. The lock's key is "greenroo", as a
/// number. A snapshot of before the wait would show what is no longer true, hence the isolation level.
const BEGIN_IN_TURN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SET LOCAL search_path TO pg_catalog; \
                             SELECT pg_catalog.pg_advisory_xact_lock(7454131819570687855)";

/// Whether the target's plugin wants its database for itself.
pub(super) fn wants_to_be(target: &Target) -> bool {
    target.plugin.as_str() == CATALOG
}

/// Refuses the target's schema if another one of its database is a catalog's. Of two that were there before greenroom, the
/// one that is looked at first is taken.
pub(super) async fn check(server: &mut Server, schema: &str, target: &Target) -> Result<(), ProvisionError> {
    let (name, begins) = (quote::literal(schema), mark::beginning(CATALOG));
    let (length, begins) = (begins.len(), quote::literal(&begins));
    let marked = format!("coalesce(left(obj_description(n.oid, 'pg_namespace'), {length}) = {begins}, false)");
    let [holds, held] = ["n", "own"].map(|schema| {
        let tables = TABLES.map(quote::literal).join(", ");
        format!(
            "(SELECT count(*) FROM pg_class c WHERE c.relnamespace = {schema}.oid AND c.relname IN ({tables}) \
             AND c.relkind IN ('r', 'p')) = {}",
            TABLES.len()
        )
    });
    let (rows, _) = server
        .query_anywhere(&format!(
            "SELECT n.nspname, obj_description(n.oid, 'pg_namespace') FROM pg_namespace n \
             LEFT JOIN pg_namespace own ON own.nspname = {name} \
             WHERE n.nspname <> {name} AND ({marked} OR ({holds} AND NOT ({held}))) \
             ORDER BY {marked} DESC, n.nspname LIMIT 1"
        ))
        .await?;
    let Some(row) = rows.into_iter().next() else { return Ok(()) };
    let mut columns = row.into_iter();
    let other = columns.next().flatten().unwrap_or_default();
    let owner = columns.next().flatten().and_then(|comment| mark::Mark::read(&comment));
    Err(ProvisionError::TwoCatalogs {
        schema: schema.to_owned(),
        database: target.database.to_string(),
        other,
        owner: owner.map(|mark| mark.deployment),
    })
}

/// Begins the transaction in which the schema is looked at, made and marked.
pub(super) async fn begin(server: &mut Server) -> Result<(), ProvisionError> {
    match server.query_anywhere(BEGIN_IN_TURN).await {
        Ok(_) => Ok(()),
        Err(error) => end(server, Err(error.into())).await,
    }
}

/// Ends the transaction: nothing of it stays unless all went well.
pub(super) async fn end<T>(server: &mut Server, done: Result<T, ProvisionError>) -> Result<T, ProvisionError> {
    let sql = match &done {
        Ok(_) => "COMMIT",
        Err(ProvisionError::Query(QueryError::Lost(_) | QueryError::Malformed(_))) => return done,
        Err(_) => "ROLLBACK",
    };
    match server.query(sql).await {
        Ok(_) => done,
        // Whether it is still open is not known: nobody else may have this server.
        Err(QueryError::Refused { message, .. }) => Err(QueryError::Lost(std::io::Error::other(message)).into()),
        Err(error) => Err(error.into()),
    }
}
