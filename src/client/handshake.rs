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

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::net::UnixStream;
    use tokio::time::timeout;

    const STARTUP: &[u8] = b"\0\0\0\x10\0\x03\0\0user\0u\0\0";
    const SSL: &[u8] = b"\0\0\0\x08\x04\xd2\x16\x2f";
    const GSS: &[u8] = b"\0\0\0\x08\x04\xd2\x16\x30";

    /// Sends `steps`, each once the one before it was answered; the verdict, and all that the client was sent.
    async fn hello(steps: &[&[u8]]) -> (Result<Hello, HandshakeError>, Vec<u8>) {
        let (mut client, server) = UnixStream::pair().unwrap();
        let steps: Vec<_> = steps.iter().map(|step| step.to_vec()).collect();
        let sender = tokio::spawn(async move {
            let mut seen = Vec::new();
            for (at, step) in steps.iter().enumerate() {
                if at > 0 {
                    seen.push(client.read_u8().await.unwrap());
                }
                client.write_all(step).await.unwrap();
            }
            client.shutdown().await.unwrap();
            client.read_to_end(&mut seen).await.unwrap();
            seen
        });
        let mut server = Stream::Unix(server);
        let verdict = timeout(Duration::from_secs(5), read_hello(&mut server)).await.unwrap();
        drop(server);
        (verdict, sender.await.unwrap())
    }

    #[tokio::test]
    async fn a_startup_message_is_read_and_nothing_is_said() {
        let (verdict, seen) = hello(&[STARTUP]).await;
        assert!(matches!(verdict, Ok(Hello::Startup(startup)) if startup.user == "u"));
        assert_eq!(seen, b"");
    }

    #[tokio::test]
    async fn encryption_is_declined_once_each_in_either_order() {
        for steps in [&[SSL, STARTUP][..], &[SSL, GSS, STARTUP], &[GSS, SSL, STARTUP]] {
            let (verdict, seen) = hello(steps).await;
            assert!(matches!(verdict, Ok(Hello::Startup(_))), "{verdict:?}");
            assert_eq!(seen, b"N".repeat(steps.len() - 1));
        }
        let (verdict, _) = hello(&[SSL, SSL]).await;
        let Err(HandshakeError::Refused(report)) = verdict else { panic!("{verdict:?}") };
        assert_eq!(report.message, "unsupported frontend protocol 1234.5679: server supports 3.0 to 3.2");
    }

    #[tokio::test]
    async fn bytes_behind_an_encryption_request_end_the_connection() {
        for request in [SSL, GSS] {
            let (verdict, seen) = hello(&[&[request, STARTUP].concat()]).await;
            assert!(matches!(verdict, Err(HandshakeError::Foreign(_))), "{verdict:?}");
            assert_eq!(seen, b"", "not even N");
        }
    }

    #[tokio::test]
    async fn a_cancel_request_is_read_with_keys_of_4_to_256_bytes() {
        for (len, taken) in [(3, false), (4, true), (256, true), (257, false)] {
            let key = vec![7; len];
            let request =
                [&(12 + len as u32).to_be_bytes()[..], &CANCEL_REQUEST.to_be_bytes(), &(-5i32).to_be_bytes(), &key];
            let (verdict, seen) = hello(&[&request.concat()]).await;
            match verdict {
                Ok(Hello::Cancel { pid, secret }) => assert!(taken && pid == -5 && secret == key, "{len}"),
                other => assert!(!taken && matches!(other, Err(HandshakeError::Foreign(_))), "{len}: {other:?}"),
            }
            assert_eq!(seen, b"");
        }
    }

    #[tokio::test]
    async fn what_is_not_postgresql_is_closed_without_an_echo() {
        for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\x16\x03\x01", b"\0\0\0\x07", b"\0\0\x27\x15\0\x03\0\0"] {
            let (verdict, seen) = hello(&[bytes]).await;
            assert!(matches!(verdict, Err(HandshakeError::Foreign(_))), "{verdict:?}");
            assert_eq!(seen, b"");
        }
    }

    #[tokio::test]
    async fn a_port_probe_is_somebody_who_left() {
        assert!(matches!(hello(&[b""]).await.0, Err(HandshakeError::Left)));
        assert!(matches!(hello(&[&STARTUP[..9]]).await.0, Err(HandshakeError::Left)));
    }

    #[tokio::test]
    async fn bytes_behind_the_startup_message_are_kept() {
        let (verdict, _) = hello(&[&[STARTUP, b"Q\0\0\0\x05\0"].concat()]).await;
        let Ok(Hello::Startup(startup)) = verdict else { panic!("{verdict:?}") };
        assert_eq!(startup.leftover, &b"Q\0\0\0\x05\0"[..]);
    }
}
