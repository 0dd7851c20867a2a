//! A PostgreSQL that is full, or starting, is left alone for longer and longer, whoever asks.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::{Core, FIRST_PAUSE, Grant, Idle, LONGEST_PAUSE};
use crate::config::{PoolLimits, ServerLimits};
use crate::pool::error::OpenError;
use crate::protocol::sqlstate;
use crate::route::PluginId;
use crate::server::ConnectError;

/// No server is ever idle.
struct Nothing;

impl Idle for Nothing {
    type Lent = ();
    type Out = ();

    fn lend(&self) -> Option<()> {
        None
    }

    fn longest(&self) -> Option<Instant> {
        None
    }

    fn take_longest(&self) -> Option<()> {
        None
    }

    fn take_all(&self) -> Vec<()> {
        Vec::new()
    }
}

/// Eight who wait, each for a pool of his own or for room of his own; four connections may be opened at a time.
fn crowd(private: bool, now: Instant) -> Core<Nothing, usize> {
    let mut core = Core::new(ServerLimits::new(12, 0, 4), now);
    for n in 0..8 {
        let limits = PoolLimits { create_retry_interval: Duration::ZERO, ..PoolLimits::default() };
        let pool = core.add_pool(Nothing, &limits);
        let plugin = core.join(pool, &PluginId(format!("p{n}").into()), &limits, 1);
        core.arrive(pool, plugin, private, n, now);
    }
    core
}

/// How many connections are begun, for pools and in rooms.
fn begun(core: &mut Core<Nothing, usize>, now: Instant) -> (Vec<usize>, usize) {
    let work = core.decide(now);
    let rooms = work.answers.iter().filter(|answer| matches!(answer.result, Ok(Grant::Room))).count();
    (work.open, rooms)
}

fn full() -> Arc<OpenError> {
    let (code, message) = (sqlstate::TOO_MANY_CONNECTIONS.to_owned(), "sorry, too many clients already".to_owned());
    Arc::new(OpenError::Connect(ConnectError::Refused { code, message, frame_body: Bytes::new() }))
}

#[test]
fn those_who_are_refused_together_count_once_and_then_one_tries() {
    let now = Instant::now();
    let mut core = crowd(false, now);
    let (open, _) = begun(&mut core, now);
    assert_eq!(open.len(), 4);
    for pool in open {
        assert!(core.open_failed(pool, full(), now).is_some(), "each is told in PostgreSQL's words");
        core.connection_ended(now);
    }
    let just_before = now + FIRST_PAUSE - Duration::from_millis(1);
    assert_eq!(begun(&mut core, just_before), (vec![], 0));
    let (open, _) = begun(&mut core, now + FIRST_PAUSE);
    assert_eq!(open.len(), 1, "the others wait for how it goes");
    core.opened(open[0], Duration::from_millis(5));
    assert_eq!(begun(&mut core, now + FIRST_PAUSE).0.len(), 4, "it went well: as many as before");
}

#[test]
fn rooms_of_their_own_wait_as_well_and_their_refusals_count() {
    let mut now = Instant::now();
    let mut core = crowd(true, now);
    assert_eq!(begun(&mut core, now), (vec![], 4));
    for _ in 0..4 {
        core.room_opened(Err(&full()), now);
        core.connection_ended(now);
    }
    let mut pause = FIRST_PAUSE;
    for _ in 0..3 {
        assert_eq!(begun(&mut core, now + pause - Duration::from_millis(1)), (vec![], 0));
        now += pause;
        assert_eq!(begun(&mut core, now), (vec![], 1));
        core.room_opened(Err(&full()), now);
        core.connection_ended(now);
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
    now += pause;
    assert_eq!(begun(&mut core, now), (vec![], 1));
    core.room_opened(Ok(()), now);
    assert!(core.pause.is_zero() && core.refused_until.is_none());
}

#[test]
fn a_sessions_own_mistake_keeps_nobody_from_connecting() {
    let now = Instant::now();
    let mut core = crowd(true, now);
    begun(&mut core, now);
    let (code, message) = ("22023".to_owned(), "invalid value for parameter".to_owned());
    let mistake = OpenError::Connect(ConnectError::Refused { code, message, frame_body: Bytes::new() });
    core.room_opened(Err(&mistake), now);
    core.connection_ended(now);
    assert_eq!(begun(&mut core, now), (vec![], 1));
}
