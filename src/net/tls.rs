//! The TLS settings of one server, prepared once and used for each connection to it.

use std::fs;
use std::io;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};

use super::Stream;
use super::verifier::ServerVerifier;
use crate::config::{SslMode, TlsSettings};

/// Where distributions keep the certificates that the system trusts: Debian and Alpine, RHEL, SUSE, others.
const SYSTEM_BUNDLES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Which TLS setting cannot be honoured, and why.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The text holds no certificate, or a broken one.
    #[error("backend.database.connection.ssl.{key}: {reason}")]
    Setting {
        /// `ca`, `cert`, `key` or `servername`.
        key: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// Certificates are to be checked against the system's, and there are none.
    #[error("backend.database.connection.ssl.ca: not set, and the system has no certificates in {SYSTEM_BUNDLES:?}")]
    NoSystemCertificates,
    /// PostgreSQL speaks no TLS over Unix sockets.
    #[error("backend.database.connection.ssl: asks for TLS, which there is none of over the unix socket {address}")]
    UnixSocket {
        /// The server's address.
        address: String,
    },
    /// The cryptography refused the settings.
    #[error("backend.database.connection.ssl: cannot be used")]
    Rustls(#[from] rustls::Error),
}

/// TLS towards one server, as its settings say.
#[derive(Clone)]
pub struct TlsConnector {
    mode: SslMode,
    config: Arc<ClientConfig>,
    server_name: Option<ServerName<'static>>,
}

impl TlsConnector {
    /// Reads certificates and key; `None` if the settings ask for no TLS.
    ///
    /// # Errors
    /// A setting that cannot be honoured, by its name.
    pub fn new(settings: &TlsSettings) -> Result<Option<Self>, TlsError> {
        if settings.mode == SslMode::Disable {
            return Ok(None);
        }
        // Named here and never taken from the process, so that nobody else's choice can change it.
        let provider = Arc::new(ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier(settings, &provider)?));
        let mut config = match identity(settings)? {
            Some((chain, key)) => config
                .with_client_auth_cert(chain, key)
                .map_err(|error| wrong("key", format!("does not fit ssl.cert: {error}")))?,
            None => config.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"postgresql".to_vec()];
        let server_name = settings.server_name.as_deref().map(|name| {
            ServerName::try_from(name.to_owned()).map_err(|_| wrong("servername", format!("{name:?} is no host name")))
        });
        Ok(Some(Self { mode: settings.mode, config: Arc::new(config), server_name: server_name.transpose()? }))
    }

    /// How strict it is; never [`SslMode::Disable`].
    pub fn mode(&self) -> SslMode {
        self.mode
    }

    /// Makes `stream`, which leads to `host`, an encrypted one.
    ///
    /// # Errors
    /// A handshake that failed, a certificate that does not satisfy the mode, a stream that is not TCP.
    pub async fn secure(&self, stream: Stream, host: &str) -> io::Result<Stream> {
        let Stream::Tcp(stream) = stream else {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "TLS goes over TCP only"));
        };
        let name = match &self.server_name {
            Some(name) => name.clone(),
            None => ServerName::try_from(host.to_owned()).map_err(|_| {
                io::Error::new(io::ErrorKind::InvalidInput, format!("{host:?} is no host name for TLS"))
            })?,
        };
        let connector = tokio_rustls::TlsConnector::from(self.config.clone());
        Ok(Stream::Tls(Box::new(connector.connect(name, stream).await?)))
    }
}

fn verifier(settings: &TlsSettings, provider: &CryptoProvider) -> Result<ServerVerifier, TlsError> {
    let algorithms = provider.signature_verification_algorithms;
    match settings.mode {
        SslMode::Disable | SslMode::Prefer | SslMode::Require => Ok(ServerVerifier::unchecked(algorithms)),
        SslMode::VerifyCa | SslMode::VerifyFull => {
            let trusted = match &settings.ca_pem {
                Some(pem) => certificates("ca", pem.as_bytes())?,
                None => system_certificates()?,
            };
            ServerVerifier::checked(trusted, settings.mode == SslMode::VerifyFull, algorithms)
                .map_err(|error| wrong("ca", format!("holds a certificate that cannot be used: {error}")))
        }
    }
}

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn identity(settings: &TlsSettings) -> Result<Option<Identity>, TlsError> {
    match (&settings.cert_pem, &settings.key_pem) {
        (None, None) => Ok(None),
        (Some(_), None) => Err(wrong("key", "missing, and ssl.cert is set".into())),
        (None, Some(_)) => Err(wrong("cert", "missing, and ssl.key is set".into())),
        (Some(cert), Some(key)) => {
            let chain = certificates("cert", cert.as_bytes())?;
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes())
                .map_err(|error| wrong("key", format!("holds no unencrypted private key in PEM: {error}")))?;
            Ok(Some((chain, key)))
        }
    }
}

fn certificates(key: &'static str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| wrong(key, format!("is not PEM: {error}")))?;
    if found.is_empty() {
        return Err(wrong(key, "holds no certificate in PEM".into()));
    }
    Ok(found)
}

fn system_certificates() -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bundle = SYSTEM_BUNDLES.iter().find_map(|path| fs::read(path).ok()).ok_or(TlsError::NoSystemCertificates)?;
    // A distribution's bundle may hold a few that are too odd for webpki; they are no reason to trust none.
    let usable = |certificate: &CertificateDer<'static>| RootCertStore::empty().add(certificate.clone()).is_ok();
    Ok(certificates("ca", &bundle)?.into_iter().filter(usable).collect())
}

fn wrong(key: &'static str, reason: String) -> TlsError {
    TlsError::Setting { key, reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::generate_simple_self_signed;

    fn refusal(settings: TlsSettings) -> String {
        TlsConnector::new(&settings).err().expect("these settings cannot be honoured").to_string()
    }

    #[test]
    fn no_tls_asked_for_is_no_connector() {
        assert!(TlsConnector::new(&TlsSettings::default()).unwrap().is_none());
    }

    #[test]
    fn a_setting_that_cannot_be_honoured_is_named() {
        let mode = SslMode::VerifyFull;
        let pem: Arc<str> = generate_simple_self_signed(["localhost".into()]).unwrap().cert.pem().into();
        let other = generate_simple_self_signed(["localhost".into()]).unwrap().signing_key.serialize_pem();
        let ca_pem = Some(pem.clone());
        let ca = refusal(TlsSettings { mode, ca_pem: Some("no certificate".into()), ..TlsSettings::default() });
        assert_eq!(ca, "backend.database.connection.ssl.ca: holds no certificate in PEM");
        let key =
            refusal(TlsSettings { mode, ca_pem: ca_pem.clone(), cert_pem: ca_pem.clone(), ..TlsSettings::default() });
        assert_eq!(key, "backend.database.connection.ssl.key: missing, and ssl.cert is set");
        let (cert_pem, key_pem) = (ca_pem.clone(), Some(other.into()));
        let mismatch = refusal(TlsSettings { mode, ca_pem: ca_pem.clone(), cert_pem, key_pem, server_name: None });
        assert!(mismatch.starts_with("backend.database.connection.ssl.key: does not fit"), "{mismatch}");
        let server_name = Some("not a name".into());
        let name = refusal(TlsSettings { mode, ca_pem, server_name, ..TlsSettings::default() });
        assert!(name.starts_with("backend.database.connection.ssl.servername"), "{name}");
    }
}
