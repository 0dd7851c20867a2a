//! A PostgreSQL that says what a test tells it to, over a real socket.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::auth::{Credentials, Exchange, Step};
use crate::config::{AuthMethod, ServerAddress};
use crate::protocol::message::{authentication_ok, backend_key_data, parameter_status, ready_for_query};
use crate::protocol::tag::TxStatus;
use crate::protocol::{Frame, frame};

trait Bidirectional: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Bidirectional for T {}

/// The fake's end of one connection.
pub(super) struct Peer {
    io: Box<dyn Bidirectional>,
    buf: BytesMut,
}

/// Plays `script` to everyone who connects, until the test's runtime ends.
pub(super) async fn serve<F: Future<Output = ()> + Send + 'static>(
    script: impl Fn(Peer) -> F + Send + 'static,
) -> ServerAddress {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(script(Peer { io: Box::new(stream), buf: BytesMut::new() }));
        }
    });
    ServerAddress::Tcp { host: "127.0.0.1".into(), port }
}

/// AuthenticationOk and all that follows it up to ReadyForQuery.
pub(super) fn greeting() -> Vec<u8> {
    let mut out = Vec::new();
    authentication_ok(&mut out);
    parameter_status(&mut out, "server_version", "15.18");
    parameter_status(&mut out, "TimeZone", "Etc/UTC");
    backend_key_data(&mut out, 4711, b"key!");
    ready_for_query(&mut out, TxStatus::Idle);
    out
}

impl Peer {
    /// A message of the startup phase, from its code on; none if the other side has left.
    pub(super) async fn startup(&mut self) -> Bytes {
        loop {
            if let Some(frame) = frame::take_startup(&mut self.buf).unwrap() {
                return frame.body;
            }
            if self.io.read_buf(&mut self.buf).await.unwrap_or(0) == 0 {
                return Bytes::new();
            }
        }
    }

    /// Any other message; one with tag 0 if the other side has left.
    pub(super) async fn message(&mut self) -> Frame {
        loop {
            if let Some(frame) = frame::take(&mut self.buf, 100_000).unwrap() {
                return frame;
            }
            if self.io.read_buf(&mut self.buf).await.unwrap_or(0) == 0 {
                return Frame { tag: 0, body: Bytes::new() };
            }
        }
    }

    /// Says something; whether it arrives is the test's business.
    pub(super) async fn send(&mut self, bytes: &[u8]) {
        let _ = self.io.write_all(bytes).await;
        let _ = self.io.flush().await;
    }

    /// Takes the startup message, then a login by `method`, then greets or closes.
    pub(super) async fn log_in(mut self, method: AuthMethod, credentials: &Credentials) {
        self.startup().await;
        let (mut exchange, mut step) = Exchange::start(method, credentials);
        loop {
            match step {
                Step::Send(bytes) => self.send(&bytes).await,
                Step::Accepted(bytes) => return self.send(&[bytes, greeting()].concat()).await,
                Step::Refused => return,
            }
            let Ok(next) = exchange.answer(&self.message().await.body) else { return };
            step = next;
        }
    }

    /// Takes an SSLRequest, agrees, and goes on with TLS; `None` if the other side did not like the certificate.
    pub(super) async fn encrypt(mut self, acceptor: &TlsAcceptor) -> Option<Self> {
        self.startup().await;
        self.send(b"S").await;
        let stream = acceptor.accept(self.io).await.ok()?;
        Some(Self { io: Box::new(stream), buf: BytesMut::new() })
    }
}

/// A TLS server that shows this certificate and signs with this key, whether they belong together or not.
pub(super) fn acceptor(shown: &rcgen::CertifiedKey<rcgen::KeyPair>) -> TlsAcceptor {
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(shown.signing_key.serialize_der()));
    let key = ring::sign::any_supported_type(&key).unwrap();
    let pair = CertifiedKey::new(vec![shown.cert.der().clone()], key);
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(pair)));
    TlsAcceptor::from(Arc::new(config))
}
