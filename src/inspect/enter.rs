//! Entering a database as its login, with nothing but questions; and what it means when that fails.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::time::timeout;

use super::doors::{Door, acting_role, setting};
use super::finding::{Finding, error, note};
use crate::config::{Config, Password, ServerAddress};
use crate::net::TlsError;
use crate::protocol::{message, sqlstate};
use crate::provision;
use crate::secret::Secrets;
use crate::server::{CancelTarget, ConnectError, Connector, Dress, Row, Server};
use crate::sql::quote;

/// How long a login, and each question after it, may take.
const LIMIT: Duration = Duration::from_secs(10);

/// What an operator sees of it in pg_stat_activity.
const NAME: &str = "greenroom check";

/// A connection of the examination's own.
pub(super) struct Visit {
    server: Server,
}

/// What is shut with a door that is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shut {
    /// Nobody gets into the server.
    Server,
    /// The login does not.
    Login,
    /// It does not get into this database.
    Database,
}

/// Why a door stayed shut.
pub(super) enum Refusal {
    Settings(TlsError),
    Connect(ConnectError),
    Late,
}

impl Visit {
    pub(super) async fn enter(door: &Door, secrets: &Secrets) -> Result<Self, Refusal> {
        let connector = Connector::new((*door.server).clone(), &door.login, secrets).map_err(Refusal::Settings)?;
        let connector = Arc::new(connector);
        let connecting = connector.connect(&door.database, &[("application_name", NAME)]);
        let connected =
            timeout(LIMIT + printing(door), connecting).await.map_err(|_| Refusal::Late)?.map_err(Refusal::Connect)?;
        let cancel = CancelTarget::new(connector, connected.pid, connected.secret);
        let server = Server::new(connected.stream, Dress::new(None, NAME), cancel);
        Ok(Self { server })
    }

    /// Whether what is sent is encrypted.
    pub(super) fn is_encrypted(&self) -> bool {
        self.server.stream.is_encrypted()
    }

    /// Asks a question; what comes of a failure is for people to read.
    ///
    /// Its operators are PostgreSQL's own, wherever the login's search_path leads to: several statements in one text are a
    /// transaction, and LOCAL ends with it.
    pub(super) async fn ask(&mut self, question: &str) -> Result<Vec<Row>, String> {
        self.ask_as_it_is(&format!("SET LOCAL search_path TO pg_catalog; {question}")).await
    }

    /// The schema in which the login's tables are made here; `None` is none.
    pub(super) async fn home(&mut self) -> Result<Option<String>, String> {
        let rows = self.ask_as_it_is("SELECT pg_catalog.current_schema()").await?;
        Ok(rows.into_iter().flatten().next().flatten())
    }

    async fn ask_as_it_is(&mut self, question: &str) -> Result<Vec<Row>, String> {
        match timeout(LIMIT, self.server.query(question)).await {
            Ok(Ok(rows)) => Ok(rows),
            Ok(Err(error)) => Err(chain(&error)),
            Err(_) => Err(format!("no answer within {LIMIT:?}")),
        }
    }

    pub(super) async fn leave(mut self) {
        let mut goodbye = Vec::new();
        message::terminate(&mut goodbye);
        // A server that is gone needs no goodbye.
        let _ = timeout(LIMIT, self.server.stream.write_all(&goodbye)).await;
    }
}

/// How long the command that prints the login's password may take.
fn printing(door: &Door) -> Duration {
    match &door.login.password {
        Some(Password::Command(command)) => command.timeout,
        Some(Password::Text(_)) | None => Duration::ZERO,
    }
}

