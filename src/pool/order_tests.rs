//! Whoever meets at the scheduler's lock, in whatever order: its real code on threads that shuttle runs one step at a time.
//!
//! Every taking and leaving of the lock, and every start of a thread, is a point at which another thread may go on. Servers
//! are numbers, and so is the time, which jumps when the scheduler wants to be asked again.

use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use parking_lot::Mutex;
use shuttle::rand::{Rng, thread_rng};
use shuttle::sync::MutexGuard;
use shuttle::thread::{self, JoinHandle};
use tokio::time::Instant;

use super::dispatch::{Close, Idle};
use super::error::{AcquireError, OpenError};
use super::loan::Grant;
use super::lock::Lock;
use super::place::Place;
use super::scheduler::{CloseOf, CoreOf, Crew, Granted, Scheduler};
use super::slot::{Closing, Seat, Slot};
use crate::config::{PoolLimits, ServerLimits};
use crate::route::PluginId;
use crate::server::ConnectError;

impl<T: Send + 'static> Lock<T> for shuttle::sync::Mutex<T> {
    fn new(value: T) -> Self {
        Self::new(value)
    }

    fn lock(&self) -> impl DerefMut<Target = T> {
        Locked(Some(self.lock().expect("nobody panics with it")))
    }
}

/// shuttle lets others go on before a lock is left, not after: what happens between that and the next lock would be one step.
struct Locked<'a, T>(Option<MutexGuard<'a, T>>);

impl<T> Deref for Locked<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_ref().expect("only drop takes it")
    }
}

impl<T> DerefMut for Locked<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.as_mut().expect("only drop takes it")
    }
}

impl<T> Drop for Locked<'_, T> {
    fn drop(&mut self) {
        self.0 = None;
        if !std::thread::panicking() {
            thread::yield_now();
        }
    }
}

/// A connection, which is there until its slot comes back.
#[derive(Debug)]
struct Server {
    _counted: Counted,
    _slot: Slot<Rehearsal>,
}

/// How many connections there are.
#[derive(Debug)]
struct Counted(Arc<AtomicU32>);

impl Counted {
    fn new(count: &Arc<AtomicU32>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The idle servers of a pool.
#[derive(Debug, Clone, Default)]
struct Shelf(Arc<Mutex<Vec<Server>>>);

/// A server on loan; dropping it puts it back, unless it was taken out.
#[derive(Debug)]
struct Lent {
    server: Option<Server>,
    shelf: Shelf,
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.shelf.0.lock().extend(self.server.take());
    }
}

impl Idle for Shelf {
    type Lent = Lent;
    type Out = Server;

    fn lend(&self) -> Option<Lent> {
        let server = Some(self.0.lock().pop()?);
        Some(Lent { server, shelf: self.clone() })
    }

    fn longest(&self) -> Option<Instant> {
        // All alike.
        (!self.0.lock().is_empty()).then(Instant::now)
    }

    fn take_longest(&self) -> Option<Server> {
        let mut servers = self.0.lock();
        (!servers.is_empty()).then(|| servers.remove(0))
    }

    fn take_all(&self) -> Vec<Server> {
        std::mem::take(&mut self.0.lock())
    }
}

/// Opens and closes on threads of their own.
#[derive(Debug)]
struct Rehearsal {
    shelves: [Shelf; 2],
    connections: Arc<AtomicU32>,
    /// The ceiling is never lowered, so there are never more connections.
    most: Option<u32>,
    /// So many of eight connects fail.
    fails_of_8: u32,
    epoch: Instant,
    micros: AtomicU64,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Rehearsal {
    fn act(&self, act: impl FnOnce() + Send + 'static) {
        let thread = thread::spawn(act);
        self.threads.lock().push(thread);
    }

    fn counted(&self) -> Counted {
        let counted = Counted::new(&self.connections);
        let now = self.connections.load(Ordering::Relaxed);
        assert!(self.most.is_none_or(|most| now <= most), "{now} connections");
        counted
    }
}

impl Crew for Rehearsal {
    type Servers = Shelf;
    type Lock = shuttle::sync::Mutex<CoreOf<Self>>;

    fn open(scheduler: &Arc<Scheduler<Self>>, pool: usize) {
        let counted = scheduler.crew.counted();
        let own = Arc::clone(scheduler);
        scheduler.crew.act(move || {
            let slot = Slot::counted(Arc::clone(&own));
            match thread_rng().gen_range(0..8) {
                chance if chance < own.crew.fails_of_8 => {
                    drop(counted);
                    let slot = thread_rng().gen_bool(0.5).then_some(slot);
                    own.open_failed(pool, error(thread_rng().gen_bool(0.5)), slot);
                }
                7 => {
                    drop(counted);
                    drop(slot);
                    own.open_dropped(pool);
                }
                _ => {
                    let server = Server { _counted: counted, _slot: slot };
                    own.opened(pool, Duration::from_millis(5), || own.crew.shelves[pool].0.lock().push(server));
                }
            }
        });
    }

