//! What can only be seen when all is read: who could never log in, and which way leads back to greenroom itself.

use secrecy::ExposeSecret;

use super::database::Written;
use super::listen::reaches;
use crate::config::mistake::Mistakes;
use crate::config::yaml::Origin;
use crate::config::{AuthMethod, ListenAddress, Listener, ServerAddress};

/// Checks every connection against the listeners and against the other connections.
pub(super) fn check(connections: &[Written], listeners: &[(Listener, Origin)], mistakes: &Mistakes) {
    for (index, (connection, origin)) in connections.iter().enumerate() {
        if let Some((listener, _)) = listeners.iter().find(|(listener, _)| dials(&connection.server.address, listener))
        {
            mistakes.add(
                origin,
                format!(
                    "{} is where greenroom itself listens, so it would dial itself; expected PostgreSQL's own address, \
                     or another greenroom.listen",
                    listener.address
                ),
            );
        }
        let asks = listeners.iter().find(|(listener, _)| listener.auth != AuthMethod::Trust);
        if let (None, Some((listener, _))) = (&connection.login.password, asks) {
            mistakes.add(
                &origin.key("password"),
                format!(
                    "missing: clients of {} prove that they know it, so none could log in; set it, or give every \
                     greenroom.listen auth: trust",
                    listener.address
                ),
            );
        }
        for (earlier, earlier_origin) in &connections[..index] {
            let same_login = earlier.login.user == connection.login.user;
            if !same_login || earlier.server.address != connection.server.address {
                continue;
            }
            let secret = |written: &Written| {
                written.0.login.password.as_ref().map(|password| password.expose_secret().to_owned())
            };
            let differs = match () {
                () if earlier.server.tls != connection.server.tls => "ssl",
                () if secret(&connections[index]) != secret(&(earlier.clone(), earlier_origin.clone())) => "password",
                () => continue,
            };
            // They would share server connections, and one would be served by the other's.
            mistakes.add(
                &origin.key(differs),
                format!(
                    "differs from that of {earlier_origin}, which is the same login on the same server; expected them to \
                     be equal"
                ),
            );
            break;
        }
    }
}

fn dials(server: &ServerAddress, listener: &Listener) -> bool {
    match (server, &listener.address) {
        (ServerAddress::Tcp { host, port }, listening) => reaches(listening, host, *port),
        (
            ServerAddress::Unix { directory, port },
            ListenAddress::Unix { directory: listening, port: listening_port },
        ) => directory == listening && port == listening_port && *port != 0,
        _ => false,
    }
}
