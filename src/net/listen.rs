//! Where clients are accepted.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use tokio::net::{TcpListener, lookup_host};

use super::Stream;
use super::socket_file::SocketFile;
use crate::config::{ListenAddress, Listener};

/// How many connections may wait for `accept`; the system's own limit (net.core.somaxconn) applies as well.
const BACKLOG: i32 = 1024;

/// How long to wait when the process or the system is out of descriptors or memory.
const PAUSE: Duration = Duration::from_millis(200);

/// Why a listener cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Another process listens there.
    #[error("greenroom.listen: {address} is already in use")]
    InUse {
        /// Where.
        address: ListenAddress,
    },
    /// The system refused.
    #[error("greenroom.listen: cannot listen on {address}")]
    Io {
        /// Where.
        address: ListenAddress,
        /// What it said.
        source: io::Error,
    },
}

/// Who connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// Over TCP, from this address.
    Tcp(SocketAddr),
    /// Over a Unix socket.
    Unix {
        /// The user its process ran as when it connected; `None` if the system does not say.
        uid: Option<u32>,
    },
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix { .. } => f.write_str("unix socket"),
        }
    }
}

/// One open listener: all addresses that its host name stands for, or one Unix socket, whose file goes with it.
#[derive(Debug)]
pub struct Listening {
    local: ListenAddress,
    sockets: Sockets,
    paused: bool,
}

#[derive(Debug)]
enum Sockets {
    Tcp(Vec<TcpListener>),
    Unix(SocketFile),
}

impl Listening {
    /// Opens `listener`. Needs a tokio runtime.
    ///
    /// # Errors
    /// An address that is in use, or that this machine does not have.
    pub async fn bind(listener: &Listener) -> Result<Self, ListenError> {
        let address = &listener.address;
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::AddrInUse => ListenError::InUse { address: address.clone() },
            _ => ListenError::Io { address: address.clone(), source },
        };
        match address {
            ListenAddress::Tcp { host, port } => {
                let found = lookup_host((&**host, *port)).await.map_err(failed)?;
                let (sockets, port) = bind_all(found, *port).map_err(failed)?;
                let local = ListenAddress::Tcp { host: host.clone(), port };
                Ok(Self { local, sockets: Sockets::Tcp(sockets), paused: false })
            }
            ListenAddress::Unix { directory, port } => {
                let socket = SocketFile::bind(super::socket_path(directory, *port)).map_err(failed)?;
                Ok(Self { local: address.clone(), sockets: Sockets::Unix(socket), paused: false })
            }
        }
    }

    /// Where it really listens: as configured, with the port that the system chose if that was 0.
    pub fn local_address(&self) -> &ListenAddress {
        &self.local
    }

    /// Waits for the next client. Never ends the listener: when the system has nothing left to accept with, it says so
    /// in the log and tries again a moment later. Dropping the future loses no client.
    pub async fn accept(&mut self) -> (Stream, Peer) {
        loop {
            match poll_fn(|cx| self.poll_accept(cx)).await {
                Ok(client) => {
                    self.paused = false;
                    return client;
                }
                Err(error) if belongs_to_the_client(&error) => {}
                Err(error) => {
                    if !std::mem::replace(&mut self.paused, true) {
                        tracing::warn!(listener = %self.local, %error, "cannot accept clients, trying again");
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(Stream, Peer)>> {
        match &self.sockets {
            Sockets::Unix(socket) => socket.listener().poll_accept(cx).map_ok(|(stream, _)| {
                let uid = stream.peer_cred().ok().map(|peer| peer.uid());
                (Stream::Unix(stream), Peer::Unix { uid })
            }),
            Sockets::Tcp(listeners) => {
                for listener in listeners {
                    if let Poll::Ready(accepted) = listener.poll_accept(cx) {
                        return Poll::Ready(
                            accepted.and_then(|(stream, address)| Ok((Stream::tcp(stream)?, Peer::Tcp(address)))),
                        );
                    }
                }
                Poll::Pending
            }
        }
    }
}

/// A client that was gone before it was accepted; the next one may be fine.
fn belongs_to_the_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, InvalidInput, NotConnected};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted | InvalidInput | NotConnected)
}

/// Listens on every address, all with the port of the first. As PostgreSQL does, one that this machine lacks (`::1` where
/// there is no IPv6) is left out as long as another is left.
fn bind_all(found: impl Iterator<Item = SocketAddr>, port: u16) -> io::Result<(Vec<TcpListener>, u16)> {
    let (mut sockets, mut port, mut seen, mut refused) = (Vec::new(), port, Vec::new(), None);
    for mut address in found {
        if seen.contains(&address) {
            continue;
        }
        seen.push(address);
        address.set_port(port);
        match bind_one(address) {
            Ok(socket) => {
                port = socket.local_addr()?.port();
                sockets.push(socket);
            }
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(error),
            Err(error) => {
                tracing::warn!(%address, %error, "cannot listen on this address of the host");
                refused = Some(error);
            }
        }
    }
    if sockets.is_empty() {
        let no_address = || io::Error::new(io::ErrorKind::NotFound, "the host name has no address");
        return Err(refused.unwrap_or_else(no_address));
    }
    Ok((sockets, port))
}

fn bind_one(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    // A restart must not wait for connections that are still in TIME_WAIT.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // As PostgreSQL does: 0.0.0.0 and :: are two listeners that do not get in each other's way.
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{AuthMethod, ServerAddress};
    use crate::net::dial;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    fn tcp(host: &str, port: u16) -> Listener {
        Listener { address: ListenAddress::Tcp { host: host.into(), port }, auth: AuthMethod::Trust }
    }

    fn port_of(listening: &Listening) -> u16 {
        let ListenAddress::Tcp { port, .. } = listening.local_address() else { panic!("it is TCP") };
        *port
    }

    #[tokio::test]
    async fn port_zero_takes_a_free_port_and_tells_it() {
        let mut listening = Listening::bind(&tcp("127.0.0.1", 0)).await.unwrap();
        let address = ServerAddress::Tcp { host: "127.0.0.1".into(), port: port_of(&listening) };
        let (dialled, (mut accepted, peer)) = tokio::join!(dial(&address), listening.accept());
        accepted.write_all(b"hello").await.unwrap();
        let mut seen = [0; 5];
        dialled.unwrap().read_exact(&mut seen).await.unwrap();
        assert_eq!(&seen, b"hello");
        assert!(matches!(peer, Peer::Tcp(address) if address.ip().is_loopback()));
    }

    #[tokio::test]
    async fn a_port_that_is_taken_is_said_to_be_in_use() {
        let first = Listening::bind(&tcp("127.0.0.1", 0)).await.unwrap();
        let second = Listening::bind(&tcp("127.0.0.1", port_of(&first))).await.unwrap_err();
        assert!(matches!(second, ListenError::InUse { .. }), "{second}");
        assert!(second.to_string().starts_with("greenroom.listen: 127.0.0.1:"), "{second}");
    }

    #[test]
    fn several_addresses_share_the_port_of_the_first() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _guard = runtime.enter();
        let found = ["127.0.0.1:0", "127.0.0.1:0", "127.0.0.2:0"].map(|address| address.parse().unwrap());
        let (sockets, port) = bind_all(found.into_iter(), 0).unwrap();
        assert_eq!(sockets.iter().map(|s| s.local_addr().unwrap().port()).collect::<Vec<_>>(), [port, port]);
    }
}
