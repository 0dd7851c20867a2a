//! The arithmetic of SCRAM-SHA-256 that both sides share (RFC 5802, RFC 7677).

use std::borrow::Cow;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

/// The SASL name of the mechanism without channel binding.
pub(super) const MECHANISM: &str = "SCRAM-SHA-256";

/// A SHA-256 or an HMAC of it.
pub(super) type Hash = [u8; 32];

/// What a password becomes under one salt and iteration count: enough to log in, and dear to compute.
#[derive(Clone, PartialEq, Eq)]
pub struct Keys {
    pub(super) client: Hash,
    pub(super) server: Hash,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").finish_non_exhaustive()
    }
}

impl Keys {
    /// Derives them: about two SHA-256 blocks an iteration, so a millisecond or more with PostgreSQL's 4096.
    pub fn derive(password: &str, salt: &[u8], iterations: u32) -> Self {
        let salted = salted_password(&prepare(password), salt, iterations);
        Self { client: mac(&salted, &[b"Client Key"]), server: mac(&salted, &[b"Server Key"]) }
    }
}

/// SASLprep; a password that it does not allow counts as it is, as PostgreSQL does.
fn prepare(password: &str) -> Cow<'_, str> {
    stringprep::saslprep(password).unwrap_or(Cow::Borrowed(password))
}

// PBKDF2 with one block of output. The keyed state is computed once and cloned, which halves the work.
fn salted_password(password: &str, salt: &[u8], iterations: u32) -> Hash {
    let keyed = keyed(password.as_bytes());
    let step = |parts: &[&[u8]]| -> Hash { finish(keyed.clone(), parts) };
    let mut last = step(&[salt, &[0, 0, 0, 1]]);
    let mut sum = last;
    for _ in 1..iterations {
        last = step(&[&last]);
        sum = xor(&sum, &last);
    }
    sum
}

/// HMAC-SHA-256 of `parts`, one after the other.
pub(super) fn mac(key: &[u8], parts: &[&[u8]]) -> Hash {
    finish(keyed(key), parts)
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes a key of any length")
}

fn finish(mut hmac: Hmac<Sha256>, parts: &[&[u8]]) -> Hash {
    for part in parts {
        hmac.update(part);
    }
    hmac.finalize().into_bytes().into()
}

/// What a verifier keeps of a client key.
pub(super) fn stored_key(client_key: &Hash) -> Hash {
    Sha256::digest(client_key).into()
}

/// Bit by bit, to make a proof of a key and a key of a proof.
pub(super) fn xor(left: &Hash, right: &Hash) -> Hash {
    std::array::from_fn(|at| left[at] ^ right[at])
}

/// A fresh nonce of printable characters: 18 random bytes, as many as PostgreSQL takes.
pub(super) fn nonce() -> String {
    STANDARD.encode(rand::random::<[u8; 18]>())
}

/// Splits `name=value` off the front of `text`, and the comma behind it.
pub(super) fn attribute(text: &str, name: char) -> Option<(&str, &str)> {
    let value = text.strip_prefix(name)?.strip_prefix('=')?;
    Some(value.split_once(',').unwrap_or((value, "")))
}

/// Whether all of it is what a nonce may consist of.
pub(super) fn is_nonce(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| matches!(byte, 0x21..=0x7e) && byte != b',')
}

#[cfg(test)]
mod tests {
    use super::*;

    // RFC 7677, section 3: user "user", password "pencil".
    #[test]
    fn keys_give_the_proof_and_signature_of_the_rfc() {
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let keys = Keys::derive("pencil", &salt, 4096);
        let nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let said =
            format!("n=user,r=rOprNGfwEbeRWgbNEkqO,r={nonce},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,r={nonce}");
        let signature = mac(&stored_key(&keys.client), &[said.as_bytes()]);
        assert_eq!(STANDARD.encode(xor(&keys.client, &signature)), "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=");
        assert_eq!(
            STANDARD.encode(mac(&keys.server, &[said.as_bytes()])),
            "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
        );
    }

    #[test]
    fn passwords_are_compared_in_their_normal_form_where_they_have_one() {
        assert_eq!(prepare("I\u{ad}X"), "IX");
        assert_eq!(prepare("\u{2168}"), "IX");
        assert_eq!(prepare("a\u{7}b"), "a\u{7}b", "not allowed, so taken as it is");
    }
}
