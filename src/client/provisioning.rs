//! Makes a client's schema exist: at its login, or because it says CREATE DATABASE.

use std::sync::Arc;

use tokio::time::timeout;

use super::reply::{self, Reply};
use super::shared::Shared;
use crate::pool::{CloseReason, Kind, Lease, Lent, Member};
use crate::protocol::message::{Report, Severity};
use crate::protocol::sqlstate;
use crate::provision::{self, Creation, ProvisionError};
use crate::route::Route;
use crate::server::QueryError;

/// Makes the route's schema exist, on a server that is lent for it; the search_path that leads there. Of many logins that
/// wait for that, one is enough.
pub(super) async fn ensure(member: &Member, route: &Route, shared: &Shared) -> Result<Option<Arc<str>>, Reply> {
    let acquired = tokio::select! {
        biased;
        acquired = member.acquire(Kind::Shared) => acquired,
        path = found_by_another(member, route, shared) => return Ok(path),
    };
    let mut lease = as_the_login(member, acquired, Severity::Fatal).await?;
    let ensured = timeout(member.create_timeout(), provision::ensure(lease.server(), &route.target)).await;
    let path = done(lease, ensured.ok(), Severity::Fatal)?.map(Into::into);
    if let Some(path) = &path {
        shared.provisioned(&route.target, path);
        member.pool.tell_news();
    }
    Ok(path)
}

/// Waits until another login has found out what this one waits for; the search_path.
async fn found_by_another(member: &Member, route: &Route, shared: &Shared) -> Option<Arc<str>> {
    loop {
        // Before looking: news in between is not missed.
        let news = member.pool.news();
        let path = shared.search_path(&route.target);
        if member.pool.parameters().is_some() && (route.target.schema.is_none() || path.is_some()) {
            return path;
        }
        news.await;
    }
}

/// Makes the schema of a database that the client asked to create.
pub(super) async fn create(route: &Route, shared: &Shared) -> Result<(), Reply> {
    let member = member(route, Severity::Error, shared)?;
    let acquired = member.acquire(Kind::Shared).await;
    let mut lease = as_the_login(&member, acquired, Severity::Error).await?;
    let created = timeout(member.create_timeout(), provision::create(lease.server(), &route.target)).await;
    match done(lease, created.ok(), Severity::Error)? {
        Creation::Made(path) => {
            shared.provisioned(&route.target, &path.into());
            member.pool.tell_news();
            tracing::info!(database = route.database.as_str(), "database created, as a schema");
            Ok(())
        }
        Creation::AlreadyThere => Err(Reply::Ours(reply::duplicate_database(route.database.as_str()))),
    }
}

/// The right of the route's plugin to borrow servers.
pub(super) fn member(route: &Route, severity: Severity, shared: &Shared) -> Result<Member, Reply> {
    let refused = |error: crate::net::TlsError| {
        Reply::Ours(Report::new(severity, sqlstate::CONFIG_FILE_ERROR, error.to_string()))
    };
    shared.pools.member(route).map_err(refused)
}

/// A server as the login itself, whatever role the session had that it served last.
async fn as_the_login(member: &Member, acquired: Lent, severity: Severity) -> Result<Lease, Reply> {
    let (mut lease, _) = acquired.map_err(|error| reply::not_lent(&error, severity))?;
    if lease.server().dress.role.take().is_none() {
        return Ok(lease);
    }
    let reset = lease.server().dress.role_sql();
    match timeout(member.create_timeout(), lease.server().query(&reset)).await {
        Ok(Ok(_)) => Ok(lease),
        _ => {
            lease.close(CloseReason::Doubtful);
            Err(lost(severity))
        }
    }
}

/// Gives the server back, if it is still good for something. `None` is one that did not answer in time.
fn done<T>(lease: Lease, result: Option<Result<T, ProvisionError>>, severity: Severity) -> Result<T, Reply> {
    match result {
        Some(Ok(done)) => {
            lease.release();
            Ok(done)
        }
        Some(Err(error)) => {
            match &error {
                ProvisionError::Query(QueryError::Lost(_) | QueryError::Malformed(_)) => {
                    lease.close(CloseReason::ServerEnded)
                }
                _ => lease.release(),
            }
            Err(reply::not_provisioned(&error, severity))
        }
        None => {
            lease.close(CloseReason::ServerEnded);
            Err(lost(severity))
        }
    }
}

fn lost(severity: Severity) -> Reply {
    Reply::Ours(Report { severity, ..reply::server_lost() })
}
