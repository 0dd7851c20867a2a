//! Behaviour, tested through a socket against a real PostgreSQL.

mod cancel;
mod carried;
mod check;
mod creation;
mod credentials;
mod dev;
mod differential;
mod drivers;
mod examples;
mod explain;
mod faults;
mod harness;
mod harness_checks;
mod layers;
mod leaks;
mod logins;
mod lone_settings;
mod memory;
mod observability;
mod overlay;
mod pins;
mod pool;
mod routing;
mod shares;
mod shutdown;
mod traps;
