//! Bytes of the PostgreSQL wire protocol: frames and their borders, tags, and the messages greenroom writes itself.
//!
//! Nothing here does I/O or keeps state between calls. Bytes from outside meet [`frame`] first: it checks a length
//! before anything else looks at a body, so that no decoder ever sees more or less than one whole message.
//!
//! - [`frame`]: where one message ends; used for every byte that enters the process.
//! - [`tag`]: the first byte of a message, typed by its direction.
//! - [`body`]: the few fields that are read out of a body (names, the SQLSTATE of an error).
//! - [`message`]: messages greenroom itself writes.
//! - [`sqlstate`]: the error codes greenroom answers with or acts on.

pub mod body;
pub mod frame;
pub mod message;
pub mod sqlstate;
pub mod tag;

pub use frame::{Frame, FrameError, Header};
pub use tag::{Backend, Frontend};
