//! What an operator sees and asks while greenroom runs.
//!
//! - [`http`]: `/metrics`, `/livez`, `/readyz` and the status page.
//! - [`readiness`]: whether new clients should come here.
//! - `status_page`: the page a browser gets.

pub mod http;
pub mod readiness;
mod status_page;

pub use http::HttpServer;
pub use readiness::{Phase, Readiness};
