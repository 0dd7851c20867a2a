//! Whoever is dropped in the middle of whatever it waits for leaves nothing behind: every count comes back, and the server
//! never has more connections than it may.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::task::Poll;
use std::time::Duration;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, timeout};

use super::{CloseReason, Kind, Member, Pools};
use crate::config::Config;
use crate::metrics::Metrics;
use crate::protocol::message;
use crate::protocol::tag::TxStatus;
use crate::route::RouteTable;
use crate::secret::Secrets;
use crate::server::Dress;

const CEILING: u32 = 5;

/// CancelRequest's code, where a protocol version would stand.
const CANCEL: [u8; 4] = 80_877_102_u32.to_be_bytes();

/// A PostgreSQL that takes its time, also for ending, and counts its processes: from the startup message to their end.
#[derive(Debug, Default)]
struct Slow {
    processes: AtomicU32,
    most: AtomicU32,
}

/// What a process does besides what it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    Refuses(&'static str),
    Leaves,
    /// It never answers the startup message.
    Stalls,
    DiesAtQuery,
}

fn millis(random: &mut StdRng, most: u64) -> Duration {
    Duration::from_micros(random.random_range(0..most * 1000))
}

fn fault(random: &mut StdRng) -> Fault {
    match random.random_range(0..200) {
        0 => Fault::Refuses("53300"),
        1..10 => Fault::Refuses("3D000"),
        10..20 => Fault::Leaves,
        20..30 => Fault::Stalls,
        30..50 => Fault::DiesAtQuery,
        _ => Fault::None,
    }
}

impl Slow {
    async fn start(seed: u64) -> (Arc<Self>, u16) {
        let slow = Arc::<Self>::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let served = Arc::clone(&slow);
        tokio::spawn(async move {
            let mut random = StdRng::seed_from_u64(seed);
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(Arc::clone(&served).serve(stream, StdRng::seed_from_u64(random.random())));
            }
        });
        (slow, port)
    }

    async fn serve(self: Arc<Self>, mut stream: TcpStream, mut random: StdRng) {
        let mut startup = vec![0; stream.read_u32().await.unwrap_or(4) as usize - 4];
        if stream.read_exact(&mut startup).await.is_err() || startup.len() < 4 {
            return;
        }
        if startup[..4] == CANCEL {
            return sleep(millis(&mut random, 3)).await;
        }
        self.most.fetch_max(self.processes.fetch_add(1, Relaxed) + 1, Relaxed);
        if let Some(fault) = log_in(&mut stream, &mut random).await {
            while answer(&mut stream, fault, &mut random).await.is_some() {}
        }
        // Cleaning up takes longer than the destroy timeout, now and then.
        sleep(millis(&mut random, 8)).await;
        self.processes.fetch_sub(1, Relaxed);
    }
}

/// Plays a login; `None` is the end.
async fn log_in(stream: &mut TcpStream, random: &mut StdRng) -> Option<Fault> {
    let fault = fault(random);
    sleep(millis(random, 5)).await;
    let mut out = Vec::new();
    match fault {
        Fault::Leaves => return None,
        Fault::Stalls => {
            while stream.read(&mut [0; 64]).await.is_ok_and(|len| len > 0) {}
            return None;
        }
        Fault::Refuses(code) => {
            fatal(&mut out, code);
            let _ = stream.write_all(&out).await;
            return None;
        }
        Fault::None | Fault::DiesAtQuery => {}
    }
    message::authentication_ok(&mut out);
    message::backend_key_data(&mut out, random.random_range(1..1 << 20), b"key!");
    message::ready_for_query(&mut out, TxStatus::Idle);
    stream.write_all(&out).await.ok()?;
    Some(fault)
}