    fn close(scheduler: &Arc<Scheduler<Self>>, close: CloseOf<Self>, closing: Closing<Self>) {
        let Close { server, .. } = close;
        scheduler.crew.act(move || {
            drop(server);
            drop(closing);
        });
    }

    fn ask_again(scheduler: &Arc<Scheduler<Self>>, at: Instant) {
        let own = Arc::clone(scheduler);
        scheduler.crew.act(move || {
            let micros = at.saturating_duration_since(own.crew.epoch).as_micros() as u64 + 1;
            own.crew.micros.fetch_max(micros, Ordering::Relaxed);
            own.decide(|_, _| ());
        });
    }

    fn ended(&self, _: Duration) {}

    fn look_after(_: &Arc<Scheduler<Self>>) {}

    fn now(&self) -> Instant {
        // A moment passes with each look.
        self.epoch + Duration::from_micros(self.micros.fetch_add(1, Ordering::Relaxed))
    }
}

fn error(full: bool) -> OpenError {
    let (code, message) = ("53300".to_owned(), "sorry, too many clients already".to_owned());
    match full {
        true => ConnectError::Refused { code, message, frame_body: Default::default() }.into(),
        false => OpenError::TimedOut { address: "db".to_owned(), limit: Duration::ZERO },
    }
}

/// A scheduler with two pools and three plugins.
struct House {
    scheduler: Arc<Scheduler<Rehearsal>>,
    plugins: Vec<usize>,
}

impl House {
    fn new(limits: ServerLimits, ceiling_stays: bool) -> Self {
        Self::failing(limits, ceiling_stays, 2)
    }

    fn failing(limits: ServerLimits, ceiling_stays: bool, fails_of_8: u32) -> Self {
        let crew = Rehearsal {
            shelves: Default::default(),
            connections: Arc::default(),
            most: ceiling_stays.then_some(limits.ceiling),
            fails_of_8,
            epoch: Instant::now(),
            micros: AtomicU64::new(0),
            threads: Mutex::default(),
        };
        let shelves = crew.shelves.clone();
        let scheduler = Arc::new(Scheduler::of(crew, limits));
        let pool_limits = PoolLimits { max: 2, ..PoolLimits::default() };
        let pools = shelves.map(|shelf| scheduler.look(|core| core.add_pool(shelf, &pool_limits)));
        let join = |plugin: usize| {
            let id = PluginId(format!("p{plugin}").into());
            pools.map(|pool| scheduler.join(pool, &id, &pool_limits, 1))[0]
        };
        Self { plugins: (0..3).map(join).collect(), scheduler }
    }

    /// A client of its own thread, who asks a few times.
    fn client(&self, plugin: usize, asks: usize) -> JoinHandle<()> {
        let (scheduler, plugin) = (Arc::clone(&self.scheduler), self.plugins[plugin]);
        thread::spawn(move || (0..asks).for_each(|_| ask(&scheduler, plugin)))
    }

