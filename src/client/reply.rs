//! What greenroom itself says to a client, with its SQLSTATE.

use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use crate::metrics::DeafReason;
use crate::net::Stream;
use crate::pool::AcquireError;
use crate::pool::error::{Holder, OpenError};
use crate::protocol::body;
use crate::protocol::message::{self, Report, Severity};
use crate::protocol::sqlstate;
use crate::provision::ProvisionError;
use crate::route::{Route, RouteError};
use crate::server::{ConnectError, QueryError};
use crate::sql::quote;

/// The longest greenroom waits for a client to take its last message.
const FAREWELL_LIMIT: Duration = Duration::from_secs(5);

/// An error of our own making, or PostgreSQL's passed on.
#[derive(Debug, Clone)]
pub(super) enum Reply {
    Ours(Report),
    /// The body of PostgreSQL's ErrorResponse, to be told with this severity.
    Passed(Severity, Bytes),
}

impl Reply {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Ours(report) => report.write(out),
            Self::Passed(severity, body) => message::error_passed_on(out, *severity, body),
        }
    }

    /// SQLSTATE and message, for the log.
    pub(super) fn summary(&self) -> (String, String) {
        match self {
            Self::Ours(report) => (report.code.to_owned(), report.message.clone()),
            Self::Passed(_, body) => (text(body, b'C').unwrap_or_default(), text(body, b'M').unwrap_or_default()),
        }
    }

    /// What happened in more words, and what to do, for the log.
    pub(super) fn advice(&self) -> (Option<String>, Option<String>) {
        match self {
            Self::Ours(report) => (report.detail.clone(), report.hint.clone()),
            Self::Passed(_, body) => (text(body, b'D'), text(body, b'H')),
        }
    }
}

/// A field of an ErrorResponse.
fn text(body: &[u8], code: u8) -> Option<String> {
    body::error_field(body, code).map(|text| String::from_utf8_lossy(text).into_owned())
}

/// Sends a client its last message and closes the connection.
pub(super) async fn farewell(stream: &mut Stream, report: &Report) {
    let mut out = Vec::new();
    report.write(&mut out);
    send_last(stream, &out).await;
}

/// Sends a client its last bytes and closes the connection.
pub(super) async fn send_last(stream: &mut Stream, bytes: &[u8]) {
    let _ = timeout(FAREWELL_LIMIT, async {
        stream.write_all(bytes).await?;
        stream.shutdown().await
    })
    .await;
}

fn fatal(code: &'static str, message: impl Into<String>) -> Report {
    Report::new(Severity::Fatal, code, message)
}

/// The words of PostgreSQL when an operator ends its connections.
pub(super) fn shutdown() -> Report {
    fatal(sqlstate::ADMIN_SHUTDOWN, "terminating connection due to administrator command")
}

/// The words of PostgreSQL for a connection that an operator ends: whoever listens knows that it has to do so anew.
pub(super) fn deaf(reason: DeafReason) -> Report {
    let detail = match reason {
        DeafReason::Lost => "greenroom's connection that listens for the clients of this database was lost.",
        DeafReason::Slow => "More notifications waited for this client than greenroom keeps.",
        DeafReason::Unclear => {
            "What this session listens to, or in which encoding, could not be told from its statements any more."
        }
    };
    shutdown().detail(detail).hint("Connect again and LISTEN; notifications may have been missed.")
}

/// The words of PostgreSQL for a password that is not right, or a user that does not exist.
pub(super) fn wrong_password(user: &str) -> Report {
    fatal(sqlstate::INVALID_PASSWORD, format!("password authentication failed for user \"{user}\""))
}

/// The server vanished without a word.
pub(super) fn server_lost() -> Report {
    fatal(sqlstate::CONNECTION_FAILURE, "the connection to PostgreSQL was lost")
        .detail("PostgreSQL closed the connection without an error message; its own log says why.")
}

/// A message of ours failed on the server, which is closed.
pub(super) fn prelude_failed() -> Report {
    fatal(sqlstate::CONNECTION_FAILURE, "the connection to PostgreSQL could not be prepared for this session")
}

/// The session would have been told what another one did to a sequence.
pub(super) fn sequences_of_a_stranger() -> Report {
    fatal(
        sqlstate::SERIALIZATION_FAILURE,
        "terminating connection: currval() and lastval() cannot be answered on this server",
    )
    .detail("They were used for the first time in this database, in the middle of a transaction.")
    .hint("Repeat the transaction.")
}

/// Something that cannot be the protocol.
pub(super) fn protocol_violation(detail: impl Into<String>) -> Report {
    fatal(sqlstate::PROTOCOL_VIOLATION, "invalid message from the client").detail(detail)
}

