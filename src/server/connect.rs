//! Opens a connection to PostgreSQL as its endpoint and login say.

use std::fmt;
use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::attempt::{Attempt, Footprint};
use super::login::{Greeting, Identity, log_in};
use super::sasl::KeyCache;
use super::wire::Wire;
use crate::auth::scram_client::ScramError;
use crate::config::{Login, ServerAddress, ServerEndpoint, SslMode};
use crate::net::{Stream, TlsConnector, TlsError, dial};
use crate::protocol::{FrameError, sqlstate};
use crate::secret::{Secret, SecretError, Secrets, same};

/// SSLRequest: its length and its code.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

/// How often one connection may be tried with another password: with a newer one, and, while a password is being changed,
/// with the one before and the newer one again.
const MAX_LOGINS: usize = 3;

/// A server and a login, prepared once: certificates are read, and SCRAM keys are kept after the first login.
pub struct Connector {
    address: ServerAddress,
    tls: Option<TlsConnector>,
    user: Arc<str>,
    secret: Option<Arc<Secret>>,
    pub(super) keys: KeyCache,
}

/// A connection after its first ReadyForQuery: logged in, idle, in no transaction.
pub struct Connected {
    /// The connection.
    pub stream: Stream,
    /// Name and value of each ParameterStatus, in the order they came, in the server's own spelling.
    pub parameters: Vec<(Bytes, Bytes)>,
    /// The process that serves it, as BackendKeyData told.
    pub pid: i32,
    /// What a cancel request must bear, 4 to 256 bytes.
    pub secret: Bytes,
    /// What was read beyond that ReadyForQuery; normally nothing.
    pub leftover: BytesMut,
}

impl Connected {
    fn new(wire: Wire, greeting: Greeting) -> Self {
        let (stream, leftover) = wire.into_parts();
        let Greeting { parameters, pid, secret } = greeting;
        Self { stream, parameters, pid, secret, leftover }
    }
}

