//! One client, from its hello to its goodbye.
//!
//! - `epoch`: its limits in time, which may change.
//! - `handshake`: what it asks for before anybody knows who it is.
//! - `login`: who it is, where its data is, and whether that exists.
//! - `provisioning`: making its schema exist.
//! - `registry`: who is there, by number.
//! - `relay`: the loop that carries its bytes.
//! - `reply`: what greenroom itself says to it.
//! - `traps`: what schema division keeps from plugins, told in the log.
//! - `Shared`: what every client is handed.

mod epoch;
mod handshake;
mod login;
mod provisioning;
mod registry;
mod relay;
mod reply;
mod shared;
mod startup;
mod traps;

use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

pub use epoch::Epoch;
pub use handshake::{HandshakeError, Hello, read_hello};
pub use shared::Shared;
pub use startup::Startup;

use crate::config::AuthMethod;
use crate::metrics::{ClientState, LoginResult};
use crate::net::Stream;
use login::LoggedIn;

/// Serves one accepted connection until it ends. The listener says how its clients prove who they are.
pub async fn serve(stream: Stream, auth: AuthMethod, shared: &Shared) {
    // Until then a client needs much that it would otherwise keep, and step over at every wake-up, as long as it stays.
    let arriving = Box::pin(arrive(stream, auth, shared));
    if let Some(client) = arriving.await {
        relay::Relay::new(client, shared).run().await;
    }
}

/// From the client's hello to its login, if that is what it wants.
async fn arrive(mut stream: Stream, auth: AuthMethod, shared: &Shared) -> Option<LoggedIn> {
    let unknown = shared.metrics.unknown();
    let arriving = unknown.clients.enter(ClientState::Login);
    let hello = match timeout(shared.epoch().timeouts.login, read_hello(&mut stream)).await {
        Ok(Ok(hello)) => hello,
        Ok(Err(HandshakeError::Refused(report))) => {
            unknown.login(LoginResult::Broken);
            reply::farewell(&mut stream, &report).await;
            return None;
        }
        // A probe of the port: nothing worth a line in the log.
        Ok(Err(HandshakeError::Left)) => return None,
        Ok(Err(error)) => {
            tracing::debug!(error = &error as &dyn std::error::Error, "connection closed before its startup message");
            unknown.login(LoginResult::Broken);
            return None;
        }
        Err(_) => {
            unknown.login(LoginResult::Timeout);
            return None;
        }
    };
    match hello {
        Hello::Cancel { pid, secret } => {
            drop(arriving);
            shared.keys.cancel(pid, &secret).await;
            // The client waits for the end as the sign that its cancel was taken.
            let _ = stream.shutdown().await;
            None
        }
        Hello::Startup(startup) => login::log_in(stream, startup, auth, shared, arriving).await,
    }
}
