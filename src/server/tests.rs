//! Logins at a PostgreSQL that behaves, and at ones that do not.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use tokio::time::timeout;

use super::fake_postgres::{Peer, greeting, serve};
use super::{ConnectError, Connected, Connector};
use crate::auth::Salts;
use crate::config::{AuthMethod, Login, Password, SecretText, ServerAddress, ServerEndpoint, TlsSettings};
use crate::metrics::Metrics;
use crate::protocol::message::{Report, Severity, frame};
use crate::secret::Secrets;

fn connector(address: ServerAddress, password: Option<&str>) -> Connector {
    let endpoint = ServerEndpoint { address, tls: TlsSettings::default() };
    let password = password.map(|text| Password::Text(SecretText::fixed(text)));
    let login = Login { user: "backstage".into(), password, client_password: None };
    Connector::new(endpoint, &login, &Secrets::new(Metrics::new(1))).unwrap()
}

async fn connect(connector: &Connector) -> Result<Connected, ConnectError> {
    let connecting = connector.connect("shared", &[("client_encoding", "UTF8")]);
    timeout(Duration::from_secs(10), connecting).await.expect("the fake answers at once")
}

/// Takes the startup message, says `bytes`, and waits for the other side to leave.
async fn say(bytes: Vec<u8>) -> ServerAddress {
    let script = move |mut peer: Peer| {
        let bytes = bytes.clone();
        async move {
            peer.startup().await;
            peer.send(&bytes).await;
            while peer.message().await.tag != 0 {}
        }
    };
    serve(script).await
}

fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    frame(&mut out, tag, |out| out.extend_from_slice(body));
    out
}

#[tokio::test]
async fn every_method_of_login_works_with_the_password_and_only_with_it() {
    let credentials = Arc::new(Salts::default().credentials("backstage", Some(&"secret".into())));
    for method in [AuthMethod::ScramSha256, AuthMethod::Md5, AuthMethod::Trust] {
        let credentials = credentials.clone();
        let address = serve(move |peer: Peer| {
            let credentials = credentials.clone();
            async move { peer.log_in(method, &credentials).await }
        })
        .await;
        let connected = connect(&connector(address.clone(), Some("secret"))).await.unwrap();
        assert_eq!((connected.pid, &connected.secret[..]), (4711, &b"key!"[..]));
        assert_eq!(connected.parameters[1], ("TimeZone".into(), "Etc/UTC".into()));
        assert_eq!(connected.leftover, BytesMut::new());
        let wrong = connect(&connector(address.clone(), Some("wrong"))).await;
        let none = connect(&connector(address, None)).await;
        if method == AuthMethod::Trust {
            assert!(wrong.is_ok() && none.is_ok());
        } else {
            assert!(matches!(wrong, Err(ConnectError::Lost(_))), "{wrong:?}");
            assert!(none.unwrap_err().to_string().contains("backend.database.connection.password"));
        }
    }
}

#[tokio::test]
async fn the_startup_message_names_user_database_and_settings() {
    let (tell, told) = std::sync::mpsc::channel();
    let address = serve(move |mut peer: Peer| {
        let tell = tell.clone();
        async move {
            tell.send(peer.startup().await).unwrap();
            peer.send(&greeting()).await;
        }
    })
    .await;
    connect(&connector(address, None)).await.unwrap();
    assert_eq!(told.recv().unwrap(), &b"\0\x03\0\0user\0backstage\0database\0shared\0client_encoding\0UTF8\0\0"[..]);
}

#[tokio::test]
async fn a_clear_password_is_sent_when_that_is_what_is_asked_for() {
    let address = serve(|mut peer: Peer| async move {
        peer.startup().await;
        peer.send(&message(b'R', &[0, 0, 0, 3])).await;
        if peer.message().await.body == b"secret\0"[..] {
            peer.send(&greeting()).await;
        }
    })
    .await;
    connect(&connector(address.clone(), Some("secret"))).await.unwrap();
    assert!(connect(&connector(address, Some("wrong"))).await.is_err());
}

