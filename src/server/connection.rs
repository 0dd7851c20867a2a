//! One connection to PostgreSQL: its stream, what it is dressed in, and questions of greenroom's own.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::cancel::CancelTarget;
use super::dress::Dress;
use crate::net::Stream;
use crate::protocol::tag::TxStatus;
use crate::protocol::{Backend, FrameError, body, frame, message};

/// The longest answer to a question of our own, in bytes a message.
const MAX_ANSWER_BYTES: u32 = 16 << 20;

/// A connection to PostgreSQL that has logged in.
#[derive(Debug)]
pub struct Server {
    /// Its bytes. The relay reads and writes them directly while the server is leased.
    pub stream: Stream,
    /// What was SET on it for the session that had it last.
    pub dress: Dress,
    /// What a cancel needs to know.
    pub cancel: Arc<CancelTarget>,
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
    /// Asks one question of our own, of one statement or several, and reads the whole answer.
    ///
    /// Dropping the future leaves an answer on its way: the connection must then be closed.
    ///
    /// # Errors
    /// PostgreSQL's error, after which the connection is usable; anything else leaves it unusable.
    pub async fn query(&mut self, sql: &str) -> Result<Vec<Row>, QueryError> {
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
                    Backend::ERROR => refused = Some(refusal(frame.body)),
                    Backend::READY_FOR_QUERY => {
                        let idle = frame.body.first().copied().and_then(TxStatus::from_byte) == Some(TxStatus::Idle);
                        return match refused {
                            Some(error) => Err(error),
                            None if idle => Ok(rows),
                            None => Err(std::io::Error::other("a transaction was left open").into()),
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
