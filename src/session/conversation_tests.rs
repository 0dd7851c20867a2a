//! A client that speaks through a session sees what it would see on a PostgreSQL of its own, whatever it sends and
//! however the directions interleave. The fuzz target `conversation` runs the same.

use std::collections::VecDeque;

use super::postgres_tests::{Ask, DEALLOCATED, Outcome, PRELUDE, STRANGERS, Said, Server, What};
use crate::protocol::frame::HEADER_BYTES;
use crate::protocol::tag::TxStatus;
use crate::protocol::{Backend, Frontend, Header};
use crate::session::prepared::{self, Content, Description, Key};
use crate::session::{Prepared, Reply, Session, Verdict};
use crate::sql::{Effects, Quoting};

/// One message, then so many turns of the server and of the reader of its answers.
#[derive(Debug, Clone)]
#[cfg_attr(not(test), derive(arbitrary::Arbitrary))]
pub(crate) struct Turn {
    pub(crate) ask: Ask,
    pub(crate) served: u8,
    pub(crate) read: u8,
}

/// Has the conversation with a server directly and through a session, and panics where the client could tell.
pub(crate) fn check(turns: &[Turn]) {
    let (mut direct, mut through) = (Server::new(None), Through::new());
    let mut batch_is_open = false;
    // What the client believes, who has not heard of an error yet.
    let mut sends_data = false;
    for (id, turn) in turns.iter().enumerate() {
        if batch_is_open && matches!(&turn.ask, Ask::Query(outcomes) if outcomes.contains(&Outcome::Executes)) {
            // In the middle of a batch SQL does not find what was prepared elsewhere (docs/adr/0009).
            continue;
        }
        if sends_data && !turn.ask.belongs_to_copy() {
            // PostgreSQL ends the connection.
            continue;
        }
        batch_is_open = match turn.ask {
            Ask::Query(_) | Ask::Call { .. } | Ask::Sync => false,
            Ask::Flush | Ask::CopyData { .. } | Ask::CopyDone { .. } | Ask::CopyFail => batch_is_open,
            _ => true,
        };
        direct.take(id, &turn.ask, turn.ask.name());
        let has_ended = matches!(turn.ask, Ask::CopyDone { .. } | Ask::CopyFail);
        sends_data = direct.copy.is_some() || (sends_data && !has_ended);
        through.ask(id, &turn.ask);
        (0..turn.served).for_each(|_| through.serve());
        (0..turn.read).for_each(|_| through.read());
        if through.is_lost() {
            return;
        }
    }
    while !through.wire.is_empty() || !through.server().out.is_empty() {
        through.serve();
        through.read();
        if through.is_lost() {
            return;
        }
    }
    assert_eq!(through.client, direct.out, "left: through the session, right: without it");
    assert!(through.inbox.is_empty() || through.server().copy.is_some(), "held back for ever: {:?}", through.session);
    let owes = through.server().copy.is_some();
    assert!(owes || through.session.is_waiting_for_client(), "nothing will ever answer {:?}", through.session);
}

/// The relay, reduced to what it asks its session.
struct Through {
    session: Session,
    /// Two servers that are lent in turns, and what each has prepared.
    servers: [(Server, Prepared); 2],
    leases: usize,
    leased: bool,
    /// What the client has sent and the session has not decided upon.
    inbox: VecDeque<(usize, Ask)>,
    /// Sent, and not yet looked at by the server: also which statement it names.
    wire: VecDeque<(usize, Ask, Vec<u8>)>,
    /// What the client has seen.
    client: Said,
    /// The last statement that the client has given a name to, if it has.
    named: Option<usize>,
}

impl Through {
    fn new() -> Self {
        let fresh = || (Server::new(None), Prepared::default());
        Self {
            session: Session::new(Quoting::Standard),
            servers: [fresh(), fresh()],
            leases: 0,
            leased: false,
            inbox: VecDeque::new(),
            wire: VecDeque::new(),
            client: Said::new(),
            named: None,
        }
    }

    fn server(&mut self) -> &mut Server {
        &mut self.servers[self.leases % 2].0
    }

