//! Ways that lead back to greenroom, as names and links resolve: what the configuration alone cannot tell.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::Path;
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::time::timeout;

use super::finding::{Finding, error};
use crate::config::{Config, ListenAddress, ServerAddress};

/// How long a name may take to resolve.
const LIMIT: Duration = Duration::from_secs(10);

/// Looks at every server and every listener.
pub(super) async fn examine(config: &Config) -> Vec<Finding> {
    let database = &config.database;
    let places = database.plugins.values().chain([&database.base]).filter_map(|settings| settings.place.postgres());
    let places = places.map(|place| &place.connection);
    let others = database.others.values().map(|other| &other.connection);
    let servers: BTreeSet<&ServerAddress> = places.chain(others).map(|connection| &connection.server.address).collect();
    let mut findings = Vec::new();
    for server in servers {
        for listener in &config.listeners {
            if leads_to(server, &listener.address).await {
                findings.push(
                    error(
                        server.to_string(),
                        format!("resolves to {}, where greenroom itself listens", listener.address),
                    )
                    .setting("greenroom.listen: another port or directory")
                    .setting("backend.database.connection: PostgreSQL's own address"),
                );
            }
        }
    }
    findings
}

async fn leads_to(server: &ServerAddress, listener: &ListenAddress) -> bool {
    match (server, listener) {
        (
            ServerAddress::Unix { directory, port },
            ListenAddress::Unix { directory: listening, port: listening_port },
        ) => port == listening_port && real(directory) == real(listening),
        (ServerAddress::Tcp { host, port }, ListenAddress::Tcp { host: listening, port: listening_port }) => {
            if port != listening_port || *port == 0 {
                return false;
            }
            let (dialled, listening) = (addresses(host).await, addresses(listening).await);
            let reached = |dialled: &IpAddr| {
                listening.iter().any(|at| at == dialled || (at.is_unspecified() && is_ours(*dialled)))
            };
            dialled.iter().any(reached)
        }
        _ => false,
    }
}

async fn addresses(host: &str) -> Vec<IpAddr> {
    match timeout(LIMIT, lookup_host((host, 0))).await {
        Ok(Ok(found)) => found.map(|address| address.ip().to_canonical()).collect(),
        // A name that does not resolve leads nowhere; whoever connects to it says so.
        _ => Vec::new(),
    }
}

/// Whether an address is one of this machine's: nothing else can be bound to.
fn is_ours(address: IpAddr) -> bool {
    UdpSocket::bind(SocketAddr::new(address, 0)).is_ok()
}

fn real(directory: &Path) -> std::path::PathBuf {
    std::fs::canonicalize(directory).unwrap_or_else(|_| directory.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str, port: u16) -> (ServerAddress, ListenAddress) {
        (ServerAddress::Tcp { host: host.into(), port }, ListenAddress::Tcp { host: host.into(), port })
    }

    #[tokio::test]
    async fn a_link_to_the_sockets_directory_leads_back() {
        let dir = tempfile::tempdir().unwrap();
        let (real, link) = (dir.path().join("real"), dir.path().join("link"));
        std::fs::create_dir(&real).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let server = |directory: &Path| ServerAddress::Unix { directory: directory.to_owned(), port: 6432 };
        let listener = ListenAddress::Unix { directory: real.clone(), port: 6432 };
        assert!(leads_to(&server(&link), &listener).await);
        assert!(!leads_to(&server(dir.path()), &listener).await);
    }

    #[tokio::test]
    async fn a_name_of_this_machine_leads_back_to_a_listener_on_all_addresses() {
        let (server, _) = tcp("localhost", 6432);
        assert!(leads_to(&server, &tcp("0.0.0.0", 6432).1).await);
        assert!(leads_to(&server, &tcp("127.0.0.1", 6432).1).await);
        assert!(!leads_to(&server, &tcp("0.0.0.0", 6433).1).await);
        // An address for documentation is nobody's.
        assert!(!leads_to(&tcp("192.0.2.1", 6432).0, &tcp("0.0.0.0", 6432).1).await);
        assert!(!leads_to(&tcp("no-such-host.invalid", 6432).0, &tcp("0.0.0.0", 6432).1).await);
    }
}
