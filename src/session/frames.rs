//! What becomes of a client's frame.

use super::asked::{Asked, Closing};
use super::hearing::left_by_parse;
use super::messages::close_statement;
use super::prepared::Prepared;
use super::unnamed::Place;
use super::way::Ahead;
use super::{CopyIn, Passing, Session};
use crate::protocol::frame::HEADER_BYTES;
use crate::protocol::tag::TxStatus;
use crate::protocol::{Frontend, body};
use crate::sql::{Effect, Effects, Scanner};

/// Bytes that may stay allocated for what goes ahead of frames.
const MOST_KEPT_SPLICE: usize = 4 << 10;

/// What becomes of a client's frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It goes to the server as it is.
    Forward,
    /// [`Session::put_splice`] goes to the server in place of its first so many bytes.
    Splice(usize),
    /// It goes to the server, and [`Session::way_home`] goes behind it.
    ForwardWithWayHome,
    /// Nothing yet: what becomes of it depends on the server. It is to be shown again once one is leased.
    AwaitServer,
    /// Nothing yet: what becomes of it depends on answers that are on their way, perhaps to questions of ours that
    /// [`Session::put_splice`] has. It is to be shown again when more answers have come.
    AwaitAnswers,
    /// Nothing yet: the server is first given what [`Session::to_take_over`] tells. It is to be shown again behind
    /// [`Session::has_taken_over`].
    TakeOver,
    /// PostgreSQL would end the connection for it, as it takes COPY data.
    EndsCopy,
    /// PostgreSQL would ignore it here.
    Ignore,
    /// [`Session::take_database`] says which statement about a database is to be answered here.
    Database,
    /// A Parse of such a statement: refused, and what follows is ignored up to Sync.
    OnlySimpleQuery,
    /// LISTEN, perhaps several, which is done elsewhere: [`Session::listens`], or [`Session::let_listen_pass`].
    Listen,
    /// The Bind of one: [`ListenBatch::read`](super::ListenBatch::read) says whether it is alone in its batch.
    ListenInBatch,
    /// It sends a signal to what may be another session of ours: [`Session::wanted_signal`], then [`Session::stands_in`].
    Signal,
    /// ReadyForQuery is the whole answer, and no server is needed for it.
    AnswerReady,
    /// The client says goodbye.
    Terminate,
}

impl Verdict {
    /// Whether the frame is to be shown again.
    #[inline]
    pub fn waits(self) -> bool {
        matches!(self, Self::AwaitServer | Self::AwaitAnswers | Self::TakeOver)
    }
}

impl Session {
    /// Decides on a frame that is whole. `frame` begins with its tag; `server` is what the leased server has prepared, if
    /// one is leased.
    #[inline]
    pub fn on_client(&mut self, frame: &[u8], mut server: Option<&mut Prepared>) -> Verdict {
        let (tag, body) = (Frontend(frame[0]), &frame[HEADER_BYTES..]);
        match self.admit(tag) {
            Some(verdict) => return verdict,
            None if self.copy_in == CopyIn::Taking => return self.during_copy(tag, server),
            None => {}
        }
        match tag {
            Frontend::QUERY => {
                let text = body::cstr(body).map_or(body, |(text, _)| text);
                if let Some(verdict) = self.act_on_query(text, frame.len()) {
                    return verdict;
                }
                let effects = self.effects_of(text);
                if effects.contains(Effect::Process)
                    && let Some(verdict) = self.act_on_process_query(frame, text, server.as_deref_mut())
                {
                    return verdict;
                }
                if effects.contains(Effect::Prepare)
                    && let Some(verdict) = self.act_on_deallocate(frame, text, server.as_deref_mut())
                {
                    return verdict;
                }
                self.has_read(effects);
                let ahead = self.clear_way(effects, server, Ahead::OfQuery).unwrap_or(Verdict::Forward);
                self.then(ahead, |session| session.ask_query(effects))
            }
            Frontend::PARSE => {
                let (name, text, types) = parts_of_parse(frame);
                if let Some(verdict) = self.act_on_parse(frame, (name, text, types), server.as_deref_mut()) {
                    return verdict;
                }
                let effects = self.effects_of(text);
                if effects.contains(Effect::Process)
                    && let Some(verdict) = self.act_on_process_parse(frame, server.as_deref_mut())
                {
                    return verdict;
                }
                if !name.is_empty() {
                    return self.on_named_parse(frame, name, text, effects, server);
                }
                self.has_read(left_by_parse(frame, effects));
                let ahead = self.clear_way(effects, server, Ahead::InBatch).unwrap_or(Verdict::Forward);
                self.then(ahead, |session| {
                    session.unnamed.parse(frame, effects);
                    session.ask_unnamed_parse()
                })
            }
            _ => self.ask(tag, frame, server),
        }
    }

