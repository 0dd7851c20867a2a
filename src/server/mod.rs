//! One connection to PostgreSQL: opening it, logging in, dressing it for a session, cancelling what it runs.
//!
//! - [`Connector`]: a server and a login, prepared once; it opens connections and sends cancel requests.
//! - [`Connected`]: a connection that is ready for its first query.
//! - [`Footprint`]: what a connection takes up until PostgreSQL has closed its end.
//! - [`Server`]: such a connection in use.
//! - [`Reported`]: what it has reported of its settings.
//! - [`Dress`]: the settings it wears for a session.
//! - [`Remains`]: what a session has left on it.
//! - [`DatabaseFacts`]: what its database's own code may leave behind.
//! - [`CancelTarget`]: its key, and the cancels on their way to it.

mod attempt;
mod cancel;
mod cancel_target;
mod connect;
mod connection;
mod dress;
mod facts;
mod login;
mod probe;
mod reported;
mod sasl;
mod takeover;
mod wire;

#[cfg(test)]
mod fake_postgres;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tls_tests;

pub use attempt::{Footprint, LONGEST_END};
pub use cancel_target::{CancelTarget, Cancelling};
pub use connect::{ConnectError, Connected, Connector};
pub use connection::{QueryError, Row, Sequences, Server};
pub use dress::{Dress, Role};
pub use facts::{Code, DatabaseFacts, FactsSnapshot};
pub use probe::{Remains, Setting};
pub use reported::{Reported, is_configured};
