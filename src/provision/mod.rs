//! Makes a route's schema exist, keeps two deployments out of one schema, and tells which databases that makes.
//!
//! The catalogs are asked first: `CREATE SCHEMA IF NOT EXISTS` wants the right to create even when there is nothing to do.
//! Every name is qualified or quoted, so that no search_path can bend what is asked.
//!
//! - `mark`: the COMMENT that says whose a schema is.
//! - `alone`: one catalog in a database, and no two greenrooms that look for it at once.
//! - `databases`: what stands for pg_database.

mod alone;
mod databases;
mod mark;

pub use databases::databases_sql;
pub use mark::Mark;

use crate::protocol::sqlstate;
use crate::route::Target;
use crate::server::{QueryError, Server};
use crate::sql::quote;

/// Why a route's schema cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProvisionError {
    /// Another deployment lives there.
    #[error("schema \"{schema}\" belongs to the deployment with prefix \"{owner}\", not \"{deployment}\"")]
    OtherDeployment {
        /// The schema.
        schema: String,
        /// Whose it is.
        owner: String,
        /// Who asked.
        deployment: String,
    },
    /// Another plugin lives there.
    #[error("schema \"{schema}\" belongs to plugin {owner}, not {plugin}")]
    OtherPlugin {
        /// The schema.
        schema: String,
        /// Whose it is.
        owner: String,
        /// Who asked.
        plugin: String,
    },
    /// Another catalog lives in the same database.
    #[error(
        "schema \"{schema}\" cannot hold a catalog, for schema \"{other}\" of the same database \"{database}\" holds one{}",
        owner.as_ref().map(|owner| format!(", of the deployment with prefix \"{owner}\"")).unwrap_or_default()
    )]
    TwoCatalogs {
        /// The schema.
        schema: String,
        /// The database.
        database: String,
        /// The schema of the other catalog.
        other: String,
        /// The deployment of the other catalog, if its schema says so.
        owner: Option<String>,
    },
    /// It does not exist and must not be made.
    #[error("schema \"{schema}\" does not exist, and backend.database.ensureExists is false")]
    Missing {
        /// The schema.
        schema: String,
    },
    /// PostgreSQL did not let us make it.
    #[error("cannot create schema \"{schema}\": {source}")]
    Refused {
        /// The schema.
        schema: String,
        /// What to run, once, as somebody who may.
        remedy: String,
        /// PostgreSQL's error.
        source: QueryError,
    },
    /// The catalogs could not be asked.
    #[error("cannot look for the schema")]
    Query(#[from] QueryError),
}

/// Makes the target's schema exist and bear its mark, and tells the search_path that leads there, as PostgreSQL writes it.
/// Without a schema there is nothing to do.
///
/// # Errors
/// See [`ProvisionError`]. After [`QueryError::Lost`] within it the server is unusable.
pub async fn ensure(server: &mut Server, target: &Target) -> Result<Option<String>, ProvisionError> {
    let Some(schema) = target.schema.as_deref() else { return Ok(None) };
    let settled = settle(server, schema, target, target.provision).await?;
    Ok(Some(search_path(server, settled.quoted, target).await?))
}

/// What came of making a target exist that a client asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Creation {
    /// It was made; this is the search_path that leads to its schema, as PostgreSQL writes it.
    Made(String),
    /// It exists already.
    AlreadyThere,
}

/// Makes the target's schema because a client asked for it by CREATE DATABASE, whatever `ensureExists` says.
///
/// # Errors
/// See [`ProvisionError`]. After [`QueryError::Lost`] within it the server is unusable.
pub async fn create(server: &mut Server, target: &Target) -> Result<Creation, ProvisionError> {
    let Some(schema) = target.schema.as_deref() else { return Ok(Creation::AlreadyThere) };
    match settle(server, schema, target, true).await? {
        Settled { quoted, made: true } => Ok(Creation::Made(search_path(server, quoted, target).await?)),
        _ => Ok(Creation::AlreadyThere),
    }
}

