//! How a hand-made client says hello: its startup parameters, and its proof of who it is.

use std::io;

use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use tokio::io::AsyncWriteExt as _;

use super::Reply;
use super::frames::{self, Frame};
use super::stream::{Stream, read_frame};

/// What a client says of itself at the beginning.
#[derive(Debug, Clone)]
pub(crate) struct Startup {
    /// Protocol version, 3.0 unless a test wants another.
    pub(crate) version: u32,
    /// In the order they are sent.
    pub(crate) parameters: Vec<(String, String)>,
    /// What it answers when asked for a password.
    pub(crate) password: String,
}

impl Startup {
    /// A client of `database` as `user`.
    pub(crate) fn new(user: &str, password: &str, database: &str) -> Self {
        let parameters = vec![("user".to_owned(), user.to_owned()), ("database".to_owned(), database.to_owned())];
        Self { version: 0x0003_0000, parameters, password: password.to_owned() }
    }

    /// Adds a startup parameter.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.parameters.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Asks for another version of the protocol.
    pub(crate) fn version(mut self, version: u32) -> Self {
        self.version = version;
        self
    }

    fn user(&self) -> &str {
        let user = self.parameters.iter().find(|(name, _)| name == "user");
        user.map(|(_, value)| &**value).unwrap_or_default()
    }
}

/// Says hello and answers what is asked, up to ReadyForQuery, an error, or the end; returns everything that was said.
pub(crate) async fn log_in(stream: &mut Stream, startup: &Startup) -> io::Result<Vec<Reply>> {
    stream.write_all(&frames::startup(startup.version, &startup.parameters)).await?;
    let mut scram = None;
    let mut said = Vec::new();
    while let Some((tag, body)) = read_frame(stream).await? {
        if tag == b'R'
            && let Some(answer) = answer(&body, startup, &mut scram)?
        {
            stream.write_all(&Frame::new(b'p', answer).bytes()).await?;
        }
        said.push(Reply { tag, body });
        if matches!(tag, b'Z' | b'E') {
            break;
        }
    }
    Ok(said)
}

/// The body of the message that an authentication request wants, if it wants one.
fn answer(request: &[u8], startup: &Startup, scram: &mut Option<ScramSha256>) -> io::Result<Option<Vec<u8>>> {
    let (code, rest) = request.split_first_chunk::<4>().expect("an authentication request has a code");
    let terminated = |text: &str| [text.as_bytes(), &[0]].concat();
    match u32::from_be_bytes(*code) {
        3 => Ok(Some(terminated(&startup.password))),
        5 => {
            let salt = rest.try_into().expect("a salt of four bytes");
            Ok(Some(terminated(&md5_hash(startup.user().as_bytes(), startup.password.as_bytes(), salt))))
        }
        10 => {
            let exchange = scram.insert(ScramSha256::new(startup.password.as_bytes(), ChannelBinding::unsupported()));
            let first = exchange.message();
            let len = u32::try_from(first.len()).expect("a SCRAM message is short").to_be_bytes();
            Ok(Some([&terminated(SCRAM_SHA_256)[..], &len, first].concat()))
        }
        11 => {
            let exchange = scram.as_mut().expect("SASLContinue comes after SASL");
            exchange.update(rest)?;
            Ok(Some(exchange.message().to_vec()))
        }
        12 => scram.as_mut().expect("SASLFinal comes after SASL").finish(rest).map(|()| None),
        _ => Ok(None),
    }
}
