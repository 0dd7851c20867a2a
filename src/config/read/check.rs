//! What can only be seen when all is read: who could never log in, and which way leads back to greenroom itself.

use secrecy::{ExposeSecret, SecretString};

use super::database::Written;
use super::listen::reaches;
use crate::config::mistake::Mistakes;
use crate::config::yaml::Origin;
use crate::config::{AuthMethod, Connection, ListenAddress, Listener, ServerAddress};

/// Checks every connection against the listeners and against the other connections.
pub(super) fn check(connections: &[Written], listeners: &[(Listener, Origin)], mistakes: &Mistakes) {
    for (index, (connection, origin)) in connections.iter().enumerate() {
        dials_itself(connection, origin, listeners, mistakes);
        lets_nobody_in(connection, origin, listeners, mistakes);
        contradicts(connection, origin, &connections[..index], mistakes);
    }
}

fn dials_itself(connection: &Connection, origin: &Origin, listeners: &[(Listener, Origin)], mistakes: &Mistakes) {
    let dialed = listeners.iter().find(|(listener, _)| dials(&connection.server.address, &listener.address));
    if let Some((listener, _)) = dialed {
        let problem = format!(
            "{} is where greenroom itself listens, so it would dial itself; expected PostgreSQL's own address, or \
             another greenroom.listen",
            listener.address
        );
        mistakes.add(origin, problem);
    }
}

fn dials(server: &ServerAddress, listener: &ListenAddress) -> bool {
    match (server, listener) {
        (ServerAddress::Tcp { host, port }, listener) => reaches(listener, host, *port),
        (
            ServerAddress::Unix { directory, port },
            ListenAddress::Unix { directory: listening, port: listening_port },
        ) => directory == listening && port == listening_port,
        _ => false,
    }
}

fn lets_nobody_in(connection: &Connection, origin: &Origin, listeners: &[(Listener, Origin)], mistakes: &Mistakes) {
    let asking = listeners.iter().find(|(listener, _)| listener.auth != AuthMethod::Trust);
    if let (None, Some((listener, _))) = (&connection.login.password, asking) {
        let remedy = format_args!(
            ": clients of {} prove that they know it, so none could log in; set it, or give every greenroom.listen \
             auth: trust",
            listener.address
        );
        mistakes.missing(&origin.key("password"), remedy);
    }
}

/// One login on one server has one pool, so two ways of opening its connections would be mixed up.
fn contradicts(connection: &Connection, origin: &Origin, earlier: &[Written], mistakes: &Mistakes) {
    let same = |other: &Connection| {
        other.login.user == connection.login.user && other.server.address == connection.server.address
    };
    for (other, other_origin) in earlier.iter().filter(|(other, _)| same(other)) {
        let key = if other.server.tls != connection.server.tls {
            "ssl"
        } else if secret(&other.login.password) != secret(&connection.login.password) {
            "password"
        } else {
            continue;
        };
        let problem = format!(
            "differs from that of {other_origin}, which is the same login on the same server; expected them to be equal"
        );
        return mistakes.add(&origin.key(key), problem);
    }
}

fn secret(password: &Option<SecretString>) -> Option<&str> {
    password.as_ref().map(ExposeSecret::expose_secret)
}