/// A schema that exists and is the target's.
struct Settled {
    /// Its name as PostgreSQL writes it: in quotes only where it needs them.
    quoted: String,
    /// It was made just now.
    made: bool,
}

/// Looks for the schema, makes it if need be, and sees to it that it is the target's.
async fn settle(server: &mut Server, schema: &str, target: &Target, make: bool) -> Result<Settled, ProvisionError> {
    match settle_in_turn(server, schema, target, make).await {
        // Another greenroom, or Backstage itself, was quicker: now it is there.
        Err(ProvisionError::Refused { source, .. }) if is_already_there(&source) => {
            settle_in_turn(server, schema, target, make).await
        }
        settled => settled,
    }
}

async fn settle_in_turn(
    server: &mut Server,
    schema: &str,
    target: &Target,
    make: bool,
) -> Result<Settled, ProvisionError> {
    if !alone::wants_to_be(target) {
        return settle_now(server, schema, target, make).await;
    }
    alone::begin(server).await?;
    let settled = settle_now(server, schema, target, make).await;
    alone::end(server, settled).await
}

async fn settle_now(server: &mut Server, schema: &str, target: &Target, make: bool) -> Result<Settled, ProvisionError> {
    let found = look(server, schema).await?;
    let mark = found.as_ref().and_then(|found| Mark::read(found.comment.as_deref()?));
    if let Some(refusal) = mark.as_ref().and_then(|mark| somebody_elses(mark, schema, target)) {
        return Err(refusal);
    }
    match &mark {
        Some(_) => {}
        None if found.is_none() && !make => return Err(missing(schema)),
        None if alone::wants_to_be(target) => alone::check(server, schema, target).await?,
        None => {}
    }
    let Some(found) = found else {
        run_creation(server, schema, target).await.map_err(|source| refused(schema, target, source))?;
        let made = look(server, schema).await?.ok_or_else(|| missing(schema))?;
        return Ok(Settled { quoted: made.quoted, made: true });
    };
    let is_old = mark.is_some_and(|mark| mark.plugin.is_none());
    // Somebody's own comment is not ours to replace, nor is that of a schema that the login does not own.
    if (is_old || found.comment.is_none()) && found.is_ours {
        server.query_anywhere(&marking_sql(schema, target)).await?;
    }
    Ok(Settled { quoted: found.quoted, made: false })
}

/// Why a schema that bears this mark is not the target's, if it is not.
fn somebody_elses(mark: &Mark, schema: &str, target: &Target) -> Option<ProvisionError> {
    let Mark { plugin, deployment } = mark;
    if **deployment != *target.deployment {
        return Some(ProvisionError::OtherDeployment {
            schema: schema.to_owned(),
            owner: deployment.clone(),
            deployment: target.deployment.to_string(),
        });
    }
    let owner = plugin.clone().filter(|owner| owner != target.plugin.as_str())?;
    Some(ProvisionError::OtherPlugin { schema: schema.to_owned(), owner, plugin: target.plugin.to_string() })
}

/// The path to the schema, and behind it to that of extensions, in which nothing is ever created.
async fn search_path(server: &mut Server, quoted: String, target: &Target) -> Result<String, ProvisionError> {
    let Some(extensions) = target.extensions.as_deref() else { return Ok(quoted) };
    let name = quote::literal(extensions);
    let rows = server
        .query(&format!(
            "SELECT pg_catalog.quote_ident({name}), (SELECT pg_catalog.has_schema_privilege(n.oid, 'USAGE') \
             FROM pg_catalog.pg_namespace n WHERE n.nspname OPERATOR(pg_catalog.=) {name})"
        ))
        .await?;
    let mut columns = rows.into_iter().flatten();
    let extensions_quoted = columns.next().flatten().unwrap_or_else(|| quote::identifier(extensions));
    let database = &*target.database;
    match columns.next().flatten().as_deref() {
        Some("t") => {}
        Some(_) => tracing::warn!(
            schema = extensions,
            database,
            "the login may not use the schema of greenroom.extensionsSchema; run: GRANT USAGE ON SCHEMA {} TO {}",
            quote::identifier(extensions),
            quote::identifier(&target.login.user)
        ),
        None => tracing::warn!(
            schema = extensions,
            database,
            "the schema of greenroom.extensionsSchema does not exist; its extensions will not be found"
        ),
    }
    Ok(format!("{quoted}, {extensions_quoted}"))
}

