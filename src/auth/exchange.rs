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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Salts;
    use crate::auth::scram_client::{Binding, First};
    use crate::auth::{Keys, scram_client::ScramError};
    use crate::protocol::frame::take;
    use bytes::BytesMut;
    use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};
    use proptest::prelude::*;

    fn credentials() -> Credentials {
        Salts::default().credentials("backstage", Some(&"secret".into()))
    }

    /// The kind and the data of the one authentication request in `bytes`.
    fn request_of(step: Result<Step, AuthError>) -> (u8, Bytes) {
        let (Ok(Step::Send(bytes)) | Ok(Step::Accepted(bytes))) = step else { panic!("{step:?} sends nothing") };
        let frame = take(&mut BytesMut::from(&bytes[..]), 1000).unwrap().unwrap();
        assert_eq!(frame.body.len() + 5, bytes.len(), "one message");
        (frame.body[3], frame.body.slice(4..))
    }

    fn initial(mechanism: &str, data: &[u8]) -> Bytes {
        let len = u32::try_from(data.len()).unwrap().to_be_bytes();
        Bytes::from([mechanism.as_bytes(), b"\0", &len, data].concat())
    }

    /// A login by another implementation of SCRAM, up to the verdict.
    fn scram(credentials: &Credentials, password: &str) -> (ScramSha256, Step) {
        let (mut exchange, first) = Exchange::start(AuthMethod::ScramSha256, credentials);
        assert_eq!(request_of(Ok(first)), (10, Bytes::from_static(b"SCRAM-SHA-256\0\0")));
        let mut client = ScramSha256::new(password.as_bytes(), ChannelBinding::unsupported());
        let (kind, challenge) = request_of(exchange.answer(&initial(MECHANISM, client.message())));
        assert_eq!(kind, 11);
        client.update(&challenge).unwrap();
        let verdict = exchange.answer(&Bytes::copy_from_slice(client.message())).unwrap();
        (client, verdict)
    }

    #[test]
    fn the_right_password_is_accepted_and_the_server_proves_itself_too() {
        let (mut client, verdict) = scram(&credentials(), "secret");
        let (kind, signature) = request_of(Ok(verdict));
        assert_eq!(kind, 12);
        client.finish(&signature).unwrap();
    }

    #[test]
    fn a_wrong_password_an_unknown_user_and_a_user_without_password_are_refused_alike() {
        let salts = Salts::default();
        assert_eq!(scram(&credentials(), "wrong").1, Step::Refused);
        assert_eq!(scram(&salts.unknown("nobody"), "secret").1, Step::Refused);
        assert_eq!(scram(&salts.credentials("peer", None), "").1, Step::Refused);
    }

    #[test]
    fn our_two_sides_understand_each_other() {
        let (mut exchange, _) = Exchange::start(AuthMethod::ScramSha256, &credentials());
        let (first, message) = First::new(Binding::NotOffered);
        let (_, challenge) = request_of(exchange.answer(&initial(MECHANISM, message.as_bytes())));
        let challenged = first.challenge(&challenge).unwrap();
        let keys = Keys::derive("secret", challenged.salt(), challenged.iterations());
        let (proven, message) = challenged.prove(&keys);
        let (_, signature) = request_of(exchange.answer(&Bytes::from(message)));
        proven.verify(&signature).unwrap();
    }

    #[test]
    fn a_server_that_does_not_know_the_password_is_found_out() {
        let (mut exchange, _) = Exchange::start(AuthMethod::ScramSha256, &credentials());
        let (first, message) = First::new(Binding::Unsupported);
        let (_, challenge) = request_of(exchange.answer(&initial(MECHANISM, message.as_bytes())));
        let challenged = first.challenge(&challenge).unwrap();
        let keys = Keys::derive("secret", challenged.salt(), challenged.iterations());
        let (proven, _) = challenged.prove(&keys);
        let forged = "v=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
        assert_eq!(proven.verify(forged.as_bytes()), Err(ScramError::Signature));
    }

    #[test]
    fn md5_lets_in_who_knows_the_password_and_nobody_else() {
        let attempt = |credentials: &Credentials, password: &str| {
            let (mut exchange, first) = Exchange::start(AuthMethod::Md5, credentials);
            let (kind, salt) = request_of(Ok(first));
            assert_eq!(kind, 5);
            let answer = md5_hash(b"backstage", password.as_bytes(), salt[..].try_into().unwrap());
            exchange.answer(&Bytes::from(format!("{answer}\0")))
        };
        assert_eq!(attempt(&credentials(), "secret"), Ok(Step::Accepted(Vec::new())));
        assert_eq!(attempt(&credentials(), "wrong"), Ok(Step::Refused));
        assert_eq!(attempt(&Salts::default().unknown("backstage"), "secret"), Ok(Step::Refused));
    }

    #[test]
    fn trust_asks_nothing_and_still_knows_its_users() {
        assert_eq!(Exchange::start(AuthMethod::Trust, &credentials()).1, Step::Accepted(Vec::new()));
        assert_eq!(Exchange::start(AuthMethod::Trust, &Salts::default().unknown("nobody")).1, Step::Refused);
    }

    #[test]
    fn malformed_answers_are_errors_and_end_the_exchange() {
        let gone_wrong = [
            Bytes::new(),
            Bytes::from_static(b"SCRAM-SHA-256"),
            Bytes::from_static(b"SCRAM-SHA-256\0\xff\xff\xff\xff"),
            initial("SCRAM-SHA-256-PLUS", b"p=tls-server-end-point,,n=,r=abc"),
            initial(MECHANISM, b""),
            initial(MECHANISM, b"p=tls-server-end-point,,n=,r=abc"),
            initial(MECHANISM, b"n,a=admin,n=,r=abc"),
            initial(MECHANISM, b"n,,m=x,n=,r=abc"),
            initial(MECHANISM, b"n,,n=,r="),
            initial(MECHANISM, b"n,,n=,r=a\x01"),
            initial(MECHANISM, b"n,,n=,r=abc\0"),
        ];
        for body in gone_wrong {
            let (mut exchange, _) = Exchange::start(AuthMethod::ScramSha256, &credentials());
            assert!(exchange.answer(&body).is_err(), "{body:?}");
            assert!(exchange.answer(&initial(MECHANISM, b"n,,n=,r=abc")).is_err(), "over after {body:?}");
        }
    }

    #[test]
    fn another_conversations_proof_is_not_taken() {
        for last in ["", "c=biws", "c=biws,r=abc,p=AA==", "c=eSws,r={},p=AA==", "c=biws,r={}", "c=biws,r={},p=AA=="] {
            let (mut exchange, _) = Exchange::start(AuthMethod::ScramSha256, &credentials());
            let (_, challenge) = request_of(exchange.answer(&initial(MECHANISM, b"n,,n=,r=abc")));
            let nonce = std::str::from_utf8(&challenge).unwrap().split([',', '=']).nth(1).unwrap();
            assert!(exchange.answer(&Bytes::from(last.replace("{}", nonce))).is_err(), "{last}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn no_answers_make_it_panic(bodies in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 1..3)) {
            for method in [AuthMethod::Md5, AuthMethod::ScramSha256] {
                let (mut exchange, _) = Exchange::start(method, &Salts::default().unknown("nobody"));
                for body in &bodies {
                    prop_assert!(!matches!(exchange.answer(&Bytes::copy_from_slice(body)), Ok(Step::Accepted(_))));
                }
            }
        }
    }
}
