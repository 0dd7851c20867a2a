//! Any order of events leaves the rules whole: a small world of servers, clients and failures around a [`Core`].

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use tokio::time::Instant;

use super::{Answer, Core, Grant, Idle, Refusal};
use crate::config::{PoolLimits, ServerLimits};
use crate::pool::error::OpenError;
use crate::route::PluginId;

const POOLS: usize = 3;
const PLUGINS: usize = 4;

/// The idle servers of a pool, as numbers; the last was given back last.
#[derive(Debug, Clone, Default)]
struct Shelf(Rc<RefCell<Vec<(u32, Instant)>>>);

impl Idle for Shelf {
    type Lent = u32;
    type Out = u32;

    fn lend(&self) -> Option<u32> {
        self.0.borrow_mut().pop().map(|(server, _)| server)
    }

    fn longest(&self) -> Option<Instant> {
        self.0.borrow().first().map(|(_, since)| *since)
    }

    fn take_longest(&self) -> Option<u32> {
        let mut shelf = self.0.borrow_mut();
        (!shelf.is_empty()).then(|| shelf.remove(0).0)
    }

    fn take_all(&self) -> Vec<u32> {
        self.0.borrow_mut().drain(..).map(|(server, _)| server).collect()
    }
}

/// Something that happens. Numbers choose among what there is.
#[derive(Debug, Clone)]
enum Event {
    Arrive {
        pool: usize,
        plugin: usize,
        private: bool,
    },
    LendAtOnce {
        pool: usize,
        plugin: usize,
    },
    Leave(usize),
    GiveBack(usize),
    /// The lease ends with its server.
    Die(usize),
    /// The server turns out to be dead when it is lent: whoever got it waits again.
    FoundDead(usize),
    Connected(usize),
    ConnectFailed {
        which: usize,
        full: bool,
    },
    GivenUp(usize),
    RoomOpened,
    Closed,
    Migrate(usize),
    Wait(u64),
    NewMax {
        plugin: usize,
        max: u32,
    },
    Close,
}

fn event() -> impl Strategy<Value = Event> {
    let any_of = 0..usize::MAX;
    let (pool, plugin) = (0..POOLS, 0..PLUGINS);
    prop_oneof![
        8 => (pool.clone(), plugin.clone(), prop::bool::weighted(0.2))
            .prop_map(|(pool, plugin, private)| Event::Arrive { pool, plugin, private }),
        3 => (pool, plugin.clone()).prop_map(|(pool, plugin)| Event::LendAtOnce { pool, plugin }),
        2 => any_of.clone().prop_map(Event::Leave),
        6 => any_of.clone().prop_map(Event::GiveBack),
        2 => any_of.clone().prop_map(Event::Die),
        2 => any_of.clone().prop_map(Event::FoundDead),
        5 => any_of.clone().prop_map(Event::Connected),
        2 => (any_of.clone(), any::<bool>()).prop_map(|(which, full)| Event::ConnectFailed { which, full }),
        1 => any_of.prop_map(Event::GivenUp),
        4 => Just(Event::RoomOpened),
        5 => Just(Event::Closed),
        1 => plugin.clone().prop_map(Event::Migrate),
        3 => (1_u64..3000).prop_map(Event::Wait),
        1 => (plugin, 1_u32..6).prop_map(|(plugin, max)| Event::NewMax { plugin, max }),
        1 => Just(Event::Close),
    ]
}

/// A lease as its holder knows it: a server of a pool, or one of its own.
#[derive(Debug, Clone, Copy)]
struct Held {
    plugin: usize,
    pool: Option<usize>,
    server: u32,
    since: Instant,
    /// The ticket and the number of who had waited for it.
    waited: Option<(u64, u64)>,
}

/// What a waiter asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Asked {
    plugin: usize,
    pool: usize,
    private: bool,
}

struct World {
    core: Core<Shelf, u64>,
    limits: ServerLimits,
    shelves: Vec<Shelf>,
    now: Instant,
    max: [u32; PLUGINS],
    /// By ticket: who waits still.
    waiting: BTreeMap<u64, (u64, Asked)>,
    held: Vec<Held>,
    opening: Vec<usize>,
    /// Leases with room of their own that is being opened.
    rooms: u32,
    closing: u32,
    next: u64,
    /// The ticket that was served last, by what it had asked for.
    served: HashMap<Asked, u64>,
    closed: bool,
}

impl World {
    fn new(limits: ServerLimits, propagate: bool) -> Self {
        let now = Instant::now();
        let mut core = Core::new(limits, now);
        let shelves: Vec<Shelf> = (0..POOLS).map(|_| Shelf::default()).collect();
        let pool_limits = PoolLimits { propagate_create_error: propagate, ..PoolLimits::default() };
        for shelf in &shelves {
            core.add_pool(shelf.clone(), &pool_limits);
        }
        let max = [1, 2, 3, 10];
        for (plugin, max) in max.into_iter().enumerate() {
            let limits = PoolLimits { max, ..pool_limits.clone() };
            for pool in 0..POOLS {
                core.join(pool, &PluginId(format!("p{plugin}").into()), &limits, plugin as u32 + 1);
            }
        }
        Self {
            core,
            limits,
            shelves,
            now,
            max,
            waiting: BTreeMap::new(),
            held: Vec::new(),
            opening: Vec::new(),
            rooms: 0,
            closing: 0,
            next: 0,
            served: HashMap::new(),
            closed: false,
        }
    }