    /// Decides on a frame larger than the buffer, from its first bytes. The rest follows through
    /// [`Self::on_client_piece`], whose last call is told so.
    pub fn on_client_start(&mut self, start: &[u8], server: Option<&mut Prepared>) -> Verdict {
        let (tag, body) = (Frontend(start[0]), &start[HEADER_BYTES..]);
        self.passing = None;
        match self.admit(tag) {
            Some(verdict) => return verdict,
            None if self.copy_in == CopyIn::Taking => return self.during_copy(tag, server),
            None => {}
        }
        match tag {
            Frontend::QUERY => {
                let ahead = self.clear_way_for_anything(server, Ahead::OfQuery).unwrap_or(Verdict::Forward);
                if ahead.waits() {
                    return ahead;
                }
                self.passing = Some(self.passing(body, false));
                self.ask_query(Effects::NONE);
                ahead
            }
            Frontend::PARSE => {
                let (name, rest) = body::cstr(body).unwrap_or((body, b""));
                if !name.is_empty() {
                    return self.on_large_named_parse(start, name, rest, server);
                }
                let ahead = self.clear_way_for_anything(server, Ahead::InBatch).unwrap_or(Verdict::Forward);
                if ahead.waits() {
                    return ahead;
                }
                self.unnamed.begin();
                self.unnamed.extend(start);
                self.passing = Some(self.passing(rest, true));
                self.ask_unnamed_parse();
                ahead
            }
            _ => self.ask(tag, start, server),
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
            let mut effects = passing.scanner.finish();
            effects.remove(Effect::Process);
            // Only the beginning of the frame may have been shown before.
            self.is_shown_again = false;
            if passing.is_named {
                self.lasting_effects.extend(effects);
                self.lasting_effects.remove(Effect::Notify);
            } else if passing.keeps_unnamed {
                self.unnamed.may_leave(effects);
            }
            self.leaves(effects);
        }
    }

