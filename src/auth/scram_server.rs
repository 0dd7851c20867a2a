//! The server's side of SCRAM-SHA-256, without channel binding: no listener of ours speaks TLS.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use subtle::ConstantTimeEq;

use super::credentials::{Credentials, Verifier};
use super::exchange::AuthError;
use super::scram::{Hash, attribute, is_nonce, mac, nonce, stored_key, xor};

/// The mechanism has been offered.
pub(super) struct ScramAsked {
    verifier: Verifier,
    known: bool,
}

/// The client has salt and nonce, and owes its proof.
pub(super) struct ScramSent {
    asked: ScramAsked,
    /// What the client said about channel binding, as it must repeat it.
    gs2_header: &'static str,
    client_first_bare: String,
    server_first: String,
    nonce: String,
}

impl ScramAsked {
    pub(super) fn new(credentials: &Credentials) -> Self {
        let known = credentials.known;
        Self { verifier: credentials.verifier.clone(), known }
    }

    /// Reads the client-first-message and makes the server-first-message.
    pub(super) fn answer(self, data: &[u8]) -> Result<(ScramSent, String), AuthError> {
        let text = text(data)?;
        let (gs2_header, bare) = client_first(text)?;
        let (_user, rest) = attribute(bare, 'n').ok_or(AuthError::malformed("Attribute \"n\" expected."))?;
        let (client_nonce, _extensions) =
            attribute(rest, 'r').ok_or(AuthError::malformed("Attribute \"r\" expected."))?;
        if !is_nonce(client_nonce) {
            return Err(AuthError::malformed("Non-printable characters in SCRAM nonce."));
        }
        let nonce = format!("{client_nonce}{}", nonce());
        let salt = STANDARD.encode(&self.verifier.salt);
        let server_first = format!("r={nonce},s={salt},i={}", self.verifier.iterations);
        let client_first_bare = bare.to_owned();
        let sent = ScramSent { asked: self, gs2_header, client_first_bare, server_first: server_first.clone(), nonce };
        Ok((sent, server_first))
    }
}

impl ScramSent {
    /// Reads the client-final-message; the server-final-message if its proof is right.
    pub(super) fn answer(self, data: &[u8]) -> Result<Option<String>, AuthError> {
        let text = text(data)?;
        let (binding, rest) = attribute(text, 'c').ok_or(AuthError::malformed("Attribute \"c\" expected."))?;
        if binding != STANDARD.encode(self.gs2_header) {
            return Err(AuthError::malformed("Unexpected SCRAM channel-binding attribute in client-final-message."));
        }
        let (nonce, _) = attribute(rest, 'r').ok_or(AuthError::malformed("Attribute \"r\" expected."))?;
        if nonce != self.nonce {
            return Err(AuthError { message: "invalid SCRAM response", detail: "Nonce does not match." });
        }
        let (unproven, proof) = text.rsplit_once(",p=").ok_or(AuthError::malformed("Attribute \"p\" expected."))?;
        let proof: Hash = STANDARD
            .decode(proof)
            .ok()
            .and_then(|proof| proof.try_into().ok())
            .ok_or(AuthError::malformed("Malformed proof in client-final-message."))?;
        Ok(self.verify(unproven, &proof))
    }

    fn verify(&self, unproven: &str, proof: &Hash) -> Option<String> {
        let ScramAsked { verifier, known } = &self.asked;
        let said = [self.client_first_bare.as_bytes(), b",", self.server_first.as_bytes(), b",", unproven.as_bytes()];
        let client_key = xor(proof, &mac(&verifier.stored_key, &said));
        let right = stored_key(&client_key).ct_eq(&verifier.stored_key);
        // Computed in any case, so that a wrong proof takes as long as a right one.
        let signature = STANDARD.encode(mac(&verifier.server_key, &said));
        (bool::from(right) && *known).then(|| format!("v={signature}"))
    }
}

/// Splits the gs2-header off a client-first-message.
fn client_first(text: &str) -> Result<(&'static str, &str), AuthError> {
    let unsupported = |message| AuthError { message, detail: "It is not supported." };
    let (header, bare) = if let Some(bare) = text.strip_prefix("n,,") {
        ("n,,", bare)
    } else if let Some(bare) = text.strip_prefix("y,,") {
        // The client could bind the channel and saw that it was not on offer, which is true.
        ("y,,", bare)
    } else if text.starts_with("n,a=") || text.starts_with("y,a=") {
        return Err(unsupported("client uses authorization identity, but it is not supported"));
    } else if text.starts_with("p=") {
        return Err(AuthError::malformed("The message includes channel binding data, and none was offered."));
    } else {
        return Err(AuthError::malformed("Unexpected channel-binding flag."));
    };
    if bare.starts_with("m=") {
        return Err(unsupported("client requires an unsupported SCRAM extension"));
    }
    Ok((header, bare))
}

fn text(data: &[u8]) -> Result<&str, AuthError> {
    if data.is_empty() {
        return Err(AuthError::malformed("The message is empty."));
    }
    match std::str::from_utf8(data) {
        Ok(text) if !text.contains('\0') => Ok(text),
        _ => Err(AuthError::malformed("Length does not match input length.")),
    }
}
