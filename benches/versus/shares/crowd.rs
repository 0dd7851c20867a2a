//! Plugins and their clients: each begins a transaction, keeps its server for a while, commits and pauses.

use std::time::Duration;

use futures_util::future::{join_all, try_join_all};
use tokio::time::{Instant, sleep, timeout};
use tokio_postgres::{Client, Config, NoTls};

use crate::stage::{PASSWORD, USER, plugin_database};

/// What the clients of a plugin do.
#[derive(Debug, Clone, Copy)]
pub(super) struct Habit {
    pub(super) clients: u32,
    /// How long a transaction is.
    pub(super) hold: Duration,
    /// How long a client pauses after it, on average: whoever comes is as likely to come at any moment.
    pub(super) pause: Duration,
}

/// A transaction.
#[derive(Debug, Clone, Copy)]
pub(super) struct Turn {
    /// Until BEGIN was answered.
    pub(super) waited: Duration,
    /// From then to the answer to COMMIT.
    pub(super) held: Duration,
}

/// The part of the time that is left for everybody to get going.
const WARM_UP: u32 = 10;

/// The longest that logins, and those who still wait at the end, may take.
const LIMIT: Duration = Duration::from_secs(20);

/// Lets all plugins loose for so long; the turns of each, once everybody was at work.
///
/// # Errors
/// A client that failed.
pub(super) async fn run(port: u16, habits: &[Habit], time: Duration) -> Result<Vec<Vec<Turn>>, String> {
    let everybody =
        habits.iter().enumerate().flat_map(|(plugin, habit)| vec![(plugin, *habit); habit.clients as usize]);
    let clients = try_join_all(everybody.map(async |(plugin, habit)| Ok((plugin, habit, log_in(port, plugin).await?))));
    let clients = timeout(LIMIT, clients).await.map_err(|_| "logins take too long")?;
    let clients: Vec<(usize, Habit, Client)> = clients.map_err(complaint)?;
    let began = Instant::now();
    let work = clients.iter().map(|(_, habit, client)| work(client, *habit, began + time / WARM_UP, began + time));
    let turns = timeout(time + LIMIT, join_all(work)).await.map_err(|_| "clients wait for ever")?;
    let mut of_plugins = vec![Vec::new(); habits.len()];
    for ((plugin, ..), turns) in clients.iter().zip(turns) {
        of_plugins[*plugin].extend(turns.map_err(complaint)?);
    }
    Ok(of_plugins)
}

async fn log_in(port: u16, plugin: usize) -> Result<Client, tokio_postgres::Error> {
    let mut config = Config::new();
    config.host("127.0.0.1").port(port).user(USER).password(PASSWORD).dbname(plugin_database(plugin as u32));
    let (client, connection) = config.connect(NoTls).await?;
    // It ends with its client.
    tokio::spawn(connection);
    Ok(client)
}

async fn work(
    client: &Client,
    habit: Habit,
    from: Instant,
    until: Instant,
) -> Result<Vec<Turn>, tokio_postgres::Error> {
    let hold = format!("select pg_sleep({})", habit.hold.as_secs_f64());
    let mut turns = Vec::new();
    // Nobody begins in step with anybody.
    pause(habit.pause).await;
    while Instant::now() < until {
        let asked = Instant::now();
        client.batch_execute("begin").await?;
        let lent = Instant::now();
        client.batch_execute(&hold).await?;
        client.batch_execute("commit").await?;
        let ended = Instant::now();
        if lent >= from && ended <= until {
            turns.push(Turn { waited: lent - asked, held: ended - lent });
        }
        pause(habit.pause).await;
    }
    Ok(turns)
}

async fn pause(average: Duration) {
    if !average.is_zero() {
        sleep(average.mul_f64(-(1.0 - rand::random::<f64>()).ln())).await;
    }
}

fn complaint(error: tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(error) => error.to_string(),
        None => error.to_string(),
    }
}
