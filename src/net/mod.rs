//! Sockets: what is listened on, what is dialled, and the TLS on the way to a server.
//!
//! - [`Stream`]: one connection, TCP, Unix or TLS, that the relay polls directly.
//! - [`Listening`]: where clients are accepted.
//! - [`dial`]: opens a connection to a server's address.
//! - [`TlsConnector`]: the TLS settings of one server, prepared once.

mod der;
mod dial;
mod end_point;
mod listen;
mod socket_file;
mod stream;
mod tls;
mod verifier;

pub use dial::dial;
pub use listen::{ListenError, Listening, Peer};
pub use stream::Stream;
pub use tls::{TlsConnector, TlsError};

use std::path::{Path, PathBuf};

/// The Unix socket of this directory and number, as libpq names it.
fn socket_path(directory: &Path, port: u16) -> PathBuf {
    directory.join(format!(".s.PGSQL.{port}"))
}
