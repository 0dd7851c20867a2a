//! What a client says before anybody knows who it is: encryption requests, a cancel request, or its startup message.

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::startup::Startup;
use crate::net::Stream;
use crate::protocol::frame::take_startup;
use crate::protocol::message::Report;

const CANCEL_REQUEST: u32 = 80_877_102;
const SSL_REQUEST: u32 = 80_877_103;
const GSSENC_REQUEST: u32 = 80_877_104;

/// The first byte of a TLS handshake record: a client that begins with TLS instead of asking for it.
const TLS_HANDSHAKE: u8 = 0x16;

/// What a client wants.
#[derive(Debug)]
pub enum Hello {
    /// A session.
    Startup(Startup),
    /// To cancel what the session with this key runs. There is no answer; the connection is closed.
    Cancel {
        /// The session's number, as its BackendKeyData told.
        pid: i32,
        /// Its key, 4 to 256 bytes.
        secret: Bytes,
    },
}

/// Why no session can come of a connection.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// The client went away, as a port probe does.
    #[error("the client left before its startup message")]
    Left,
    /// The connection broke.
    #[error("the connection was lost before the startup message")]
    Lost(#[from] io::Error),
    /// Not PostgreSQL's protocol: closed without an answer, so that nothing is echoed to whatever it is.
    #[error("not PostgreSQL's protocol: {0}")]
    Foreign(&'static str),
    /// The client is told this, and the connection is closed.
    #[error("{}", .0.message)]
    Refused(Box<Report>),
}

/// Reads a client's hello; encryption requests are answered with `N`.
///
/// # Errors
/// What it says is to be done with the connection: close it, after the report if there is one. The caller sets the limit.
pub async fn read_hello(stream: &mut Stream) -> Result<Hello, HandshakeError> {
    let mut buf = BytesMut::with_capacity(1024);
    let (mut asked_ssl, mut asked_gss) = (false, false);
    loop {
        let mut body = read_frame(stream, &mut buf).await?;
        let code = body.get_u32();
        match code {
            CANCEL_REQUEST => return cancel(body),
            // PostgreSQL takes each once; a second one is a protocol version that it does not know.
            SSL_REQUEST if !asked_ssl => asked_ssl = true,
            GSSENC_REQUEST if !asked_gss => asked_gss = true,
            version => {
                let startup =
                    Startup::read(version, &body, buf).map_err(|report| HandshakeError::Refused(Box::new(report)))?;
                return Ok(Hello::Startup(startup));
            }
        }
        // Nobody may speak before the answer: bytes in here could have been slipped in ahead of what the client itself
        // sends next (CVE-2021-23214).
        if !buf.is_empty() {
            return Err(HandshakeError::Foreign("bytes behind an encryption request"));
        }
        stream.write_all(b"N").await?;
    }
}

/// One startup-phase message, at least its code long.
async fn read_frame(stream: &mut Stream, buf: &mut BytesMut) -> Result<Bytes, HandshakeError> {
    loop {
        if buf.first() == Some(&TLS_HANDSHAKE) {
            return Err(HandshakeError::Foreign("TLS without asking for it"));
        }
        match take_startup(buf) {
            Ok(Some(frame)) => return Ok(frame.body),
            Ok(None) => {}
            Err(_) => return Err(HandshakeError::Foreign("no startup message has this length")),
        }
        if stream.read_buf(buf).await? == 0 {
            return Err(HandshakeError::Left);
        }
    }
}

fn cancel(mut body: Bytes) -> Result<Hello, HandshakeError> {
    match body.try_get_i32() {
        Ok(pid) if (4..=256).contains(&body.len()) => Ok(Hello::Cancel { pid, secret: Bytes::copy_from_slice(&body) }),
        _ => Err(HandshakeError::Foreign("a cancel request without a key")),
    }
}
