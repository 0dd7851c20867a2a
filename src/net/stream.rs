//! One connection, whatever carries it: TCP, a Unix socket, or TLS over TCP.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::client::TlsStream;

use super::end_point;

/// A connection's bytes. Reads and writes are polled directly, without a buffer of their own.
///
/// With TLS a write may rest in the session's buffer: whoever writes must `poll_flush` before it waits for an answer.
/// For the other two that is free.
#[derive(Debug)]
pub enum Stream {
    /// TCP, with TCP_NODELAY and keepalive.
    Tcp(TcpStream),
    /// A Unix socket.
    Unix(UnixStream),
    /// TLS over TCP, towards a server.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    /// A TCP connection, set up as every TCP connection here is.
    pub(super) fn tcp(stream: TcpStream) -> io::Result<Self> {
        prepare(&stream)?;
        Ok(Self::Tcp(stream))
    }

    /// Whether bytes, the end or an error may be there to read, as far as the runtime has already been told: no system
    /// call. With TLS always ready, because the session may hold bytes that the socket no longer does.
    pub fn poll_read_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => stream.poll_read_ready(cx),
            Self::Unix(stream) => stream.poll_read_ready(cx),
            Self::Tls(_) => Poll::Ready(Ok(())),
        }
    }

    /// Sends no more, and reads until the other side has closed its end, too, or the connection breaks. What it says is
    /// lost. The caller sets the limit.
    pub async fn end(&mut self) {
        // A connection that is broken says so when it is read.
        let _ = self.shutdown().await;
        let mut nothing = [0; 4096];
        while self.read(&mut nothing).await.is_ok_and(|len| len > 0) {}
    }

    /// Whether what is sent here is encrypted.
    pub fn is_encrypted(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// The `tls-server-end-point` binding of the server's certificate (RFC 5929); `None` without TLS, and for a
    /// certificate whose signature has no single hash (Ed25519, RSA-PSS), for which PostgreSQL has none either.
    pub fn server_end_point(&self) -> Option<Vec<u8>> {
        let Self::Tls(stream) = self else { return None };
        let (_, session) = stream.get_ref();
        end_point::of_certificate(session.peer_certificates()?.first()?)
    }
}

// Dead peers are noticed within two minutes while nothing is in flight. TCP_USER_TIMEOUT is left alone on purpose:
// Linux then ends a live peer too once it has not read for that long, and a paused row stream or a server that is busy
// with the statement before is just that.
fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive =
        TcpKeepalive::new().with_time(Duration::from_secs(60)).with_interval(Duration::from_secs(15)).with_retries(4);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
            // PostgreSQL closes without a close_notify. That is an end like any other: the messages' own lengths tell
            // whether something was cut off.
            Self::Tls(stream) => match Pin::new(stream).poll_read(cx, buf) {
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => Poll::Ready(Ok(())),
                other => other,
            },
        }
    }
}

macro_rules! on_each {
    ($self:ident, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Self::Tcp($stream) => $call,
            Self::Unix($stream) => $call,
            Self::Tls($stream) => $call,
        }
    };
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        on_each!(self, stream => Pin::new(stream).poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        on_each!(self, stream => Pin::new(stream).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(stream) => stream.is_write_vectored(),
            Self::Unix(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_each!(self, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_each!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }
}
