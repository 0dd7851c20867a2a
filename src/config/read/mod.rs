//! From the merged tree of values to a [`Config`](super::Config): what each key means, and what is wrong with it.

mod backstage;
mod check;
mod cloud;
mod database;
mod endpoint;
mod extensions;
pub(super) mod keys;
mod listen;
mod naming;
mod password;
mod pool;
mod section;
mod tls;
mod top;
pub(super) mod uri;

pub(super) use top::config;
