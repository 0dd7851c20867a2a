//! A client as an application has it: tokio-postgres, with the questions a test asks most.

use std::ops::{Deref, DerefMut};

use greenroom::config::ListenAddress;
use tokio_postgres::{AsyncMessage, Config, NoTls, SimpleQueryMessage};

use super::soon;

/// A logged-in tokio-postgres client; dropping it ends its connection.
#[derive(Debug)]
pub(crate) struct Client {
    client: tokio_postgres::Client,
}

impl Client {
    /// Logs in; `None` for the reason is a failed test.
    pub(crate) async fn connect(address: &ListenAddress, user: &str, password: &str, database: &str) -> Self {
        let client = Self::try_connect(address, user, password, database).await;
        Self { client: client.unwrap_or_else(|error| panic!("{user} on {database}: {error:?}")) }
    }

    /// Tries to log in.
    pub(crate) async fn try_connect(
        address: &ListenAddress,
        user: &str,
        password: &str,
        database: &str,
    ) -> Result<tokio_postgres::Client, tokio_postgres::Error> {
        let mut config = Config::new();
        config.user(user).password(password).dbname(database);
        match address {
            ListenAddress::Tcp { host, port } => config.host(&**host).port(*port),
            ListenAddress::Unix { directory, port } => config.host_path(directory).port(*port),
        };
        let (client, mut connection) = soon("a login", config.connect(NoTls)).await?;
        tokio::spawn(async move {
            let mut message = async || std::future::poll_fn(|cx| connection.poll_message(cx)).await;
            while let Some(Ok(AsyncMessage::Notice(_) | AsyncMessage::Notification(_) | _)) = message().await {}
        });
        Ok(client)
    }

    /// Runs statements that must not fail.
    pub(crate) async fn run(&self, sql: &str) {
        soon(sql, self.client.batch_execute(sql)).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }

    /// The first column of the first row, as text.
    pub(crate) async fn value(&self, sql: &str) -> String {
        self.values(sql).await.into_iter().next().unwrap_or_else(|| panic!("{sql}: no row"))
    }

    /// The first column of every row, as text; NULL is `null`.
    pub(crate) async fn values(&self, sql: &str) -> Vec<String> {
        let answer = soon(sql, self.client.simple_query(sql)).await;
        let messages = answer.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        let rows = messages.iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or("null").to_owned()),
            _ => None,
        });
        rows.collect()
    }

    /// The SQLSTATE that statements fail with.
    pub(crate) async fn failure(&self, sql: &str) -> String {
        match soon(sql, self.client.simple_query(sql)).await {
            Ok(_) => panic!("{sql}: did not fail"),
            Err(error) => code(&error),
        }
    }
}

impl Client {
    /// The process id of the server that runs this transaction.
    pub(crate) async fn server_pid(&self) -> String {
        self.value("select pg_backend_pid() + 0").await
    }
}

/// The SQLSTATE of an error, `closed` for a connection that ended without one.
pub(crate) fn code(error: &tokio_postgres::Error) -> String {
    error.code().map_or_else(|| "closed".to_owned(), |code| code.code().to_owned())
}

impl Deref for Client {
    type Target = tokio_postgres::Client;

    fn deref(&self) -> &Self::Target {
        &self.client
    }
}

impl DerefMut for Client {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.client
    }
}
