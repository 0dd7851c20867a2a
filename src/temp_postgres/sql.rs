//! A statement for set-up on a connection of its own, without a driver: the simple protocol, rows as text.

use std::path::Path;
use std::time::Duration;
use std::{io, str};

use bytes::{Buf as _, Bytes, BytesMut};
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use postgres_protocol::message::frontend;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

/// How long statements for set-up may take, login included.
const LIMIT: Duration = Duration::from_secs(60);

/// The columns of one row as PostgreSQL prints them; `None` is NULL.
pub type Row = Vec<Option<String>>;

/// Why a statement for set-up failed.
#[derive(Debug, thiserror::Error)]
pub enum SqlError {
    /// PostgreSQL's own answer.
    #[error("{message} (SQLSTATE {code})")]
    Refused {
        /// Its SQLSTATE.
        code: String,
        /// Its words.
        message: String,
    },
    /// The connection could not be made, or ended.
    #[error("no connection to PostgreSQL: {0}")]
    Connection(#[from] io::Error),
    /// A message that does not belong here.
    #[error("unexpected answer from PostgreSQL: {0}")]
    Unexpected(String),
}

impl SqlError {
    /// Whether a server that is just starting (or ending) may answer differently soon.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::Connection(_) => true,
            Self::Refused { code, .. } => code == "57P03",
            Self::Unexpected(_) => false,
        }
    }
}

/// Logs in as the superuser, runs the statements and returns all their rows.
pub(super) async fn run(socket: &Path, password: &str, database: &str, statements: &str) -> Result<Vec<Row>, SqlError> {
    let work = async {
        let stream = UnixStream::connect(socket).await?;
        let mut connection = Connection { stream, buffer: BytesMut::new() };
        connection.log_in(database, password).await?;
        connection.query(statements).await
    };
    tokio::time::timeout(LIMIT, work).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

struct Connection {
    stream: UnixStream,
    buffer: BytesMut,
}

impl Connection {
    async fn log_in(&mut self, database: &str, password: &str) -> Result<(), SqlError> {
        let parameters = [("user", "postgres"), ("database", database), ("client_encoding", "UTF8")];
        self.send(|out| frontend::startup_message(parameters, out)).await?;
        let mut scram = ScramSha256::new(password.as_bytes(), ChannelBinding::unsupported());
        loop {
            let (tag, mut body) = self.receive().await?;
            match tag {
                b'R' if body.len() >= 4 => match body.get_u32() {
                    // Ok, SASLFinal: what follows says the rest.
                    0 => {}
                    3 => self.send(|out| frontend::password_message(password.as_bytes(), out)).await?,
                    5 if body.len() >= 4 => {
                        let salt = [body[0], body[1], body[2], body[3]];
                        let hash = md5_hash(b"postgres", password.as_bytes(), salt);
                        self.send(|out| frontend::password_message(hash.as_bytes(), out)).await?;
                    }
                    10 => self.send(|out| frontend::sasl_initial_response(SCRAM_SHA_256, scram.message(), out)).await?,
                    11 => {
                        scram.update(&body)?;
                        self.send(|out| frontend::sasl_response(scram.message(), out)).await?;
                    }
                    12 => scram.finish(&body)?,
                    other => return Err(SqlError::Unexpected(format!("authentication request {other}"))),
                },
                b'Z' => return Ok(()),
                b'E' => return Err(refusal(&body)),
                _ => {}
            }
        }
    }

    async fn query(&mut self, statements: &str) -> Result<Vec<Row>, SqlError> {
        self.send(|out| frontend::query(statements, out)).await?;
        let mut rows = Vec::new();
        let mut refused = None;
        loop {
            let (tag, body) = self.receive().await?;
            match tag {
                b'D' => rows.push(row(body).ok_or_else(|| SqlError::Unexpected("a broken row".to_owned()))?),
                b'E' => refused = Some(refusal(&body)),
                b'Z' => return refused.map_or(Ok(rows), Err),
                b'G' | b'H' | b'W' => return Err(SqlError::Unexpected("COPY in a statement for set-up".to_owned())),
                _ => {}
            }
        }
    }

    async fn send(&mut self, build: impl FnOnce(&mut BytesMut) -> io::Result<()>) -> io::Result<()> {
        let mut out = BytesMut::new();
        build(&mut out)?;
        self.stream.write_all(&out).await
    }

    async fn receive(&mut self) -> io::Result<(u8, Bytes)> {
        loop {
            if let Some(header) = self.buffer.get(..5) {
                let (tag, len) = (header[0], (&header[1..]).get_u32() as usize);
                if self.buffer.len() > len {
                    let mut frame = self.buffer.split_to(len + 1).freeze();
                    frame.advance(5);
                    return Ok((tag, frame));
                }
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

/// Reads a DataRow: each column is its length, -1 for NULL, and that many bytes.
fn row(mut body: Bytes) -> Option<Row> {
    let columns = body.try_get_u16().ok()?;
    (0..columns)
        .map(|_| match usize::try_from(body.try_get_i32().ok()?) {
            Err(_) => Some(None),
            Ok(len) if len <= body.len() => Some(Some(String::from_utf8_lossy(&body.split_to(len)).into_owned())),
            Ok(_) => None,
        })
        .collect()
}

/// Reads an ErrorResponse: fields that are a letter and a text each.
fn refusal(body: &[u8]) -> SqlError {
    let field = |letter: u8| {
        let mut fields = body.split(|byte| *byte == 0);
        let text = fields.find_map(|field| field.split_first().filter(|(first, _)| **first == letter))?.1;
        str::from_utf8(text).ok().map(str::to_owned)
    };
    SqlError::Refused { code: field(b'C').unwrap_or_default(), message: field(b'M').unwrap_or_default() }
}
