//! A buffer against two plain vectors: what may go out and what was not read. The fuzz target `buffer` runs it too.

use crate::net::{Buffer, Buffers, SMALL_BYTES};

/// What a borrower does. Numbers are cut to what the buffer's contract allows.
#[derive(Debug, Clone)]
#[cfg_attr(not(test), derive(arbitrary::Arbitrary))]
pub(crate) enum Step {
    Append(u16),
    Read(u16),
    Pass(u16),
    Discard(u16),
    Sent(u16),
    DiscardOutgoing,
    Move { large: bool },
    Exchange { large: bool },
}

/// Takes every step on both, and panics where they differ.
pub(crate) fn check(steps: &[Step]) {
    let mut pair = Pair { buffers: Buffers::default(), outgoing: Vec::new(), unread: Vec::new(), written: 0 };
    let mut buffer = pair.buffers.take(false);
    for step in steps {
        pair.take(step, &mut buffer);
        assert_eq!(buffer.outgoing(), pair.outgoing, "outgoing after {step:?}");
        assert_eq!(buffer.unread(), pair.unread, "unread after {step:?}");
        assert_eq!(buffer.is_empty(), pair.held() == 0);
        assert_eq!(buffer.has_room(), pair.held() < buffer.capacity());
        assert_eq!(buffer.is_large(), buffer.capacity() > SMALL_BYTES);
    }
}

struct Pair {
    buffers: Buffers,
    outgoing: Vec<u8>,
    unread: Vec<u8>,
    /// Bytes ever written: each differs from its neighbours.
    written: usize,
}

impl Pair {
    fn held(&self) -> usize {
        self.outgoing.len() + self.unread.len()
    }

    fn take(&mut self, step: &Step, buffer: &mut Buffer) {
        let at_most = |wanted: u16, most: usize| usize::from(wanted).min(most);
        match *step {
            Step::Append(len) => {
                let bytes = self.bytes(len.into());
                let added = buffer.append(&bytes);
                assert!(added == bytes.len() || (added < bytes.len() && self.held() > 0) || added == buffer.capacity());
                self.unread.extend_from_slice(&bytes[..added]);
            }
            Step::Read(len) => {
                let bytes = self.bytes(len.into());
                let has_room = buffer.has_room();
                let mut room = buffer.room();
                assert_eq!(room.remaining() > 0, has_room, "a read of nothing would look like the end");
                let read = &bytes[..bytes.len().min(room.remaining())];
                room.put_slice(read);
                buffer.filled(read.len());
                self.unread.extend_from_slice(read);
            }
            Step::Pass(len) => {
                let len = at_most(len, self.unread.len());
                buffer.pass(len);
                self.outgoing.extend(self.unread.drain(..len));
            }
            Step::Discard(len) => {
                let len = at_most(len, self.unread.len());
                buffer.discard(len);
                self.unread.drain(..len);
            }
            Step::Sent(len) => {
                let len = at_most(len, self.outgoing.len());
                buffer.sent(len);
                self.outgoing.drain(..len);
            }
            Step::DiscardOutgoing => {
                buffer.discard_outgoing();
                self.outgoing.clear();
            }
            Step::Move { large } => {
                let mut other = self.buffers.take(large);
                if self.held() <= other.capacity() {
                    buffer.move_into(&mut other);
                    std::mem::swap(buffer, &mut other);
                }
                self.buffers.give_back(other);
            }
            Step::Exchange { large } => {
                let other = self.buffers.take(large);
                self.buffers.give_back(std::mem::replace(buffer, other));
                self.outgoing.clear();
                self.unread.clear();
            }
        }
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        let from = self.written;
        self.written += len;
        // 251 is prime: a shift by any power of two shows.
        (from..from + len).map(|at| (at % 251) as u8).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{Step, check};
    use proptest::prelude::*;

    fn step() -> impl Strategy<Value = Step> {
        let len = prop_oneof![0u16..40, 0..=u16::MAX];
        prop_oneof![
            2 => len.clone().prop_map(Step::Append),
            4 => len.clone().prop_map(Step::Read),
            4 => len.clone().prop_map(Step::Pass),
            2 => len.clone().prop_map(Step::Discard),
            4 => len.prop_map(Step::Sent),
            1 => Just(Step::DiscardOutgoing),
            1 => any::<bool>().prop_map(|large| Step::Move { large }),
            1 => any::<bool>().prop_map(|large| Step::Exchange { large }),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        #[test]
        fn a_buffer_holds_what_two_vectors_would(steps in proptest::collection::vec(step(), 0..60)) {
            check(&steps);
        }
    }
}
