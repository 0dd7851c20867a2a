//! Addresses, logins and TLS settings, as other parts are handed them.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use super::{Password, SecretText};

/// Where a PostgreSQL server is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ServerAddress {
    /// A host name or IP address, resolved anew for each connection.
    Tcp {
        /// Host name or literal address.
        host: Arc<str>,
        /// TCP port.
        port: u16,
    },
    /// A Unix socket: `<directory>/.s.PGSQL.<port>`, as libpq names it.
    Unix {
        /// The socket's directory.
        directory: PathBuf,
        /// The number in the socket's name.
        port: u16,
    },
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix { directory, port } => write!(f, "{}/.s.PGSQL.{port}", directory.display()),
        }
    }
}

/// How a connection to a server is encrypted, in libpq's words (PostgreSQL, "SSL Mode Descriptions").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum SslMode {
    /// Never.
    #[default]
    Disable,
    /// If the server can; the certificate is not checked.
    Prefer,
    /// Always; the certificate is not checked.
    Require,
    /// Always; the certificate chain is checked, the host name is not.
    VerifyCa,
    /// Always; chain and host name are checked.
    VerifyFull,
}

/// TLS towards a server. What is given here is honoured or the connection fails; it never falls back to plain text
/// except with [`SslMode::Prefer`].
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct TlsSettings {
    /// How strict.
    pub mode: SslMode,
    /// Certificates that are trusted, PEM; the system's own when `None`.
    pub ca_pem: Option<Arc<str>>,
    /// greenroom's own certificate chain, PEM.
    pub cert_pem: Option<Arc<str>>,
    /// The key of `cert_pem`, PEM.
    pub key_pem: Option<Arc<str>>,
    /// The name to check and to send as SNI, when it is not the host.
    pub server_name: Option<Arc<str>>,
}

impl fmt::Debug for TlsSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsSettings").field("mode", &self.mode).finish_non_exhaustive()
    }
}

/// A server and how to speak to it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ServerEndpoint {
    /// Where it is.
    pub address: ServerAddress,
    /// How the way there is encrypted.
    pub tls: TlsSettings,
}

/// Who logs in: at PostgreSQL, and as a client of a route.
#[derive(Debug, Clone, PartialEq)]
pub struct Login {
    /// Role name.
    pub user: Arc<str>,
    /// What PostgreSQL is told; `None` where it asks for none (trust, peer, certificates).
    pub password: Option<Password>,
    /// What clients prove that they know; with `None` only trust lets one in.
    pub client_password: Option<SecretText>,
}

/// How clients of a listener prove who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum AuthMethod {
    /// SCRAM-SHA-256 against the password of the route's clients.
    #[default]
    ScramSha256,
    /// MD5, for clients that know nothing better.
    Md5,
    /// No proof; only on loopback addresses and Unix sockets.
    Trust,
}

/// Where clients are accepted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ListenAddress {
    /// A TCP address; port 0 takes a free one.
    Tcp {
        /// Host name or literal address.
        host: Arc<str>,
        /// TCP port.
        port: u16,
    },
    /// A Unix socket `<directory>/.s.PGSQL.<port>`.
    Unix {
        /// The socket's directory.
        directory: PathBuf,
        /// The number in the socket's name.
        port: u16,
    },
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.clone() {
            Self::Tcp { host, port } => ServerAddress::Tcp { host, port }.fmt(f),
            Self::Unix { directory, port } => ServerAddress::Unix { directory, port }.fmt(f),
        }
    }
}

/// One listener: an address and what it asks of clients.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Listener {
    /// Where.
    pub address: ListenAddress,
    /// How clients prove who they are.
    pub auth: AuthMethod,
}

impl Listener {
    /// The port, when none is configured.
    pub const PORT: u16 = 6432;
}

impl Default for Listener {
    fn default() -> Self {
        let address = ListenAddress::Tcp { host: "127.0.0.1".into(), port: Self::PORT };
        Self { address, auth: AuthMethod::default() }
    }
}

/// Where operators are accepted: metrics and health.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HttpAddress {
    /// Host name or literal address.
    pub host: Arc<str>,
    /// TCP port; 0 takes a free one.
    pub port: u16,
}

impl Default for HttpAddress {
    fn default() -> Self {
        Self { host: "127.0.0.1".into(), port: 9632 }
    }
}

/// Whether `host` names only this machine: `localhost`, 127.0.0.0/8 or ::1.
pub fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}