/// Answers one Query; `None` is the end.
async fn answer(stream: &mut TcpStream, fault: Fault, random: &mut StdRng) -> Option<()> {
    let mut header = [0; 5];
    stream.read_exact(&mut header).await.ok()?;
    let len = u32::from_be_bytes(header[1..].try_into().expect("four bytes"));
    let mut body = vec![0; len as usize - 4];
    stream.read_exact(&mut body).await.ok()?;
    if header[0] == b'X' {
        return None;
    }
    sleep(millis(random, 3)).await;
    let mut out = Vec::new();
    if fault == Fault::DiesAtQuery && random.random_bool(0.5) {
        fatal(&mut out, "57P01");
        let _ = stream.write_all(&out).await;
        return None;
    }
    // No code in the database that may leave anything behind.
    message::frame(&mut out, b'D', |out| out.extend_from_slice(b"\0\x01\0\0\0\x01f"));
    message::ready_for_query(&mut out, TxStatus::Idle);
    stream.write_all(&out).await.ok()
}

fn fatal(out: &mut Vec<u8>, code: &str) {
    message::frame(out, b'E', |out| {
        out.extend_from_slice(format!("SFATAL\0VFATAL\0C{code}\0Mno\0\0").as_bytes());
    });
}

/// Somebody who asks for a server, uses it, and does away with it in one of all possible ways.
async fn use_a_server(member: Member, random: Arc<Mutex<StdRng>>) {
    let choose = |of: u32| random.lock().random_range(0..of);
    let kind = match choose(3) {
        0 => Kind::Private { startup: Vec::new(), dress: Dress::new(None, Dress::OWN_NAME) },
        _ => Kind::Shared,
    };
    let lease = match member.try_acquire().filter(|_| matches!(kind, Kind::Shared)) {
        Some(lease) => Ok(lease),
        None => member.acquire(kind).await.map(|(lease, _)| lease),
    };
    let Ok(mut lease) = lease else { return };
    let cancel = (choose(6) == 0).then(|| lease.server().cancel.begin());
    if choose(2) == 0 && lease.server().query("select 1").await.is_err() {
        return lease.close(CloseReason::ServerEnded);
    }
    match cancel {
        Some(cancel) if choose(2) == 0 => drop(tokio::spawn(cancel.send())),
        Some(cancel) => drop(cancel),
        None => {}
    }
    match choose(8) {
        0 => lease.close(CloseReason::ClientGone),
        1 => drop(lease),
        _ => lease.release(),
    }
}

/// Drops the future after so many polls, in whatever it waits for then.
async fn polled(future: impl Future<Output = ()>, mut polls: u32) {
    let mut future = Box::pin(future);
    poll_fn(move |cx| {
        if polls == 0 {
            return Poll::Ready(());
        }
        polls -= 1;
        future.as_mut().poll(cx)
    })
    .await;
}

/// Uses servers until it is aborted or the time is over.
async fn client(member: Member, mut random: StdRng, until: Instant) {
    let choices = Arc::new(Mutex::new(StdRng::seed_from_u64(random.random())));
    while Instant::now() < until {
        let (polls, time) = (random.random_range(0..12), millis(&mut random, 30));
        let using = use_a_server(member.clone(), Arc::clone(&choices));
        match random.random_range(0..3) {
            0 => using.await,
            1 => polled(using, polls).await,
            _ => drop(timeout(time, using).await),
        }
    }
}

/// Three plugins, of which two share a pool.
fn members(port: u16) -> (Arc<Pools>, [Member; 3]) {
    let config = Config::parse(&format!(
        "backend: {{ database: {{ client: pg, connection: {{ host: 127.0.0.1, port: {port}, user: u, password: p, \
         database: shared }} }} }}\n\
         greenroom: {{ division: schema, maxServerConnections: {CEILING}, reservedConnections: 1, \
         maxParallelConnects: 2, plugin: {{ c: {{ division: database }} }}, pool: {{ max: 3, \
         acquireTimeoutMillis: 300, createTimeoutMillis: 30, destroyTimeoutMillis: 4, idleTimeoutMillis: 10, \
         reapIntervalMillis: 7, createRetryIntervalMillis: 1, maxConnectionLifetimeMillis: 200 }} }}"
    ));
    let config = config.expect("it is right");
    let routes = RouteTable::new(&config);
    let metrics = Metrics::new(10);
    let secrets = Secrets::new(Arc::clone(&metrics));
    let pools = Pools::new(config.limits(), secrets, Arc::clone(&metrics));
    let members = ["a", "b", "c"].map(|plugin| {
        let route = routes.resolve(&format!("backstage_plugin_{plugin}"), None).expect("it is a plugin's");
        pools.member(&route).expect("it has no TLS")
    });
    (pools, members)
}