impl Refusal {
    /// What to say, and what else is shut with it. Nothing is said where a database is missing that Backstage creates.
    pub(super) fn finding(self, door: &Door, config: &Config) -> (Shut, Option<Finding>) {
        let (subject, at) = (door.to_string(), setting(config, door));
        let server = door.server.address.to_string();
        let (shut, finding) = match self {
            Self::Settings(problem) => (Shut::Server, error(server, problem.to_string()).setting(format!("{at}.ssl"))),
            Self::Late => {
                let what = format!("no answer within {LIMIT:?}");
                (Shut::Server, error(server, what).setting(format!("{at}.host and port: where PostgreSQL is")))
            }
            Self::Connect(problem) => match &problem {
                ConnectError::Dial { address, .. } => {
                    let place = match address {
                        ServerAddress::Tcp { .. } => "host and port: where PostgreSQL is",
                        ServerAddress::Unix { .. } => "host: the directory of PostgreSQL's socket; port: its number",
                    };
                    (Shut::Server, error(server, chain(&problem)).setting(format!("{at}.{place}")))
                }
                ConnectError::NoTls { .. } => {
                    let finding = error(server, chain(&problem));
                    let finding = finding.setting("PostgreSQL's ssl: on, with a certificate");
                    (Shut::Server, finding.setting(format!("{at}.ssl: false, if the network between is your own")))
                }
                ConnectError::Tls { .. } => {
                    let finding = error(server, chain(&problem));
                    (Shut::Server, finding.setting(format!("{at}.ssl.ca: the certificate that signed PostgreSQL's")))
                }
                ConnectError::NoPassword => {
                    (Shut::Login, error(subject, chain(&problem)).setting(format!("{at}.password")))
                }
                ConnectError::Refused { code, message, .. } => return refused(code, message, door, config),
                _ => (Shut::Server, error(server, chain(&problem))),
            },
        };
        (shut, Some(finding))
    }
}

/// What PostgreSQL's refusal means.
fn refused(code: &str, message: &str, door: &Door, config: &Config) -> (Shut, Option<Finding>) {
    let (subject, at) = (door.to_string(), setting(config, door));
    let (database, user) = (quote::identifier(&door.database), quote::identifier(&door.login.user));
    let finding = error(&subject, format!("PostgreSQL refuses: {message} (SQLSTATE {code})"));
    let (shut, finding) = match code {
        sqlstate::INVALID_PASSWORD => (
            Shut::Login,
            finding.setting(format!("{at}.user and password: a role of PostgreSQL's (psql: \\password {user})")),
        ),
        // The file's name is the same in every language.
        sqlstate::INVALID_AUTHORIZATION_SPECIFICATION if message.contains("pg_hba.conf") => {
            let line = format!("host {database} {user} <address of greenroom>/32 scram-sha-256");
            (Shut::Login, finding.setting(format!("PostgreSQL's pg_hba.conf: a line such as `{line}`")))
        }
        sqlstate::INVALID_AUTHORIZATION_SPECIFICATION => {
            (Shut::Login, finding.sql("postgres", format!("ALTER ROLE {user} LOGIN")))
        }
        sqlstate::INSUFFICIENT_PRIVILEGE => {
            (Shut::Database, finding.sql("postgres", format!("GRANT CONNECT ON DATABASE {database} TO {user}")))
        }
        sqlstate::INVALID_CATALOG_NAME => return missing(door, config),
        sqlstate::TOO_MANY_CONNECTIONS => {
            let finding = finding
                .sql(
                    "postgres",
                    format!("ALTER ROLE {user} CONNECTION LIMIT -1; ALTER DATABASE {database} CONNECTION LIMIT -1"),
                )
                .setting("PostgreSQL's max_connections, or fewer connections of others");
            (Shut::Login, finding)
        }
        sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE => {
            (Shut::Database, finding.sql("postgres", format!("ALTER DATABASE {database} ALLOW_CONNECTIONS true")))
        }
        _ => (Shut::Server, finding),
    };
    (shut, Some(finding))
}

/// A database that is not there: no harm where Backstage creates it.
fn missing(door: &Door, config: &Config) -> (Shut, Option<Finding>) {
    let owner = acting_role(config).unwrap_or(&door.login.user);
    let made = provision::database_sql(&door.database, Some(owner));
    let created_by_backstage = door.division == Some(crate::config::Division::Database)
        && door.routes.iter().all(|route| route.target.provision);
    let finding = match created_by_backstage {
        true => note(door.to_string(), "the database does not exist yet; Backstage creates it"),
        false => error(door.to_string(), "the database does not exist").sql("postgres", made),
    };
    (Shut::Database, Some(finding))
}

/// An error and what is behind it, in one line.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
