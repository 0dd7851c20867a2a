//! One client's login, from the request to the verdict.

use std::fmt;

use bytes::Bytes;
use postgres_protocol::authentication::md5_hash;
use secrecy::ExposeSecret;
use subtle::ConstantTimeEq;

use super::credentials::Credentials;
use super::scram::MECHANISM;
use super::scram_server::{ScramAsked, ScramSent};
use crate::config::AuthMethod;
use crate::protocol::body::cstr;
use crate::protocol::message::frame;
use crate::protocol::tag::Backend;

/// A login that waits for the client's next answer.
pub struct Exchange(State);

enum State {
    Md5 { expected: String, known: bool },
    ScramAsked(ScramAsked),
    ScramSent(ScramSent),
    Over,
}

/// What comes of a client's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// These messages go to the client, whose next `p` message is the next answer.
    Send(Vec<u8>),
    /// The client is who it says. These messages (possibly none) go out before AuthenticationOk.
    Accepted(Vec<u8>),
    /// It is not, or cannot prove it: 28P01.
    Refused,
}

/// An answer that cannot be read, which ends the connection with 08P01; the texts are PostgreSQL's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct AuthError {
    /// The message.
    pub message: &'static str,
    /// Its detail.
    pub detail: &'static str,
}

impl AuthError {
    pub(super) fn malformed(detail: &'static str) -> Self {
        Self { message: "malformed SCRAM message", detail }
    }
}

impl Exchange {
    /// Begins a login against `credentials`: usually with something to send; with trust it is over at once.
    pub fn start(method: AuthMethod, credentials: &Credentials) -> (Self, Step) {
        match method {
            AuthMethod::Trust if credentials.known => (Self(State::Over), Step::Accepted(Vec::new())),
            AuthMethod::Trust => (Self(State::Over), Step::Refused),
            AuthMethod::Md5 => {
                let salt = rand::random();
                let (expected, known) = expected_md5(credentials, salt);
                (Self(State::Md5 { expected, known }), Step::Send(request(5, &salt)))
            }
            AuthMethod::ScramSha256 => {
                let mechanisms = [MECHANISM.as_bytes(), b"\0\0"].concat();
                (Self(State::ScramAsked(ScramAsked::new(credentials))), Step::Send(request(10, &mechanisms)))
            }
        }
    }

    /// Takes the body of the client's `p` message.
    ///
    /// # Errors
    /// A message that is not what the protocol asks for here. The exchange is over then, and after a verdict.
    pub fn answer(&mut self, body: &Bytes) -> Result<Step, AuthError> {
        match std::mem::replace(&mut self.0, State::Over) {
            State::Md5 { expected, known } => {
                let matches = expected.as_bytes().ct_eq(password(body)?);
                Ok(if bool::from(matches) && known { Step::Accepted(Vec::new()) } else { Step::Refused })
            }
            State::ScramAsked(asked) => {
                let (sent, challenge) = asked.answer(initial_response(body)?)?;
                self.0 = State::ScramSent(sent);
                Ok(Step::Send(request(11, challenge.as_bytes())))
            }
            State::ScramSent(sent) => Ok(match sent.answer(body)? {
                Some(signature) => Step::Accepted(request(12, signature.as_bytes())),
                None => Step::Refused,
            }),
            State::Over => Err(AuthError { message: "unexpected password message", detail: "No answer is due." }),
        }
    }
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange").finish_non_exhaustive()
    }
}

/// The answer to look for. Where there is no password it is made of a random one, so that the work is the same.
fn expected_md5(credentials: &Credentials, salt: [u8; 4]) -> (String, bool) {
    let user = credentials.user.as_bytes();
    match &credentials.password {
        Some(password) => (md5_hash(user, password.expose_secret().as_bytes(), salt), credentials.known),
        None => (md5_hash(user, &rand::random::<[u8; 16]>(), salt), false),
    }
}

/// An authentication request of this kind.
fn request(kind: u32, data: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(9 + data.len());
    frame(&mut out, Backend::AUTHENTICATION.0, |out| {
        out.extend_from_slice(&kind.to_be_bytes());
        out.extend_from_slice(data);
    });
    out
}

fn password(body: &[u8]) -> Result<&[u8], AuthError> {
    match cstr(body) {
        Some((password, [])) => Ok(password),
        _ => Err(AuthError { message: "invalid password packet size", detail: "The password must end the message." }),
    }
}

/// The SASL data of a SASLInitialResponse for the one mechanism on offer.
fn initial_response(body: &[u8]) -> Result<&[u8], AuthError> {
    let (mechanism, rest) = cstr(body).ok_or(AuthError::malformed("The mechanism has no end."))?;
    if mechanism != MECHANISM.as_bytes() {
        let message = "client selected an invalid SASL authentication mechanism";
        return Err(AuthError { message, detail: "Only SCRAM-SHA-256 is offered." });
    }
    match rest.split_first_chunk::<4>() {
        Some((len, data)) if usize::try_from(i32::from_be_bytes(*len)) == Ok(data.len()) => Ok(data),
        _ => Err(AuthError::malformed("The length does not match the input.")),
    }
}