    fn ask(&mut self, id: usize, ask: &Ask) {
        if matches!(ask, Ask::Parse { named: true, .. }) {
            self.named = Some(id);
        }
        self.inbox.push_back((id, ask.clone()));
        self.decide();
    }

    /// Decides on what the client has sent, as far as can be.
    fn decide(&mut self) {
        while let Some((id, ask)) = self.inbox.front().cloned() {
            let frame = ask.frame(id);
            let prepared = self.leased.then_some(&mut self.servers[self.leases % 2].1);
            match self.session.on_client(&frame, prepared) {
                Verdict::Forward => self.wire.push_back((id, ask.clone(), ask.name().to_vec())),
                Verdict::Splice(skip) => {
                    let mut sent = Vec::new();
                    self.session.put_splice(&mut sent);
                    sent.extend_from_slice(&frame[skip..]);
                    self.send(&sent, id, Some(&ask));
                }
                Verdict::AwaitServer => {
                    self.lease();
                    continue;
                }
                Verdict::AwaitAnswers => {
                    let mut sent = Vec::new();
                    self.session.put_splice(&mut sent);
                    return self.send(&sent, id, None);
                }
                Verdict::TakeOver => {
                    self.take_over();
                    continue;
                }
                Verdict::EndsCopy => panic!("what is not of COPY is not sent here"),
                Verdict::Ignore => {}
                Verdict::AnswerReady => {
                    assert!(self.server().out.is_empty(), "the client's own answers come first");
                    self.client.push_back((Backend::READY_FOR_QUERY, id));
                }
                Verdict::Terminate => panic!("no goodbye was said"),
                Verdict::ForwardWithWayHome => panic!("no settings are reset here"),
                Verdict::Database | Verdict::OnlySimpleQuery => panic!("databases are not schemas here"),
                Verdict::Signal => panic!("nobody sends a signal here"),
                Verdict::Listen | Verdict::ListenInBatch => panic!("nobody listens here"),
            }
            self.inbox.pop_front();
        }
    }

    /// Messages of ours, and among them the client's own, perhaps with another name in it: the last one of its kind.
    fn send(&mut self, mut sent: &[u8], id: usize, own: Option<&Ask>) {
        let mut messages = Vec::new();
        while !sent.is_empty() {
            let header = Header::read(sent, u32::MAX).expect("a right length").expect("a whole header");
            let (message, rest) = sent.split_at(header.total);
            messages.push(message);
            sent = rest;
        }
        let own = own.map(|ask| {
            let tag = ask.frame(id)[0];
            (ask, messages.iter().rposition(|message| message[0] == tag).expect("the client's own is among them"))
        });
        for (at, message) in messages.into_iter().enumerate() {
            let (tag, body) = (Frontend(message[0]), &message[HEADER_BYTES..]);
            let strings = body.split(|byte| *byte == 0).collect::<Vec<_>>();
            let of_statement = body.first() == Some(&b'S');
            let name = match tag {
                Frontend::PARSE => strings[0],
                Frontend::BIND => strings[1],
                Frontend::DESCRIBE | Frontend::CLOSE if of_statement => &strings[0][1..],
                _ => b"",
            };
            let what = if name.is_empty() { What::UnnamedStatement } else { What::NamedStatement };
            let (id, ask) = match (own, tag) {
                (Some((ask, own)), _) if own == at => (id, ask.clone()),
                (_, Frontend::PARSE) if strings[1].is_empty() => (PRELUDE, Ask::Parse { named: true, fails: false }),
                (_, Frontend::PARSE) => (number(strings[1]), Ask::Parse { named: true, fails: false }),
                (_, Frontend::DESCRIBE) => (PRELUDE, Ask::Describe { what, fails: false, rows: true }),
                (_, Frontend::CLOSE) => (PRELUDE, Ask::Close { what }),
                (_, Frontend::SYNC) => (PRELUDE, Ask::Sync),
                (_, Frontend::FLUSH) => (PRELUDE, Ask::Flush),
                other => panic!("{other:?} is nothing that is said for a client"),
            };
            self.wire.push_back((id, ask, name.to_vec()));
        }
    }

