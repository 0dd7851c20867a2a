//! A script that differs, made as short as it can be while it still does.

use std::time::{Duration, Instant};

use super::steps::{Act, Step, Word};
use super::world::World;

/// How long a failed test may go on looking for a shorter script.
const LIMIT: Duration = Duration::from_secs(90);

/// Leaves steps out, many at a time and then single ones, then messages of steps, as long as a difference remains.
pub(super) async fn shrink(world: &mut World, mut steps: Vec<Step>, mut difference: String) -> (Vec<Step>, String) {
    let started = Instant::now();
    let mut size = steps.len().div_ceil(2);
    while size > 0 && started.elapsed() < LIMIT {
        let mut at = 0;
        let mut shorter = false;
        while at < steps.len() && started.elapsed() < LIMIT {
            let mut fewer = steps.clone();
            fewer.drain(at..(at + size).min(steps.len()));
            match world.play(&fewer).await {
                Err(found) => {
                    (steps, difference, shorter) = (fewer, found, true);
                }
                Ok(()) => at += size,
            }
        }
        size = if size == 1 && shorter { 1 } else { size / 2 };
    }
    for at in 0..steps.len() {
        let mut word = 0;
        while started.elapsed() < LIMIT {
            let mut fewer = steps.clone();
            let Act::Say(words) = &mut fewer[at].act else { break };
            // A Sync brings the answers that the client listens for, and keeps an error away from what follows.
            while words.get(word).is_some_and(|word| matches!(word, Word::Sync)) {
                word += 1;
            }
            if word + 1 >= words.len() {
                break;
            }
            words.remove(word);
            match world.play(&fewer).await {
                Err(found) => (steps, difference) = (fewer, found),
                Ok(()) => word += 1,
            }
        }
    }
    (steps, difference)
}
