//! A lone DEALLOCATE of a statement of the protocol, by a session that keeps no server: how psycopg makes room in its cache.
//!
//! What the client has prepared has another name there (docs/adr/0009-prepared-statements.md). An empty statement with the client's
//! own goes ahead, which PostgreSQL deallocates in its place, and a Close of it behind, in case that it does not.

use super::asked::Asked;
use super::frames::Verdict;
use super::messages::close_statement;
use super::prepared::PREFIX;
use super::statements::Own;
use super::{Prepared, Session};
use crate::protocol::tag::TxStatus;
use crate::protocol::{Frontend, message};
use crate::sql::{Effects, statement};

impl Session {
    /// Acts on a simple query that deallocates one statement, if it is to be acted upon.
    pub(super) fn act_on_deallocate(
        &mut self,
        frame: &[u8],
        text: &[u8],
        server: Option<&mut Prepared>,
    ) -> Option<Verdict> {
        let name = statement::deallocated(text)?;
        let name = name.as_bytes();
        let keeps_none = self.pin().is_none() && self.lasting_effects.is_empty() && self.suspicion.is_empty();
        if !keeps_none || self.doubtful || self.batch_is_open || name.starts_with(PREFIX) {
            return None;
        }
        if self.queue.has_ended_one() {
            return Some(Verdict::AwaitAnswers);
        }
        if server.is_none() {
            return Some(self.block(Asked::Query { deallocates: false }));
        }
        if self.statements.get(name).is_some_and(|statement| *statement.own(self.lease) != Own::Unknown) {
            return None;
        }
        if self.status == TxStatus::Failed || !self.statements.close(name) {
            // PostgreSQL says what is wrong with it.
            return Some(self.ask_query(Effects::NONE));
        }
        self.queue.push(Asked::Prelude);
        message::frame(&mut self.splice, Frontend::PARSE.0, |out| {
            message::put_str(out, name);
            out.extend_from_slice(b"\0\0\0");
        });
        message::frame(&mut self.splice, Frontend::SYNC.0, |_| {});
        self.ask_simple(true);
        self.splice.extend_from_slice(frame);
        self.queue.push(Asked::Prelude);
        close_statement(&mut self.splice, |out| out.extend_from_slice(name));
        message::frame(&mut self.splice, Frontend::SYNC.0, |_| {});
        Some(Verdict::Splice(frame.len()))
    }
}

#[cfg(test)]
mod tests {
    use crate::protocol::tag::TxStatus;
    use crate::protocol::{Backend, Frontend};
    use crate::session::tests::{bare, bind, parse, query, session};
    use crate::session::{Prepared, Reply, Session, Verdict};

    fn says(session: &mut Session, server: &mut Prepared, tag: Backend, body: &[u8]) -> Reply {
        session.on_server(tag, body, server)
    }

    /// A session that has prepared `s1`, and its server.
    fn prepared() -> (Session, Prepared) {
        let (mut session, mut server) = (session(), Prepared::default());
        for frame in [parse("s1", "select 1"), bare(Frontend::SYNC)] {
            session.on_client(&frame, Some(&mut server));
        }
        session.put_splice(&mut Vec::new());
        let description = [(Backend::PARAMETER_DESCRIPTION, &b"\0\0"[..]), (Backend::NO_DATA, b"")];
        says(&mut session, &mut server, Backend::PARSE_COMPLETE, b"");
        for (tag, body) in description {
            says(&mut session, &mut server, tag, body);
        }
        assert_eq!(says(&mut session, &mut server, Backend::READY_FOR_QUERY, b"I"), Reply::Ready(TxStatus::Idle));
        (session, server)
    }

    /// DEALLOCATE is asked, and the empty statement ahead of it was prepared.
    fn deallocates(session: &mut Session, server: &mut Prepared) -> Vec<u8> {
        let frame = query("deallocate s1");
        assert_eq!(session.on_client(&frame, Some(server)), Verdict::Splice(frame.len()));
        let mut sent = Vec::new();
        session.put_splice(&mut sent);
        assert_eq!(says(session, server, Backend::PARSE_COMPLETE, b""), Reply::Swallow);
        assert_eq!(says(session, server, Backend::READY_FOR_QUERY, b"I"), Reply::Swallow);
        sent
    }

    #[test]
    fn what_postgresql_has_not_deallocated_is_still_the_clients_and_not_on_the_server() {
        let (mut session, mut server) = prepared();
        let sent = deallocates(&mut session, &mut server);
        assert!(sent.ends_with(b"C\0\0\0\x08Ss1\0S\0\0\0\x04"), "closed all the same");
        assert_eq!(session.on_client(&bind("", "s1"), Some(&mut server)), Verdict::AwaitAnswers);
        says(&mut session, &mut server, Backend::ERROR, b"C57014\0\0");
        says(&mut session, &mut server, Backend::READY_FOR_QUERY, b"I");
        says(&mut session, &mut server, Backend::CLOSE_COMPLETE, b"");
        assert_eq!(says(&mut session, &mut server, Backend::READY_FOR_QUERY, b"I"), Reply::Swallow);
        assert!(session.is_settled() && session.pin().is_none() && !session.is_doubtful());
        assert!(session.statements.get(b"s1").is_some());
    }

    #[test]
    fn what_postgresql_has_deallocated_is_nowhere() {
        let (mut session, mut server) = prepared();
        deallocates(&mut session, &mut server);
        assert_eq!(says(&mut session, &mut server, Backend::COMMAND_COMPLETE, b"DEALLOCATE\0"), Reply::Forward);
        says(&mut session, &mut server, Backend::READY_FOR_QUERY, b"I");
        says(&mut session, &mut server, Backend::CLOSE_COMPLETE, b"");
        says(&mut session, &mut server, Backend::READY_FOR_QUERY, b"I");
        assert!(session.is_settled() && session.pin().is_none() && session.statements.is_empty());
    }
}
