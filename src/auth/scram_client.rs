//! The client's side of SCRAM-SHA-256, with and without channel binding: greenroom's own login at PostgreSQL.
//!
//! Each step consumes the one before it: [`First`], [`Challenged`], [`Proven`]. In between the caller finds the
//! [`Keys`], which it may keep: they stay the same until the password or its salt does not.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use subtle::ConstantTimeEq;

use super::scram::{Hash, Keys, attribute, is_nonce, mac, nonce, stored_key, xor};

/// The most iterations a server may ask for: no more than a second of CPU.
pub const MAX_ITERATIONS: u32 = 1_000_000;

/// What the client says about channel binding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Binding {
    /// There is no channel to bind, or no way to.
    Unsupported,
    /// There is one, and the server did not offer to bind it.
    NotOffered,
    /// The server's end point, as `tls-server-end-point`; the mechanism is SCRAM-SHA-256-PLUS.
    EndPoint(Vec<u8>),
}

/// Why the server cannot be trusted with this login, or does not speak it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScramError {
    /// Not a message of SCRAM.
    #[error("the server's SCRAM message is malformed")]
    Malformed,
    /// The server did not repeat the client's nonce: the answer may be another conversation's.
    #[error("the server's SCRAM nonce does not begin with ours")]
    Nonce,
    /// Too many to be honest.
    #[error("the server asks for {0} SCRAM iterations, more than {MAX_ITERATIONS}")]
    Iterations(u32),
    /// The server said no inside SCRAM.
    #[error("the server refused the SCRAM exchange: {0}")]
    Refused(String),
    /// The server does not know the password either: it is not the one that was meant.
    #[error("the server could not prove that it knows the password")]
    Signature,
}

/// The client-first-message has been made.
#[derive(Debug)]
pub struct First {
    gs2_header: &'static str,
    binding: Vec<u8>,
    nonce: String,
}

/// The server has said salt and iterations.
#[derive(Debug)]
pub struct Challenged {
    first: First,
    server_first: String,
    nonce: String,
    salt: Vec<u8>,
    iterations: u32,
}

/// The proof has been made; the server owes its own.
#[derive(Debug)]
pub struct Proven {
    signature: Hash,
}

impl First {
    /// Begins an exchange: itself, and the client-first-message.
    pub fn new(binding: Binding) -> (Self, String) {
        let (gs2_header, binding) = match binding {
            Binding::Unsupported => ("n,,", Vec::new()),
            Binding::NotOffered => ("y,,", Vec::new()),
            Binding::EndPoint(hash) => ("p=tls-server-end-point,,", hash),
        };
        let first = Self { gs2_header, binding, nonce: nonce() };
        let message = format!("{gs2_header}{}", first.bare());
        (first, message)
    }

    // PostgreSQL takes the user from the startup message and ignores the one in here.
    fn bare(&self) -> String {
        format!("n=,r={}", self.nonce)
    }

    /// Takes the server-first-message.
    ///
    /// # Errors
    /// A malformed message, a nonce that is not ours, too many iterations.
    pub fn challenge(self, message: &[u8]) -> Result<Challenged, ScramError> {
        let text = std::str::from_utf8(message).map_err(|_| ScramError::Malformed)?;
        let (nonce, rest) = attribute(text, 'r').ok_or(ScramError::Malformed)?;
        let (salt, rest) = attribute(rest, 's').ok_or(ScramError::Malformed)?;
        let (iterations, _extensions) = attribute(rest, 'i').ok_or(ScramError::Malformed)?;
        if !is_nonce(nonce) || !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return Err(ScramError::Nonce);
        }
        let salt = STANDARD.decode(salt).map_err(|_| ScramError::Malformed)?;
        let iterations = match iterations.parse() {
            Ok(0) | Err(_) => return Err(ScramError::Malformed),
            Ok(count) if count > MAX_ITERATIONS => return Err(ScramError::Iterations(count)),
            Ok(count) => count,
        };
        Ok(Challenged { nonce: nonce.to_owned(), server_first: text.to_owned(), salt, iterations, first: self })
    }
}

impl Challenged {
    /// The salt to derive keys with.
    pub fn salt(&self) -> &[u8] {
        &self.salt
    }

    /// How often to iterate for them; at most [`MAX_ITERATIONS`].
    pub fn iterations(&self) -> u32 {
        self.iterations
    }

    /// Makes the client-final-message with keys of this salt and these iterations.
    pub fn prove(self, keys: &Keys) -> (Proven, String) {
        let binding = STANDARD.encode([self.first.gs2_header.as_bytes(), &self.first.binding].concat());
        let unproven = format!("c={binding},r={}", self.nonce);
        let said = format!("{},{},{unproven}", self.first.bare(), self.server_first);
        let proof = xor(&keys.client, &mac(&stored_key(&keys.client), &[said.as_bytes()]));
        let message = format!("{unproven},p={}", STANDARD.encode(proof));
        (Proven { signature: mac(&keys.server, &[said.as_bytes()]) }, message)
    }
}

impl Proven {
    /// Takes the server-final-message. Only after this is the server the one that was meant.
    ///
    /// # Errors
    /// A server that refuses, or that does not know the password itself.
    pub fn verify(self, message: &[u8]) -> Result<(), ScramError> {
        let text = std::str::from_utf8(message).map_err(|_| ScramError::Malformed)?;
        if let Some((reason, _)) = attribute(text, 'e') {
            return Err(ScramError::Refused(printable(reason)));
        }
        let (signature, _extensions) = attribute(text, 'v').ok_or(ScramError::Malformed)?;
        let signature = STANDARD.decode(signature).map_err(|_| ScramError::Malformed)?;
        if bool::from(signature.ct_eq(&self.signature)) { Ok(()) } else { Err(ScramError::Signature) }
    }
}

fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(100).collect()
}