    fn lease(&mut self) {
        self.leased = true;
        self.leases += 1;
        self.server().unnamed = Some(STRANGERS);
        self.be_strangers();
        if self.leases.is_multiple_of(3) {
            self.session.expect_prelude(1);
            self.server().take(PRELUDE, &Ask::Query(Vec::new()), b"");
        }
    }

    /// Others had the server meanwhile, and have prepared something of their own there, and sometimes what this client has too:
    /// as it was, or after its tables have changed.
    fn be_strangers(&mut self) {
        let lease = self.leases;
        let (server, prepared) = &mut self.servers[lease % 2];
        if !prepared.has_our_names() {
            return;
        }
        let same = self.named.filter(|_| lease.is_multiple_of(3)).map(|id| (id.to_string(), id));
        for (text, statement) in [("a stranger's".to_owned(), STRANGERS)].into_iter().chain(same) {
            let content = Content::new(format!("{text}\0\0\0").as_bytes()).into();
            let mut closed = Vec::new();
            let id = prepared.insert(Key { content, settings: 0 }, 0, |id| closed.push(id));
            closed.into_iter().for_each(|id| {
                server.named.remove(&named(id));
                prepared.is_closed(id);
            });
            let columns: &[u8] = if lease.is_multiple_of(2) { b"\0\0" } else { b"" };
            prepared.described(id, &Description::read(b"\0\0", columns).expect("it is whole"));
            server.named.insert(named(id), statement);
        }
    }

    /// The server is given the client's statements by their own names.
    fn take_over(&mut self) {
        // Nothing answers a Flush, or what is of a COPY that has ended.
        let is_unanswered =
            |ask: &Ask| matches!(ask, Ask::Flush | Ask::CopyData { .. } | Ask::CopyDone { .. } | Ask::CopyFail);
        let all_is_answered = self.wire.iter().all(|(_, ask, _)| is_unanswered(ask));
        assert!(all_is_answered && self.server().out.is_empty(), "there is more to be answered first");
        let mut told = Vec::new();
        for statement in self.session.to_take_over() {
            self.send(&statement.messages, 0, None);
            self.wire.push_back((PRELUDE, Ask::Sync, Vec::new()));
            while let Some((id, ask, name)) = self.wire.pop_front() {
                self.server().take(id, &ask, &name);
            }
            let failed = self.server().out.drain(..).any(|(tag, _)| tag == Backend::ERROR);
            let description = Description::read(b"\0\0", b"\0\0").filter(|_| !failed);
            told.push((statement.serial, description));
        }
        self.session.has_taken_over(told, &mut self.servers[self.leases % 2].1);
    }

    /// The server looks at one message.
    fn serve(&mut self) {
        let Some((id, ask, name)) = self.wire.pop_front() else { return };
        if !self.leased {
            self.lease();
        }
        self.server().take(id, &ask, &name);
    }

    /// The relay looks at one answer.
    fn read(&mut self) {
        let Some((tag, id)) = self.server().out.pop_front() else { return };
        let is_deallocated = id & DEALLOCATED != 0 && id < PRELUDE;
        let body: &[u8] = match tag {
            Backend::PARAMETER_DESCRIPTION | Backend::ROW_DESCRIPTION => b"\0\0",
            _ if is_deallocated => b"DEALLOCATE ALL\0",
            _ => b"I",
        };
        let reply = self.session.on_server(tag, body, &mut self.servers[self.leases % 2].1);
        match reply {
            Reply::Swallow => {}
            Reply::Forward | Reply::Ready(TxStatus::Idle) => self.client.push_back((tag, id)),
            other => panic!("{tag:?} is {other:?}"),
        }
        assert!(id != PRELUDE || reply == Reply::Swallow, "{tag:?} answers a message of ours");
        let is_settled = matches!(reply, Reply::Ready(_)) && self.session.is_settled();
        if is_settled && !self.is_lost() {
            self.transaction_ends();
        }
        self.decide();
    }