    /// Waits for everybody, and finds that everything has come back.
    fn end(self, clients: Vec<JoinHandle<()>>) {
        clients.into_iter().for_each(|client| client.join().expect("no client panics"));
        let next = || self.scheduler.crew.threads.lock().pop();
        while let Some(thread) = next() {
            thread.join().expect("nobody panics");
        }
        let idle: usize = self.scheduler.crew.shelves.iter().map(|shelf| shelf.0.lock().len()).sum();
        let left = |core: &mut CoreOf<Rehearsal>| (core.leases, core.opening, core.closing, core.waiting);
        assert_eq!(self.scheduler.look(left), (0, 0, 0, 0), "leased, opening, closing, waiting");
        assert_eq!(self.scheduler.look(|core| core.used()), idle as u32);
        let none = |core: &mut CoreOf<Rehearsal>| core.pools().all(|(_, pool)| (pool.leased, pool.opening) == (0, 0));
        assert!(self.scheduler.look(none), "no pool has any leased, or opening");
        assert_eq!(self.scheduler.crew.connections.load(Ordering::Relaxed), idle as u32);
        // The servers hold the scheduler, and it them.
        let rest: Vec<Server> = self.scheduler.crew.shelves.iter().flat_map(Idle::take_all).collect();
        drop(rest);
    }
}

/// Asks for a server in one of the ways that there are, and does with it what can be done.
fn ask(scheduler: &Arc<Scheduler<Rehearsal>>, plugin: usize) {
    let (pool, private) = (thread_rng().gen_range(0..2), thread_rng().gen_bool(0.3));
    if thread_rng().gen_bool(0.2)
        && let Some((lent, seat)) = scheduler.try_shared(pool, plugin)
    {
        return end_lease(scheduler, pool, lent, seat);
    }
    let mut place = Place::last(scheduler, pool, plugin, private);
    loop {
        let granted = match thread_rng().gen_range(0..3) {
            // It vanishes while it waits, or just as it is told.
            looks @ 0..2 => match look(&mut place, looks) {
                Some(granted) => granted,
                None => return,
            },
            _ => shuttle::future::block_on(place.turn()),
        };
        match granted {
            Ok(Grant::Shared(loan)) => {
                let (lent, seat) = loan.arrived();
                if thread_rng().gen_bool(0.8) {
                    return end_lease(scheduler, pool, lent, seat);
                }
                place.back_to_the_front();
                end_with_its_server(scheduler, pool, lent, seat);
            }
            Ok(Grant::Room(slot, seat, opening)) => {
                let server = Server { _counted: scheduler.crew.counted(), _slot: slot };
                drop(opening);
                thread::yield_now();
                drop(server);
                return drop(seat);
            }
            Err(AcquireError::Open(_) | AcquireError::Closed) => return,
            Err(error) => panic!("{error}"),
        }
    }
}

/// Looks so many times whether it is served.
fn look(place: &mut Place<'_, Rehearsal>, looks: usize) -> Option<Granted<Rehearsal>> {
    let mut turn = pin!(place.turn());
    for _ in 0..looks {
        if let Poll::Ready(granted) = turn.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return Some(granted);
        }
        thread::yield_now();
    }
    None
}

fn end_lease(scheduler: &Arc<Scheduler<Rehearsal>>, pool: usize, lent: Lent, seat: Seat<Rehearsal>) {
    thread::yield_now();
    match thread_rng().gen_bool(0.7) {
        true => scheduler.give_back(pool, lent, seat),
        false => end_with_its_server(scheduler, pool, lent, seat),
    }
}

fn end_with_its_server(scheduler: &Arc<Scheduler<Rehearsal>>, pool: usize, mut lent: Lent, seat: Seat<Rehearsal>) {
    let server = lent.server.take();
    let closing = scheduler.closing();
    scheduler.crew.act(move || {
        drop(server);
        drop(closing);
    });
    scheduler.leased_server_left(pool, lent, seat);
}

#[test]
fn nothing_is_lost_between_those_who_come_and_go() {
    shuttle::check_random(
        || {
            let house = House::new(ServerLimits::new(2, 0, 1), true);
            let clients = (0..4).map(|n| house.client(n % 3, 2)).collect();
            house.end(clients);
        },
        1500,
    );
}

#[test]
fn nobody_is_forgotten_while_postgresql_is_full() {
    shuttle::check_random(
        || {
            let house = House::failing(ServerLimits::new(2, 0, 1), true, 6);
            let clients = (0..3).map(|n| house.client(n, 1)).collect();
            house.end(clients);
        },
        3000,
    );
}

#[test]
fn nothing_is_lost_while_limits_change() {
    shuttle::check_random(
        || {
            let house = House::new(ServerLimits { reserved: 1, ..ServerLimits::new(3, 0, 2) }, false);
            let mut clients: Vec<_> = (0..3).map(|n| house.client(n, 2)).collect();
            let scheduler = Arc::clone(&house.scheduler);
            clients.push(thread::spawn(move || {
                for ceiling in [1, 3, 2] {
                    let limits = ServerLimits::new(ceiling, 0, ceiling);
                    let own = PoolLimits { max: ceiling, ..PoolLimits::default() };
                    scheduler.decide(|core, now| core.reload(limits, |_| (own.clone(), ceiling), now));
                }
            }));
            house.end(clients);
        },
        800,
    );
}

#[test]
fn nothing_is_lost_when_everything_ends() {
    shuttle::check_random(
        || {
            let house = House::new(ServerLimits::new(2, 0, 2), true);
            let mut clients: Vec<_> = (0..3).map(|n| house.client(n, 2)).collect();
            let scheduler = Arc::clone(&house.scheduler);
            clients.push(thread::spawn(move || scheduler.decide(|core, _| core.close())));
            house.end(clients);
        },
        800,
    );
}
