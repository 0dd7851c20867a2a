//! Servers, clients and failures, with books of their own of what there is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::super::{Answer, Core, Grant, Refusal};
use super::event::{Event, Limits};
use super::rules::Before;
use super::shelf::Shelf;
use super::{PLUGINS, POOLS};
use crate::pool::error::OpenError;
use crate::route::PluginId;

/// A lease as its holder knows it: a server of a pool, or one of its own, which may still be on its way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Held {
    pub(super) plugin: usize,
    pub(super) pool: Option<usize>,
    pub(super) server: u32,
    since: Instant,
    pub(super) is_opening: bool,
    /// Its server is closing already.
    has_lost_it: bool,
    /// Its holder has left, and it goes back at once.
    goes_back: bool,
    /// Ticket and number of who waited for it.
    waited: Option<(u64, u64)>,
}

impl Held {
    fn new(plugin: usize, pool: Option<usize>, server: u32, since: Instant) -> Self {
        Self {
            plugin,
            pool,
            server,
            since,
            is_opening: pool.is_none(),
            has_lost_it: false,
            goes_back: false,
            waited: None,
        }
    }
}

/// What a waiter asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) plugin: usize,
    pub(super) pool: usize,
    pub(super) private: bool,
}

/// Somebody who waits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waits {
    id: u64,
    pub(super) asked: Asked,
    impatient: bool,
}

/// Until when no connection is tried, because PostgreSQL is full, as the world reckons it.
#[derive(Debug, Default)]
pub(super) struct Pause {
    pub(super) last: Duration,
    pub(super) until: Option<Instant>,
}

pub(super) struct World {
    pub(super) core: Core<Shelf, u64>,
    pub(super) limits: Limits,
    pub(super) shelves: Vec<Shelf>,
    pub(super) now: Instant,
    /// By ticket, in the order of arrival: who waits still.
    pub(super) waiting: BTreeMap<u64, Waits>,
    pub(super) held: Vec<Held>,
    pub(super) opening: Vec<usize>,
    closing: u32,
    /// Of those that were closing, the ones that do not end.
    staying: u32,
    pub(super) pause: Pause,
    /// The pool for which a connect has failed since the last round.
    pub(super) just_failed: Option<usize>,
    /// When the core asked to be asked again.
    pub(super) retries: BTreeSet<Instant>,
    /// For how long every place was taken.
    full_for: Duration,
    next: u64,
    pub(super) closed: bool,
}

impl World {
    pub(super) fn new(limits: Limits) -> Self {
        let now = Instant::now();
        let mut core = Core::new(limits.server, now);
        let shelves: Vec<Shelf> = (0..POOLS).map(|_| Shelf::default()).collect();
        for shelf in &shelves {
            core.add_pool(shelf.clone(), &limits.plugins[0].pool());
        }
        for (plugin, own) in limits.plugins.iter().enumerate() {
            (0..POOLS).for_each(|pool| assert_eq!(core.join(pool, &id(plugin), &own.pool(), own.weight), plugin));
        }
        let world = Self {
            core,
            limits,
            shelves,
            now,
            waiting: BTreeMap::new(),
            held: Vec::new(),
            opening: Vec::new(),
            closing: 0,
            staying: 0,
            pause: Pause::default(),
            just_failed: None,
            retries: BTreeSet::new(),
            full_for: Duration::ZERO,
            next: 0,
            closed: false,
        };
        world.check();
        world
    }