/// Asks for the password in clear, tells it, and refuses it as long as `refuses` says so.
async fn serve_refusing(code: &'static str, refuses: impl Fn(&str) -> bool + Send + Sync + 'static) -> Told {
    let (tell, told) = std::sync::mpsc::channel();
    let refuses = Arc::new(refuses);
    let address = serve(move |mut peer: Peer| {
        let (tell, refuses) = (tell.clone(), Arc::clone(&refuses));
        async move {
            peer.startup().await;
            peer.send(&message(b'R', &[0, 0, 0, 3])).await;
            let body = peer.message().await.body;
            let password = String::from_utf8_lossy(&body).trim_end_matches('\0').to_owned();
            let mut answer = Vec::new();
            match refuses(&password) {
                true => Report::new(Severity::Fatal, code, "no way in").write(&mut answer),
                false => answer = greeting(),
            }
            tell.send(password).unwrap();
            peer.send(&answer).await;
        }
    })
    .await;
    Told { address, told }
}

/// A server, and the passwords that it was told.
struct Told {
    address: ServerAddress,
    told: std::sync::mpsc::Receiver<String>,
}

impl Told {
    fn passwords(&self) -> Vec<String> {
        self.told.try_iter().collect()
    }

    /// A connector whose password is in a file.
    fn connector(&self, file: &std::path::Path) -> Connector {
        let endpoint = ServerEndpoint { address: self.address.clone(), tls: TlsSettings::default() };
        let password = SecretText { text: "never read".into(), file: Some(file.into()) };
        let login = Login { user: "backstage".into(), password: Some(Password::Text(password)), client_password: None };
        Connector::new(endpoint, &login, &Secrets::new(Metrics::new(1))).unwrap()
    }
}

#[tokio::test]
async fn a_refused_password_is_tried_once_more_with_another_one() {
    for code in ["28P01", "28000"] {
        let directory = tempfile::tempdir().unwrap();
        let (file, right) = (directory.path().join("pw"), Arc::new(parking_lot::Mutex::new("old")));
        let (now, path) = (Arc::clone(&right), file.clone());
        let server = serve_refusing(code, move |password| {
            // The file is changed while the old one is on its way.
            if *now.lock() == "newer" {
                std::fs::write(&path, "newer").unwrap();
            }
            password != *now.lock()
        })
        .await;
        let connector = server.connector(&file);
        std::fs::write(&file, "old").unwrap();
        connect(&connector).await.unwrap();
        assert_eq!(server.passwords(), ["old"]);
        *right.lock() = "newer";
        connect(&connector).await.unwrap();
        assert_eq!(server.passwords(), ["old", "newer"], "what the file says by now");
        std::fs::write(&file, "newest").unwrap();
        *right.lock() = "none";
        assert!(matches!(connect(&connector).await, Err(ConnectError::Refused { code: told, .. }) if told == code));
        assert_eq!(server.passwords(), ["newest", "newer", "newest"], "the one before, and that is all");
    }
}

#[tokio::test]
async fn a_role_that_gets_its_password_between_two_tries_is_no_refusal() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pw");
    let refused = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = Arc::clone(&refused);
    let server = serve_refusing("28P01", move |password| {
        // The role has the old password at the first try, and the new one from the second on.
        let tries = |count: &std::sync::atomic::AtomicUsize| count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        (password == "old") == (tries(&count) >= 2)
    })
    .await;
    let connector = server.connector(&file);
    std::fs::write(&file, "old").unwrap();
    connect(&connector).await.unwrap();
    std::fs::write(&file, "new").unwrap();
    connect(&connector).await.unwrap();
    assert_eq!(server.passwords(), ["old", "new", "old", "new"]);
}

#[tokio::test]
async fn another_error_is_no_reason_to_try_another_password() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pw");
    let path = file.clone();
    let server = serve_refusing("53300", move |_| {
        std::fs::write(&path, "new").unwrap();
        true
    })
    .await;
    std::fs::write(&file, "old").unwrap();
    assert!(connect(&server.connector(&file)).await.is_err());
    assert_eq!(server.passwords(), ["old"]);
}

#[tokio::test]
async fn keys_are_derived_once_and_again_when_the_password_is_set_anew() {
    let salts = Arc::new(parking_lot::Mutex::new(Salts::default()));
    let (now, salts) = (salts.clone(), salts);
    let address = serve(move |peer: Peer| {
        let credentials = now.lock().credentials("backstage", Some(&"secret".into()));
        async move { peer.log_in(AuthMethod::ScramSha256, &credentials).await }
    })
    .await;
    let connector = connector(address, Some("secret"));
    connect(&connector).await.unwrap();
    let first = connector.keys.salt();
    connect(&connector).await.unwrap();
    assert_eq!(connector.keys.salt(), first);
    *salts.lock() = Salts::default();
    connect(&connector).await.unwrap();
    assert_ne!(connector.keys.salt(), first);
}