/// Why no connection came of it.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The name could not be resolved, or nobody listens there.
    #[error("cannot reach {address}")]
    Dial {
        /// Where.
        address: ServerAddress,
        /// What the system said.
        source: io::Error,
    },
    /// TLS is asked for and the server has none.
    #[error("{address} does not support TLS, and backend.database.connection.ssl asks for it")]
    NoTls {
        /// Where.
        address: ServerAddress,
    },
    /// The TLS handshake failed, or the certificate is not what backend.database.connection.ssl asks for.
    #[error("no TLS with {address}, as backend.database.connection.ssl asks for it")]
    Tls {
        /// Where.
        address: ServerAddress,
        /// What went wrong.
        source: io::Error,
    },
    /// PostgreSQL said no, in its own words.
    #[error("{message} ({code})")]
    Refused {
        /// SQLSTATE.
        code: String,
        /// The primary message.
        message: String,
        /// The whole body of the ErrorResponse, to be passed on.
        frame_body: Bytes,
    },
    /// PostgreSQL could not even start a process for the connection; it says so in the old protocol.
    #[error("the server cannot start a session: {message}")]
    NoProcess {
        /// In its words.
        message: String,
    },
    /// A password is asked for and none is configured.
    #[error("the server asks for a password: set backend.database.connection.password or greenroom.passwordCommand")]
    NoPassword,
    /// The command that prints the password did not.
    #[error("greenroom has no password for PostgreSQL: its passwordCommand gave none")]
    Secret(#[from] SecretError),
    /// The server asks for a proof that greenroom does not know.
    #[error(
        "the server asks for {0}, which is not supported: use scram-sha-256, md5, password or trust in its pg_hba.conf"
    )]
    Unsupported(String),
    /// The SCRAM exchange failed on the server's side.
    #[error(transparent)]
    Scram(#[from] ScramError),
    /// The server closed the connection, or it broke.
    #[error("the connection was lost during login")]
    Lost(#[source] io::Error),
    /// A message with an impossible length.
    #[error("the server does not speak PostgreSQL's protocol")]
    Frame(#[from] FrameError),
    /// A message that does not belong here.
    #[error("the server broke the protocol: {0}")]
    Protocol(&'static str),
}

impl ConnectError {
    /// Whether PostgreSQL refused the login, for which the password may be the reason.
    fn is_refused_login(&self) -> bool {
        let codes = [sqlstate::INVALID_PASSWORD, sqlstate::INVALID_AUTHORIZATION_SPECIFICATION];
        matches!(self, Self::Refused { code, .. } if codes.contains(&code.as_str()))
    }
}

impl Connector {
    /// Prepares connections to `endpoint` as `login`, with what `secrets` knows of its password.
    ///
    /// # Errors
    /// A TLS setting that cannot be honoured, by its name.
    pub fn new(endpoint: ServerEndpoint, login: &Login, secrets: &Secrets) -> Result<Self, TlsError> {
        let tls = TlsConnector::new(&endpoint.tls)?;
        let address = endpoint.address;
        match (&address, &tls) {
            (ServerAddress::Unix { .. }, Some(tls)) if tls.mode() != SslMode::Prefer => {
                Err(TlsError::UnixSocket { address: address.to_string() })
            }
            _ => {
                let secret = secrets.of(&address, login);
                Ok(Self { address, tls, user: Arc::clone(&login.user), secret, keys: KeyCache::default() })
            }
        }
    }

    /// Where it connects to.
    pub fn address(&self) -> &ServerAddress {
        &self.address
    }

    /// Opens a connection to `database` and logs in. `startup` are further startup parameters (`client_encoding`,
    /// `application_name`, `search_path`, `options`). A password that is refused is asked for anew, and another one is tried
    /// at once. Waits for as long as the server does: the caller sets the limit.
    ///
    /// # Errors
    /// What kept it from being ready; [`ConnectError::Refused`] holds PostgreSQL's own error.
    pub async fn connect(&self, database: &str, startup: &[(&str, &str)]) -> Result<Connected, ConnectError> {
        self.connect_in(&mut Some(()), database, startup).await.map(|(connected, ())| connected)
    }

    /// The same, with what the connection takes up. That is taken as soon as PostgreSQL may have a process for it, and
    /// comes back with the connection, or is dropped once PostgreSQL has closed its end of one that failed or was given up.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub async fn connect_in<P: Footprint>(
        &self,
        footprint: &mut Option<P>,
        database: &str,
        startup: &[(&str, &str)],
    ) -> Result<(Connected, P), ConnectError> {
        let mut tried = Vec::new();
        if let Some(secret) = &self.secret {
            tried.push(secret.current().await?);
        }
        loop {
            let stream = self.open().await?;
            let accepted = self.secret.as_ref().and_then(|secret| secret.last_accepted());
            let mut attempt = Attempt::begin(stream, footprint.take().expect("every attempt before gave it back"));
            let identity = Identity { user: &self.user, password: tried.last(), keys: &self.keys };
            let error = match log_in(identity, attempt.wire(), database, startup).await {
                Ok(greeting) => {
                    if let (Some(secret), Some(password)) = (&self.secret, tried.last()) {
                        secret.accepted(password);
                    }
                    let (wire, footprint) = attempt.done();
                    return Ok((Connected::new(wire, greeting), footprint));
                }
                Err(error) => error,
            };
            let (Some(secret), Some(password)) = (&self.secret, tried.last()) else { return Err(error) };
            if !error.is_refused_login() || tried.len() == MAX_LOGINS {
                return Err(error);
            }
            // After two different ones a third is tried only if it is the first again: PostgreSQL got it in between.
            let other = secret.instead_of(password, accepted.as_ref()).await;
            match other.filter(|other| tried.len() == 1 || same(other, &tried[0])) {
                Some(other) => tried.push(other),
                None => return Err(error),
            }
            *footprint = Some(attempt.over().await);
        }
    }

    /// Connects, and encrypts as configured.
    pub(super) async fn open(&self) -> Result<Stream, ConnectError> {
        let stream =
            dial(&self.address).await.map_err(|source| ConnectError::Dial { address: self.address.clone(), source })?;
        match (&self.tls, &self.address) {
            (Some(tls), ServerAddress::Tcp { host, .. }) => self.negotiate(tls, stream, host).await,
            _ => Ok(stream),
        }
    }

    async fn negotiate(&self, tls: &TlsConnector, mut stream: Stream, host: &str) -> Result<Stream, ConnectError> {
        stream.write_all(&SSL_REQUEST).await.map_err(ConnectError::Lost)?;
        let mut answer = BytesMut::with_capacity(1024);
        stream.read_buf(&mut answer).await.map_err(ConnectError::Lost)?;
        match &answer[..] {
            b"S" => {
                let failed = |source| ConnectError::Tls { address: self.address.clone(), source };
                tls.secure(stream, host).await.map_err(failed)
            }
            b"N" if tls.mode() == SslMode::Prefer => Ok(stream),
            b"N" => Err(ConnectError::NoTls { address: self.address.clone() }),
            [] => Err(ConnectError::Lost(io::ErrorKind::UnexpectedEof.into())),
            [b'E', ..] => Err(Wire::resume(stream, answer).message().await.err().unwrap_or(NOT_AN_ANSWER)),
            // Whatever follows in clear could be somebody else's (CVE-2021-23222), so it must not be read as an answer.
            _ => Err(NOT_AN_ANSWER),
        }
    }
}

const NOT_AN_ANSWER: ConnectError = ConnectError::Protocol("its answer to SSLRequest is neither S nor N");

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").field("address", &self.address).field("user", &self.user).finish_non_exhaustive()
    }
}

impl fmt::Debug for Connected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connected")
            .field("pid", &self.pid)
            .field("parameters", &self.parameters)
            .finish_non_exhaustive()
    }
}