/// A client's cancel, while it waited for a server.
pub(super) fn cancelled() -> Report {
    Report::new(Severity::Error, sqlstate::QUERY_CANCELED, "canceling statement due to user request")
}

/// A name that leads nowhere.
pub(super) fn unknown_database(error: &RouteError) -> Report {
    let report = fatal(sqlstate::INVALID_CATALOG_NAME, error.to_string());
    match error {
        RouteError::Unknown { .. } => report.hint(
            "greenroom serves backend.database.prefix followed by a plugin id, and the databases in greenroom.database.",
        ),
        _ => report,
    }
}

/// No server could be lent.
pub(super) fn not_lent(error: &AcquireError, severity: Severity) -> Reply {
    match error {
        AcquireError::Closed => Reply::Ours(shutdown()),
        AcquireError::Open(error) => not_opened(error, severity),
        AcquireError::TimedOut { plugin, usage, source, .. } => {
            let holders: Vec<_> = usage.holders.iter().map(held).collect();
            let mut detail = format!(
                "Plugin {plugin} holds {} of {} leases; {} of {} server connections are open; leases by plugin: {}.",
                usage.leases,
                usage.max,
                usage.used,
                usage.ceiling,
                if holders.is_empty() { "none".to_owned() } else { holders.join(", ") },
            );
            if let Some(source) = source {
                detail.push_str(&format!(" The last attempt to connect failed: {source}."));
            }
            let report = Report::new(severity, sqlstate::TOO_MANY_CONNECTIONS, error.to_string())
                .detail(detail)
                .hint(usage.remedy(plugin));
            Reply::Ours(report)
        }
    }
}

/// `catalog 3 (one for 41.2 s)`.
fn held(holder: &Holder) -> String {
    format!("{} {} (one for {:.1} s)", holder.plugin, holder.leases, holder.longest.as_secs_f64())
}

fn not_opened(error: &OpenError, severity: Severity) -> Reply {
    match error {
        OpenError::Connect(ConnectError::Refused { frame_body, .. })
        | OpenError::Facts(QueryError::Refused { body: frame_body, .. }) => Reply::Passed(severity, frame_body.clone()),
        // What the command said is for the operator.
        OpenError::Connect(ConnectError::Secret(_)) => {
            let code = sqlstate::SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION;
            Reply::Ours(Report::new(severity, code, error.to_string()).hint("greenroom's log has what it said."))
        }
        OpenError::Connect(error) => Reply::Ours(unreachable_server(severity, error)),
        OpenError::TimedOut { .. } | OpenError::Facts(_) => Reply::Ours(unreachable_server(severity, error)),
    }
}

fn unreachable_server(severity: Severity, error: &dyn std::error::Error) -> Report {
    let report = Report::new(severity, sqlstate::SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION, error.to_string());
    match error.source() {
        Some(source) => report.detail(source.to_string()),
        None => report,
    }
}

/// The words of PostgreSQL for a database that exists already.
pub(super) fn duplicate_database(name: &str) -> Report {
    Report::new(Severity::Error, sqlstate::DUPLICATE_DATABASE, format!("database \"{name}\" already exists"))
}

/// A database that a client wants to create leads nowhere.
pub(super) fn no_such_place(error: &RouteError) -> Report {
    let code = match error {
        RouteError::NameTooLong { .. } => sqlstate::NAME_TOO_LONG,
        RouteError::ReservedSchema { .. } | RouteError::ExtensionsSchema { .. } => sqlstate::RESERVED_NAME,
        _ => sqlstate::INSUFFICIENT_PRIVILEGE,
    };
    let report = Report::new(Severity::Error, code, "permission denied to create database").detail(error.to_string());
    report.hint(
        "greenroom creates the databases of plugins: backend.database.prefix followed by a plugin id, or a plugin's own \
         connection.database.",
    )
}

/// A database that is really a schema is not dropped by a client's word.
pub(super) fn not_dropped(route: &Route, schema: &str) -> Report {
    let (name, place) = (&route.database, &route.target.database);
    let message = format!("database \"{name}\" cannot be dropped through greenroom");
    Report::new(Severity::Error, sqlstate::FEATURE_NOT_SUPPORTED, message)
        .detail(format!("It is the schema \"{schema}\" of the database \"{place}\"."))
        .hint(format!("Connect to \"{place}\" and run: DROP SCHEMA {} CASCADE", quote::identifier(schema)))
}

/// A schema has none of a database's options.
pub(super) fn no_options(name: &str) -> Report {
    let message =
        format!("options of CREATE DATABASE are not supported for \"{name}\", which greenroom keeps as a schema");
    Report::new(Severity::Error, sqlstate::FEATURE_NOT_SUPPORTED, message).hint("Leave them out.")
}

