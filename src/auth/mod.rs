//! Who somebody is: SCRAM-SHA-256, MD5 and trust, as messages in and messages out, without any I/O.
//!
//! - [`Exchange`]: one client's login at greenroom, against its route's [`Credentials`].
//! - [`Salts`]: makes credentials, also for users that do not exist, so that a login cannot tell which do.
//! - [`scram_client`]: greenroom's own login at PostgreSQL.

mod credentials;
mod exchange;
mod scram;
pub mod scram_client;
mod scram_server;

pub use credentials::{Credentials, Salts, VerifierError};
pub use exchange::{AuthError, Exchange, Step};
pub use scram::Keys;