    fn ticket(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// It happens, a moment later; the rules are whole afterwards.
    pub(super) fn happen(&mut self, event: &Event) {
        self.pass(Duration::from_micros(700));
        self.take(event);
        self.check();
    }

    fn take(&mut self, event: &Event) {
        let now = self.now;
        match *event {
            Event::Arrive { pool, plugin, private, impatient } => {
                let ticket = self.ticket();
                let id = self.core.arrive(pool, plugin, private, ticket, now);
                self.waiting.insert(ticket, Waits { id, asked: Asked { plugin, pool, private }, impatient });
                self.decide();
            }
            Event::LendAtOnce { pool, plugin } => {
                let idle = !self.shelves[pool].0.borrow().is_empty();
                let may = idle && self.waiting.is_empty() && Before::of(self).may(plugin);
                let lent = self.core.lend_at_once(pool, plugin, now);
                assert_eq!(lent.is_some(), may, "nobody is overtaken, and nobody waits without need");
                self.held.extend(lent.map(|server| Held::new(plugin, Some(pool), server, now)));
            }
            Event::Leave(which) => {
                if let Some((&ticket, &waits)) = self.waiting.iter().nth(which % self.waiting.len().max(1)) {
                    self.waiting.remove(&ticket);
                    self.change(|core| core.leave(waits.asked.plugin, waits.id));
                    // A second time changes nothing.
                    self.change(|core| core.leave(waits.asked.plugin, waits.id));
                }
            }
            Event::GiveBack(which) => {
                let held = take(&mut self.held, which, |held| !held.is_opening);
                held.into_iter().for_each(|held| self.give_back(held));
            }
            Event::Die(which) => {
                let held = take(&mut self.held, which, |held| !held.is_opening);
                held.into_iter().for_each(|held| self.end_with_its_server(held));
            }
            Event::FoundDead(which) => {
                let lent = |held: &Held| held.pool.is_some() && held.waited.is_some();
                if let Some(held) = take(&mut self.held, which, lent) {
                    let (Some(pool), Some((ticket, id))) = (held.pool, held.waited) else {
                        unreachable!("it was looked at")
                    };
                    self.core.arrive_again(pool, held.plugin, id, held.since, ticket);
                    let asked = Asked { plugin: held.plugin, pool, private: false };
                    self.waiting.insert(ticket, Waits { id, asked, impatient: false });
                    self.end_with_its_server(held);
                }
            }
            Event::DieIdle(which) => {
                let shelf = self.shelves[which % POOLS].clone();
                if take(&mut shelf.0.borrow_mut(), which / POOLS, |_| true).is_some() {
                    self.closing += 1;
                    self.change(|core| core.closing_began());
                }
            }
            Event::Connected { which, took } => {
                if let Some(pool) = take(&mut self.opening, which, |_| true) {
                    let server = self.ticket() as u32;
                    self.shelves[pool].0.borrow_mut().push((server, now));
                    self.pause = Pause::default();
                    self.change(|core| core.opened(pool, Duration::from_millis(took)));
                }
            }
            Event::ConnectFailed { which, full } => self.connect_failed(which, full),
            Event::GivenUp(which) => {
                if let Some(pool) = take(&mut self.opening, which, |_| true) {
                    self.end_of_a_login(which);
                    self.change(|core| core.open_dropped(pool));
                }
            }
            Event::RoomOpened(which) => {
                if let Some(held) = take(&mut self.held, which, |held| held.is_opening) {
                    self.held.push(Held { is_opening: false, ..held });
                    self.pause = Pause::default();
                    self.change(|core| core.room_opened(Ok(()), now));
                }
            }
            Event::RoomFailed { which, full } => {
                let held = take(&mut self.held, which, |held| held.is_opening);
                held.into_iter().for_each(|held| self.room_failed(held, which, Some(full)));
            }
            Event::RoomGivenUp(which) => {
                let held = take(&mut self.held, which, |held| held.is_opening);
                held.into_iter().for_each(|held| self.room_failed(held, which, None));
            }
            Event::Stays => {
                if self.closing > 0 {
                    self.closing -= 1;
                    self.staying += 1;
                    self.change(|core| core.closing_ended());
                }
            }
            Event::Closed => {
                if self.closing > 0 {
                    self.closing -= 1;
                    self.change(|core| core.connection_ended(now));
                    self.change(|core| core.closing_ended());
                } else if self.staying > 0 {
                    self.staying -= 1;
                    self.change(|core| core.connection_ended(now));
                }
            }
            Event::Migrate(plugin) => {
                self.change(|core| core.migration_began(plugin, now + Duration::from_millis(50)));
            }
            Event::MigrationEnds(plugin) => self.core.plugin_mut(plugin).migration = None,
            Event::Reload(ref limits) => {
                self.limits = limits.clone();
                let of = |plugin: &PluginId| {
                    let own = &limits.plugins[(0..PLUGINS).find(|index| id(*index) == *plugin).expect("it joined")];
                    (own.pool(), own.weight)
                };
                self.change(|core| core.reload(limits.server, of, now));
            }
            Event::Wait(millis) => self.pass(Duration::from_millis(millis)),
            Event::Close => {
                self.closed = true;
                self.change(|core| core.close());
            }
        }
    }

    fn connect_failed(&mut self, which: usize, full: bool) {
        let (now, Some(pool)) = (self.now, take(&mut self.opening, which, |_| true)) else { return };
        let had_a_process = full || which.is_multiple_of(2);
        if had_a_process {
            self.closing += 1;
            self.core.closing_began();
        }
        self.refused(full);
        let first = self.waiting.iter().find(|(_, waits)| waits.asked.pool == pool && !waits.asked.private);
        let tells = self.limits.plugins.iter().any(|plugin| plugin.propagate);
        let first = first.map(|(ticket, _)| *ticket).filter(|_| tells);
        let told = self.core.open_failed(pool, error(full), now);
        if !had_a_process {
            self.core.connection_ended(now);
        }
        assert_eq!(told.as_ref().map(|answer| answer.waiter.tell), first, "the first one is told, if any is");
        told.into_iter().for_each(|answer| self.told(answer));
        self.just_failed = Some(pool);
        self.decide();
        self.just_failed = None;
    }

    /// PostgreSQL has refused a connection; those that it refuses meanwhile make no difference.
    fn refused(&mut self, full: bool) {
        let now = self.now;
        if full && self.pause.until.is_none_or(|until| until <= now) {
            self.pause.last = (self.pause.last * 2).clamp(Duration::from_millis(200), Duration::from_secs(5));
            self.pause.until = Some(now + self.pause.last);
        }
    }

    /// A login that nothing comes of ends at once, or PostgreSQL has a process for it that has to end.
    fn end_of_a_login(&mut self, which: usize) {
        let now = self.now;
        if which.is_multiple_of(2) {
            self.closing += 1;
            self.core.closing_began();
        } else {
            self.change(|core| core.connection_ended(now));
        }
    }

    fn give_back(&mut self, held: Held) {
        let now = self.now;
        match held.pool {
            Some(pool) => {
                self.shelves[pool].0.borrow_mut().push((held.server, now));
                self.change(|core| core.given_back(pool, held.plugin, held.since, now));
            }
            None => self.end_with_its_server(held),
        }
    }

    fn end_with_its_server(&mut self, held: Held) {
        let now = self.now;
        self.closing += 1;
        self.core.closing_began();
        self.change(|core| {
            if let Some(pool) = held.pool {
                core.left_pool(pool);
            }
            core.lease_ended(held.plugin, held.since, now);
        });
    }

    /// Because PostgreSQL is full, for another reason, or because its holder has left.
    fn room_failed(&mut self, held: Held, which: usize, full: Option<bool>) {
        let now = self.now;
        // Slot, opening and seat come back one after the other.
        self.held.push(Held { has_lost_it: true, ..held });
        self.end_of_a_login(which);
        self.held.retain(|other| other.server != held.server);
        self.held.push(Held { has_lost_it: true, is_opening: false, ..held });
        match full {
            Some(full) => {
                self.refused(full);
                self.change(|core| core.room_opened(Err(&error(full)), now));
            }
            None => self.change(|core| core.room_dropped()),
        }
        self.held.retain(|other| other.server != held.server);
        self.change(|core| core.lease_ended(held.plugin, held.since, now));
    }

    /// Changes something, and does what follows, as the scheduler would.
    fn change<R>(&mut self, change: impl FnOnce(&mut Core<Shelf, u64>) -> R) {
        change(&mut self.core);
        self.decide();
    }

    fn decide(&mut self) {
        if !self.core.has_work() {
            return;
        }
        let before = Before::of(self);
        self.just_failed = None;
        let work = self.core.decide(self.now);
        before.judge(&work, self.now);
        self.opening.extend(&work.open);
        self.closing += work.close.len() as u32;
        self.retries.extend(work.retry);
        work.answers.into_iter().for_each(|answer| self.told(answer));
        while let Some(held) = take(&mut self.held, 0, |held| held.goes_back && !held.has_lost_it) {
            match held.is_opening {
                true => self.room_failed(held, 1, None),
                false => self.give_back(held),
            }
        }
    }

    fn told(&mut self, answer: Answer<u32, u64>) {
        let Answer { waiter, plugin, since, result } = answer;
        let waits = self.waiting.remove(&waiter.tell).expect("each waiter is told once, and none that has left");
        let asked = waits.asked;
        assert_eq!((waits.id, asked), (waiter.id, Asked { plugin, pool: waiter.pool, private: waiter.private }));
        match result {
            Ok(grant) => {
                let (pool, server) = match grant {
                    Grant::Server(server) => (Some(asked.pool), server),
                    Grant::Room => (None, self.ticket() as u32),
                };
                assert_eq!(pool.is_none(), asked.private);
                let (goes_back, waited) = (waits.impatient, Some((waiter.tell, waits.id)));
                self.held.push(Held { goes_back, waited, ..Held::new(plugin, pool, server, since) });
            }
            Err(Refusal::Closed) => assert!(self.closed),
            Err(Refusal::Open(_)) => {}
        }
    }

    /// Time passes; the core is asked again when it wanted to be.
    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(at) = self.retries.first().copied().filter(|at| *at <= until) {
            self.retries.remove(&at);
            self.clock(at.max(self.now));
            self.decide();
            self.check();
        }
        self.clock(until);
    }