    fn ticket(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn happen(&mut self, event: &Event) {
        self.now += Duration::from_micros(700);
        match *event {
            Event::Arrive { pool, plugin, private } => {
                let ticket = self.ticket();
                let id = self.core.arrive(pool, plugin, private, ticket, self.now);
                self.waiting.insert(ticket, (id, Asked { plugin, pool, private }));
            }
            Event::LendAtOnce { pool, plugin } => {
                let idle = self.shelves[pool].0.borrow().len();
                if let Some(server) = self.core.lend_at_once(pool, plugin, self.now) {
                    assert!(idle > 0 && self.waiting.is_empty(), "nobody is overtaken");
                    self.held.push(Held { plugin, pool: Some(pool), server, since: self.now, waited: None });
                }
            }
            Event::Leave(which) => {
                if let Some((&ticket, &(id, asked))) = nth(&self.waiting, which) {
                    self.waiting.remove(&ticket);
                    self.core.leave(asked.plugin, id);
                    // A second time changes nothing.
                    self.core.leave(asked.plugin, id);
                }
            }
            Event::GiveBack(which) => {
                if let Some(held) = take(&mut self.held, which) {
                    match held.pool {
                        Some(pool) => {
                            self.shelves[pool].0.borrow_mut().push((held.server, self.now));
                            self.core.given_back(pool, held.plugin, held.since, self.now);
                        }
                        None => self.end_with_its_server(held),
                    }
                }
            }
            Event::Die(which) => {
                if let Some(held) = take(&mut self.held, which) {
                    self.end_with_its_server(held);
                }
            }
            Event::FoundDead(which) => {
                if let Some(held) = take(&mut self.held, which) {
                    if let (Some((ticket, id)), Some(pool)) = (held.waited, held.pool) {
                        let asked = Asked { plugin: held.plugin, pool, private: false };
                        self.core.arrive_again(pool, held.plugin, id, held.since, ticket);
                        self.waiting.insert(ticket, (id, asked));
                        // It goes before those who came after it, and were perhaps served meanwhile.
                        let last = self.served.entry(asked).or_default();
                        *last = (ticket - 1).min(*last);
                    }
                    self.end_with_its_server(held);
                }
            }
            Event::Connected(which) => {
                if let Some(pool) = take(&mut self.opening, which) {
                    let server = self.ticket() as u32;
                    self.shelves[pool].0.borrow_mut().push((server, self.now));
                    self.core.opened(pool, Duration::from_millis(8));
                }
            }
            Event::ConnectFailed { which, full } => {
                if let Some(pool) = take(&mut self.opening, which) {
                    self.core.connection_ended(self.now);
                    let told = self.core.open_failed(pool, error(full), self.now);
                    if let Some(answer) = told {
                        assert_eq!(answer.waiter.pool, pool);
                        assert!(!answer.waiter.private);
                        self.told(answer);
                    }
                }
            }
            Event::GivenUp(which) => {
                if let Some(pool) = take(&mut self.opening, which) {
                    self.core.connection_ended(self.now);
                    self.core.open_dropped(pool);
                }
            }
            Event::RoomOpened => {
                if self.rooms > 0 {
                    self.rooms -= 1;
                    self.core.room_opened();
                }
            }
            Event::Closed => {
                if self.closing > 0 {
                    self.closing -= 1;
                    self.core.connection_ended(self.now);
                    self.core.closing_ended();
                }
            }
            Event::Migrate(plugin) => {
                self.core.migration_began(plugin, self.now + Duration::from_millis(5));
            }
            Event::Wait(millis) => self.now += Duration::from_millis(millis),
            Event::NewMax { plugin, max } => {
                self.max[plugin] = max;
                let limits = PoolLimits { max, ..PoolLimits::default() };
                self.core.join(0, &PluginId(format!("p{plugin}").into()), &limits, 1);
            }
            Event::Close => {
                self.core.close();
                self.closed = true;
            }
        }
        self.decide();
        self.check();
    }

    fn end_with_its_server(&mut self, held: Held) {
        self.closing += 1;
        self.core.closing_began();
        if let Some(pool) = held.pool {
            self.core.left_pool(pool);
        }
        self.core.lease_ended(held.plugin, held.since, self.now);
    }

    fn decide(&mut self) {
        let work = self.core.decide(self.now);
        self.opening.extend(&work.open);
        for close in work.close {
            assert!(
                close.for_pool.is_none_or(|_| self.core.used() == self.limits.ceiling),
                "only a full server evicts"
            );
            self.closing += 1;
            self.core.closing_began();
        }
        for answer in work.answers {
            self.told(answer);
        }
    }

    fn told(&mut self, answer: Answer<u32, u64>) {
        let Answer { waiter, plugin, since, result } = answer;
        let (id, asked) = self.waiting.remove(&waiter.tell).expect("each waiter is told once, and none that has left");
        assert_eq!((id, asked), (waiter.id, Asked { plugin, pool: waiter.pool, private: waiter.private }));
        match result {
            Ok(grant) => {
                let last = self.served.insert(asked, waiter.tell);
                assert!(last.is_none_or(|last| last < waiter.tell), "those of one plugin keep their order");
                let (pool, server) = match grant {
                    Grant::Server(server) => (Some(asked.pool), server),
                    Grant::Room => {
                        self.rooms += 1;
                        (None, 0)
                    }
                };
                assert_eq!(pool.is_none(), asked.private);
                self.held.push(Held { plugin, pool, server, since, waited: Some((waiter.tell, waiter.id)) });
            }
            Err(Refusal::Closed) => assert!(self.closed),
            Err(Refusal::Open(_)) => {}
        }
    }

    fn leases(&self, plugin: usize) -> u32 {
        self.held.iter().filter(|held| held.plugin == plugin).count() as u32
    }

    fn idle(&self) -> u32 {
        self.shelves.iter().map(|shelf| shelf.0.borrow().len() as u32).sum()
    }

    /// What holds after every event.
    fn check(&self) {
        let leases = self.held.len() as u32;
        let all = leases + self.idle() + self.opening.len() as u32 + self.closing;
        assert_eq!(self.core.used(), all, "every connection is counted once");
        assert!(all <= self.limits.ceiling, "the ceiling");
        assert!(self.opening.len() as u32 + self.rooms <= self.limits.parallel_connects, "a storm is slowed down");
        let servers: Vec<u32> = self.held.iter().filter(|held| held.pool.is_some()).map(|held| held.server).collect();
        assert_eq!(servers.iter().collect::<BTreeSet<_>>().len(), servers.len(), "a server has one holder");
        if self.closed {
            assert!(self.waiting.is_empty() && self.idle() == 0, "everybody is told, nothing stays idle");
            return;
        }
        let nothing_moves = self.opening.is_empty() && self.rooms == 0 && self.closing == 0;
        let mut plugins = BTreeSet::new();
        for (ticket, (_, asked)) in &self.waiting {
            // Those behind the first of a plugin may have to let it have what is on its way.
            if !plugins.insert(asked.plugin) {
                continue;
            }
            let own = self.leases(asked.plugin);
            let may = own < self.max[asked.plugin] && (own == 0 || leases + self.limits.reserved < self.limits.ceiling);
            // What others were promised counts as theirs.
            if !may || !(own == 0 || nothing_moves) {
                continue;
            }
            let idle = !self.shelves[asked.pool].0.borrow().is_empty();
            assert!(asked.private || !idle, "{ticket} waits beside an idle server");
            let room = self.core.used() < self.limits.ceiling || self.idle() > 0;
            let pauses = self.core.retry_armed.is_some_and(|at| at > self.now);
            assert!(!nothing_moves || !room || (pauses && !asked.private), "{ticket} waits, and nothing is on its way");
        }
    }

    /// Lets everything end, and finds that nothing is left.
    fn end(&mut self) {
        for _ in 0..10_000 {
            self.now += Duration::from_secs(6);
            let event = if !self.held.is_empty() {
                Event::GiveBack(0)
            } else if !self.opening.is_empty() {
                Event::Connected(0)
            } else if self.rooms > 0 {
                Event::RoomOpened
            } else if self.closing > 0 {
                Event::Closed
            } else if !self.waiting.is_empty() {
                Event::Wait(6000)
            } else {
                break;
            };
            self.happen(&event);
        }
        assert!(self.waiting.is_empty(), "nobody waits for ever: {:?}", self.waiting);
        for plugin in 0..PLUGINS {
            assert_eq!(self.core.plugins[plugin].leases(), 0);
        }
        assert_eq!(self.core.used(), self.idle());
    }
}

fn error(full: bool) -> Arc<OpenError> {
    let (address, limit) = ("db:5432".to_owned(), Duration::from_secs(30));
    match full {
        false => OpenError::TimedOut { address, limit }.into(),
        true => {
            let (code, message) = ("53300".to_owned(), "sorry, too many clients already".to_owned());
            OpenError::Connect(crate::server::ConnectError::Refused { code, message, frame_body: Default::default() })
                .into()
        }
    }
}

fn take<T>(from: &mut Vec<T>, which: usize) -> Option<T> {
    (!from.is_empty()).then(|| from.remove(which % from.len()))
}

fn nth<K, V>(from: &BTreeMap<K, V>, which: usize) -> Option<(&K, &V)> {
    from.iter().nth(which % from.len().max(1))
}

proptest! {
    #[test]
    fn no_order_of_events_breaks_a_rule(
        ceiling in 1_u32..9,
        reserved in 0_u32..3,
        parallel in 1_u32..5,
        propagate in any::<bool>(),
        events in vec(event(), 1..120),
    ) {
        let mut world = World::new(ServerLimits::new(ceiling, reserved, parallel), propagate);
        for event in &events {
            world.happen(event);
        }
        world.end();
    }
}
