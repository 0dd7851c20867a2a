//! `ssl` of a connection, with node-postgres's meaning.

use std::sync::Arc;

use super::section::{Section, flag_word};
use crate::config::mistake::Mistakes;
use crate::config::yaml::{Node, Value};
use crate::config::{Environment, SslMode, TlsSettings};

/// The key under which a connection string's libpq mode is handed on; nobody writes it in a file.
pub(super) const LIBPQ_MODE: &str = "\u{0}mode";

const KEYS: &[&str] = &["rejectUnauthorized", "ca", "cert", "key", "servername", "require", LIBPQ_MODE];

/// Reads `connection.ssl`. Without one `PGSSLMODE` decides, as it does for node-postgres; without that one, too,
/// nothing is encrypted.
pub(super) fn tls(connection: &Section<'_>, environment: &Environment, mistakes: &Mistakes) -> Option<TlsSettings> {
    let mode = |mode| Some(TlsSettings { mode, ..TlsSettings::default() });
    let Some(node) = connection.get("ssl") else {
        return mode(match environment.get("PGSSLMODE").map(String::as_str) {
            Some("prefer" | "require" | "verify-ca" | "verify-full") => SslMode::VerifyFull,
            Some("no-verify") => SslMode::Require,
            _ => SslMode::Disable,
        });
    };
    match &node.value {
        Value::Bool(true) => mode(SslMode::VerifyFull),
        Value::Bool(false) => mode(SslMode::Disable),
        Value::Text(text) if text == "no-verify" => mode(SslMode::Require),
        Value::Text(text) => match flag_word(text) {
            Some(true) => mode(SslMode::VerifyFull),
            Some(false) => mode(SslMode::Disable),
            None => {
                connection.expected("ssl", EXPECTED);
                None
            }
        },
        Value::Map(_) => object(&Section::of(node, mistakes)),
        Value::Broken => None,
        _ => {
            connection.expected("ssl", EXPECTED);
            None
        }
    }
}

const EXPECTED: &str = "true, false, no-verify or {rejectUnauthorized, ca, cert, key, servername}";

fn object(ssl: &Section<'_>) -> Option<TlsSettings> {
    for key in ssl.map()?.keys().filter(|key| !KEYS.contains(&key.as_str())) {
        ssl.mistake(key, "cannot be honoured; expected rejectUnauthorized, ca, cert, key or servername");
    }
    // Of Sequelize's making and often copied; node-postgres does not look at it, so it changes nothing here either.
    ssl.flag("require");
    let mode = match (ssl.text(LIBPQ_MODE), ssl.flag("rejectUnauthorized")) {
        (Some("verify-ca"), _) => SslMode::VerifyCa,
        (_, Some(false)) => SslMode::Require,
        _ => SslMode::VerifyFull,
    };
    let settings = TlsSettings {
        mode,
        ca_pem: pem(ssl, "ca"),
        cert_pem: pem(ssl, "cert"),
        key_pem: pem(ssl, "key"),
        server_name: ssl.text("servername").map(Into::into),
    };
    for (present, absent) in [("cert", "key"), ("key", "cert")] {
        if ssl.has(present) && !ssl.has(absent) {
            ssl.missing(absent, format!("both {present} and {absent}, or neither"));
        }
    }
    Some(settings)
}

/// PEM text, or a list of it.
fn pem(ssl: &Section<'_>, key: &str) -> Option<Arc<str>> {
    let node = ssl.get(key)?;
    let parts = match &node.value {
        Value::List(list) => list.as_slice(),
        _ => std::slice::from_ref(node),
    };
    let mut text = String::new();
    for part in parts {
        match &part.value {
            Value::Broken => return None,
            Value::Text(pem) if pem.contains("-----BEGIN ") => text.extend([pem.trim(), "\n"]),
            _ => {
                ssl.mistake(key, wrong_pem(part, key));
                return None;
            }
        }
    }
    Some(text.into())
}

fn wrong_pem(part: &Node, key: &str) -> String {
    match &part.value {
        Value::Text(path) if key != "key" && path.len() < 200 => {
            format!("found {path:?}, expected PEM text; for a file write {key}: {{ $file: path }}")
        }
        _ => format!("not PEM text; for a file write {key}: {{ $file: path }}"),
    }
}
