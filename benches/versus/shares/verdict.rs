//! Whether the promises were kept, in a table.

use std::fmt;

use crate::report::median;

/// What one round came to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Round {
    /// What the polite plugins waited, all but a hundredth, in microseconds: without the greedy one and beside it.
    pub(super) alone: u64,
    pub(super) beside: u64,
    /// Jain's index of the server time of plugins that all want more than there is.
    pub(super) jain: f64,
    /// The part of the servers that was not on loan while somebody waited.
    pub(super) idle: f64,
}

impl Round {
    fn ratio(&self) -> f64 {
        self.beside as f64 / self.alone as f64
    }
}

/// What is promised, and what a noisy machine may make of it before the bench fails.
const MOST_TIMES: (f64, f64) = (2.0, 2.5);
const LEAST_JAIN: (f64, f64) = (0.95, 0.9);
// A server changes hands in no time, but that is long enough to be seen.
const MOST_IDLE: (f64, f64) = (0.0, 0.1);

/// The medians over the rounds.
pub(crate) struct Verdict {
    rounds: Vec<Round>,
    failures: Vec<String>,
}

impl Verdict {
    pub(super) fn of(rounds: Vec<Result<Round, String>>) -> Self {
        let mut verdict = Self { rounds: Vec::new(), failures: Vec::new() };
        for round in rounds {
            match round {
                Ok(round) => verdict.rounds.push(round),
                Err(failure) => verdict.failures.push(failure),
            }
        }
        verdict
    }

    fn median(&self, value: impl Fn(&Round) -> f64) -> f64 {
        median(self.rounds.iter().map(|round| Some(value(round)))).unwrap_or(f64::NAN)
    }

    /// Whether all promises are kept, but for what noise explains.
    pub(crate) fn is_kept(&self) -> bool {
        // Without a round every value is no number, and no promise is kept.
        self.median(Round::ratio) <= MOST_TIMES.1
            && self.median(|round| round.jain) >= LEAST_JAIN.1
            && self.median(|round| round.idle) <= MOST_IDLE.1
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = |value: fn(&Round) -> u64| self.median(|round| value(round) as f64 / 1e3);
        let (alone, beside) = (millis(|round| round.alone), millis(|round| round.beside));
        writeln!(f, "| | measured | promised |\n|---|---|---|")?;
        writeln!(f, "| p99 wait of the polite plugins, the greedy one away | {alone:.1} ms | |")?;
        writeln!(f, "| the same beside the greedy one | {beside:.1} ms | |")?;
        let ratio = self.median(Round::ratio);
        writeln!(f, "| ratio of the two in the same round | {ratio:.2} | at most {} |", MOST_TIMES.0)?;
        let jain = self.median(|round| round.jain);
        writeln!(f, "| Jain's index of server time when all want more | {jain:.3} | at least {} |", LEAST_JAIN.0)?;
        let idle = self.median(|round| round.idle) * 100.0;
        writeln!(f, "| servers not on loan meanwhile | {idle:.1} % | {:.0} % |", MOST_IDLE.0)?;
        for failure in &self.failures {
            writeln!(f, "\nA round failed: {failure}")?;
        }
        if !self.is_kept() {
            writeln!(f, "\nPromises are broken by more than noise explains.")?;
        }
        Ok(())
    }
}
