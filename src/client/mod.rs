//! One client, from its hello to its goodbye.
//!
//! - [`read_hello`]: what it asks for before anybody knows who it is.
//! - [`Startup`]: its startup message.

mod handshake;
mod startup;

pub use handshake::{HandshakeError, Hello, read_hello};
pub use startup::Startup;
