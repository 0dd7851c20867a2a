//! What becomes of a client's frame.

use super::asked::Asked;
use super::pin::PinReason;
use super::{CopyIn, Passing, Session};
use crate::protocol::frame::HEADER_BYTES;
use crate::protocol::{Frontend, body};
use crate::sql::{Effect, Effects, Scanner, scan};

/// What becomes of a client's frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It goes to the server as it is.
    Forward,
    /// It goes to the server, and [`Session::injection`] goes ahead of it.
    ForwardAfterInjection,
    /// PostgreSQL would ignore it here.
    Ignore,
    /// [`Session::rewritten`] goes to the server instead.
    Rewrite,
    /// [`Session::take_database`] says which statement about a database is to be answered here.
    Database,
    /// A Parse of such a statement: refused, and what follows is ignored up to Sync.
    OnlySimpleQuery,
    /// ReadyForQuery is the whole answer, and no server is needed for it.
    AnswerReady,
    /// The client says goodbye.
    Terminate,
}

impl Session {
    /// Decides on a frame that is whole. `frame` begins with its tag.
    #[inline]
    pub fn on_client(&mut self, frame: &[u8]) -> Verdict {
        let (tag, body) = (Frontend(frame[0]), &frame[HEADER_BYTES..]);
        match self.admit(tag) {
            Some(verdict) => return verdict,
            None if self.copy_in == CopyIn::Taking => return self.during_copy(tag),
            None => {}
        }
        match tag {
            Frontend::QUERY => {
                let text = body::cstr(body).map_or(body, |(text, _)| text);
                if let Some(verdict) = self.act_on_query(text) {
                    return verdict;
                }
                self.begins(is_plain_query(body));
                self.read_text(text, false);
                self.ask_query()
            }
            Frontend::PARSE => {
                let (name, text, types) = parts_of_parse(frame);
                if let Some(verdict) = self.act_on_parse(name, text, types) {
                    return verdict;
                }
                self.read_text(text, !name.is_empty());
                if name.is_empty() {
                    self.begins(is_plain_parse(body));
                    self.unnamed.parse(frame);
                }
                self.ask_parse(name)
            }
            _ => self.ask(tag, body),
        }
    }

    /// Decides on a frame larger than the buffer, from its first bytes. The rest follows through
    /// [`Self::on_client_piece`], whose last call is told so.
    pub fn on_client_start(&mut self, start: &[u8]) -> Verdict {
        let (tag, body) = (Frontend(start[0]), &start[HEADER_BYTES..]);
        self.passing = None;
        match self.admit(tag) {
            Some(verdict) => return verdict,
            None if self.copy_in == CopyIn::Taking => return self.during_copy(tag),
            None => {}
        }
        match tag {
            Frontend::QUERY => {
                self.passing = Some(self.passing(body, false, false));
                self.ask_query()
            }
            Frontend::PARSE => {
                let (name, rest) = body::cstr(body).unwrap_or((body, b""));
                if name.is_empty() {
                    self.unnamed.begin();
                    self.unnamed.extend(start);
                }
                self.passing = Some(self.passing(rest, name.is_empty(), !name.is_empty()));
                self.ask_parse(name)
            }
            _ => self.ask(tag, body),
        }
    }

    /// More of the frame that [`Self::on_client_start`] began.
    pub fn on_client_piece(&mut self, piece: &[u8], last: bool) {
        let Some(passing) = &mut self.passing else { return };
        passing.scanner.feed(piece);
        if passing.keeps_unnamed {
            self.unnamed.extend(piece);
        }
        if last && let Some(passing) = self.passing.take() {
            self.leaves(passing.scanner.finish(), passing.named);
        }
    }

    /// What has to go to the server ahead of the frame with [`Verdict::ForwardAfterInjection`].
    pub fn injection(&mut self, out: &mut Vec<u8>) {
        if let Some(parse) = self.unnamed.missing() {
            out.extend_from_slice(parse);
            self.unnamed.supplied();
        }
    }

    /// The frames that are answered without a look at their meaning.
    fn admit(&mut self, tag: Frontend) -> Option<Verdict> {
        match tag {
            Frontend::TERMINATE => Some(Verdict::Terminate),
            Frontend::SYNC if self.discarding => {
                self.discarding = false;
                Some(Verdict::AnswerReady)
            }
            _ if self.discarding => Some(Verdict::Ignore),
            Frontend::SYNC if self.skipping => {
                self.skipping = false;
                self.ask_sync();
                Some(Verdict::Forward)
            }
            _ if self.skipping => Some(Verdict::Ignore),
            _ => None,
        }
    }

    fn during_copy(&mut self, tag: Frontend) -> Verdict {
        match tag {
            Frontend::COPY_DONE | Frontend::COPY_FAIL => {
                self.copy_in = CopyIn::Ending;
                self.queue.push_copy_end();
            }
            Frontend::COPY_DATA | Frontend::FLUSH | Frontend::SYNC => {}
            // The server's error to tell; what it makes of what follows is anybody's guess.
            _ => self.doubtful = true,
        }
        Verdict::Forward
    }

    fn ask_sync(&mut self) -> Verdict {
        self.batch_is_open = false;
        self.queue.push(Asked::Sync);
        Verdict::Forward
    }

    /// The first thing asked of a server decides whether a stranger's unnamed statement can still be there.
    pub(super) fn begins(&mut self, replaces_unnamed: bool) {
        if self.queue.is_empty() {
            self.replaces_unnamed = replaces_unnamed;
        }
    }

