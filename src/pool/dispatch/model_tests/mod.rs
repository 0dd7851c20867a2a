//! Any order of events leaves the rules whole: a small world of servers, clients and failures around a [`Core`](super::Core).
//!
//! - `event`: what can happen.
//! - `world`: what follows from it, as the scheduler would do it.
//! - `rules`: what has to hold then, by the world's own books.

mod event;
mod rules;
mod shelf;
mod world;

use proptest::collection::vec;
use proptest::prelude::*;

use event::{Event, Limits, event, limits};
use world::World;

const POOLS: usize = 3;
const PLUGINS: usize = 4;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_order_of_events_breaks_a_rule(start in limits(), events in vec(event(), 1..160)) {
        let mut world = World::new(start);
        events.iter().for_each(|event| world.happen(event));
        world.end();
    }
}

#[test]
fn a_ceiling_that_is_lowered_is_come_down_to_without_touching_a_lease() {
    let mut world = World::new(Limits::of(8, 0, 8));
    let wanted = |private| Event::Arrive { pool: 0, plugin: 3, private, impatient: false };
    (0..8).for_each(|n| world.happen(&wanted(n % 4 == 0)));
    world.happen(&Event::Wait(100));
    (0..6).for_each(|_| world.happen(&Event::Connected { which: 0, took: 8 }));
    assert_eq!((world.leases(3), world.idle()), (8, 0));
    (0..3).for_each(|_| world.happen(&Event::GiveBack(7)));
    assert_eq!((world.leases(3), world.idle(), world.used()), (5, 3, 8));
    world.happen(&Event::Reload(Limits::of(4, 0, 8)));
    assert_eq!((world.leases(3), world.idle(), world.closing()), (5, 0, 3), "the idle ones go first");
    world.happen(&wanted(false));
    (0..3).for_each(|_| world.happen(&Event::Closed));
    assert_eq!((world.leases(3), world.used()), (5, 5), "who holds one keeps it, who waits gets none");
    world.happen(&Event::GiveBack(4));
    world.happen(&Event::Closed);
    assert_eq!((world.leases(3), world.used()), (4, 4), "what comes back above the ceiling is closed");
    world.happen(&Event::GiveBack(3));
    assert_eq!((world.leases(3), world.used()), (4, 4), "what comes back below it is lent on");
    world.end();
}

#[test]
fn a_max_that_is_raised_serves_those_who_wait() {
    let mut world = World::new(Limits::of(8, 0, 8));
    (0..2).for_each(|_| world.happen(&Event::Arrive { pool: 0, plugin: 0, private: true, impatient: false }));
    assert_eq!(world.leases(0), 1);
    let mut raised = Limits::of(8, 0, 8);
    raised.plugins[0].max = 2;
    world.happen(&Event::Reload(raised));
    assert_eq!(world.leases(0), 2);
    world.end();
}

#[test]
fn a_pause_after_a_failure_becomes_no_longer_than_the_interval_is_now() {
    let limits = |retry| {
        let mut limits = Limits::of(8, 0, 8);
        limits.plugins.iter_mut().for_each(|plugin| (plugin.retry, plugin.propagate) = (retry, false));
        limits
    };
    let mut world = World::new(limits(60_000));
    world.happen(&Event::Arrive { pool: 0, plugin: 3, private: false, impatient: false });
    world.happen(&Event::ConnectFailed { which: 0, full: false });
    world.happen(&Event::Wait(1000));
    assert!(world.opening.is_empty());
    world.happen(&Event::Reload(limits(10)));
    world.happen(&Event::Wait(20));
    assert_eq!(world.opening, [0]);
    world.end();
}
