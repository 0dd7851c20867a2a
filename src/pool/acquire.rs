//! Waiting for a lease.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::error::AcquireError;
use super::lease::Lease;
use super::loan::Grant;
use super::place::Place;
use super::{Member, Parameters, opening};
use crate::config::{PoolLimits, PoolMode};
use crate::metrics::GaugeGuard;
use crate::server::Dress;

/// What is asked for.
#[derive(Debug, Clone)]
pub enum Kind {
    /// Any server of the pool.
    Shared,
    /// A server of the session's own, opened with these startup parameters and never lent to anybody else.
    Private {
        /// Names and values, as a client would send them.
        startup: Vec<(String, String)>,
        /// What the server is dressed in once it is open.
        dress: Dress,
    },
}

/// A lease; with a private server, what it reported at login.
pub type Lent = Result<(Lease, Option<Parameters>), AcquireError>;

/// A wait for a lease. Dropping it leaves the queue, and gives back what had just been given.
pub struct Acquire(Pin<Box<dyn Future<Output = Lent> + Send>>);

impl std::fmt::Debug for Acquire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Acquire")
    }
}

impl Future for Acquire {
    type Output = Lent;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

impl Member {
    /// When the leases of a session that begins now end.
    pub fn mode(&self) -> PoolMode {
        self.limits().mode
    }

    /// The longest that preparing a server may take.
    pub fn create_timeout(&self) -> Duration {
        self.limits().create_timeout
    }

    /// They may change while the session lasts.
    fn limits(&self) -> PoolLimits {
        self.pool.scheduler.plugin_limits(self.plugin_index)
    }

    /// Lends an idle server at once, if there is one and nobody waits for it.
    #[inline]
    pub fn try_acquire(&self) -> Option<Lease> {
        // A server that died while idle is closed by its lease; the next one may be well.
        loop {
            let (borrowed, seat) = self.pool.scheduler.try_shared(self.pool.index, self.plugin_index)?;
            let mut lease = Lease::shared(self, borrowed, seat);
            let Some(reason) = lease.is_unfit() else {
                self.metrics.acquire_seconds.observe(0.0);
                return Some(lease);
            };
            lease.close(reason);
        }
    }

    /// Waits for a lease, in order, for at most the acquire timeout. The reported settings come with a private server.
    pub fn acquire(&self, kind: Kind) -> Acquire {
        let member = self.clone();
        Acquire(Box::pin(async move {
            let (began, limit) = (Instant::now(), member.limits().acquire_timeout);
            let waiting = GaugeGuard::new(&member.metrics.acquire_waiting);
            let result = timeout_at(began + limit, member.granted(kind)).await;
            drop(waiting);
            member.metrics.acquire_seconds.observe(began.elapsed().as_secs_f64());
            result.unwrap_or_else(|_| {
                member.metrics.acquire_timeouts.inc();
                Err(member.timed_out(began, limit))
            })
        }))
    }

    async fn granted(&self, kind: Kind) -> Lent {
        match kind {
            Kind::Shared => {
                let mut place = self.place(false);
                loop {
                    let Grant::Shared(loan) = place.turn().await? else {
                        unreachable!("a shared server was asked for");
                    };
                    let (borrowed, seat) = loan.arrived();
                    let mut lease = Lease::shared(self, borrowed, seat);
                    let Some(reason) = lease.is_unfit() else { return Ok((lease, None)) };
                    place.back_to_the_front();
                    lease.close(reason);
                }
            }
            Kind::Private { startup, dress } => {
                let Grant::Room(slot, seat, under_way) = self.place(true).turn().await? else {
                    unreachable!("room was asked for");
                };
                let opened =
                    opening::private(&self.pool, &self.limits(), &startup, dress, slot).await.map_err(Arc::new);
                under_way.ended(&opened);
                let (entry, parameters) = opened?;
                Ok((Lease::private(self, entry, seat), Some(parameters)))
            }
        }
    }

    fn place(&self, private: bool) -> Place<'_> {
        Place::last(&self.pool.scheduler, self.pool.index, self.plugin_index, private)
    }

    fn timed_out(&self, began: Instant, waited: Duration) -> AcquireError {
        AcquireError::TimedOut {
            plugin: self.plugin.clone(),
            waited,
            usage: self.pool.scheduler.usage(self.plugin_index),
            source: self.pool.scheduler.failure_since(self.pool.index, began),
        }
    }
}
