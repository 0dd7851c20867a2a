//! What clients and PostgreSQL do, and when: the same for tarn and for greenroom.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use serde::Serialize;

use super::postgres::Login;

/// One script. As JSON it is what `tests/backstage/support/tarn.js` reads.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Script {
    pub(super) options: Options,
    /// The first logins; any others are like the last one.
    pub(super) logins: Vec<Login>,
    pub(super) turns: Vec<Turn>,
    /// What happens from here on is not looked at.
    pub(super) ends: u64,
}

/// The limits, by the names that tarn and greenroom share.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Options {
    min: u32,
    max: u32,
    acquire_timeout_millis: u64,
    create_timeout_millis: u64,
    idle_timeout_millis: u64,
    reap_interval_millis: u64,
    create_retry_interval_millis: u64,
    propagate_create_error: bool,
}

/// A client's turn: it asks if it has nothing, gives back what it has, and waits on or leaves if it waits.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Turn {
    pub(super) at: u64,
    pub(super) client: usize,
    /// It does not wait any longer.
    pub(super) leaves: bool,
    /// Before it asks, so many of the idle servers that would be lent next have died; if it gives one back and somebody
    /// waits for it, that one has.
    pub(super) dead: usize,
}

impl Script {
    /// The script of this seed. Times are spread so widely that two things hardly ever happen in the same millisecond.
    pub(super) fn generate(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let max = random.random_range(1..=6);
        let mut between = |least: u64, most: u64| random.random_range(least..=most);
        let options = Options {
            min: (between(0, u64::from(max)) * between(0, 1)) as u32,
            max,
            acquire_timeout_millis: between(500, 40_000),
            create_timeout_millis: between(5_000, 40_000),
            idle_timeout_millis: between(500, 15_000),
            reap_interval_millis: between(1_000, 8_000),
            create_retry_interval_millis: between(50, 5_000),
            propagate_create_error: between(0, 1) == 1,
        };
        let slowest = *[30, 2_000, 30_000].choose(&mut random).expect("one of three");
        let failing = *[0.0, 0.05, 0.3, 0.9].choose(&mut random).expect("one of four");
        let logins =
            (0..40).map(|_| Login { after: random.random_range(1..=slowest), fails: random.random_bool(failing) });
        let logins = logins.collect();
        let clients = random.random_range(2..=12);
        let pause = *[100, 1_000, 5_000].choose(&mut random).expect("one of three");
        let mut at = 0;
        let turns = (0..random.random_range(10..=80)).map(|_| {
            // Now and then there is time for idle ones to be closed.
            let longest = if random.random_bool(0.1) { 40_000 } else { pause };
            at += random.random_range(1..=longest);
            let dead = if random.random_bool(0.08) { random.random_range(1..=3) } else { 0 };
            Turn { at, client: random.random_range(0..clients), leaves: random.random_bool(0.4), dead }
        });
        let turns = turns.collect();
        let Options { acquire_timeout_millis, idle_timeout_millis, reap_interval_millis, .. } = options;
        let ends = at + acquire_timeout_millis + idle_timeout_millis + 2 * reap_interval_millis;
        Self { options, logins, turns, ends }
    }
}
