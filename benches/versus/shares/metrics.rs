//! What greenroom's own metrics say while plugins compete.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{interval, timeout};

/// How often they are read.
const LOOK: Duration = Duration::from_millis(25);

/// The longest that one reading may take.
const LIMIT: Duration = Duration::from_secs(5);

/// The part of the servers that was not on loan while somebody waited, on average over many looks during `load`.
///
/// # Errors
/// The metrics cannot be read, or nobody waited.
pub(super) async fn idle_while_somebody_waits<T>(http: u16, load: impl Future<Output = T>) -> Result<(T, f64), String> {
    let mut looks = Looks::default();
    let result = tokio::select! {
        result = load => result,
        problem = looks.go_on(http) => return Err(problem),
    };
    if looks.number == 0.0 { Err("nobody ever waited".to_owned()) } else { Ok((result, looks.idle / looks.number)) }
}

#[derive(Default)]
struct Looks {
    number: f64,
    /// The sum of what was idle.
    idle: f64,
}

impl Looks {
    /// Looks again and again, until that fails.
    async fn go_on(&mut self, http: u16) -> String {
        let mut ticks = interval(LOOK);
        loop {
            ticks.tick().await;
            match timeout(LIMIT, read(http)).await {
                Ok(Ok(text)) => self.look(&text),
                Ok(Err(error)) => return format!("greenroom's metrics: {error}"),
                Err(_) => return "greenroom's metrics take too long".to_owned(),
            }
        }
    }

    fn look(&mut self, text: &str) {
        let servers = sum(text, "greenroom_server_limit{limit=\"maxServerConnections\"");
        // Not while servers are still being opened at the beginning.
        let all_open = sum(text, "greenroom_server_connections{") == servers;
        if all_open && sum(text, "greenroom_acquire_waiting{") > 0.0 {
            self.number += 1.0;
            self.idle += 1.0 - sum(text, "greenroom_leases{") / servers;
        }
    }
}

async fn read(http: u16) -> io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", http)).await?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: greenroom\r\nConnection: close\r\n\r\n").await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    Ok(text)
}

/// The sum of all series that begin so.
fn sum(text: &str, series: &str) -> f64 {
    let values = text.lines().filter(|line| line.starts_with(series)).filter_map(|line| line.rsplit(' ').next());
    values.filter_map(|value| value.parse::<f64>().ok()).sum()
}
