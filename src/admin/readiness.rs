//! Whether new clients should come here: not before greenroom listens, and not once it drains.

use std::sync::atomic::{AtomicU8, Ordering};

/// What the process is at. It only ever moves forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Not listening yet.
    Starting,
    /// Configured and listening. PostgreSQL may be away: that is a metric, not unreadiness.
    Ready,
    /// No new clients; transactions are let finish.
    Draining,
}

impl Phase {
    /// The phase in one word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Draining => "draining",
        }
    }
}

/// The phase, shared between the proxy that sets it and the HTTP server that tells it.
#[derive(Debug)]
pub struct Readiness(AtomicU8);

impl Readiness {
    /// Begins with [`Phase::Starting`].
    pub fn starting() -> Self {
        Self(AtomicU8::new(Phase::Starting as u8))
    }

    /// Says that greenroom is configured and listens. Once it drains, this changes nothing.
    pub fn set_ready(&self) {
        self.advance(Phase::Ready);
    }

    /// Says that greenroom drains; there is no way back.
    pub fn set_draining(&self) {
        self.advance(Phase::Draining);
    }

    /// The phase now.
    pub fn phase(&self) -> Phase {
        match self.0.load(Ordering::Relaxed) {
            phase if phase == Phase::Starting as u8 => Phase::Starting,
            phase if phase == Phase::Ready as u8 => Phase::Ready,
            _ => Phase::Draining,
        }
    }

    fn advance(&self, phase: Phase) {
        self.0.fetch_max(phase as u8, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drain_is_never_taken_back() {
        let readiness = Readiness::starting();
        assert_eq!(readiness.phase(), Phase::Starting);
        readiness.set_ready();
        assert_eq!(readiness.phase(), Phase::Ready);
        readiness.set_draining();
        readiness.set_ready();
        assert_eq!(readiness.phase(), Phase::Draining);
    }
}
