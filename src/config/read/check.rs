//! What can only be seen when all is read: who could never log in, and which way leads back to greenroom itself.

use super::database::Written;
use super::listen::reaches;
use crate::config::mistake::Mistakes;
use crate::config::yaml::Origin;
use crate::config::{AuthMethod, Connection, ListenAddress, Listener, Password, ServerAddress};

/// Checks every connection against the listeners and against the other connections.
pub(super) fn check(connections: &[Written], listeners: &[(Listener, Origin)], mistakes: &Mistakes) {
    for (index, written) in connections.iter().enumerate() {
        dials_itself(&written.connection, &written.origin, listeners, mistakes);
        lets_nobody_in(&written.connection, &written.origin, listeners, mistakes);
        contradicts(written, &connections[..index], mistakes);
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
    if let (None, Some((listener, _))) = (&connection.login.client_password, asking) {
        let another = match &connection.login.password {
            Some(Password::Command(_)) => " or greenroom.clientPassword (passwordCommand's is for PostgreSQL alone)",
            _ => "",
        };
        let remedy = format_args!(
            ": clients of {} prove that they know it, so none could log in; set it{another}, or give every \
             greenroom.listen auth: trust",
            listener.address
        );
        mistakes.missing(&origin.key("password"), remedy);
    }
}

/// One login on one server has one pool, so two ways of opening its connections would be mixed up.
fn contradicts(written: &Written, earlier: &[Written], mistakes: &Mistakes) {
    let Written { connection, origin, command } = written;
    let same = |other: &Connection| {
        other.login.user == connection.login.user && other.server.address == connection.server.address
    };
    for other in earlier.iter().filter(|other| same(&other.connection)) {
        let is_command = |password: &Option<Password>| matches!(password, Some(Password::Command(_)));
        let (theirs, ours) = (&other.connection.login.password, &connection.login.password);
        let at = if other.connection.server.tls != connection.server.tls {
            origin.key("ssl")
        } else if theirs == ours {
            continue;
        } else if is_command(theirs) || is_command(ours) {
            command.clone()
        } else {
            origin.key("password")
        };
        let problem = format!(
            "differs from that of {}, which is the same login on the same server; expected them to be equal",
            other.origin
        );
        return mistakes.add(&at, problem);
    }
}
