//! What a load came to: when each transaction ended, and how long it had taken.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A transaction.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Transaction {
    /// In microseconds since 1970.
    pub(crate) ended: u64,
    /// In microseconds.
    pub(crate) took: u64,
}

/// The transactions of all programs of a load.
#[derive(Debug)]
pub(crate) struct Log {
    transactions: Vec<Transaction>,
    /// From when until when all programs were at work, in microseconds since 1970.
    at_work: (u64, u64),
}

impl Log {
    /// Puts the transactions of several programs together, each program's in order.
    ///
    /// # Errors
    /// One of them did nothing, or nothing beside another.
    pub(crate) fn of(programs: Vec<Vec<Transaction>>) -> Result<Self, String> {
        let ends = |program: &Vec<Transaction>| Some((program.first()?.ended, program.last()?.ended));
        let ends: Option<Vec<(u64, u64)>> = programs.iter().map(ends).collect();
        let ends = ends.ok_or("a client had no transaction")?;
        let begin = ends.iter().map(|ends| ends.0).max().unwrap_or_default();
        let end = ends.iter().map(|ends| ends.1).min().unwrap_or_default();
        if begin >= end {
            return Err("the clients were never all at work".to_owned());
        }
        // Logins lie before the first transactions; servers are opened during the next ones.
        let begin = begin + (end - begin) / 10;
        Ok(Self { transactions: programs.into_iter().flatten().collect(), at_work: (begin, end) })
    }

    /// From when until when everybody was at work.
    pub(crate) fn at_work(&self) -> (u64, u64) {
        self.at_work
    }

    /// All transactions, also those while not everybody was at work.
    pub(crate) fn len(&self) -> usize {
        self.transactions.len()
    }

    /// What the transactions that ended between these times took, sorted.
    pub(crate) fn latencies(&self, (from, until): (u64, u64)) -> Vec<u64> {
        let within = self.transactions.iter().filter(|one| (from..until).contains(&one.ended));
        let mut latencies: Vec<u64> = within.map(|one| one.took).collect();
        latencies.sort_unstable();
        latencies
    }
}

/// So many hundredths of the values, which are sorted, are no greater.
pub(crate) fn percentile(sorted: &[u64], percent: usize) -> Option<u64> {
    sorted.get((sorted.len() * percent / 100).min(sorted.len().checked_sub(1)?)).copied()
}

/// The time now, in microseconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_micros() as u64
}
