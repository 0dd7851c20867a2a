//! Who gets how much, in simulated time: closed loops of clients on one pool of servers.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use super::{Core, Grant, Idle};
use crate::config::{PoolLimits, ServerLimits};
use crate::route::PluginId;

/// Idle servers, all alike.
#[derive(Debug, Clone, Default)]
struct Idlers(Rc<RefCell<u32>>);

impl Idle for Idlers {
    type Lent = ();
    type Out = ();

    fn lend(&self) -> Option<()> {
        let mut idle = self.0.borrow_mut();
        *idle = idle.checked_sub(1)?;
        Some(())
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

/// A plugin's clients: each asks for a server, has it for `hold`, and asks again after `think`.
#[derive(Debug, Clone, Copy)]
struct Load {
    clients: u32,
    hold: Duration,
    think: Duration,
    weight: u32,
    max: u32,
    begins: Duration,
}

const POLITE: Load = Load { clients: 1, hold: ms(1), think: ms(9), weight: 1, max: 10, begins: ms(0) };
const GREEDY: Load = Load { clients: 200, hold: ms(1), think: ms(0), weight: 1, max: 10, begins: ms(0) };

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// What a plugin got.
#[derive(Debug, Default, Clone)]
struct Got {
    server_time: Duration,
    waits: Vec<Duration>,
}

impl Got {
    fn p99(&self) -> Duration {
        let mut waits = self.waits.clone();
        waits.sort_unstable();
        waits[waits.len() * 99 / 100]
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Next {
    GivesBack { since: Duration },
    Asks,
}

/// Runs the loads beside each other on so many servers that are open from the beginning.
fn run(loads: &[Load], servers: u32, reserved: u32, time: Duration) -> Vec<Got> {
    let epoch = Instant::now();
    let idlers = Idlers::default();
    let limits = ServerLimits { ceiling: servers, reserved, parallel_connects: servers, ..ServerLimits::default() };
    let mut core = Core::new(limits, epoch);
    let pool = core.add_pool(idlers.clone(), &PoolLimits::default());
    for (index, load) in loads.iter().enumerate() {
        let limits = PoolLimits { max: load.max, ..PoolLimits::default() };
        core.join(pool, &PluginId(format!("p{index}").into()), &limits, load.weight);
    }
    // All servers are open: whoever asks for them first gets them opened at once, and gives them back.
    let first = core.arrive(pool, 0, false, (0, 0), epoch);
    for _ in 0..servers {
        core.used += 1;
    }
    core.leave(0, first);
    *idlers.0.borrow_mut() = servers;

    let mut got = vec![Got::default(); loads.len()];
    let mut events = BinaryHeap::new();
    for (plugin, load) in loads.iter().enumerate() {
        for client in 0..load.clients {
            // Nobody begins in step with anybody.
            let begin = load.begins + Duration::from_micros(u64::from(client) * 37 + plugin as u64 * 113);
            events.push(Reverse((begin, Next::Asks, plugin, client)));
        }
    }
    while let Some(Reverse((at, next, plugin, client))) = events.pop() {
        if at > time {
            break;
        }
        let now = epoch + at;
        match next {
            Next::Asks => drop(core.arrive(pool, plugin, false, (at.as_nanos() as u64, client), now)),
            Next::GivesBack { since } => {
                *idlers.0.borrow_mut() += 1;
                core.given_back(pool, plugin, epoch + since, now);
                got[plugin].server_time += at - since;
                events.push(Reverse((at + loads[plugin].think, Next::Asks, plugin, client)));
            }
        }
        for answer in core.decide(now).answers {
            assert!(matches!(answer.result, Ok(Grant::Server(()))));
            let (asked, client) = answer.waiter.tell;
            got[answer.plugin].waits.push(at - Duration::from_nanos(asked));
            let ends = at + loads[answer.plugin].hold;
            events.push(Reverse((ends, Next::GivesBack { since: at }, answer.plugin, client)));
        }
        let waits = core.plugins.iter().any(|plugin| plugin.queue().count() > 0 && plugin.leases() < plugin.limits.max);
        assert!(!waits || *idlers.0.borrow() <= reserved, "nothing that may be had is idle while anyone waits");
    }
    got
}

/// Jain's index: 1 when all are equal, 1/n when one has everything.
fn jain(got: &[Got]) -> f64 {
    let times: Vec<f64> = got.iter().map(|got| got.server_time.as_secs_f64()).collect();
    let sum: f64 = times.iter().sum();
    sum * sum / (times.len() as f64 * times.iter().map(|time| time * time).sum::<f64>())
}

#[test]
fn one_greedy_plugin_hardly_makes_nine_polite_ones_wait() {
    let alone = run(&[POLITE; 9], 4, 1, Duration::from_secs(5));
    let mut loads = vec![GREEDY];
    loads.extend([POLITE; 9]);
    let beside = run(&loads, 4, 1, Duration::from_secs(5));
    for (plugin, (beside, alone)) in beside[1..].iter().zip(&alone).enumerate() {
        // A server is held for a millisecond: one may have to be waited for.
        assert!(
            beside.p99() <= alone.p99() * 2 + ms(1),
            "{plugin}: {:?} beside, {:?} alone",
            beside.p99(),
            alone.p99()
        );
    }
    assert!(beside[0].server_time > Duration::from_secs(10), "what the others leave is the greedy one's");
}

#[test]
fn those_who_all_want_more_than_there_is_get_the_same() {
    let mut loads = vec![GREEDY];
    loads.extend((0..9).map(|n| Load { clients: 5, hold: ms(1 + n), ..GREEDY }));
    let got = run(&loads, 8, 2, Duration::from_secs(10));
    assert!(jain(&got) >= 0.95, "{}", jain(&got));
}

#[test]
fn twice_the_weight_is_twice_the_time() {
    let got = run(&[GREEDY, Load { weight: 2, ..GREEDY }, GREEDY], 8, 0, Duration::from_secs(10));
    let ratio = got[1].server_time.as_secs_f64() / got[0].server_time.as_secs_f64();
    assert!((1.8..2.2).contains(&ratio), "{ratio}");
}

#[test]
fn long_transactions_leave_a_place_for_those_who_hold_nothing() {
    let indexer = Load { clients: 50, hold: Duration::from_secs(120), think: ms(0), weight: 1, max: 12, begins: ms(0) };
    let mut loads = vec![indexer; 2];
    loads.extend([POLITE; 9]);
    let got = run(&loads, 12, 2, Duration::from_secs(60));
    for polite in &got[2..] {
        assert!(polite.p99() < ms(20), "{:?}", polite.p99());
        assert!(polite.waits.len() > 1000);
    }
}

#[test]
fn who_has_held_servers_for_long_does_not_wait_for_long() {
    // It has a server for half a minute; the others come just before it asks again.
    let indexer = Load { clients: 1, hold: Duration::from_secs(30), ..GREEDY };
    let mut loads = vec![indexer];
    loads.extend([Load { clients: 20, hold: ms(10), begins: Duration::from_secs(29), ..GREEDY }; 3]);
    let got = run(&loads, 4, 0, Duration::from_secs(60));
    let longest = got[0].waits.iter().max().copied().unwrap_or_default();
    assert!(got[0].waits.len() > 1, "it was served again");
    assert!((ms(100)..Duration::from_secs(5)).contains(&longest), "{longest:?}");
}

#[test]
fn who_comes_back_has_no_claim_to_what_it_did_not_use() {
    // For two seconds the first is alone; then it is to have half, not nothing.
    let late = Load { clients: 20, ..GREEDY };
    let both = run(&[GREEDY, late], 4, 0, Duration::from_secs(4));
    assert!(jain(&both) > 0.98, "{}", jain(&both));
}

#[test]
fn who_was_lent_a_server_while_nobody_waited_has_no_claim_to_what_it_did_not_use() {
    let epoch = Instant::now();
    let (idlers, limits) = (Idlers(Rc::new(RefCell::new(2))), PoolLimits::default());
    let mut core: Core<_, ()> = Core::new(ServerLimits::new(2, 0, 2), epoch);
    core.used = 2;
    let pool = core.add_pool(idlers.clone(), &limits);
    let [old, late] = ["old", "late"].map(|id| core.join(pool, &PluginId(id.into()), &limits, 1));
    // For a minute the first has the servers to itself, and waits for nobody.
    for second in 0..60 {
        let [began, ended] = [0, 1].map(|more| epoch + Duration::from_secs(second + more));
        core.lend_at_once(pool, old, began).expect("it is idle");
        *idlers.0.borrow_mut() += 1;
        core.given_back(pool, old, began, ended);
    }
    // Then both want more than there is.
    let now = epoch + Duration::from_secs(60);
    for plugin in [late, old] {
        core.lend_at_once(pool, plugin, now).expect("nobody waits yet");
    }
    for plugin in [old, late].repeat(20) {
        core.arrive(pool, plugin, false, (), now);
    }
    let (mut holds, mut turns) = ([late, old].map(|plugin| (plugin, now)), [0; 2]);
    for round in 1..=20_u64 {
        let at = now + ms(round);
        let (plugin, since) = holds[round as usize % 2];
        *idlers.0.borrow_mut() += 1;
        core.given_back(pool, plugin, since, at);
        let answers = core.decide(at).answers;
        assert_eq!(answers.len(), 1);
        turns[answers[0].plugin] += 1;
        holds[round as usize % 2] = (answers[0].plugin, at);
    }
    assert!(turns.iter().all(|turns| (8..=12).contains(turns)), "{turns:?}");
}

#[test]
fn another_weight_counts_from_now_on() {
    let epoch = Instant::now();
    let (idlers, limits) = (Idlers(Rc::new(RefCell::new(2))), PoolLimits::default());
    let mut core: Core<_, ()> = Core::new(ServerLimits::new(2, 0, 2), epoch);
    core.used = 2;
    let pool = core.add_pool(idlers, &limits);
    let plugin = core.join(pool, &PluginId("p".into()), &limits, 1);
    let mut share = |seconds, weight| {
        let now = epoch + Duration::from_secs(seconds);
        core.reload(core.limits, |_| (limits.clone(), weight), now);
        if seconds == 0 {
            core.lend_at_once(pool, plugin, now).expect("it is idle");
        }
        if seconds == 16 {
            core.given_back(pool, plugin, epoch, now);
        }
        core.plugins[plugin].share(now.duration_since(epoch).as_secs_f64())
    };
    // Eight seconds for a weight of 1, then eight for one of 4, in one lease.
    assert_eq!([share(0, 1), share(8, 4), share(12, 4), share(16, 4), share(20, 1)], [0.0, 8.0, 9.0, 10.0, 10.0]);
}

#[test]
fn a_connect_that_took_long_once_does_not_make_others_wait_as_long() {
    let (epoch, slow) = (Instant::now(), Duration::from_secs(30));
    let mut core: Core<_, ()> = Core::new(ServerLimits::default(), epoch);
    let pool = core.add_pool(Idlers::default(), &PoolLimits::default());
    let plugin = core.join(pool, &PluginId("p".into()), &PoolLimits::default(), 1);
    let first = core.arrive(pool, plugin, false, (), epoch);
    assert_eq!(core.decide(epoch).open, [pool]);
    core.opened(pool, slow);
    core.leave(plugin, first);
    // Somebody has it, and keeps it.
    core.pools[pool].leased = 1;
    let now = epoch + slow;
    core.arrive(pool, plugin, false, (), now);
    let retry = core.decide(now).retry.expect("it may be given back soon");
    assert!(retry <= now + Duration::from_secs(2), "{:?}", retry - now);
}

#[test]
fn a_burst_of_short_questions_opens_few_servers() {
    let (mut core, pool, now) = thirty_at_once();
    let work = core.decide(now);
    assert_eq!(work.open, [pool; 4], "a login takes as long as ten leases, until more is known");
    let patience = work.retry.expect("the others are looked at again");
    let late = core.decide(patience);
    assert!(!late.open.is_empty(), "nothing came back: now servers are opened for those who still wait");
}

#[test]
fn a_queue_that_never_ends_gets_servers_although_nobody_waits_for_long() {
    let (epoch, idlers) = (Instant::now(), Idlers::default());
    let mut core = Core::new(ServerLimits::new(12, 2, 12), epoch);
    let pool = core.add_pool(idlers.clone(), &PoolLimits::default());
    let plugin = core.join(pool, &PluginId("p".into()), &PoolLimits::default(), 1);
    core.arrive(pool, plugin, false, (), epoch);
    assert_eq!(core.decide(epoch).open, [pool]);
    *idlers.0.borrow_mut() = 1;
    core.opened(pool, ms(10));
    assert_eq!(core.decide(epoch).answers.len(), 1);
    // Of three clients one has the server for a millisecond and two wait for it.
    core.arrive(pool, plugin, false, (), epoch);
    core.arrive(pool, plugin, false, (), epoch);
    let opens = (1..=100).filter(|millis| {
        let (began, now) = (epoch + ms(millis - 1), epoch + ms(*millis));
        *idlers.0.borrow_mut() = 1;
        core.given_back(pool, plugin, began, now);
        core.arrive(pool, plugin, false, (), now);
        let work = core.decide(now);
        assert_eq!(work.answers.len(), 1);
        !work.open.is_empty()
    });
    let opens: Vec<u64> = opens.collect();
    let [first, second] = opens[..] else { panic!("one for each who waits: {opens:?}") };
    assert!((15..=25).contains(&first), "after twice the time of a connect: {opens:?}");
    assert!((15..=25).contains(&(second - first)), "another one only after as long: {opens:?}");
}

#[test]
fn a_burst_is_met_with_one_server_each_where_leases_are_long() {
    let (mut core, pool, now) = thirty_at_once();
    core.usual = 0.5;
    assert_eq!(core.decide(now).open, [pool; 12]);
}

/// Thirty plugins ask at the same moment, and no server is open.
fn thirty_at_once() -> (Core<Idlers, (u64, u32)>, usize, Instant) {
    let now = Instant::now();
    let mut core = Core::new(ServerLimits::new(12, 2, 12), now);
    let pool = core.add_pool(Idlers::default(), &PoolLimits::default());
    for n in 0..30 {
        let plugin = core.join(pool, &PluginId(format!("p{n}").into()), &PoolLimits::default(), 1);
        core.arrive(pool, plugin, false, (0, n), now);
    }
    (core, pool, now)
}