    pub(super) fn ask_query(&mut self) -> Verdict {
        self.queries += 1;
        self.batch_is_open = false;
        self.unnamed_effects = Effects::NONE;
        self.unnamed.query_asked();
        self.queue.push(Asked::Query);
        Verdict::Forward
    }

    fn ask_parse(&mut self, name: &[u8]) -> Verdict {
        if !name.is_empty() {
            self.pin_for(PinReason::PreparedStatement);
        }
        self.batch_is_open = true;
        self.queue.push(Asked::Parse { unnamed: name.is_empty(), ours: false });
        Verdict::Forward
    }

    fn ask(&mut self, tag: Frontend, body: &[u8]) -> Verdict {
        let of_batch = [Frontend::BIND, Frontend::DESCRIBE, Frontend::CLOSE, Frontend::EXECUTE];
        self.batch_is_open |= of_batch.contains(&tag);
        match tag {
            Frontend::BIND => {
                let statement = body::cstr(body).and_then(|(_, rest)| body::cstr(rest));
                let unnamed = statement.is_none_or(|(name, _)| name.is_empty());
                if unnamed {
                    self.effects.extend(self.unnamed_effects);
                    self.cycle_effects.extend(self.unnamed_effects);
                }
                let verdict = self.supply_unnamed(unnamed);
                self.queue.push(Asked::Bind);
                verdict
            }
            Frontend::DESCRIBE => {
                let verdict = self.supply_unnamed(names_unnamed_statement(body));
                self.queue.push(Asked::Describe);
                verdict
            }
            Frontend::CLOSE => {
                self.queue.push(Asked::Close { unnamed: names_unnamed_statement(body) });
                Verdict::Forward
            }
            Frontend::EXECUTE => {
                self.queries += 1;
                self.queue.push(Asked::Execute);
                Verdict::Forward
            }
            Frontend::FUNCTION_CALL => {
                self.queries += 1;
                self.batch_is_open = false;
                // What is called is a number: nobody can tell what it leaves behind.
                self.leaves([Effect::Procedural].into_iter().collect(), false);
                self.queue.push(Asked::Call);
                Verdict::Forward
            }
            Frontend::SYNC if self.queue.is_empty() && !self.batch_is_open => Verdict::AnswerReady,
            Frontend::SYNC => self.ask_sync(),
            Frontend::COPY_DATA | Frontend::FLUSH if self.queue.is_empty() => Verdict::Ignore,
            Frontend::COPY_DONE | Frontend::COPY_FAIL if self.queue.is_empty() => Verdict::Ignore,
            Frontend::COPY_DONE | Frontend::COPY_FAIL => {
                self.queue.push_copy_end();
                Verdict::Forward
            }
            Frontend::COPY_DATA | Frontend::FLUSH => Verdict::Forward,
            // Not of the protocol: the server says so and ends the connection.
            _ => {
                self.doubtful = true;
                self.queue.push(Asked::Query);
                Verdict::Forward
            }
        }
    }

    fn supply_unnamed(&mut self, uses_unnamed: bool) -> Verdict {
        if !uses_unnamed || self.unnamed.missing().is_none() {
            return Verdict::Forward;
        }
        self.begins(true);
        self.queue.push(Asked::Parse { unnamed: true, ours: true });
        Verdict::ForwardAfterInjection
    }

    fn passing(&self, text: &[u8], keeps_unnamed: bool, named: bool) -> Passing {
        let mut scanner = Scanner::new(self.quoting);
        scanner.feed(text);
        Passing { scanner, named, keeps_unnamed }
    }

    #[inline]
    fn read_text(&mut self, text: &[u8], named: bool) {
        let effects = scan(text, self.quoting);
        if !effects.is_empty() || !self.unnamed_effects.is_empty() {
            self.leaves(effects, named);
        }
    }

    /// Notes what a text may leave behind: now, and whenever the statement is executed again.
    fn leaves(&mut self, mut effects: Effects, named: bool) {
        if effects.contains(Effect::Public) {
            // Of interest for whoever reads the log, not for the server.
            effects.remove(Effect::Public);
            self.public_references += 1;
        }
        if named {
            self.lasting_effects.extend(effects);
        } else {
            self.unnamed_effects = effects;
        }
        self.effects.extend(effects);
        self.cycle_effects.extend(effects);
        effects.remove(Effect::Code);
        // The most telling one first: it names the pin.
        for effect in effects.iter() {
            self.pin_for(PinReason::Statement(effect));
        }
    }
}

/// Whether a Query is whole and of one encoding only: PostgreSQL will drop the unnamed statement before anything can fail.
#[inline]
fn is_plain_query(body: &[u8]) -> bool {
    matches!(body.split_last(), Some((0, text)) if text.is_ascii() && memchr::memchr(0, text).is_none())
}

/// The same of a Parse of the unnamed statement: an empty name, the text, and as many types as it says.
#[inline]
fn is_plain_parse(body: &[u8]) -> bool {
    let Some((text, types)) = body.get(1..).and_then(body::cstr) else { return false };
    let Some((count, types)) = types.split_first_chunk::<2>() else { return false };
    text.is_ascii() && types.len() == 4 * usize::from(u16::from_be_bytes(*count))
}

/// Whether the body of a Describe or Close names the unnamed prepared statement.
fn names_unnamed_statement(body: &[u8]) -> bool {
    matches!(body, [b'S', 0, ..])
}

/// The name, the text and the parameter types of a Parse.
fn parts_of_parse(frame: &[u8]) -> (&[u8], &[u8], &[u8]) {
    let (name, rest) = body::cstr(&frame[HEADER_BYTES..]).unwrap_or_default();
    let (text, types) = body::cstr(rest).unwrap_or((rest, b""));
    (name, text, types)
}
