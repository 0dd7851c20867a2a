//! What the operator wants: Backstage's own app-config files plus the `greenroom` key, already checked.
//!
//! Text from outside becomes a [`Config`] once; nothing re-checks it afterwards.

mod connection;
mod limits;

pub use connection::{
    AuthMethod, ListenAddress, Listener, Login, ServerAddress, ServerEndpoint, SslMode, TlsSettings, is_loopback,
};
pub use limits::{PoolLimits, PoolMode, Timeouts};