    fn clock(&mut self, now: Instant) {
        if self.used() >= self.limits.server.ceiling {
            self.full_for += now - self.now;
        }
        self.now = now;
    }

    pub(super) fn leases(&self, plugin: usize) -> u32 {
        self.held.iter().filter(|held| held.plugin == plugin).count() as u32
    }

    pub(super) fn idle(&self) -> u32 {
        self.shelves.iter().map(|shelf| shelf.0.borrow().len() as u32).sum()
    }

    pub(super) fn closing(&self) -> u32 {
        self.closing
    }

    /// How many open a server of their own.
    pub(super) fn rooms(&self) -> u32 {
        self.held.iter().filter(|held| held.is_opening).count() as u32
    }

    /// Every connection there is.
    pub(super) fn used(&self) -> u32 {
        self.held.iter().filter(|held| !held.has_lost_it).count() as u32
            + self.idle()
            + self.opening.len() as u32
            + self.closing
            + self.staying
    }

    /// Lets everything end, and finds that nothing is left.
    pub(super) fn end(&mut self) {
        for _ in 0..10_000 {
            self.pass(Duration::from_secs(6));
            let event = if !self.opening.is_empty() {
                Event::Connected { which: 0, took: 8 }
            } else if self.rooms() > 0 {
                Event::RoomOpened(0)
            } else if !self.held.is_empty() {
                Event::GiveBack(0)
            } else if self.closing + self.staying > 0 {
                Event::Closed
            } else if !self.waiting.is_empty() {
                Event::Wait(6000)
            } else {
                break;
            };
            self.happen(&event);
        }
        assert!(self.waiting.is_empty(), "nobody waits for ever: {:?}", self.waiting);
        (0..PLUGINS).for_each(|plugin| assert_eq!(self.core.plugins[plugin].leases(), 0));
        assert_eq!((self.core.leases, self.core.opening, self.core.closing), (0, 0, 0));
        assert_eq!(self.core.used(), self.idle());
        assert_eq!(self.core.take_full_for(self.now), self.full_for, "the time at the ceiling");
    }
}

pub(super) fn id(plugin: usize) -> PluginId {
    PluginId(format!("p{plugin}").into())
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

/// Takes one out, of those that are wanted.
fn take<T>(from: &mut Vec<T>, which: usize, wanted: impl Fn(&T) -> bool) -> Option<T> {
    let places: Vec<usize> = (0..from.len()).filter(|at| wanted(&from[*at])).collect();
    (!places.is_empty()).then(|| from.remove(places[which % places.len()]))
}
