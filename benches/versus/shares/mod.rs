//! Whether greenroom keeps its promises to plugins that compete for few servers: one greedy plugin hardly makes polite ones
//! wait, those who all want more than there is get the same, and nothing is idle while anyone waits.
//!
//! - `crowd`: plugins and their clients.
//! - `metrics`: what greenroom says of itself meanwhile.
//! - `verdict`: whether that is as promised.

mod crowd;
mod metrics;
mod verdict;

use std::time::Duration;

use crate::contestant::{Contestant, Way};
use crate::log::percentile;
use crate::plan::Plan;
use crate::stage::Stage;
use crate::workload::Scene;
use crowd::{Habit, Turn};
use verdict::{Round, Verdict};

/// The plugins; the first is the greedy one.
const PLUGINS: u32 = 10;

/// Few, so that even the polite ones alone have to wait for each other at times.
const SERVERS: u32 = 4;

// Long enough that what a busy machine adds to a wait is little beside it.
const GREEDY: Habit = Habit { clients: 200, hold: Duration::from_millis(10), pause: Duration::ZERO };
const POLITE: Habit = Habit { clients: 2, hold: Duration::from_millis(10), pause: Duration::from_millis(60) };

/// Runs all rounds and judges.
pub(crate) async fn run(stage: &Stage, plan: &Plan) -> Verdict {
    let mut rounds = Vec::new();
    for number in 0..plan.rounds {
        let round = round(number, stage, plan.time).await;
        eprintln!("shares round {}: {round:?}", number + 1);
        rounds.push(round);
    }
    Verdict::of(rounds)
}

async fn round(number: usize, stage: &Stage, time: Duration) -> Result<Round, String> {
    let scene = Scene { servers: SERVERS, plugins: PLUGINS, named_statements: false };
    let greenroom = Contestant::start(Way::Greenroom, stage, &scene).await?;
    let alone = [Habit { clients: 0, ..GREEDY }].into_iter().chain([POLITE; 9]).collect::<Vec<_>>();
    let beside = [GREEDY].into_iter().chain([POLITE; 9]).collect::<Vec<_>>();
    let (mut waits_alone, mut waits_beside) = (0, 0);
    // A 99th percentile wants many transactions.
    let longer = time * 2;
    // Neither is always first.
    for turn in 0..2 {
        if (number + turn).is_multiple_of(2) {
            waits_alone = wait_of_polite(&crowd::run(greenroom.port, &alone, longer).await?)?;
        } else {
            waits_beside = wait_of_polite(&crowd::run(greenroom.port, &beside, longer).await?)?;
        }
    }
    let hungry = (1..PLUGINS).map(|millis| Habit {
        clients: 5,
        hold: Duration::from_millis(millis.into()),
        pause: Duration::ZERO,
    });
    let hungry = [GREEDY].into_iter().chain(hungry).collect::<Vec<_>>();
    let http = greenroom.http.ok_or("greenroom serves no metrics")?;
    let (turns, idle) = metrics::idle_while_somebody_waits(http, crowd::run(greenroom.port, &hungry, time)).await?;
    Ok(Round { alone: waits_alone, beside: waits_beside, jain: jain(&turns?), idle })
}

/// The 99th percentile of what the clients of the polite plugins waited for a server, in microseconds.
fn wait_of_polite(turns: &[Vec<Turn>]) -> Result<u64, String> {
    let mut waits: Vec<u64> = turns[1..].iter().flatten().map(|turn| turn.waited.as_micros() as u64).collect();
    waits.sort_unstable();
    percentile(&waits, 99).ok_or_else(|| "the polite plugins were not served at all".to_owned())
}

/// Jain's index of the plugins' server time: 1 when all are equal, 1/n when one has everything.
fn jain(turns: &[Vec<Turn>]) -> f64 {
    let times = turns.iter().map(|turns| turns.iter().map(|turn| turn.held).sum::<Duration>().as_secs_f64());
    let (sum, squares) = times.fold((0.0, 0.0), |(sum, squares), time| (sum + time, squares + time * time));
    sum * sum / (turns.len() as f64 * squares)
}
