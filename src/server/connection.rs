//! One connection to PostgreSQL: its stream, what it is dressed in, and questions of greenroom's own.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::cancel_target::CancelTarget;
use super::dress::Dress;
use super::reported::Reported;
use crate::net::Stream;
use crate::protocol::tag::TxStatus;
use crate::protocol::{Backend, FrameError, body, frame, message};
use crate::session::Prepared;

/// The longest answer to a question of our own, in bytes a message.
pub(super) const MAX_ANSWER_BYTES: u32 = 16 << 20;

/// A connection to PostgreSQL that has logged in.
#[derive(Debug)]
pub struct Server {
    /// Its bytes. The relay reads and writes them directly while the server is leased.
    pub stream: Stream,
    /// What was SET on it for the session that had it last.
    pub dress: Dress,
    /// What it has reported of its settings since it was last given back, or from its login on.
    pub reported: Reported,
    /// The statements of the protocol that it has prepared.
    pub prepared: Prepared,
    /// Settings beyond search_path, application_name and role were perhaps changed on it: nobody else may have it before
    /// they were RESET.
    pub is_altered: bool,
    /// Nobody else may have it at all.
    pub is_spent: bool,
    /// Whose use of sequences it remembers.
    pub sequences: Sequences,
    /// What a cancel needs to know.
    pub cancel: Arc<CancelTarget>,
}

/// Whose use of sequences a server remembers, for currval() and lastval().
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sequences {
    /// Nobody's.
    Nobodys,
    /// One session's only, by its cancel key.
    Of(i32),
    /// Perhaps that of several.
    Mixed,
}

impl Sequences {
    /// Whether `session` would be told nothing but its own.
    #[inline]
    pub fn are_own(self, session: i32) -> bool {
        self == Self::Nobodys || self == Self::Of(session)
    }
}

/// A row of an answer, as text.
pub type Row = Vec<Option<String>>;

/// Why a question of our own was not answered.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// PostgreSQL answered with an error.
    #[error("{message} (SQLSTATE {code})")]
    Refused {
        /// SQLSTATE.
        code: String,
        /// PostgreSQL's message.
        message: String,
        /// The body of the whole ErrorResponse.
        body: Bytes,
    },
    /// The connection failed, or ended.
    #[error("the connection to PostgreSQL was lost")]
    Lost(#[from] std::io::Error),
    /// What came is not the protocol.
    #[error("PostgreSQL sent a malformed message")]
    Malformed(#[from] FrameError),
}

impl Server {
    /// A server that has just logged in, in this dress.
    pub fn new(stream: Stream, dress: Dress, cancel: Arc<CancelTarget>) -> Self {
        Self {
            stream,
            dress,
            reported: Reported::default(),
            prepared: Prepared::default(),
            is_altered: false,
            is_spent: false,
            sequences: Sequences::Nobodys,
            cancel,
        }
    }

    /// Whether nobody else may have it, because of what one session has done there: it bears the names that its client
    /// has given to statements, or it is spent.
    pub fn is_for_nobody_else(&self) -> bool {
        self.is_spent || self.prepared.has_clients_statements()
    }

    /// Asks one question of our own, of one statement or several, and reads the whole answer.
    ///
    /// Dropping the future leaves an answer on its way: the connection must then be closed.
    ///
    /// # Errors
    /// PostgreSQL's error, after which the connection is usable; anything else leaves it unusable.
    pub async fn query(&mut self, sql: &str) -> Result<Vec<Row>, QueryError> {
        match self.query_anywhere(sql).await? {
            (rows, TxStatus::Idle) => Ok(rows),
            _ => Err(std::io::Error::other("a transaction was left open").into()),
        }
    }

    /// Settings go back to what they were when the connection began, but for the role. Timeouts first: what follows takes
    /// longer.
    ///
    /// # Errors
    /// As [`Self::query`].
    pub async fn reset_settings(&mut self) -> Result<(), QueryError> {
        self.query("RESET statement_timeout; RESET ALL").await?;
        let role = self.dress.role.take();
        self.dress = Dress::none();
        self.dress.role = role;
        self.is_altered = false;
        Ok(())
    }

    /// Asks within whatever transaction is open; otherwise as [`Self::query`].
    ///
    /// # Errors
    /// As [`Self::query`].
    pub async fn query_anywhere(&mut self, sql: &str) -> Result<(Vec<Row>, TxStatus), QueryError> {
        let mut out = Vec::new();
        message::query(&mut out, sql);
        self.stream.write_all(&out).await?;
        self.stream.flush().await?;
        let mut buf = BytesMut::with_capacity(4096);
        let mut rows = Vec::new();
        let mut refused = None;
        loop {
            while let Some(frame) = frame::take(&mut buf, MAX_ANSWER_BYTES)? {
                match Backend(frame.tag) {
                    Backend::DATA_ROW => rows.push(row(&frame.body)),
                    Backend::PARAMETER_STATUS => self.reported.note(&frame.body),
                    Backend::ERROR => refused = Some(refusal(frame.body)),
                    Backend::READY_FOR_QUERY => {
                        let status = frame.body.first().copied().and_then(TxStatus::from_byte);
                        return match (refused, status) {
                            (Some(error), _) => Err(error),
                            (None, Some(status)) => Ok((rows, status)),
                            (None, None) => Err(std::io::Error::other("no transaction has this status").into()),
                        };
                    }
                    _ => {}
                }
            }
            if self.stream.read_buf(&mut buf).await? == 0 {
                // A last FATAL explains the end better than the end itself.
                return Err(refused.unwrap_or(QueryError::Lost(std::io::ErrorKind::UnexpectedEof.into())));
            }
        }
    }
}

fn row(body: &[u8]) -> Row {
    body::data_row(body).map(|value| value.map(|value| String::from_utf8_lossy(value).into_owned())).collect()
}

fn refusal(body: Bytes) -> QueryError {
    let field = |code| String::from_utf8_lossy(body::error_field(&body, code).unwrap_or_default()).into_owned();
    QueryError::Refused { code: field(b'C'), message: field(b'M'), body }
}
