//! The modules that are fuzzed, compiled from the crate's own files: instrumenting the whole crate and all that it
//! depends on takes minutes, and these need next to nothing.

#[path = "../../src/net/buffer.rs"]
mod buffer;
#[path = "../../src/protocol/mod.rs"]
pub mod protocol;
#[path = "../../src/session/mod.rs"]
pub mod session;
#[path = "../../src/sql/mod.rs"]
pub mod sql;

/// Only its buffers.
pub mod net {
    pub use super::buffer::{Buffer, Buffers, LARGE_BYTES, SMALL_BYTES};
}
