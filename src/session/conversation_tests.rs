//! A client that speaks through a session sees what it would see on a PostgreSQL of its own, whatever it sends and
//! however the directions interleave. The fuzz target `conversation` runs the same.

use std::collections::VecDeque;

use super::postgres_tests::{Ask, PRELUDE, STRANGERS, Said, Server, What};
use crate::protocol::Backend;
use crate::protocol::tag::TxStatus;
use crate::session::{Reply, Session, Verdict};
use crate::sql::Quoting;

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
    for (id, turn) in turns.iter().enumerate() {
        if direct.copy.is_some() && !turn.ask.belongs_to_copy() {
            // PostgreSQL ends the connection.
            continue;
        }
        direct.take(id, &turn.ask);
        through.ask(id, &turn.ask);
        (0..turn.served).for_each(|_| through.serve());
        (0..turn.read).for_each(|_| through.read());
        if through.is_lost() {
            return;
        }
    }
    while !through.wire.is_empty() || !through.server.out.is_empty() {
        through.serve();
        through.read();
        if through.is_lost() {
            return;
        }
    }
    assert_eq!(through.client, direct.out, "left: through the session, right: without it");
    let owes = through.server.copy.is_some();
    assert!(owes || through.session.is_waiting_for_client(), "nothing will ever answer {:?}", through.session);
}

/// The relay, reduced to what it asks its session.
struct Through {
    session: Session,
    server: Server,
    leased: bool,
    /// Forwarded, and not yet looked at by the server.
    wire: VecDeque<(usize, Ask)>,
    /// What the client has seen.
    client: Said,
    /// A Close of the unnamed statement is on its way.
    closes_unnamed: bool,
    /// The one known difference: a Bind right behind that Close, on a server that is new to the session, finds the
    /// statement supplied.
    differs: bool,
}

impl Through {
    fn new() -> Self {
        let session = Session::new(Quoting::Standard);
        Self {
            session,
            server: Server::new(None),
            leased: false,
            wire: VecDeque::new(),
            client: Said::new(),
            closes_unnamed: false,
            differs: false,
        }
    }

    fn ask(&mut self, id: usize, ask: &Ask) {
        match self.session.on_client(&ask.frame(id)) {
            Verdict::Forward => self.wire.push_back((id, ask.clone())),
            Verdict::ForwardAfterInjection => {
                self.differs |= self.closes_unnamed;
                let mut parse = Vec::new();
                self.session.injection(&mut parse);
                self.wire.push_back((id_of_parse(&parse), Ask::Parse { named: false, fails: false }));
                self.wire.push_back((id, ask.clone()));
            }
            Verdict::Ignore => {}
            Verdict::AnswerReady => {
                assert!(self.server.out.is_empty(), "the client's own answers come first");
                self.client.push_back((Backend::READY_FOR_QUERY, id));
            }
            Verdict::Terminate => panic!("no goodbye was said"),
            Verdict::Rewrite | Verdict::Database | Verdict::OnlySimpleQuery => panic!("databases are not schemas here"),
        }
        self.closes_unnamed |= matches!(ask, Ask::Close { what: What::UnnamedStatement });
    }

    /// The server looks at one message.
    fn serve(&mut self) {
        let Some((id, ask)) = self.wire.pop_front() else { return };
        if !self.leased {
            self.leased = true;
            self.server = Server::new(Some(STRANGERS));
            if self.session.needs_blank_server() {
                self.session.expect_prelude(1);
                self.server.take(PRELUDE, &Ask::Query(Vec::new()));
            }
        }
        self.server.take(id, &ask);
    }

    /// The relay looks at one answer.
    fn read(&mut self) {
        let Some((tag, id)) = self.server.out.pop_front() else { return };
        let reply = self.session.on_server(tag, Some(b'I'));
        match reply {
            Reply::Swallow => {}
            Reply::Forward | Reply::Ready(TxStatus::Idle) => self.client.push_back((tag, id)),
            other => panic!("{tag:?} is {other:?}"),
        }
        self.closes_unnamed &= !self.session.is_waiting_for_client();
        assert_eq!(id == PRELUDE, reply == Reply::Swallow && tag != Backend::PARSE_COMPLETE);
        if !matches!(reply, Reply::Ready(_)) || !self.session.is_settled() || self.session.is_doubtful() {
            return;
        }
        while let Some((id, ask)) = self.wire.pop_front() {
            self.server.take(id, &ask);
        }
        let silent = self.server.out.is_empty() && self.server.copy.is_none() && !self.server.skipping;
        assert!(silent, "settled, but the server had more to say: {:?}", self.server.out);
        if self.session.pin().is_some() {
            self.session.transaction_ended();
        } else {
            self.session.lease_ended();
            self.leased = false;
        }
    }

    /// Nothing more can be told, and the session knows it: an error came while the client sent COPY data.
    fn is_lost(&self) -> bool {
        assert!(
            !self.session.is_doubtful() || self.server.failed_in_copy,
            "a server that did as it should is in doubt"
        );
        self.session.is_doubtful() || self.differs
    }
}

/// The message that a Parse of the unnamed statement came from: its text is the number.
fn id_of_parse(frame: &[u8]) -> usize {
    let text = frame[6..].split(|byte| *byte == 0).next().unwrap_or_default();
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).expect("a Parse that the client sent")
}

#[cfg(test)]
mod tests {
    use super::super::postgres_tests::{Ask, Outcome, What};
    use super::{Turn, check};
    use proptest::prelude::*;

    fn ask() -> impl Strategy<Value = Ask> {
        use Outcome::{CopyIn, CopyOut, Fails, Nothing, Rows, Suspended};
        let seldom = vec![Nothing, Suspended, Fails, CopyIn, CopyOut];
        let outcome = || prop_oneof![3 => Just(Rows), 1 => proptest::sample::select(seldom.clone())];
        let what = || proptest::sample::select(vec![What::UnnamedStatement, What::NamedStatement, What::Portal]);
        let (named, fails) = (proptest::bool::weighted(0.1), proptest::bool::weighted(0.15));
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
            2 => Just(Ask::CopyData),
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
