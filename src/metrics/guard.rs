//! Gauges that count what is there now: raised when something begins, lowered when its guard is dropped.

use std::marker::PhantomData;
use std::sync::Arc;

use prometheus::{IntCounter, IntGauge};

use super::label::Label;

/// Holds a gauge up by one for as long as it lives.
#[must_use = "the gauge falls again when this is dropped"]
#[derive(Debug)]
pub struct GaugeGuard(IntGauge);

impl GaugeGuard {
    /// Raises the gauge.
    pub fn new(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for GaugeGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// One gauge for each state that a thing can be in.
#[derive(Debug, Clone)]
pub struct StateGauges<S: Label> {
    gauges: Arc<[IntGauge]>,
    states: PhantomData<S>,
}

impl<S: Label> StateGauges<S> {
    pub(super) fn new(gauge: impl Fn(&'static str) -> IntGauge) -> Self {
        Self { gauges: S::ALL.iter().map(|state| gauge(state.as_str())).collect(), states: PhantomData }
    }

    /// Counts one more thing, beginning in `state`, for as long as the returned value lives.
    pub fn enter(&self, state: S) -> InState<S> {
        self.gauges[state.index()].inc();
        InState { gauges: self.clone(), state }
    }

    /// How many are in `state` now.
    pub fn count(&self, state: S) -> i64 {
        self.gauges[state.index()].get()
    }

    /// How many there are, whatever their state.
    pub fn total(&self) -> i64 {
        self.gauges.iter().map(IntGauge::get).sum()
    }
}

/// One thing, counted in exactly one state until it is dropped.
#[must_use = "it is no longer counted when this is dropped"]
#[derive(Debug)]
pub struct InState<S: Label> {
    gauges: StateGauges<S>,
    state: S,
}

impl<S: Label> InState<S> {
    /// Counts it in another state from now on.
    pub fn set(&mut self, state: S) {
        if state.index() == self.state.index() {
            return;
        }
        self.gauges.gauges[self.state.index()].dec();
        self.gauges.gauges[state.index()].inc();
        self.state = state;
    }

    /// The state it is counted in.
    pub fn state(&self) -> S {
        self.state
    }
}

impl<S: Label> Drop for InState<S> {
    fn drop(&mut self) {
        self.gauges.gauges[self.state.index()].dec();
    }
}

/// One counter for each way that an act can end.
#[derive(Debug)]
pub(super) struct ResultCounters<R: Label> {
    counters: Box<[IntCounter]>,
    results: PhantomData<R>,
}

impl<R: Label> ResultCounters<R> {
    pub(super) fn new(counter: impl Fn(&'static str) -> IntCounter) -> Self {
        Self { counters: R::ALL.iter().map(|result| counter(result.as_str())).collect(), results: PhantomData }
    }

    pub(super) fn count(&self, result: R) {
        self.counters[result.index()].inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{ClientState, Metrics};

    #[test]
    fn a_client_is_counted_in_one_state_at_a_time() {
        let plugin = Metrics::new(1).plugin("catalog");
        let mut client = plugin.clients.enter(ClientState::Login);
        let other = plugin.clients.enter(ClientState::Idle);
        client.set(ClientState::Active);
        client.set(ClientState::Active);

        assert_eq!(plugin.clients.count(ClientState::Login), 0);
        assert_eq!(plugin.clients.count(ClientState::Active), 1);
        assert_eq!(client.state(), ClientState::Active);
        assert_eq!(plugin.clients.total(), 2);

        drop((client, other));
        for state in ClientState::ALL {
            assert_eq!(plugin.clients.count(*state), 0, "{state:?}");
        }
    }

    #[test]
    fn a_gauge_comes_back_after_a_panic() {
        let plugin = Metrics::new(1).plugin("catalog");
        let held = plugin.clone();
        let task = std::thread::spawn(move || {
            let _lease = GaugeGuard::new(&held.leases);
            std::panic::resume_unwind(Box::new("a client's task died"));
        });
        assert!(task.join().is_err());
        assert_eq!(plugin.leases.get(), 0);
    }
}
