//! A cancel over every kind of connection, on either side of greenroom: it is as well protected as the query that it ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::harness::frames::{GSSENC_REQUEST, SSL_REQUEST, cancel_request, query, request};
use crate::harness::{Greenroom, Log, RawClient, Stage, codes, eventually, rows};

use super::sleepers;

const SLEEP: &str = "select pg_sleep(60)";

/// Stands before PostgreSQL, and writes down what each connection said first.
struct Tap {
    port: u16,
    begun: Arc<Mutex<Vec<Vec<u8>>>>,
    /// New connections are told that there is no TLS.
    denies_tls: Arc<AtomicBool>,
    accepting: JoinHandle<()>,
}

impl Tap {
    async fn before(postgres: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("a bound listener has an address").port();
        let (begun, denies_tls) = (Arc::<Mutex<Vec<Vec<u8>>>>::default(), Arc::<AtomicBool>::default());
        let (notes, denies) = (Arc::clone(&begun), Arc::clone(&denies_tls));
        let accepting = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (notes, denies) = (Arc::clone(&notes), denies.load(Ordering::Relaxed));
                // How a connection ends is the business of its two ends.
                connections.spawn(async move { drop(tapped(stream, postgres, &notes, denies).await) });
            }
        });
        Self { port, begun, denies_tls, accepting }
    }

    /// What the connections since the last call said first.
    fn take(&self) -> Vec<Vec<u8>> {
        std::mem::take(&mut *self.begun.lock())
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Carries one connection, and writes down its first two messages, or as much of the second as comes at once.
async fn tapped(
    mut client: TcpStream,
    postgres: u16,
    notes: &Mutex<Vec<Vec<u8>>>,
    denies: bool,
) -> std::io::Result<()> {
    let mut begun = vec![0; 8];
    client.read_exact(&mut begun).await?;
    let mut server = TcpStream::connect(("127.0.0.1", postgres)).await?;
    server.write_all(&begun).await?;
    let answer = server.read_u8().await?;
    client.write_u8(if denies { b'N' } else { answer }).await?;
    let mut more = vec![0; 4096];
    let len = client.read(&mut more).await?;
    notes.lock().push([&begun, &more[..len]].concat());
    server.write_all(&more[..len]).await?;
    tokio::io::copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}

#[tokio::test]
async fn a_cancel_is_encrypted_as_the_servers_are_and_is_not_sent_where_it_cannot_be() {
    let (log, stage) = (Log::begin(), Stage::encrypted().await);
    let tap = Tap::before(stage.postgres().port()).await;
    let room = Greenroom::start()
        .on(stage)
        .set("backend.database.connection.port", tap.port)
        .set("backend.database.connection.ssl", json!({ "rejectUnauthorized": false }))
        .await;
    let mut client = room.raw("catalog").await;
    assert_eq!(rows(&client.run("select ssl from pg_stat_ssl where pid = pg_backend_pid()").await), ["t"]);
    client.send(&[query(SLEEP)]).await;
    sleepers(&room, 1).await;

    tap.take();
    tap.denies_tls.store(true, Ordering::Relaxed);
    RawClient::cancel(room.address(), &client.key()).await;
    assert_eq!(log.lines(&["WARN", "cancel request did not reach PostgreSQL"]).len(), 1);
    let mut said = Vec::new();
    eventually("that connection ends", async || {
        said.extend(tap.take());
        !said.is_empty()
    })
    .await;
    assert_eq!(said, [request(SSL_REQUEST)], "not a byte in clear");
    sleepers(&room, 1).await;

    tap.denies_tls.store(false, Ordering::Relaxed);
    RawClient::cancel(room.address(), &client.key()).await;
    assert_eq!(codes(&client.until(b'Z', 1).await), ["57014"]);
    let said = tap.take();
    let [only] = &said[..] else { panic!("one connection for one cancel: {said:?}") };
    let (asked, then) = only.split_at(8);
    assert_eq!((asked, then[0]), (&request(SSL_REQUEST)[..], 0x16), "a handshake of TLS is next");
    assert_eq!(rows(&client.run("select 1").await), ["1"]);
}

#[tokio::test]
async fn a_cancel_takes_postgresqls_unix_socket_where_the_servers_do() {
    let stage = Stage::shared().await;
    let directory = stage.postgres().socket_dir().display().to_string();
    let room = Greenroom::start().on(stage).unix().set("backend.database.connection.host", directory).await;
    let mut client = RawClient::log_in(room.socket(), &room.startup("catalog")).await;
    assert_eq!(rows(&client.run("select inet_client_addr() is null").await), ["t"]);
    for address in [room.address(), room.socket()] {
        client.send(&[query(SLEEP)]).await;
        sleepers(&room, 1).await;
        RawClient::cancel(address, &client.key()).await;
        assert_eq!(codes(&client.until(b'Z', 1).await), ["57014"]);
    }
}

#[tokio::test]
async fn a_cancel_that_asks_for_encryption_first_is_heard_without_it() {
    let room = Greenroom::start().await;
    let mut client = room.raw("catalog").await;
    client.send(&[query(SLEEP)]).await;
    sleepers(&room, 1).await;
    let mut canceller = RawClient::connect(room.address()).await;
    for code in [GSSENC_REQUEST, SSL_REQUEST] {
        canceller.send_bytes(&request(code)).await;
        assert_eq!(canceller.byte().await, Some(b'N'));
    }
    let (pid, secret) = client.key();
    canceller.send_bytes(&cancel_request(pid, &secret)).await;
    assert!(canceller.until_closed().await.is_empty());
    assert_eq!(codes(&client.until(b'Z', 1).await), ["57014"]);
}

#[tokio::test]
async fn a_client_that_does_not_wait_for_its_cancel_has_it_done_all_the_same() {
    let room = Greenroom::start().await;
    let mut client = room.raw("catalog").await;
    for _ in 0..3 {
        client.send(&[query(SLEEP)]).await;
        sleepers(&room, 1).await;
        let (pid, secret) = client.key();
        let mut hasty = RawClient::connect(room.address()).await;
        hasty.send_bytes(&cancel_request(pid, &secret)).await;
        drop(hasty);
        assert_eq!(codes(&client.until(b'Z', 1).await), ["57014"]);
    }
}