/// What is answered by greenroom itself is read in simple queries only.
pub(super) fn only_simple_query() -> Report {
    let message = "databases that greenroom keeps as schemas are created by a simple query only";
    Report::new(Severity::Error, sqlstate::FEATURE_NOT_SUPPORTED, message)
        .hint("Send CREATE DATABASE without parameters, as a statement of its own.")
}

/// The route's schema cannot be used.
pub(super) fn not_provisioned(error: &ProvisionError, severity: Severity) -> Reply {
    let fatal = |code, message: String| Report::new(severity, code, message);
    Reply::Ours(match error {
        ProvisionError::OtherDeployment { .. } => fatal(sqlstate::INVALID_CATALOG_NAME, error.to_string())
            .hint("Set backend.database.schemaPrefix to something of this deployment's own."),
        ProvisionError::OtherPlugin { .. } => fatal(sqlstate::INVALID_CATALOG_NAME, error.to_string())
            .hint("Set backend.database.schemaPrefix so that no plugin's schema has another one's name."),
        ProvisionError::TwoCatalogs { other, .. } => fatal(sqlstate::INVALID_CATALOG_NAME, error.to_string())
            .detail(
                "The catalog's migrations look up their indexes by name in the whole database: the second catalog would \
                 be left without some of them.",
            )
            .hint(format!(
                "Give this deployment a database of its own (backend.database.connection.database), or its catalog alone \
                 (backend.database.plugin.catalog.connection.database); or drop schema \"{other}\" if nobody uses it any \
                 more."
            )),
        ProvisionError::Missing { .. } => fatal(sqlstate::INVALID_CATALOG_NAME, error.to_string()),
        ProvisionError::Refused { source: QueryError::Refused { code, .. }, remedy, .. }
            if code == sqlstate::INSUFFICIENT_PRIVILEGE =>
        {
            fatal(sqlstate::INSUFFICIENT_PRIVILEGE, error.to_string()).hint(remedy.clone())
        }
        ProvisionError::Refused { .. } => fatal(sqlstate::INVALID_CATALOG_NAME, error.to_string()),
        ProvisionError::Query(QueryError::Refused { body, .. }) => {
            return Reply::Passed(severity, body.clone());
        }
        ProvisionError::Query(error) => unreachable_server(severity, error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::error::Usage;
    use crate::route::PluginId;

    fn holder((plugin, leases, millis): (&str, u32, u64)) -> Holder {
        Holder { plugin: PluginId(plugin.into()), leases, longest: Duration::from_millis(millis) }
    }

    #[test]
    fn a_timeout_names_the_plugin_the_holders_and_the_setting_to_change() {
        let usage = Usage {
            leases: 2,
            max: 2,
            used: 12,
            ceiling: 12,
            reserved: None,
            holders: [("search", 9, 41_200), ("catalog", 2, 30)].map(holder).into(),
        };
        let waited = Duration::from_secs(25);
        let error = AcquireError::TimedOut { plugin: PluginId("catalog".into()), waited, usage, source: None };
        let Reply::Ours(report) = not_lent(&error, Severity::Error) else { panic!("it is our own error") };
        assert_eq!(report.code, "53300");
        assert!(report.message.contains("catalog") && report.message.contains("25s"), "{}", report.message);
        assert!(
            report
                .detail
                .as_deref()
                .is_some_and(|detail| detail.contains("search 9 (one for 41.2 s), catalog 2 (one for 0.0 s)"))
        );
        assert!(report.hint.as_deref().is_some_and(|hint| hint.contains("greenroom.plugin.catalog.pool.max (2)")));
    }

    #[test]
    fn a_timeout_below_every_limit_does_not_ask_for_a_higher_one() {
        let usage = Usage { leases: 1, max: 2, used: 3, ceiling: 12, reserved: None, holders: vec![] };
        let waited = Duration::from_secs(25);
        let error = AcquireError::TimedOut { plugin: PluginId("catalog".into()), waited, usage, source: None };
        let Reply::Ours(report) = not_lent(&error, Severity::Error) else { panic!("it is our own error") };
        let hint = report.hint.unwrap_or_default();
        assert!(!hint.contains("raise greenroom."), "{hint}");
        assert!(hint.contains("PostgreSQL") && hint.contains("greenroom.maxParallelConnects"), "{hint}");
    }

    #[test]
    fn postgresqls_own_error_keeps_its_words_and_changes_its_severity() {
        let body = Bytes::from_static(b"SFATAL\0VFATAL\0C53300\0Msorry, too many clients already\0\0");
        let mut out = Vec::new();
        Reply::Passed(Severity::Error, body).write(&mut out);
        assert_eq!(body::error_field(&out[5..], b'S'), Some(&b"ERROR"[..]));
        assert_eq!(body::error_field(&out[5..], b'M'), Some(&b"sorry, too many clients already"[..]));
    }
}
