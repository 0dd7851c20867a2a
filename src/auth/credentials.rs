//! What a client's login is checked against.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret, SecretString};

use super::scram::{Hash, Keys, mac, stored_key};

/// PostgreSQL's own default (scram_iterations), and what a client's library expects to be quick.
const ITERATIONS: u32 = 4096;

/// Makes credentials. A user's salt follows from its name and a secret that lives as long as this value, so a name that
/// exists and one that does not look the same, and look the same again at the next attempt.
pub struct Salts {
    secret: Hash,
}

/// What one user's login is checked against; shared by all routes with the same login.
pub struct Credentials {
    /// Whether somebody with this name may come in at all.
    pub(super) known: bool,
    pub(super) verifier: Verifier,
    /// For MD5, whose answer cannot be checked against a SCRAM verifier.
    pub(super) password: Option<SecretString>,
    pub(super) user: String,
}

/// A SCRAM verifier, as PostgreSQL keeps it in `pg_authid.rolpassword`.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Verifier {
    pub(super) salt: Vec<u8>,
    pub(super) iterations: u32,
    pub(super) stored_key: Hash,
    pub(super) server_key: Hash,
}

/// Why a text is no SCRAM verifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not of the form SCRAM-SHA-256$<iterations>:<salt>$<stored key>:<server key>")]
pub struct VerifierError;

impl Default for Salts {
    fn default() -> Self {
        Self { secret: rand::random() }
    }
}

impl Salts {
    /// Credentials of a user with this password. Derives its keys, which takes a millisecond or more: once per login,
    /// not once per client. Without a password nobody can prove to be that user; only trust lets one in.
    pub fn credentials(&self, user: &str, password: Option<&SecretString>) -> Credentials {
        let Some(password) = password else { return Credentials { known: true, ..self.unknown(user) } };
        let salt = self.salt(user);
        let keys = Keys::derive(password.expose_secret(), &salt, ITERATIONS);
        let verifier =
            Verifier { salt, iterations: ITERATIONS, stored_key: stored_key(&keys.client), server_key: keys.server };
        Credentials { known: true, verifier, password: Some(password.clone()), user: user.to_owned() }
    }

    /// Credentials that nobody satisfies, in the same shape as those of a user that exists.
    pub fn unknown(&self, user: &str) -> Credentials {
        let (stored_key, server_key) = (rand::random(), rand::random());
        let verifier = Verifier { salt: self.salt(user), iterations: ITERATIONS, stored_key, server_key };
        Credentials { known: false, verifier, password: None, user: user.to_owned() }
    }

    fn salt(&self, user: &str) -> Vec<u8> {
        mac(&self.secret, &[user.as_bytes()])[..16].to_vec()
    }
}

impl Credentials {
    /// Credentials of a user whose verifier is known (`pg_authid.rolpassword`) and whose password is not. MD5 cannot be
    /// checked against it.
    ///
    /// # Errors
    /// A text that is no verifier.
    pub fn from_verifier(user: &str, text: &str) -> Result<Self, VerifierError> {
        let verifier = Verifier::parse(text).ok_or(VerifierError)?;
        Ok(Self { known: true, verifier, password: None, user: user.to_owned() })
    }
}

impl fmt::Debug for Salts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Salts").finish_non_exhaustive()
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).field("known", &self.known).finish_non_exhaustive()
    }
}

impl Verifier {
    fn parse(text: &str) -> Option<Self> {
        let (how, keys) = text.strip_prefix("SCRAM-SHA-256$")?.split_once('$')?;
        let (iterations, salt) = how.split_once(':')?;
        let (stored, server) = keys.split_once(':')?;
        let hash = |text: &str| STANDARD.decode(text).ok()?.try_into().ok();
        let iterations: u32 = iterations.parse().ok().filter(|count| *count > 0)?;
        let salt = STANDARD.decode(salt).ok()?;
        Some(Self { salt, iterations, stored_key: hash(stored)?, server_key: hash(server)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_exists_and_one_that_does_not_have_salts_of_the_same_kind() {
        let salts = Salts::default();
        let known = salts.credentials("backstage", Some(&"secret".into()));
        let unknown = salts.unknown("nobody");
        assert_eq!(known.verifier.salt.len(), unknown.verifier.salt.len());
        assert_eq!(known.verifier.salt, salts.unknown("backstage").verifier.salt);
        assert_eq!(unknown.verifier.salt, salts.unknown("nobody").verifier.salt);
        assert_ne!(unknown.verifier.salt, Salts::default().unknown("nobody").verifier.salt);
    }

    #[test]
    fn a_verifier_of_postgresql_is_read_and_anything_else_refused() {
        let text = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";
        let read = Credentials::from_verifier("user", text).unwrap().verifier;
        let keys = Keys::derive("pencil", &STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap(), 4096);
        assert!(read.stored_key == stored_key(&keys.client) && read.server_key == keys.server);
        for wrong in ["", "md5abc", "SCRAM-SHA-256$0:AA==$AA==:AA==", &text[..text.len() - 4]] {
            assert!(Credentials::from_verifier("user", wrong).is_err(), "{wrong}");
        }
    }
}
