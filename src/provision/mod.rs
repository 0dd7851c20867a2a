//! Makes a route's schema exist, keeps two deployments out of one schema, and tells which databases that makes.
//!
//! The catalogs are asked first: `CREATE SCHEMA IF NOT EXISTS` wants the right to create even when there is nothing to do.
//! Every name is qualified or quoted, so that no search_path can bend what is asked.

mod databases;

pub use databases::databases_sql;

use crate::protocol::sqlstate;
use crate::route::Target;
use crate::server::{QueryError, Server};
use crate::sql::quote;

/// What the COMMENT of a schema begins with, before the deployment's prefix.
const MARK: &str = "greenroom: plugin schema of the deployment with prefix ";

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

/// Makes the target's schema exist and bear its deployment's mark, and tells its name as PostgreSQL writes it in a
/// search_path. Without a schema there is nothing to do.
///
/// # Errors
/// See [`ProvisionError`]. After [`QueryError::Lost`] within it the server is unusable.
pub async fn ensure(server: &mut Server, target: &Target) -> Result<Option<String>, ProvisionError> {
    let Some(schema) = target.schema.as_deref() else { return Ok(None) };
    let found = match look(server, schema).await? {
        Some(found) => found,
        None if !target.provision => return Err(missing(schema)),
        None => make(server, schema, target).await?.found(),
    };
    admit(server, schema, target, &found).await?;
    Ok(Some(found.quoted))
}

/// What came of making a target exist that a client asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Creation {
    /// It was made; this is its schema's name as PostgreSQL writes it in a search_path.
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
    let (found, made) = match look(server, schema).await? {
        Some(found) => (found, false),
        None => match make(server, schema, target).await? {
            Made::Now(found) => (found, true),
            Made::BySomebodyElse(found) => (found, false),
        },
    };
    admit(server, schema, target, &found).await?;
    Ok(if made { Creation::Made(found.quoted) } else { Creation::AlreadyThere })
}

/// A schema that was to be made.
enum Made {
    Now(Found),
    /// Another greenroom, or Backstage itself, was quicker.
    BySomebodyElse(Found),
}

impl Made {
    fn found(self) -> Found {
        match self {
            Self::Now(found) | Self::BySomebodyElse(found) => found,
        }
    }
}

async fn make(server: &mut Server, schema: &str, target: &Target) -> Result<Made, ProvisionError> {
    match run_creation(server, schema, target).await {
        Ok(()) => look(server, schema).await?.map(Made::Now).ok_or_else(|| missing(schema)),
        Err(error) => match look(server, schema).await? {
            Some(found) if is_already_there(&error) => Ok(Made::BySomebodyElse(found)),
            _ => Err(refused(schema, target, error)),
        },
    }
}

/// Refuses another deployment's schema, and marks one that nobody has marked.
async fn admit(server: &mut Server, schema: &str, target: &Target, found: &Found) -> Result<(), ProvisionError> {
    match found.comment.as_deref().map(|comment| comment.strip_prefix(MARK)) {
        Some(Some(owner)) if owner != &*target.deployment => Err(ProvisionError::OtherDeployment {
            schema: schema.to_owned(),
            owner: owner.to_owned(),
            deployment: target.deployment.to_string(),
        }),
        // Ours, or somebody's own comment, which is not ours to replace.
        Some(_) => Ok(()),
        None => mark(server, schema, target).await,
    }
}

/// A schema that exists.
struct Found {
    comment: Option<String>,
    /// Its name as PostgreSQL writes it: in quotes only where it needs them.
    quoted: String,
}

fn missing(schema: &str) -> ProvisionError {
    ProvisionError::Missing { schema: schema.to_owned() }
}

async fn look(server: &mut Server, schema: &str) -> Result<Option<Found>, QueryError> {
    let name = quote::literal(schema);
    let rows = server
        .query(&format!(
            "SELECT pg_catalog.quote_ident(n.nspname), pg_catalog.obj_description(n.oid, 'pg_namespace') \
             FROM pg_catalog.pg_namespace n \
             WHERE n.nspname OPERATOR(pg_catalog.=) {name}"
        ))
        .await?;
    Ok(rows.into_iter().next().and_then(|row| {
        let mut columns = row.into_iter();
        let quoted = columns.next().flatten()?;
        Some(Found { quoted, comment: columns.next().flatten() })
    }))
}

/// The SQL that makes the target's schema, as an operator could run it.
pub fn creation_sql(schema: &str, target: &Target) -> String {
    let name = quote::identifier(schema);
    let owner = target.role.as_deref().map(|role| format!(" AUTHORIZATION {}", quote::identifier(role)));
    format!("CREATE SCHEMA {name}{}; {}", owner.unwrap_or_default(), marking_sql(schema, target))
}

fn marking_sql(schema: &str, target: &Target) -> String {
    let comment = quote::literal(&format!("{MARK}{}", target.deployment));
    format!("COMMENT ON SCHEMA {} IS {comment}", quote::identifier(schema))
}

async fn run_creation(server: &mut Server, schema: &str, target: &Target) -> Result<(), QueryError> {
    server.query(&creation_sql(schema, target)).await?;
    tracing::info!(schema, database = &*target.database, "schema created");
    Ok(())
}

/// Marks a schema that was there before. Only its owner may: a schema made by somebody else stays unmarked.
async fn mark(server: &mut Server, schema: &str, target: &Target) -> Result<(), ProvisionError> {
    match server.query(&marking_sql(schema, target)).await {
        Ok(_) => Ok(()),
        Err(QueryError::Refused { code, .. }) if code == sqlstate::INSUFFICIENT_PRIVILEGE => {
            tracing::debug!(schema, "schema is not ours to mark");
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

fn is_already_there(error: &QueryError) -> bool {
    let codes = [sqlstate::UNIQUE_VIOLATION, sqlstate::DUPLICATE_SCHEMA];
    matches!(error, QueryError::Refused { code, .. } if codes.contains(&code.as_str()))
}

fn refused(schema: &str, target: &Target, source: QueryError) -> ProvisionError {
    let remedy = format!(
        "GRANT CREATE ON DATABASE {} TO {}; or create it beforehand: {}",
        quote::identifier(&target.database),
        quote::identifier(&target.login.user),
        creation_sql(schema, target)
    );
    ProvisionError::Refused { schema: schema.to_owned(), remedy, source }
}
