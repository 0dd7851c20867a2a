//! Deadlines: what a client may take its time for, and what happens when it took too long.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::lending::Lending;
use super::{Ending, Flow, Relay};
use crate::cancel::CancelKey;
use crate::client::epoch::Epoch;
use crate::protocol::message::{Report, Severity};
use crate::protocol::sqlstate;
use crate::protocol::tag::TxStatus;

/// A timer that is set anew only when it fires too early: a deadline that moves away costs nothing.
#[derive(Debug, Default)]
pub(super) struct Timer(Option<Pin<Box<Sleep>>>);

impl Timer {
    /// Ready once `deadline` has passed.
    pub(super) fn poll(&mut self, deadline: Option<Instant>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(deadline) = deadline else { return Poll::Pending };
        let sleep = self.0.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if sleep.deadline() > deadline {
            sleep.as_mut().reset(deadline);
        }
        while sleep.as_mut().poll(cx).is_ready() {
            if sleep.deadline() >= deadline {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline);
        }
        Poll::Pending
    }
}

/// What took too long.
#[derive(Debug, Clone, Copy)]
enum Limit {
    ClientWrite,
    Transaction,
    IdleInTransaction,
    PinIdle,
    IdleClient,
}

impl Relay<'_> {
    /// The earliest moment at which a limit would be passed.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.limits().map(|(at, _)| at).min()
    }

    fn limits(&self) -> impl Iterator<Item = (Instant, Limit)> {
        let (limits, times) = (&self.epoch.timeouts, &self.times);
        let leased = matches!(self.lending, Lending::Leased(_));
        let clients_turn = (!self.owes_client() && self.session.is_waiting_for_client()).then_some(times.clients_turn);
        let at_rest = clients_turn.filter(|_| self.is_at_rest());
        let is_in_transaction = leased && (self.status != TxStatus::Idle || !self.session.is_settled());
        let in_transaction = clients_turn.filter(|_| is_in_transaction);
        // Who waits for a server has the acquire timeout, which leaves him his session.
        let transaction =
            times.transaction.filter(|_| leased).map(|began| times.lent.map_or(began, |at| began.max(at)));
        [
            (times.write_blocked, limits.client_write, Limit::ClientWrite),
            (transaction, limits.transaction, Limit::Transaction),
            (in_transaction, limits.idle_in_transaction, Limit::IdleInTransaction),
            (at_rest.filter(|_| leased), limits.pin_idle, Limit::PinIdle),
            (at_rest, limits.idle_client, Limit::IdleClient),
        ]
        .into_iter()
        .filter_map(|(since, limit, kind)| Some((since? + limit?, kind)))
    }

    pub(super) fn on_deadline(&mut self) -> Flow {
        let now = Instant::now();
        let Some((_, limit)) = self.limits().filter(|(at, _)| *at <= now).min_by_key(|(at, _)| *at) else {
            return Flow::Continue(());
        };
        tracing::info!(plugin = &*self.metrics.name, ?limit, "client ended by a time limit");
        let report = match limit {
            // It does not read: there is no point in telling it.
            Limit::ClientWrite => return Flow::Break(Ending::Silent),
            Limit::Transaction => told(sqlstate::TRANSACTION_TIMEOUT, "transaction timeout")
                .hint("The limit is greenroom.timeouts.transactionMillis."),
            Limit::IdleInTransaction => {
                told(sqlstate::IDLE_IN_TRANSACTION_SESSION_TIMEOUT, "idle-in-transaction timeout")
                    .hint("The limit is greenroom.timeouts.idleInTransactionMillis.")
            }
            Limit::PinIdle => {
                let reason = self.session.pin().map_or("unknown", |reason| reason.as_str());
                told(sqlstate::IDLE_SESSION_TIMEOUT, "idle-session timeout")
                    .detail(format!("The session keeps a server connection of its own: {reason}."))
                    .hint("The limit is greenroom.timeouts.pinIdleMillis.")
            }
            Limit::IdleClient => told(sqlstate::IDLE_SESSION_TIMEOUT, "idle-session timeout")
                .hint("The limit is greenroom.timeouts.idleClientMillis."),
        };
        Flow::Break(Ending::Told(report))
    }

    /// The proxy drains, the limits have changed, or somebody has ended the client. Limits that are nearer now set the timer
    /// anew by themselves.
    pub(super) fn on_news(&mut self) {
        self.is_draining = self.shared.draining.is_cancelled();
        self.epoch = self.shared.epoch();
        self.news = news(&self.epoch, &self.key);
        self.is_ended = self.key.place.is_ended();
    }

    /// The first message of a transaction has come.
    pub(super) fn transaction_begins(&mut self) {
        if self.times.transaction.is_none() {
            self.times.transaction = Some(Instant::now());
        }
    }

    /// ReadyForQuery has come: one reading of the clock for everything that ends or begins with it.
    pub(super) fn turn_passes(&mut self) {
        let now = Instant::now();
        self.times.clients_turn = now;
        if self.status == TxStatus::Idle
            && let Some(began) = self.times.transaction.take()
        {
            self.metrics.transactions.inc();
            self.metrics.transaction_seconds.observe((now - began).as_secs_f64());
        }
    }
}

/// Ready when there is something to be looked at: in this epoch, or about the client with this key.
pub(super) fn news(epoch: &Epoch, key: &CancelKey) -> Pin<Box<WaitForCancellationFutureOwned>> {
    let news = epoch.over.child_token();
    key.place.wakes(news.clone());
    Box::pin(news.cancelled_owned())
}

fn told(code: &'static str, limit: &str) -> Report {
    Report::new(Severity::Fatal, code, format!("terminating connection due to {limit}"))
}
