//! Signals to other clients: PostgreSQL decides whether they may be sent, and sends them, to a process that stands in for the client.
//!
//! That is the server that it is lent, or a borrowed one that does nothing. Either is kept from everybody else until the signal is
//! over, so that it cannot hit a stranger.

use std::sync::Arc;

use super::errand::{Errand, Task};
use super::lending::Lending;
use super::{Flow, Relay};
use crate::cancel::CancelPlace;
use crate::client::registry::Known;
use crate::client::reply::{self, Reply};
use crate::metrics::ClientState;
use crate::pool::{CloseReason, Kind, Lease};
use crate::protocol::message::Severity;
use crate::server::Cancelling;
use crate::session::{Outcome, SignalNumber, Wanted};

/// A signal that PostgreSQL may send.
pub(super) struct Signalling {
    signal: SignalNumber,
    ends: bool,
    /// Whom it is for.
    place: Arc<CancelPlace>,
    /// `None` when it is over.
    stand_in: Option<StandIn>,
}

/// What gets the signal.
enum StandIn {
    /// The client's own server.
    Own(Cancelling),
    /// A server that does nothing.
    Borrowed(Lease),
}

impl Signalling {
    /// It went like this. What the stand-in has not done itself is done.
    fn over(&mut self, outcome: Outcome) {
        let Some(stand_in) = self.stand_in.take() else { return };
        let is_well = match outcome {
            Outcome::NotSent => true,
            Outcome::Sent => !self.ends,
            Outcome::Unclear => false,
        };
        let is_sent = outcome == Outcome::Sent;
        if is_sent && self.ends {
            self.place.end();
        }
        match stand_in {
            StandIn::Own(cancelling) if !is_well => cancelling.target().taint(),
            StandIn::Own(_) => {}
            StandIn::Borrowed(lease) => {
                if is_well {
                    lease.release();
                } else {
                    lease.close(CloseReason::Doubtful);
                }
                if is_sent && !self.ends {
                    // It may wait for a server, or have one by now.
                    let place = Arc::clone(&self.place);
                    tokio::spawn(async move { place.cancel().await });
                }
            }
        }
    }
}

impl Drop for Signalling {
    fn drop(&mut self) {
        self.over(Outcome::Unclear);
    }
}

impl Relay<'_> {
    /// Finds what stands in for the client that a signal is for. Unless that takes time, the statement can be shown again.
    pub(super) fn obey_signal(&mut self) {
        let Some((wanted, known)) = self.signalled() else { return self.session.stands_in(None) };
        if let Some(own) = known.place.begin_signal() {
            self.stands_in(wanted, known.place, StandIn::Own(own));
        } else if let Some(lease) = known.member.try_acquire() {
            self.stands_in(wanted, known.place, StandIn::Borrowed(lease));
        } else {
            let (acquire, place) = (known.member.acquire(Kind::Shared), Arc::clone(&self.key.place));
            self.key.place.waits();
            self.state.set(ClientState::Waiting);
            let refused = |error| reply::not_lent(&error, Severity::Error);
            self.errand = Some(Errand {
                done: Box::pin(async move { acquire.await.map(|(lease, _)| Some(Box::new(lease))).map_err(refused) }),
                cancelled: Box::pin(async move { CancelPlace::cancelled_while_waiting(&place).await }),
                task: Task::StandIn,
            });
        }
    }

    /// Whom the signal at hand is for, if that is a client whose servers are processes of the same PostgreSQL.
    fn signalled(&self) -> Option<(Wanted, Known)> {
        let wanted = self.session.wanted_signal()?;
        let known = self.shared.registry.find(wanted.pid)?;
        (known.member.pool.address() == self.member.pool.address()).then_some((wanted, known))
    }

    /// The wait for a stand-in is over. Without one the statement goes out as it is: there is no such process.
    pub(super) fn on_stand_in(&mut self, borrowed: Result<Option<Box<Lease>>, Reply>) {
        match (borrowed, self.signalled()) {
            (Ok(Some(lease)), Some((wanted, known))) => {
                self.stands_in(wanted, known.place, StandIn::Borrowed(*lease));
            }
            (borrowed, _) => {
                match borrowed {
                    Ok(Some(lease)) => lease.release(),
                    // The client has left.
                    Ok(None) => {}
                    Err(error) => {
                        let (code, text) = error.summary();
                        let plugin = &*self.metrics.name;
                        tracing::info!(plugin, code, error = text, "nothing stands in for a client without a server");
                    }
                }
                self.session.stands_in(None);
            }
        }
    }

    fn stands_in(&mut self, wanted: Wanted, place: Arc<CancelPlace>, mut stand_in: StandIn) {
        let pid = match &mut stand_in {
            StandIn::Own(own) => own.target().pid(),
            StandIn::Borrowed(lease) => lease.server().cancel.pid(),
        };
        if pid <= 0 {
            // Of no process: what is behind greenroom is another pooler, and nobody knows whom it would signal.
            if let StandIn::Borrowed(lease) = stand_in {
                lease.release();
            }
            return self.session.stands_in(None);
        }
        self.session.stands_in(Some(pid));
        let Wanted { signal, ends, .. } = wanted;
        self.signalling.push(Signalling { signal, ends, place, stand_in: Some(stand_in) });
    }

    /// ReadyForQuery has come: some signals are over.
    pub(super) fn end_signals(&mut self) {
        for (signal, outcome) in self.session.take_signals() {
            let mut over = self.signalling.extract_if(.., |signalling| signalling.signal == signal);
            if let Some(mut signalling) = over.next() {
                signalling.over(outcome);
            }
        }
    }

    /// Somebody has ended the client by pg_terminate_backend().
    pub(super) fn is_to_end(&mut self) -> bool {
        match &mut self.lending {
            // A server that PostgreSQL has ended says so itself.
            Lending::Leased(lease) => self.is_ended && !lease.server().cancel.is_tainted(),
            _ => self.is_ended,
        }
    }

    pub(super) fn on_ended(&mut self) -> Flow {
        tracing::info!(plugin = &*self.metrics.name, pid = self.key.pid, "client ended by pg_terminate_backend()");
        Flow::Break(match self.server_said_farewell {
            true => super::Ending::Silent,
            false => super::Ending::Told(reply::shutdown()),
        })
    }
}
