//! The SCRAM login at PostgreSQL, and the keys that are kept so that only the first one is dear.

use std::io;

use parking_lot::Mutex;
use secrecy::{ExposeSecret, SecretString};

use super::ConnectError;
use super::login::{password_message, request};
use super::wire::Wire;
use crate::auth::Keys;
use crate::auth::scram_client::{Binding, Challenged, First};
use crate::protocol::body::cstr;
use crate::protocol::message::put_str;
use crate::secret;

const SCRAM: &[u8] = b"SCRAM-SHA-256";
const SCRAM_PLUS: &[u8] = b"SCRAM-SHA-256-PLUS";

/// The keys of the last login: PostgreSQL's salt stays the same until the password is set anew.
#[derive(Default)]
pub(super) struct KeyCache {
    last: Mutex<Option<Kept>>,
}

struct Kept {
    password: SecretString,
    salt: Vec<u8>,
    iterations: u32,
    keys: Keys,
}

impl KeyCache {
    async fn find(&self, password: &SecretString, challenged: &Challenged) -> Result<Keys, ConnectError> {
        let (salt, iterations) = (challenged.salt().to_owned(), challenged.iterations());
        // The salt alone does not tell: a wrong password has had the same.
        let fits =
            |kept: &&Kept| kept.salt == salt && kept.iterations == iterations && secret::same(&kept.password, password);
        if let Some(kept) = self.last.lock().as_ref().filter(fits) {
            return Ok(kept.keys.clone());
        }
        let (secret, with_salt) = (password.clone(), salt.clone());
        // A server may ask for a second's worth of iterations; nobody else's query waits for it.
        let derive = move || Keys::derive(secret.expose_secret(), &with_salt, iterations);
        let keys =
            tokio::task::spawn_blocking(derive).await.map_err(|error| ConnectError::Lost(io::Error::from(error)))?;
        *self.last.lock() = Some(Kept { password: password.clone(), salt, iterations, keys: keys.clone() });
        Ok(keys)
    }

    #[cfg(test)]
    pub(super) fn salt(&self) -> Option<Vec<u8>> {
        self.last.lock().as_ref().map(|kept| kept.salt.clone())
    }
}

/// Answers AuthenticationSASL with this list of mechanisms, up to the server's own proof.
pub(super) async fn authenticate(
    keys: &KeyCache,
    password: &SecretString,
    wire: &mut Wire,
    mechanisms: &[u8],
) -> Result<(), ConnectError> {
    let (mechanism, binding) = choose(mechanisms, wire)?;
    let (first, message) = First::new(binding);
    let len = i32::try_from(message.len()).expect("our own message is short");
    let initial = password_message(|out| {
        put_str(out, mechanism);
        out.extend_from_slice(&len.to_be_bytes());
        out.extend_from_slice(message.as_bytes());
    });
    wire.send(&initial).await?;
    let challenged = first.challenge(&expect(wire, 11).await?)?;
    let keys = keys.find(password, &challenged).await?;
    let (proven, message) = challenged.prove(&keys);
    wire.send(&password_message(|out| out.extend_from_slice(message.as_bytes()))).await?;
    Ok(proven.verify(&expect(wire, 12).await?)?)
}

async fn expect(wire: &mut Wire, kind: u32) -> Result<bytes::Bytes, ConnectError> {
    match request(wire).await? {
        (got, data) if got == kind => Ok(data),
        _ => Err(ConnectError::Protocol("it left the SCRAM exchange before its end")),
    }
}

/// The strongest mechanism that both sides know.
fn choose(offered: &[u8], wire: &Wire) -> Result<(&'static [u8], Binding), ConnectError> {
    let offered = mechanisms(offered);
    let offers = |mechanism| offered.contains(&mechanism);
    match wire.stream().server_end_point() {
        Some(end_point) if offers(SCRAM_PLUS) => Ok((SCRAM_PLUS, Binding::EndPoint(end_point))),
        Some(_) if offers(SCRAM) => Ok((SCRAM, Binding::NotOffered)),
        None if offers(SCRAM) => Ok((SCRAM, Binding::Unsupported)),
        _ => {
            let names: Vec<_> = offered.iter().map(|name| String::from_utf8_lossy(name)).collect();
            Err(ConnectError::Unsupported(format!("one of the SASL mechanisms {names:?}")))
        }
    }
}

fn mechanisms(mut list: &[u8]) -> Vec<&[u8]> {
    let mut found = Vec::new();
    while let Some((name, rest)) = cstr(list).filter(|(name, _)| !name.is_empty()) {
        found.push(name);
        list = rest;
    }
    found
}
