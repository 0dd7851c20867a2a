//! Backstage's configuration files as one tree of values, each of which knows the file and line it came from.
//!
//! The steps are Backstage's own, in its order: parse a file, transform it (`${VAR}`, `$env`, `$file`, `$include`),
//! merge it over the files before it, then the environment's `APP_CONFIG_*` over all of them. What the values mean is not known here.

mod environment;
mod locate;
mod merge;
mod node;
mod substitution;
mod transform;
mod wanted;

pub(super) use environment::from_environment;
pub(super) use merge::{merge_files, merge_objects};
pub(super) use node::{Map, Node, Origin, Source, Value, parse};
pub(super) use substitution::{Part, Substituted, parts, substitute};
pub(super) use transform::Transform;