/// A schema that exists.
struct Found {
    comment: Option<String>,
    /// The login has the rights of its owner.
    is_ours: bool,
    /// Its name as PostgreSQL writes it: in quotes only where it needs them.
    quoted: String,
}

fn missing(schema: &str) -> ProvisionError {
    ProvisionError::Missing { schema: schema.to_owned() }
}

async fn look(server: &mut Server, schema: &str) -> Result<Option<Found>, QueryError> {
    let name = quote::literal(schema);
    let (rows, _) = server
        .query_anywhere(&format!(
            "SELECT pg_catalog.quote_ident(n.nspname), pg_catalog.obj_description(n.oid, 'pg_namespace'), \
             pg_catalog.pg_has_role(n.nspowner, 'USAGE') FROM pg_catalog.pg_namespace n \
             WHERE n.nspname OPERATOR(pg_catalog.=) {name}"
        ))
        .await?;
    Ok(rows.into_iter().next().and_then(|row| {
        let mut columns = row.into_iter();
        let quoted = columns.next().flatten()?;
        let comment = columns.next().flatten();
        Some(Found { quoted, comment, is_ours: columns.next().flatten().as_deref() == Some("t") })
    }))
}

/// The SQL that makes the target's schema, as an operator could run it.
pub fn creation_sql(schema: &str, target: &Target) -> String {
    let name = quote::identifier(schema);
    let owner = target.role.as_deref().map(|role| format!(" AUTHORIZATION {}", quote::identifier(role)));
    format!("CREATE SCHEMA {name}{}; {}", owner.unwrap_or_default(), marking_sql(schema, target))
}

/// The SQL that makes a database, owned by `owner` or by whoever runs it.
pub fn database_sql(database: &str, owner: Option<&str>) -> String {
    let owner = owner.map(|owner| format!(" OWNER {}", quote::identifier(owner))).unwrap_or_default();
    format!("CREATE DATABASE {}{owner}", quote::identifier(database))
}

/// The SQL that marks the target's schema as its plugin's.
pub fn marking_sql(schema: &str, target: &Target) -> String {
    let comment = quote::literal(&mark::of(target));
    format!("COMMENT ON SCHEMA {} IS {comment}", quote::identifier(schema))
}

async fn run_creation(server: &mut Server, schema: &str, target: &Target) -> Result<(), QueryError> {
    server.query_anywhere(&creation_sql(schema, target)).await?;
    tracing::info!(schema, database = &*target.database, "schema created");
    Ok(())
}

fn is_already_there(error: &QueryError) -> bool {
    let codes = [sqlstate::UNIQUE_VIOLATION, sqlstate::DUPLICATE_SCHEMA];
    matches!(error, QueryError::Refused { code, .. } if codes.contains(&code.as_str()))
}

fn refused(schema: &str, target: &Target, source: QueryError) -> ProvisionError {
    let QueryError::Refused { .. } = source else { return source.into() };
    let remedy = format!(
        "GRANT CREATE ON DATABASE {} TO {}; or create it beforehand: {}",
        quote::identifier(&target.database),
        quote::identifier(&target.login.user),
        creation_sql(schema, target)
    );
    ProvisionError::Refused { schema: schema.to_owned(), remedy, source }
}
