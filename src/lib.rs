//! greenroom: a PostgreSQL wire-protocol pooling proxy for Backstage.
//!
//! The modules form a stack; each uses only those in the rows below its own (docs/architecture.md has the table, and a
//! test holds the imports to it).

pub mod config;
pub mod protocol;
pub mod route;
