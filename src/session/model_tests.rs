//! A session under any interleaving of client, server and lease. The fuzz target `session` runs the same.

use crate::protocol::frame::HEADER_BYTES;
use crate::protocol::tag::TxStatus;
use crate::protocol::{Backend, Frontend, Header, message};
use crate::session::{Failure, Prepared, Reply, Session, Verdict};
use crate::sql::Quoting;

/// Whoever reads a client waits until the names in a frame are there.
const NAMES_END: usize = HEADER_BYTES + 8;

/// What can happen to a session.
#[derive(Debug, Clone)]
#[cfg_attr(not(test), derive(arbitrary::Arbitrary))]
pub(crate) enum Step {
    /// A frame of the client, whole.
    Client(Message),
    /// A frame of the client of which only its names and so many bytes more are there yet.
    Start(Message, u16),
    /// More bytes of it.
    Piece(u16),
    /// A frame of the server, and the first byte of its body.
    Server(u8, Option<u8>),
    /// A lease begins with so many queries of ours.
    Prelude(u8),
    /// No server can be had.
    Fail,
    LeaseBegan,
    LeaseEnded,
    TransactionEnded,
    Quoting {
        standard: bool,
    },
}

/// A client's message, right or wrong.
#[derive(Debug, Clone)]
#[cfg_attr(not(test), derive(arbitrary::Arbitrary))]
pub(crate) enum Message {
    Query(Vec<u8>),
    Parse { named: bool, text: Vec<u8> },
    Bind { named: bool },
    Describe { statement: bool, named: bool },
    Close { statement: bool, named: bool },
    Bare(u8),
    Raw(u8, Vec<u8>),
}

/// Takes every step, and panics where a promise is broken.
pub(crate) fn check(steps: &[Step]) {
    let mut model = Model::default();
    let mut session = Session::new(Quoting::Standard);
    for step in steps {
        model.take(step, &mut session);
    }
    model.finish_passing(&mut session);
    // Nothing is outstanding that was not asked: so many ends are enough for everything.
    for _ in 0..model.asked {
        session.on_server(Backend::READY_FOR_QUERY, b"I", &mut model.prepared);
    }
    assert!(session.is_waiting_for_client(), "more is outstanding than was ever asked: {session:?}");
    assert!(session.take_queries() as usize <= model.frames);
}

#[derive(Default)]
struct Model {
    /// The most that can be outstanding.
    asked: usize,
    frames: usize,
    preludes: usize,
    /// Everything up to Sync is ours to ignore.
    discarding: bool,
    /// Bytes still to come of a frame that is passing through.
    rest: Vec<u8>,
    /// Every Parse of the unnamed statement there was.
    parses: Vec<Vec<u8>>,
    /// What the server has prepared, and whether one is leased.
    prepared: Prepared,
    leased: bool,
    /// A frame that waits for a server.
    held_back: Option<Vec<u8>>,
    /// The server answered a frame that had not ended: what it says now is not bound to make sense.
    premature: bool,
}

impl Model {
    fn take(&mut self, step: &Step, session: &mut Session) {
        if !matches!(step, Step::Fail)
            && let Some(frame) = self.held_back.take()
        {
            // It is shown again once there is one.
            self.leased = true;
            let verdict = session.on_client(&frame, Some(&mut self.prepared));
            self.after_client(&frame, verdict, session);
        }
        let waited = session.is_waiting_for_client();
        match step {
            Step::Client(message) => {
                self.finish_passing(session);
                let frame = message.frame();
                let server = self.leased.then_some(&mut self.prepared);
                let verdict = session.on_client(&frame, server);
                self.after_client(&frame, verdict, session);
            }
            Step::Start(message, cut) => {
                self.finish_passing(session);
                let mut start = message.frame();
                let header = Header::read(&start, u32::MAX).expect("a right length").expect("a whole header");
                let frame = start.clone();
                self.rest = start.split_off((NAMES_END + usize::from(*cut)).min(header.total));
                let server = self.leased.then_some(&mut self.prepared);
                let verdict = session.on_client_start(&start, server);
                self.after_client(&frame, verdict, session);
                if self.rest.is_empty() {
                    session.on_client_piece(&[], true);
                }
            }
            Step::Piece(len) => self.piece((*len).into(), session),
            Step::Server(tag, first) => {
                let reply = session.on_server(Backend(*tag), first.as_slice(), &mut self.prepared);
                self.after_server(Backend(*tag), *first, reply);
                assert!(!waited || session.is_waiting_for_client(), "a server asks nothing");
                self.premature |= !self.rest.is_empty();
            }
            Step::Prelude(cycles) => {
                let cycles = u32::from(cycles % 4);
                session.expect_prelude(cycles);
                self.preludes += cycles as usize;
                self.asked += cycles as usize;
            }
            Step::Fail => {
                let held_back = self.held_back.take();
                self.asked += usize::from(held_back.is_some());
                let failures = session.fail_outstanding();
                assert!(failures.len() <= self.asked);
                assert!(session.is_settled() && session.is_waiting_for_client());
                assert!(!waited || held_back.is_some() || failures.is_empty(), "nobody asked, so nobody is told");
                if let Some(frame) = held_back {
                    assert!(!failures.is_empty(), "who waited is told");
                    assert_eq!(session.on_client(&frame, None), Verdict::Ignore, "it has had its answer");
                }
                self.discarding = failures.last() == Some(&Failure::Error);
                (self.preludes, self.asked) = (0, 0);
            }
            Step::LeaseBegan => self.leased = true,
            Step::LeaseEnded => {
                self.leased = false;
                session.lease_ended();
                assert!(!session.is_doubtful());
            }
            Step::TransactionEnded => session.transaction_ended(),
            Step::Quoting { standard } => {
                session.set_quoting(if *standard { Quoting::Standard } else { Quoting::Backslash });
            }
        }
        assert!(self.preludes == 0 || !session.is_waiting_for_client());
        assert!(!session.is_settled() || session.is_waiting_for_client());
    }

