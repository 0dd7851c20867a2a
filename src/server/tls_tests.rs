//! TLS towards PostgreSQL, mode by mode: what is asked for is had, or there is no connection.

use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedKey, IsCa, Issuer, KeyPair, date_time_ymd};
use tokio::time::timeout;

use super::fake_postgres::{Peer, acceptor, greeting, serve};
use super::{ConnectError, Connector};
use crate::auth::Salts;
use crate::config::{AuthMethod, Login, Password, SecretText, ServerAddress, ServerEndpoint, SslMode, TlsSettings};
use crate::metrics::Metrics;
use crate::net::TlsError;
use crate::protocol::message::{Report, Severity};
use crate::secret::Secrets;

/// As `openssl req -x509` makes it: self-signed, and marked as a CA.
fn self_signed(name: &str) -> CertifiedKey<KeyPair> {
    self_signed_until(name, 2100)
}

fn self_signed_until(name: &str, year: i32) -> CertifiedKey<KeyPair> {
    let signing_key = KeyPair::generate().unwrap();
    let cert = ca_params(name, year).self_signed(&signing_key).unwrap();
    CertifiedKey { cert, signing_key }
}

fn ca_params(name: &str, year: i32) -> CertificateParams {
    let mut params = CertificateParams::new(vec![name.into()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.not_after = date_time_ymd(year, 1, 1);
    params
}

fn signed_by(ca: &CertifiedKey<KeyPair>, name: &str) -> CertifiedKey<KeyPair> {
    let params = ca_params("ca", 2100);
    let issuer = Issuer::from_params(&params, &ca.signing_key);
    let signing_key = KeyPair::generate().unwrap();
    let cert = CertificateParams::new(vec![name.into()]).unwrap().signed_by(&signing_key, &issuer).unwrap();
    CertifiedKey { cert, signing_key }
}

fn settings(mode: SslMode, ca: Option<&CertifiedKey<KeyPair>>) -> TlsSettings {
    TlsSettings { mode, ca_pem: ca.map(|ca| ca.cert.pem().into()), ..TlsSettings::default() }
}

/// A PostgreSQL with TLS and this certificate, where everybody may log in with "secret".
async fn with_certificate(shown: &CertifiedKey<KeyPair>) -> ServerAddress {
    let acceptor = acceptor(shown);
    let script = move |peer: Peer| {
        let acceptor = acceptor.clone();
        async move {
            let credentials = Salts::default().credentials("backstage", Some(&"secret".into()));
            if let Some(peer) = peer.encrypt(&acceptor).await {
                peer.log_in(AuthMethod::ScramSha256, &credentials).await;
            }
        }
    };
    serve(script).await
}

/// A PostgreSQL that answers an SSLRequest with `answer`, and greets whoever goes on in clear.
async fn that_answers(answer: Vec<u8>) -> ServerAddress {
    let script = move |mut peer: Peer| {
        let answer = answer.clone();
        async move {
            peer.startup().await;
            peer.send(&answer).await;
            if !peer.startup().await.is_empty() {
                peer.send(&greeting()).await;
            }
        }
    };
    serve(script).await
}

/// Whether the connection came about, and encrypted.
async fn encrypted(address: &ServerAddress, tls: TlsSettings) -> Result<bool, ConnectError> {
    let endpoint = ServerEndpoint { address: address.clone(), tls };
    let password = Some(Password::Text(SecretText::fixed("secret")));
    let login = Login { user: "backstage".into(), password, client_password: None };
    let connector = Connector::new(endpoint, &login, &Secrets::new(Metrics::new(1))).unwrap();
    let connecting = connector.connect("shared", &[]);
    let connected = timeout(Duration::from_secs(10), connecting).await.expect("the fake answers at once")?;
    Ok(connected.stream.is_encrypted())
}

#[tokio::test]
async fn without_verification_any_certificate_encrypts() {
    let address = with_certificate(&self_signed("elsewhere")).await;
    for mode in [SslMode::Prefer, SslMode::Require] {
        assert!(encrypted(&address, settings(mode, None)).await.unwrap());
    }
}

#[tokio::test]
async fn a_certificate_is_held_to_its_ca_and_its_name() {
    use SslMode::{VerifyCa, VerifyFull};
    let (ca, other) = (self_signed("ca"), self_signed("ca"));
    let (right, elsewhere) = (signed_by(&ca, "127.0.0.1"), signed_by(&ca, "elsewhere"));
    let (right, elsewhere) = (with_certificate(&right).await, with_certificate(&elsewhere).await);
    assert!(encrypted(&right, settings(VerifyFull, Some(&ca))).await.unwrap());
    assert!(encrypted(&elsewhere, settings(VerifyCa, Some(&ca))).await.unwrap());
    let wrong_name = encrypted(&elsewhere, settings(VerifyFull, Some(&ca))).await;
    assert!(matches!(wrong_name, Err(ConnectError::Tls { .. })), "{wrong_name:?}");
    for mode in [VerifyCa, VerifyFull] {
        let stranger = encrypted(&right, settings(mode, Some(&other))).await;
        assert!(matches!(stranger, Err(ConnectError::Tls { .. })), "{stranger:?}");
    }
    let named = TlsSettings { server_name: Some("elsewhere".into()), ..settings(VerifyFull, Some(&ca)) };
    assert!(encrypted(&elsewhere, named).await.unwrap());
}

#[tokio::test]
async fn a_self_signed_certificate_is_its_own_ca() {
    use SslMode::{VerifyCa, VerifyFull};
    let own = self_signed("127.0.0.1");
    let address = with_certificate(&own).await;
    assert!(encrypted(&address, settings(VerifyFull, Some(&own))).await.unwrap());
    let elsewhere = self_signed("elsewhere");
    let address = with_certificate(&elsewhere).await;
    assert!(encrypted(&address, settings(VerifyCa, Some(&elsewhere))).await.unwrap());
    assert!(encrypted(&address, settings(VerifyFull, Some(&elsewhere))).await.is_err(), "its name is another");
}

#[tokio::test]
async fn a_trusted_certificate_shown_by_one_without_its_key_is_refused() {
    let own = self_signed("127.0.0.1");
    let thief = CertifiedKey { cert: own.cert.clone(), signing_key: KeyPair::generate().unwrap() };
    let address = with_certificate(&thief).await;
    for mode in [SslMode::Require, SslMode::VerifyFull] {
        let refused = encrypted(&address, settings(mode, Some(&own))).await;
        assert!(matches!(refused, Err(ConnectError::Tls { .. })), "{refused:?}");
    }
}

#[tokio::test]
async fn an_expired_certificate_is_refused_even_as_its_own_ca() {
    let own = self_signed_until("127.0.0.1", 2001);
    let address = with_certificate(&own).await;
    let expired = encrypted(&address, settings(SslMode::VerifyCa, Some(&own))).await;
    assert!(matches!(expired, Err(ConnectError::Tls { .. })), "{expired:?}");
}

#[tokio::test]
async fn a_server_without_tls_is_used_in_clear_only_when_tls_was_a_wish() {
    let address = that_answers(b"N".to_vec()).await;
    assert!(!encrypted(&address, settings(SslMode::Prefer, None)).await.unwrap());
    for mode in [SslMode::Require, SslMode::VerifyCa, SslMode::VerifyFull] {
        let refused = encrypted(&address, settings(mode, Some(&self_signed("ca")))).await.unwrap_err();
        assert!(matches!(refused, ConnectError::NoTls { .. }), "{refused}");
        assert!(refused.to_string().contains("backend.database.connection.ssl"), "{refused}");
    }
}

#[tokio::test]
async fn bytes_behind_the_answer_to_an_ssl_request_end_it() {
    for answer in [[b"S".to_vec(), greeting()].concat(), [b"N".to_vec(), greeting()].concat(), b"X".to_vec()] {
        let refused = encrypted(&that_answers(answer).await, settings(SslMode::Prefer, None)).await.unwrap_err();
        assert!(matches!(refused, ConnectError::Protocol(_)), "{refused}");
    }
}

#[tokio::test]
async fn an_error_instead_of_an_answer_is_that_error() {
    let mut error = Vec::new();
    Report::new(Severity::Fatal, "53300", "sorry, too many clients already").write(&mut error);
    let refused = encrypted(&that_answers(error).await, settings(SslMode::Require, None)).await.unwrap_err();
    assert!(matches!(refused, ConnectError::Refused { code, .. } if code == "53300"));
}

#[test]
fn tls_that_a_unix_socket_cannot_have_is_refused_in_time() {
    let address = ServerAddress::Unix { directory: "/run/postgresql".into(), port: 5432 };
    let login = Login { user: "backstage".into(), password: None, client_password: None };
    let secrets = Secrets::new(Metrics::new(1));
    let endpoint = |mode| ServerEndpoint { address: address.clone(), tls: settings(mode, None) };
    assert!(Connector::new(endpoint(SslMode::Prefer), &login, &secrets).is_ok());
    let refused = Connector::new(endpoint(SslMode::Require), &login, &secrets);
    assert!(matches!(refused, Err(TlsError::UnixSocket { .. })));
}
