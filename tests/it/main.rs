//! Behaviour, tested through a socket against a real PostgreSQL.

mod differential;
mod harness;
mod layers;
