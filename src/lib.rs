//! greenroom: a PostgreSQL wire-protocol pooling proxy for Backstage.
//!
//! The modules form a stack; each uses only those in the rows below its own (docs/architecture.md has the table, and a
//! test holds the imports to it).

pub mod admin;
pub mod auth;
pub mod cancel;
pub mod cli;
pub mod client;
pub mod config;
pub mod inspect;
pub mod metrics;
pub mod net;
pub mod pool;
pub mod protocol;
pub mod provision;
pub mod proxy;
pub mod route;
pub mod secret;
pub mod server;
pub mod session;
pub mod sql;
pub mod temp_postgres;
