//! Opens a connection to a server's address.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio::time::timeout;

use super::{Stream, socket_path};
use crate::config::ServerAddress;

/// How long one of several addresses of a host may keep the others waiting.
const ATTEMPT: Duration = Duration::from_secs(5);

/// Connects to `address`. A host name is resolved anew each time, and each of its addresses is tried in order.
///
/// # Errors
/// What the resolver said, or what the last address said. The caller bounds the whole.
pub async fn dial(address: &ServerAddress) -> io::Result<Stream> {
    match address {
        ServerAddress::Unix { directory, port } => {
            Ok(Stream::Unix(UnixStream::connect(socket_path(directory, *port)).await?))
        }
        ServerAddress::Tcp { host, port } => {
            let addresses: Vec<SocketAddr> = lookup_host((&**host, *port)).await?.collect();
            Stream::tcp(first_that_answers(&addresses).await?)
        }
    }
}

async fn first_that_answers(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let Some((last, others)) = addresses.split_last() else {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the host name has no address"));
    };
    for address in others {
        if let Ok(Ok(stream)) = timeout(ATTEMPT, TcpStream::connect(address)).await {
            return Ok(stream);
        }
    }
    TcpStream::connect(last).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_that_refuses_does_not_hide_the_next_one() {
        let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let live = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = first_that_answers(&[dead, live.local_addr().unwrap()]).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), live.local_addr().unwrap());
    }

    #[tokio::test]
    async fn a_dialled_connection_sends_small_messages_at_once() {
        let live = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = live.local_addr().unwrap().port();
        let Stream::Tcp(stream) = dial(&ServerAddress::Tcp { host: "127.0.0.1".into(), port }).await.unwrap() else {
            panic!("an IP address is TCP");
        };
        assert!(stream.nodelay().unwrap());
        assert!(socket2::SockRef::from(&stream).keepalive().unwrap());
    }
}