    fn after_client(&mut self, frame: &[u8], verdict: Verdict, session: &mut Session) {
        self.frames += 1;
        let tag = Frontend(frame[0]);
        if self.discarding && tag != Frontend::TERMINATE {
            let expected = if tag == Frontend::SYNC { Verdict::AnswerReady } else { Verdict::Ignore };
            assert_eq!(verdict, expected, "what follows a failed batch is not looked at up to its Sync");
            self.discarding = tag != Frontend::SYNC;
            return;
        }
        assert_eq!(verdict == Verdict::Terminate, tag == Frontend::TERMINATE);
        // A name without its end is none.
        let body = &frame[HEADER_BYTES..];
        if tag == Frontend::PARSE && (!body.contains(&0) || body[0] == 0) {
            self.parses.push(frame.to_vec());
        }
        let is_held_back = matches!(verdict, Verdict::AwaitServer | Verdict::AwaitAnswers);
        assert!(!(is_held_back && tag == Frontend::SYNC), "what ends a batch never waits for its answers");
        assert!(verdict != Verdict::AwaitServer || !self.leased);
        let mut ahead = Vec::new();
        if verdict == Verdict::AwaitAnswers {
            session.put_splice(&mut ahead);
            self.asked += ahead.len();
        }
        if let Verdict::Splice(skip) = verdict {
            assert!(skip <= frame.len());
            session.put_splice(&mut ahead);
            // An unfinished Parse that was answered may be given again as it is.
            if self.premature {
                self.asked += 8
            } else {
                self.check_splice(&ahead, skip, frame)
            }
            let len = ahead.len();
            session.put_splice(&mut ahead);
            assert_eq!(ahead.len(), len, "it goes out once");
        }
        // What a RESET takes from a shared server is given back in queries of ours: two at most.
        self.asked += usize::from(!is_held_back) + 2 * usize::from(verdict == Verdict::ForwardWithWayHome);
        self.held_back = (verdict == Verdict::AwaitServer).then(|| frame.to_vec());
    }

    /// What goes out is made of whole messages of ours and, at its end, of the client's own with another name in it.
    fn check_splice(&mut self, ahead: &[u8], skip: usize, frame: &[u8]) {
        let sent = [ahead, &frame[skip..]].concat();
        let mut rest = &sent[..];
        while !rest.is_empty() {
            let header = Header::read(rest, u32::MAX).expect("a right length").expect("a whole header");
            assert!(header.total <= rest.len(), "a message ends with the client's");
            let (message, behind) = rest.split_at(header.total);
            rest = behind;
            let is_last = rest.is_empty() || rest[0] == Frontend::DESCRIBE.0;
            if is_last && message[0] == frame[0] {
                self.asked += 1;
                return;
            }
            self.asked += 1;
            let of_unnamed = message[0] == Frontend::PARSE.0 && message.get(HEADER_BYTES).is_none_or(|byte| *byte == 0);
            let ours = !of_unnamed || self.parses.iter().any(|parse| parse == message);
            assert!(ours, "only what the client sent is parsed for it again: {message:?}");
        }
        panic!("the client's own message is missing");
    }

