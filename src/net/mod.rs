//! Sockets: what is listened on, what is dialled, and the TLS on the way to a server.
//!
//! - [`Stream`]: one connection, TCP, Unix or TLS, that the relay polls directly.
//! - [`Listening`]: where clients are accepted.
//! - [`dial`]: opens a connection to a server's address.
//! - [`Buffers`]: lent to whoever has bytes in flight.
//! - [`TlsConnector`]: the TLS settings of one server, prepared once.

mod buffer;
#[cfg(test)]
mod buffer_model_tests;
mod der;
mod dial;
mod end_point;
mod listen;
mod socket_file;
mod stream;
mod tls;
mod verifier;

pub use buffer::{Buffer, Buffers, LARGE_BYTES, SMALL_BYTES};
pub use dial::dial;
pub use listen::{ListenError, Listening, Peer};
pub use stream::Stream;
pub use tls::{TlsConnector, TlsError};

use std::path::{Path, PathBuf};

/// The Unix socket of this directory and number, as libpq names it.
fn socket_path(directory: &Path, port: u16) -> PathBuf {
    directory.join(format!(".s.PGSQL.{port}"))
}
