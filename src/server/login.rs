//! From a connected socket to the first ReadyForQuery: startup message, authentication, the server's greeting.

use bytes::{Buf, Bytes};
use postgres_protocol::authentication::md5_hash;
use secrecy::{ExposeSecret, SecretString};

use super::ConnectError;
use super::sasl::{self, KeyCache};
use super::wire::Wire;
use crate::protocol::message::{frame, put_str};
use crate::protocol::tag::{Backend, Frontend, TxStatus};
use crate::protocol::{Frame, body};

/// Protocol version 3.0.
const PROTOCOL: u32 = 3 << 16;

/// PostgreSQL reports about fifteen settings; a server that never stops must not fill the memory.
const MAX_PARAMETERS: usize = 1000;

/// Who logs in, and how it is proven.
#[derive(Clone, Copy)]
pub(super) struct Identity<'a> {
    pub(super) user: &'a str,
    /// The password, if there is one.
    pub(super) password: Option<&'a SecretString>,
    /// Keys of earlier logins.
    pub(super) keys: &'a KeyCache,
}

/// What a server tells between its AuthenticationOk and its first ReadyForQuery.
pub(super) struct Greeting {
    pub(super) parameters: Vec<(Bytes, Bytes)>,
    pub(super) pid: i32,
    pub(super) secret: Bytes,
}

/// Logs in to `database`.
pub(super) async fn log_in(
    identity: Identity<'_>,
    wire: &mut Wire,
    database: &str,
    startup: &[(&str, &str)],
) -> Result<Greeting, ConnectError> {
    wire.send(&startup_message(identity.user, database, startup)).await?;
    authenticate(identity, wire).await?;
    greeting(wire).await
}

fn startup_message(user: &str, database: &str, startup: &[(&str, &str)]) -> Vec<u8> {
    let mut out = vec![0; 4];
    out.extend_from_slice(&PROTOCOL.to_be_bytes());
    for (name, value) in [("user", user), ("database", database)].iter().chain(startup) {
        put_str(&mut out, name.as_bytes());
        put_str(&mut out, value.as_bytes());
    }
    out.push(0);
    let len = u32::try_from(out.len()).expect("names and settings are short");
    out[..4].copy_from_slice(&len.to_be_bytes());
    out
}

async fn authenticate(identity: Identity<'_>, wire: &mut Wire) -> Result<(), ConnectError> {
    let (kind, data) = request(wire).await?;
    // Now that the server asks for it.
    let password = || identity.password.ok_or(ConnectError::NoPassword);
    match kind {
        AUTHENTICATION_OK => return Ok(()),
        3 => {
            let password = password()?.expose_secret();
            wire.send(&password_message(|out| put_str(out, password.as_bytes()))).await?;
        }
        5 => {
            let salt = data[..].try_into().map_err(|_| ConnectError::Protocol("an MD5 salt is four bytes"))?;
            let answer = md5_hash(identity.user.as_bytes(), password()?.expose_secret().as_bytes(), salt);
            wire.send(&password_message(|out| put_str(out, answer.as_bytes()))).await?;
        }
        10 => sasl::authenticate(identity.keys, password()?, wire, &data).await?,
        other => return Err(ConnectError::Unsupported(name_of(other))),
    }
    match request(wire).await? {
        (AUTHENTICATION_OK, _) => Ok(()),
        _ => Err(ConnectError::Protocol("it asked for a second proof")),
    }
}

const AUTHENTICATION_OK: u32 = 0;

/// The next authentication request: its kind, and what comes with it.
pub(super) async fn request(wire: &mut Wire) -> Result<(u32, Bytes), ConnectError> {
    let Frame { tag, mut body } = wire.message().await?;
    if Backend(tag) != Backend::AUTHENTICATION {
        return Err(ConnectError::Protocol("another message stands where an authentication request should"));
    }
    let kind = body.try_get_u32().map_err(|_| ConnectError::Protocol("an authentication request has no kind"))?;
    Ok((kind, body))
}

/// A message that answers an authentication request.
pub(super) fn password_message(body: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::with_capacity(128);
    frame(&mut out, Frontend::PASSWORD.0, body);
    out
}

fn name_of(kind: u32) -> String {
    match kind {
        2 => "Kerberos V5".into(),
        7 => "GSSAPI".into(),
        9 => "SSPI".into(),
        other => format!("authentication method {other}"),
    }
}

/// Everything between AuthenticationOk and the first ReadyForQuery.
async fn greeting(wire: &mut Wire) -> Result<Greeting, ConnectError> {
    let (mut parameters, mut key) = (Vec::new(), None);
    loop {
        let Frame { tag, body } = wire.message().await?;
        match Backend(tag) {
            Backend::PARAMETER_STATUS if parameters.len() < MAX_PARAMETERS => parameters.push(parameter(&body)?),
            Backend::BACKEND_KEY_DATA => key = Some(cancel_key(body)?),
            Backend::READY_FOR_QUERY if body.first().copied().and_then(TxStatus::from_byte) == Some(TxStatus::Idle) => {
                let (pid, secret) = key.ok_or(ConnectError::Protocol("it gave no key to cancel with"))?;
                return Ok(Greeting { parameters, pid, secret });
            }
            _ => return Err(ConnectError::Protocol("a message that does not belong into a login")),
        }
    }
}

fn parameter(whole: &Bytes) -> Result<(Bytes, Bytes), ConnectError> {
    let (name, value) = body::parameter_status(whole).ok_or(ConnectError::Protocol("a ParameterStatus is cut off"))?;
    Ok((whole.slice_ref(name), whole.slice_ref(value)))
}

fn cancel_key(mut body: Bytes) -> Result<(i32, Bytes), ConnectError> {
    match body.try_get_i32() {
        Ok(pid) if (4..=256).contains(&body.len()) => Ok((pid, Bytes::copy_from_slice(&body))),
        _ => Err(ConnectError::Protocol("a cancel key is 4 to 256 bytes")),
    }
}