#[tokio::test]
async fn postgresqls_own_error_is_kept_whole_behind_notices() {
    let mut said = message(b'N', b"SNOTICE\0Mlook\0\0");
    let mut error = Vec::new();
    Report::new(Severity::Fatal, "3D000", "database \"shared\" does not exist").hint("create it").write(&mut error);
    said.extend_from_slice(&error);
    let refused = connect(&connector(say(said).await, None)).await.unwrap_err();
    let ConnectError::Refused { code, message, frame_body } = refused else { panic!("{refused}") };
    assert_eq!((&*code, &*message), ("3D000", "database \"shared\" does not exist"));
    assert_eq!(frame_body, error[5..]);
}

#[tokio::test]
async fn a_postmaster_that_cannot_fork_is_understood() {
    let said = b"Ecould not fork new process for connection: Cannot allocate memory\n\0".to_vec();
    let refused = connect(&connector(say(said).await, None)).await.unwrap_err();
    assert!(refused.to_string().ends_with("connection: Cannot allocate memory"), "{refused}");
}

#[tokio::test]
async fn a_server_that_breaks_the_protocol_is_an_error_at_once() {
    let begin = Instant::now();
    let cut = greeting().len() - 6;
    let broken = [
        message(b'R', &[0, 0]),
        message(b'R', &[0, 0, 0, 5, 1]),
        message(b'R', &[0, 0, 0, 7]),
        message(b'R', &[0, 0, 0, 10, b'X', 0, 0]),
        message(b'R', b"\0\0\0\x0aSCRAM-SHA-256-PLUS\0\0"),
        [message(b'R', b"\0\0\0\x0aSCRAM-SHA-256\0\0"), message(b'R', &[0; 4])].concat(),
        [message(b'R', b"\0\0\0\x0aSCRAM-SHA-256\0\0"), message(b'R', b"\0\0\0\x0br=other,s=AAAA,i=1")].concat(),
        [message(b'R', &[0, 0, 0, 3]), message(b'R', &[0, 0, 0, 3])].concat(),
        [message(b'R', &[0; 4]), message(b'Z', b"I")].concat(),
        [message(b'R', &[0; 4]), message(b'K', b"\0\0\0\x01abc"), message(b'Z', b"I")].concat(),
        [message(b'R', &[0; 4]), message(b'S', b"name\0value")].concat(),
        [greeting()[..cut].to_vec(), message(b'Z', b"T")].concat(),
        message(b'R', &[0; 4]).into_iter().chain(message(b'S', b"a\0b\0").repeat(1001)).collect(),
        b"R\0\0\0\x03".to_vec(),
        b"R\x7f\0\0\0".to_vec(),
        b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
    ];
    for said in broken {
        let shown = said[..said.len().min(40)].escape_ascii().to_string();
        let outcome = connect(&connector(say(said).await, Some("secret"))).await;
        assert!(!matches!(outcome, Ok(_) | Err(ConnectError::Lost(_))), "{shown}: {outcome:?}");
    }
    assert!(begin.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn a_server_that_closes_in_mid_message_is_lost() {
    let cut = serve(|mut peer: Peer| async move {
        peer.startup().await;
        peer.send(&greeting()[..20]).await;
    })
    .await;
    assert!(matches!(connect(&connector(cut, None)).await, Err(ConnectError::Lost(_))));
}

#[tokio::test]
async fn what_follows_the_greeting_is_not_lost() {
    let address = say([greeting(), message(b'A', b"\0\0\0\x01a\0b\0")].concat()).await;
    assert_eq!(connect(&connector(address, None)).await.unwrap().leftover, &b"A\0\0\0\x0c\0\0\0\x01a\0b\0"[..]);
}

#[tokio::test]
async fn a_cancel_request_bears_the_key_and_waits_for_the_end() {
    let (tell, told) = std::sync::mpsc::channel();
    let address = serve(move |mut peer: Peer| {
        let tell = tell.clone();
        async move {
            let body = peer.startup().await;
            tokio::time::sleep(Duration::from_millis(50)).await;
            tell.send(body).unwrap();
        }
    })
    .await;
    connector(address, None).send_cancel(4711, b"key!").await.unwrap();
    assert_eq!(told.try_recv().unwrap(), &b"\x04\xd2\x16\x2e\0\0\x12\x67key!"[..]);
}