async fn dropped_at_random(seed: u64) {
    let (slow, port) = Slow::start(seed).await;
    let (pools, members) = members(port);

    let mut random = StdRng::seed_from_u64(seed);
    let until = Instant::now() + Duration::from_secs(2);
    let begin = |random: &mut StdRng| {
        let member = members[random.random_range(0..3)].clone();
        tokio::spawn(client(member, StdRng::seed_from_u64(random.random()), until))
    };
    let mut clients: Vec<_> = (0..40).map(|_| begin(&mut random)).collect();
    while Instant::now() < until {
        sleep(millis(&mut random, 20)).await;
        let next = begin(&mut random);
        let at = random.random_range(0..clients.len());
        std::mem::replace(&mut clients[at], next).abort();
    }
    for client in clients {
        client.await.expect("a client ends without a panic");
    }

    let scheduler = &members[0].pool.scheduler;
    let gauges =
        || members.each_ref().map(|Member { metrics, .. }| (metrics.leases.get(), metrics.acquire_waiting.get()));
    let counts = || (scheduler.counts(), gauges(), slow.processes.load(Relaxed));
    let at_rest = async {
        // Idle ones are reaped soon. What was aborted on another thread, and a lease whose cancel request is on its way,
        // end a moment later than those who had them.
        while counts() != ([0; 5], [(0, 0); 3], 0) {
            sleep(Duration::from_millis(5)).await;
        }
    };
    let rests = timeout(Duration::from_secs(10), at_rest).await;
    let names = "[used, opening, closing, leases, waiting], each plugin's (leases, waiting), PostgreSQL's processes";
    assert!(rests.is_ok(), "{names}: {:?}", counts());
    let gauges = members.iter().map(|member| member.pool.metrics.connections.total());
    assert_eq!(gauges.sum::<i64>(), 0);
    assert_eq!(slow.most.load(Relaxed), CEILING, "it is reached and never passed");
    timeout(Duration::from_secs(1), pools.close()).await.expect("no connection is left");
}

/// The same each time, unless `GREENROOM_SEED` says another: threads and sockets see to it that no run is like the last.
fn seed() -> u64 {
    let seed = std::env::var("GREENROOM_SEED").map_or(1, |seed| seed.parse().expect("GREENROOM_SEED is a number"));
    println!("GREENROOM_SEED={seed}");
    seed
}

#[tokio::test]
async fn counts_come_back_and_the_ceiling_holds_whatever_is_dropped() {
    dropped_at_random(seed()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn so_they_do_on_several_threads() {
    dropped_at_random(seed()).await;
}

/// What is opened while a runtime ends is dropped at once: nothing is opened in its place.
#[test]
fn a_runtime_that_ends_opens_nothing_more() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("there are files left");
    let (members, waiting) = runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let (_, members) = members(port);
        let waiting: Vec<_> = (0..3)
            .map(|_| tokio::spawn(use_a_server(members[0].clone(), Arc::new(Mutex::new(StdRng::seed_from_u64(1))))))
            .collect();
        // They are accepted by nobody who would answer.
        let begun = async {
            while members[0].pool.scheduler.counts()[1] == 0 {
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(Duration::from_secs(10), begun).await.expect("somebody asked");
        (members, waiting)
    });
    drop(runtime);
    drop(waiting);
    let [used, opening, closing, ..] = members[0].pool.scheduler.counts();
    assert_eq!([used, opening, closing], [0; 3]);
}
