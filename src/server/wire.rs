//! A connection during login: one whole message at a time, each bounded.

use std::io;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::ConnectError;
use crate::net::Stream;
use crate::protocol::body::error_field;
use crate::protocol::tag::Backend;
use crate::protocol::{Frame, frame, sqlstate};

/// The longest message taken during login, in bytes: PostgreSQL's own are far below, with room for long notices.
const MAX_LOGIN_BYTES: u32 = 256 * 1024;

/// The longest text of the old protocol that is read, in bytes.
const MAX_OLD_TEXT_BYTES: usize = 1024;

/// A connection and what was read from it beyond the last message.
pub(super) struct Wire {
    stream: Stream,
    buf: BytesMut,
}

impl Wire {
    pub(super) fn new(stream: Stream) -> Self {
        Self::resume(stream, BytesMut::with_capacity(4096))
    }

    /// Goes on with bytes that were read already.
    pub(super) fn resume(stream: Stream, buf: BytesMut) -> Self {
        Self { stream, buf }
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) -> Result<(), ConnectError> {
        self.stream.write_all(bytes).await.map_err(ConnectError::Lost)?;
        self.stream.flush().await.map_err(ConnectError::Lost)
    }

    /// The next message. Notices are passed over; an ErrorResponse is the error it reports.
    pub(super) async fn message(&mut self) -> Result<Frame, ConnectError> {
        loop {
            match frame::take(&mut self.buf, MAX_LOGIN_BYTES) {
                Ok(None) => self.fill().await?,
                Ok(Some(frame)) => match Backend(frame.tag) {
                    Backend::NOTICE => {}
                    Backend::ERROR => return Err(refused(frame.body)),
                    _ => return Ok(frame),
                },
                // An `E` with an absurd length is text of the old protocol: what the postmaster says when it cannot fork.
                Err(_) if self.buf[0] == Backend::ERROR.0 => return Err(self.old_text().await),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Sends no more, and reads until the other side has closed, too; what it says is lost.
    pub(super) async fn end(&mut self) {
        self.stream.end().await;
    }

    /// The stream, and whatever was read beyond the last message.
    pub(super) fn into_parts(self) -> (Stream, BytesMut) {
        (self.stream, self.buf)
    }

    /// The stream, to look at.
    pub(super) fn stream(&self) -> &Stream {
        &self.stream
    }

    async fn fill(&mut self) -> Result<(), ConnectError> {
        match self.stream.read_buf(&mut self.buf).await {
            Ok(0) => Err(ConnectError::Lost(io::ErrorKind::UnexpectedEof.into())),
            Ok(_) => Ok(()),
            Err(error) => Err(ConnectError::Lost(error)),
        }
    }

    async fn old_text(&mut self) -> ConnectError {
        while self.buf.len() < MAX_OLD_TEXT_BYTES && !self.buf.contains(&0) && self.fill().await.is_ok() {}
        let text = self.buf[1..].split(|byte| *byte == 0).next().unwrap_or_default();
        ConnectError::NoProcess { message: String::from_utf8_lossy(text).trim().to_owned() }
    }
}

fn refused(frame_body: Bytes) -> ConnectError {
    let field = |code| error_field(&frame_body, code).map(|text| String::from_utf8_lossy(text).into_owned());
    let code = field(b'C').unwrap_or_else(|| sqlstate::INTERNAL_ERROR.to_owned());
    let message = field(b'M').unwrap_or_default();
    ConnectError::Refused { code, message, frame_body }
}