    fn after_server(&mut self, tag: Backend, first: Option<u8>, reply: Reply) {
        if self.preludes > 0 {
            let expected = match tag {
                Backend::NOTICE | Backend::NOTIFICATION => Reply::Forward,
                Backend::ERROR => Reply::PreludeFailed,
                _ => Reply::Swallow,
            };
            assert_eq!(reply, expected, "{tag:?} answers a message of ours");
            self.preludes -= usize::from(tag == Backend::READY_FOR_QUERY);
        } else if tag == Backend::READY_FOR_QUERY {
            let expected = first.and_then(TxStatus::from_byte).map_or(Reply::Broken, Reply::Ready);
            assert!(reply == expected || reply == Reply::Swallow);
        } else {
            let ours = b"13ETnt".map(Backend);
            assert!(reply == Reply::Forward || (reply == Reply::Swallow && ours.contains(&tag)));
        }
    }

    fn piece(&mut self, len: usize, session: &mut Session) {
        if self.rest.is_empty() {
            return;
        }
        let rest = self.rest.split_off(len.clamp(1, self.rest.len()));
        let piece = std::mem::replace(&mut self.rest, rest);
        session.on_client_piece(&piece, self.rest.is_empty());
    }

    fn finish_passing(&mut self, session: &mut Session) {
        self.piece(usize::MAX, session);
    }
}

impl Message {
    fn frame(&self) -> Vec<u8> {
        let name = |named: bool| if named { "s" } else { "" };
        let kind = |statement: bool| if statement { 'S' } else { 'P' };
        let (tag, body) = match self {
            Self::Query(text) => (Frontend::QUERY, [&text[..], b"\0"].concat()),
            Self::Parse { named, text } => {
                (Frontend::PARSE, [name(*named).as_bytes(), b"\0", text, b"\0\0\0"].concat())
            }
            Self::Bind { named } => (Frontend::BIND, format!("\0{}\0\0\0\0\0\0\0", name(*named)).into_bytes()),
            Self::Describe { statement, named } => {
                (Frontend::DESCRIBE, format!("{}{}\0", kind(*statement), name(*named)).into_bytes())
            }
            Self::Close { statement, named } => {
                (Frontend::CLOSE, format!("{}{}\0", kind(*statement), name(*named)).into_bytes())
            }
            Self::Bare(tag) => (Frontend(*tag), Vec::new()),
            Self::Raw(tag, body) => (Frontend(*tag), body.clone()),
        };
        let mut out = Vec::new();
        message::frame(&mut out, tag.0, |out| out.extend_from_slice(&body));
        out
    }
}

#[cfg(test)]
mod tests {
    use super::{Message, Step, check};
    use proptest::prelude::*;

    fn text() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            Just(b"select 1".to_vec()),
            Just(b"set x = 1".to_vec()),
            proptest::collection::vec(any::<u8>(), 0..20)
        ]
    }

    fn tag(known: &'static [u8]) -> impl Strategy<Value = u8> {
        prop_oneof![20 => proptest::sample::select(known), 1 => any::<u8>()]
    }

    fn message() -> impl Strategy<Value = Message> {
        let client = &b"SSSHEEcdfFXBCDPQ"[..];
        prop_oneof![
            1 => text().prop_map(Message::Query),
            1 => (any::<bool>(), text()).prop_map(|(named, text)| Message::Parse { named, text }),
            1 => any::<bool>().prop_map(|named| Message::Bind { named }),
            1 => any::<[bool; 2]>().prop_map(|[statement, named]| Message::Describe { statement, named }),
            1 => any::<[bool; 2]>().prop_map(|[statement, named]| Message::Close { statement, named }),
            3 => tag(client).prop_map(Message::Bare),
            1 => (tag(client), proptest::collection::vec(any::<u8>(), 0..12))
                .prop_map(|(tag, body)| Message::Raw(tag, body)),
        ]
    }

    fn step() -> impl Strategy<Value = Step> {
        let status = prop_oneof![8 => Just(Some(b'I')), 1 => Just(Some(b'T')), 1 => any::<Option<u8>>()];
        prop_oneof![
            12 => message().prop_map(Step::Client),
            2 => (message(), 0u16..12).prop_map(|(message, cut)| Step::Start(message, cut)),
            2 => (0u16..12).prop_map(Step::Piece),
            16 => (tag(b"ZZZ1123CCEEDTnNAGHWdcsItSV"), status).prop_map(|(tag, first)| Step::Server(tag, first)),
            1 => any::<u8>().prop_map(Step::Prelude),
            1 => Just(Step::Fail),
            2 => Just(Step::LeaseBegan),
            1 => Just(Step::LeaseEnded),
            1 => Just(Step::TransactionEnded),
            1 => any::<bool>().prop_map(|standard| Step::Quoting { standard }),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]
        #[test]
        fn no_order_of_events_breaks_a_session(steps in proptest::collection::vec(step(), 0..60)) {
            check(&steps);
        }
    }
}