    /// Appends what goes to the server in place of the bytes that [`Verdict::Splice`] counts.
    pub fn put_splice(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.splice);
        self.splice.clear();
        if self.splice.capacity() > MOST_KEPT_SPLICE {
            self.splice = Vec::new();
        }
    }

    /// Whether [`Self::put_splice`] has anything.
    pub fn has_splice(&self) -> bool {
        !self.splice.is_empty()
    }

    /// The frames that are answered without a look at their meaning.
    fn admit(&mut self, tag: Frontend) -> Option<Verdict> {
        self.is_shown_again = self.blocked.take().is_some();
        if std::mem::take(&mut self.blocked_has_failed) {
            return Some(Verdict::Ignore);
        }
        match tag {
            Frontend::TERMINATE => Some(Verdict::Terminate),
            Frontend::SYNC if self.discarding => {
                self.discarding = false;
                self.batch_ends();
                Some(Verdict::AnswerReady)
            }
            _ if self.discarding => Some(Verdict::Ignore),
            Frontend::SYNC if self.skipping => {
                self.skipping = false;
                self.ask_sync();
                Some(Verdict::Forward)
            }
            _ if self.skipping => {
                self.skips_signal();
                Some(Verdict::Ignore)
            }
            _ if self.awaits_what_is_heard(tag) || self.awaits_reset(tag) => Some(Verdict::AwaitAnswers),
            _ => None,
        }
    }

    fn during_copy(&mut self, tag: Frontend, server: Option<&mut Prepared>) -> Verdict {
        match tag {
            Frontend::COPY_DONE | Frontend::COPY_FAIL => {
                self.copy_in = CopyIn::Ending;
                self.queue.push_copy_end();
            }
            Frontend::COPY_DATA | Frontend::FLUSH => {}
            Frontend::SYNC => self.copy_has_sync = true,
            // If the server takes no data any more it would be done, and it was not looked at.
            _ if server.is_some_and(|server| !server.is_empty()) => return Verdict::EndsCopy,
            // The server's error to tell; what it makes of what follows is anybody's guess.
            _ => self.doubtful = true,
        }
        Verdict::Forward
    }

    fn ask_sync(&mut self) -> Verdict {
        self.batch_ends();
        self.queue.push(Asked::Sync);
        Verdict::Forward
    }

    /// What is asked next is skipped by no error before it.
    pub(super) fn batch_ends(&mut self) {
        self.batch_is_open = false;
        self.batch_has_bound = false;
        self.bound_effects = Effects::NONE;
        self.batch += 1;
        self.last_before_batch = self.statements.last_serial();
    }

    pub(super) fn ask_query(&mut self, effects: Effects) -> Verdict {
        let deallocates = effects.contains(Effect::Deallocate);
        if deallocates {
            self.statements.clear();
        }
        self.ask_simple(deallocates)
    }

    /// A simple query; whether the last change of statements depends on whether it deallocates anything.
    pub(super) fn ask_simple(&mut self, deallocates: bool) -> Verdict {
        self.queries += 1;
        self.replaces_portal(None);
        self.mixes_protocols |= self.batch_is_open;
        self.batch_ends();
        self.unnamed.end_asked();
        self.queue.push(Asked::Query { deallocates });
        Verdict::Forward
    }

    fn ask_unnamed_parse(&mut self) -> Verdict {
        self.batch_is_open = true;
        self.queue.push(Asked::Parse { ours: false });
        Verdict::Forward
    }

    /// What is asked with the frame itself, unless it has to wait; what goes ahead of it has been asked already.
    pub(super) fn then(&mut self, verdict: Verdict, ask: impl FnOnce(&mut Self) -> Verdict) -> Verdict {
        if verdict.waits() {
            return verdict;
        }
        ask(self);
        verdict
    }

    fn ask(&mut self, tag: Frontend, frame: &[u8], mut server: Option<&mut Prepared>) -> Verdict {
        let body = &frame[HEADER_BYTES..];
        match tag {
            Frontend::BIND => {
                let names = body::cstr(body).and_then(|(portal, rest)| Some((portal, body::cstr(rest)?.0)));
                let Some((portal, name)) = names else { return self.on_nameless(Asked::Bind(None), server) };
                if self.has_signals() {
                    self.replaces_portal(Some(portal));
                }
                if !name.is_empty() {
                    let at = HEADER_BYTES + portal.len() + 1;
                    return self.on_use(frame, at, name, Asked::Bind, server);
                }
                if self.is_unnamed_doubtful() {
                    return Verdict::AwaitAnswers;
                }
                let effects = self.unnamed.effects();
                if effects.contains(Effect::Process)
                    && let Some(verdict) = self.act_on_unnamed_signal(frame, server.as_deref_mut())
                {
                    return verdict;
                }
                if effects.contains(Effect::Listen)
                    && let Some(verdict) = self.act_on_listen_bind(b"")
                {
                    return verdict;
                }
                self.note_hearing_bind(b"");
                self.executes(effects);
                self.use_unnamed(Asked::Bind(None), server)
            }
            Frontend::DESCRIBE => match about(body) {
                About::Statement(b"") if self.is_unnamed_doubtful() => Verdict::AwaitAnswers,
                About::Statement(b"") => self.use_unnamed(Asked::Describe(None), server),
                About::Statement(name) => self.on_use(frame, HEADER_BYTES + 1, name, Asked::Describe, server),
                About::Portal => self.ask_of_batch(Asked::Describe(None)),
                About::Endless => self.on_nameless(Asked::Describe(None), server),
            },
            Frontend::CLOSE => match about(body) {
                About::Statement(b"") => {
                    self.unnamed.end_asked();
                    self.ask_of_batch(Asked::Close(Closing::Unnamed))
                }
                About::Statement(name) => self.on_named_close(frame, name, server),
                About::Portal => {
                    self.replaces_portal(None);
                    self.ask_of_batch(Asked::Close(Closing::Other))
                }
                About::Endless => self.on_nameless(Asked::Close(Closing::Other), server),
            },
            Frontend::EXECUTE => {
                self.queries += 1;
                if self.has_signals() {
                    if let Some(signal) = self.signal_of(body::cstr(body).unwrap_or_default().0) {
                        return self.ask_of_batch(Asked::Signal(signal));
                    }
                    self.replaces_portal(None);
                }
                let deallocates = self.bound_effects.contains(Effect::Deallocate);
                if deallocates {
                    self.statements.clear();
                }
                self.ask_of_batch(Asked::Execute { deallocates })
            }
            Frontend::FUNCTION_CALL => {
                // What is called is a number: nobody can tell what it leaves behind.
                let effects = Effects::of(&[Effect::Procedural]);
                self.leaves(effects);
                let ahead = self.clear_way(effects, server, Ahead::OfQuery).unwrap_or(Verdict::Forward);
                self.then(ahead, |session| {
                    session.queries += 1;
                    session.replaces_portal(None);
                    session.mixes_protocols |= session.batch_is_open;
                    session.batch_ends();
                    session.queue.push(Asked::Call);
                    Verdict::Forward
                })
            }
            // In a transaction it may be what ends it: after a Query in a batch. Who listens may want to hear what there is.
            Frontend::SYNC
                if self.queue.is_empty()
                    && !self.batch_is_open
                    && self.status == TxStatus::Idle
                    && !self.hears_elsewhere() =>
            {
                Verdict::AnswerReady
            }
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
                self.queue.push(Asked::Query { deallocates: false });
                Verdict::Forward
            }
        }
    }

    /// A message whose names do not end in what is there of it: whatever it names, it is nothing of a stranger's.
    fn on_nameless(&mut self, asked: Asked, server: Option<&mut Prepared>) -> Verdict {
        let ahead = self.clear_way_for_anything(server, Ahead::InBatch).unwrap_or(Verdict::Forward);
        self.then(ahead, |session| session.ask_of_batch(asked))
    }

    pub(super) fn ask_of_batch(&mut self, asked: Asked) -> Verdict {
        self.batch_is_open = true;
        self.batch_has_bound |= matches!(asked, Asked::Bind(_));
        self.queue.push(asked);
        Verdict::Forward
    }

    /// Whether it depends on answers that are on their way which statement a message without a name is about.
    ///
    /// What a Parse that was asked in an earlier batch has left cannot be told before it is answered: one that fails may
    /// leave a stranger's statement where it was, and one that is skipped leaves the client's.
    fn is_unnamed_doubtful(&self) -> bool {
        match self.unnamed.place() {
            Place::OnItsWay => !self.queue.has_parsed_unnamed(),
            // It was skipped if its batch has failed.
            Place::Supplied | Place::Ending => self.queue.has_ended_one(),
            Place::There | Place::Missing | Place::Nowhere => false,
        }
    }

    /// A message uses the unnamed statement. Where that has to be parsed there first, PostgreSQL looks at what it names.
    fn use_unnamed(&mut self, asked: Asked, server: Option<&mut Prepared>) -> Verdict {
        let effects = self.unnamed.effects();
        let ahead = self.clear_way(effects, server, Ahead::InBatch).unwrap_or(Verdict::Forward);
        if ahead.waits() {
            return ahead;
        }
        let verdict = match self.supply_unnamed() {
            Verdict::Forward => ahead,
            other => other,
        };
        self.ask_of_batch(asked);
        verdict
    }

    /// The server must have the client's unnamed statement, or none.
    fn supply_unnamed(&mut self) -> Verdict {
        match self.unnamed.place() {
            Place::There | Place::Supplied | Place::OnItsWay => Verdict::Forward,
            Place::Missing => {
                self.splice.extend_from_slice(self.unnamed.parse_frame());
                self.unnamed.supplied();
                self.queue.push(Asked::Parse { ours: true });
                Verdict::Splice(0)
            }
            Place::Nowhere | Place::Ending => {
                close_statement(&mut self.splice, |_| ());
                self.queue.push(Asked::Close(Closing::Ours(None)));
                Verdict::Splice(0)
            }
        }
    }

    pub(super) fn passing(&self, text: &[u8], keeps_unnamed: bool) -> Passing {
        let mut scanner = Scanner::new(self.quoting);
        scanner.feed(text);
        Passing { scanner, keeps_unnamed, is_named: false }
    }
}

/// What a Describe or Close is about.
enum About<'f> {
    /// The prepared statement of this name.
    Statement(&'f [u8]),
    Portal,
    /// A prepared statement whose name does not end in what is there of the frame.
    Endless,
}

fn about(body: &[u8]) -> About<'_> {
    match body.strip_prefix(b"S").map(body::cstr) {
        Some(Some((name, _))) => About::Statement(name),
        Some(None) => About::Endless,
        None => About::Portal,
    }
}

/// The name, the text and the parameter types of a Parse.
pub(super) fn parts_of_parse(frame: &[u8]) -> (&[u8], &[u8], &[u8]) {
    let (name, rest) = body::cstr(&frame[HEADER_BYTES..]).unwrap_or_default();
    let (text, types) = body::cstr(rest).unwrap_or((rest, b""));
    (name, text, types)
}
