//! One connection to PostgreSQL: opening it, logging in, cancelling what it runs.
//!
//! - [`Connector`]: a server and a login, prepared once; it opens connections and sends cancel requests.
//! - [`Connected`]: a connection that is ready for its first query.

mod cancel;
mod connect;
mod login;
mod sasl;
mod wire;

#[cfg(test)]
mod fake_postgres;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tls_tests;

pub use connect::{ConnectError, Connected, Connector};