    fn transaction_ends(&mut self) {
        while let Some((id, ask, name)) = self.wire.pop_front() {
            self.server().take(id, &ask, &name);
        }
        let server = self.server();
        let silent = server.out.is_empty() && server.copy.is_none() && !server.skipping;
        assert!(silent, "settled, but the server had more to say: {:?}", server.out);
        if self.session.pin().is_some() {
            let asks = self.session.is_to_be_asked();
            self.session.transaction_ended();
            if !asks || !self.tells_nothing() {
                return;
            }
        }
        let (server, prepared) = &mut self.servers[self.leases % 2];
        prepared.lease_ended();
        if self.session.is_doubtful() || prepared.has_clients_statements() {
            (*server, *prepared) = (Server::new(None), Prepared::default());
        }
        self.session.lease_ended();
        self.leased = false;
    }

    /// The server is asked, and tells of the client's names only. Whether it goes back.
    fn tells_nothing(&mut self) -> bool {
        self.session.unnamed_left_server();
        let (server, prepared) = &mut self.servers[self.leases % 2];
        server.unnamed = None;
        let names = server.named.keys().filter(|name| !name.starts_with(prepared::PREFIX));
        let names: Vec<_> = names.map(|name| String::from_utf8_lossy(name).into_owned()).collect();
        self.session.keeps_only(Effects::NONE, &names, prepared)
    }

    /// Nothing more can be told, and the session knows it: an error came while the client sent COPY data.
    fn is_lost(&mut self) -> bool {
        let is_doubtful = self.session.is_doubtful();
        let failed_in_copy = self.server().failed_in_copy;
        assert!(!is_doubtful || failed_in_copy, "a server that did as it should is in doubt");
        is_doubtful && failed_in_copy
    }
}

/// A name of ours.
fn named(id: prepared::Id) -> Vec<u8> {
    let mut name = Vec::new();
    prepared::put_name(&mut name, id);
    name
}

/// The message that a Parse came from: its text is the number.
fn number(text: &[u8]) -> usize {
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).expect("a Parse that the client sent")
}

#[cfg(test)]
mod tests {
    use super::super::postgres_tests::{Ask, Outcome, What};
    use super::{Turn, check};
    use proptest::prelude::*;

    fn ask() -> impl Strategy<Value = Ask> {
        use Outcome::{CopyIn, CopyOut, Deallocates, Executes, Fails, Nothing, Rows, Suspended};
        let seldom = vec![Nothing, Suspended, Fails, CopyIn, CopyOut, Deallocates, Executes];
        let outcome = || prop_oneof![3 => Just(Rows), 1 => proptest::sample::select(seldom.clone())];
        let what = || proptest::sample::select(vec![What::UnnamedStatement, What::NamedStatement, What::Portal]);
        let (named, fails) = (proptest::bool::weighted(0.5), proptest::bool::weighted(0.15));
        prop_oneof![
            2 => proptest::collection::vec(outcome(), 0..3).prop_map(Ask::Query),
            1 => fails.prop_map(|fails| Ask::Call { fails }),
            4 => (named, fails).prop_map(|(named, fails)| Ask::Parse { named, fails }),
            4 => (named, fails).prop_map(|(named, fails)| Ask::Bind { named, fails }),
            2 => (what(), fails, any::<bool>()).prop_map(|(what, fails, rows)| Ask::Describe { what, fails, rows }),
            1 => what().prop_map(|what| Ask::Close { what }),
            4 => outcome().prop_map(Ask::Execute),
            6 => Just(Ask::Sync),
            1 => Just(Ask::Flush),
            2 => fails.prop_map(|fails| Ask::CopyData { fails }),
            2 => fails.prop_map(|fails| Ask::CopyDone { fails }),
            1 => Just(Ask::CopyFail),
        ]
    }

    fn turn() -> impl Strategy<Value = Turn> {
        (ask(), 0u8..4, 0u8..8).prop_map(|(ask, served, read)| Turn { ask, served, read })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]
        #[test]
        fn a_client_cannot_tell_a_session_from_a_server_of_its_own(turns in proptest::collection::vec(turn(), 0..40)) {
            check(&turns);
        }
    }
}
