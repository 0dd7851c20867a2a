//! Prepares a session's statements on the server that it keeps, under the client's own names.
//!
//! One that cannot be prepared any more, because its table is gone, must not end the client's transaction: PostgreSQL would not
//! have looked at it before it is used.

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::connection::{MAX_ANSWER_BYTES, QueryError, Server};
use crate::protocol::tag::TxStatus;
use crate::protocol::{Backend, Frontend, frame, message};
use crate::session::{Description, Serial, Takeover};

impl Server {
    /// Prepares each that can be, and tells what PostgreSQL told of it; nothing of one that cannot.
    ///
    /// # Errors
    /// As [`Self::query`]; what is wrong with a statement is none.
    pub async fn take_over(
        &mut self,
        statements: Vec<Takeover>,
        status: TxStatus,
    ) -> Result<Vec<(Serial, Option<Description>)>, QueryError> {
        let in_transaction = status == TxStatus::Open;
        let mut told = Vec::with_capacity(statements.len());
        if in_transaction {
            self.query_anywhere("SAVEPOINT greenroom").await?;
        }
        for Takeover { serial, messages } in statements {
            let description = self.describe(messages).await?;
            if description.is_none() && in_transaction {
                self.query_anywhere("ROLLBACK TO SAVEPOINT greenroom").await?;
            }
            told.push((serial, description));
        }
        if in_transaction {
            self.query_anywhere("RELEASE SAVEPOINT greenroom").await?;
        }
        Ok(told)
    }

    /// A Parse and a Describe, and what comes of them.
    async fn describe(&mut self, mut messages: Vec<u8>) -> Result<Option<Description>, QueryError> {
        message::frame(&mut messages, Frontend::SYNC.0, |_| ());
        self.stream.write_all(&messages).await?;
        self.stream.flush().await?;
        let (mut buf, mut parameters, mut description) = (BytesMut::with_capacity(4096), None, None);
        loop {
            while let Some(frame) = frame::take(&mut buf, MAX_ANSWER_BYTES)? {
                match Backend(frame.tag) {
                    Backend::PARAMETER_STATUS => self.reported.note(&frame.body),
                    Backend::PARAMETER_DESCRIPTION => parameters = Some(frame.body),
                    Backend::ROW_DESCRIPTION => description = parameters.take().zip(Some(frame.body)),
                    Backend::NO_DATA => description = parameters.take().zip(Some(bytes::Bytes::new())),
                    Backend::READY_FOR_QUERY => {
                        return Ok(description.and_then(|(types, columns)| Description::read(&types, &columns)));
                    }
                    _ => {}
                }
            }
            if self.stream.read_buf(&mut buf).await? == 0 {
                return Err(QueryError::Lost(std::io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }
}
