//! Scripts that nobody wrote: several clients over fewer servers, each compared with a connection of its own to PostgreSQL.
//!
//! A script is made from a seed and played one step at a time, on both sides in the same order. When a client is answered
//! differently the script is made as short as possible and printed with its seed.
//!
//! `GREENROOM_SCRIPTS=200` plays that many of each kind instead of a few, `GREENROOM_SEED=7` begins with this seed.

mod choices;
mod shrink;
mod steps;
mod world;

use std::time::Instant;

use choices::Kind;
use world::World;

/// Plays scripts of a kind, one after another, each in a new greenroom over the same databases.
async fn play(kind: Kind, scripts: u64) {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let first = number("GREENROOM_SEED").unwrap_or(1);
    let scripts = number("GREENROOM_SCRIPTS").unwrap_or(scripts);
    let mut world = World::make(kind).await;
    for seed in first..first + scripts {
        let started = Instant::now();
        let steps = choices::script(kind, seed);
        let outcome = world.play(&steps).await;
        eprintln!("{kind:?}, seed {seed}: {} steps in {:?}", steps.len(), started.elapsed());
        if let Err(difference) = outcome {
            eprintln!("{kind:?}, seed {seed}: {difference}");
            let (steps, difference) = shrink::shrink(&mut world, steps, difference).await;
            panic!(
                "{kind:?}, seed {seed}: the shortest script that differs:\n{}\n{difference}",
                steps::printed(&steps)
            );
        }
    }
}

#[tokio::test]
async fn more_clients_than_servers_that_leave_nothing_behind_are_answered_as_by_postgresql() {
    play(Kind::Passing, 8).await;
}

#[tokio::test]
async fn clients_that_leave_everything_behind_are_answered_as_by_postgresql() {
    play(Kind::Staying, 8).await;
}

#[tokio::test]
async fn clients_that_tell_each_other_things_hear_what_they_would_on_postgresql() {
    play(Kind::Listening, 8).await;
}
