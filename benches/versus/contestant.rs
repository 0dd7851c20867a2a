//! One way to PostgreSQL: the process behind it, if any, from its start to its end.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use crate::guard::Guard;
use crate::proxies::{self, Proxy};
use crate::stage::Stage;
use crate::workload::Scene;

/// How long a proxy may take until it listens.
const START_LIMIT: Duration = Duration::from_secs(10);

/// The ways that are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Direct,
    Greenroom,
    PgBouncer,
    HaProxy,
}

impl Way {
    /// In the order of the table.
    pub(crate) const ALL: [Self; 4] = [Self::Direct, Self::Greenroom, Self::PgBouncer, Self::HaProxy];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Greenroom => "greenroom",
            Self::PgBouncer => "PgBouncer",
            Self::HaProxy => "HAProxy",
        }
    }
}

/// A way that is open; dropping it ends its process.
pub(crate) struct Contestant {
    /// Where the loads log in.
    pub(crate) port: u16,
    /// Where greenroom serves its metrics.
    pub(crate) http: Option<u16>,
    process: Option<Process>,
}

struct Process {
    child: Child,
    /// Ends it should we be killed.
    _guard: Guard,
}

impl Contestant {
    /// Opens a way.
    ///
    /// # Errors
    /// Why it cannot be had.
    pub(crate) async fn start(way: Way, stage: &Stage, scene: &Scene) -> Result<Self, String> {
        let proxy = match way {
            Way::Direct => return Ok(Self { port: stage.port(), http: None, process: None }),
            Way::Greenroom => proxies::greenroom(stage, scene),
            Way::PgBouncer => proxies::pgbouncer(stage, scene).await,
            Way::HaProxy => proxies::haproxy(stage),
        };
        let Proxy { mut command, port, http } = proxy;
        let log = stage.dir().join(format!("{}.log", way.name()));
        let (out, err) = File::create(&log).and_then(|file| Ok((file.try_clone()?, file))).expect("a file");
        // Out of reach of the terminal's Ctrl-C: it ends with us.
        let child = command.stdin(Stdio::null()).stdout(out).stderr(err).process_group(0).spawn();
        let child = child.map_err(|error| match error.kind() {
            ErrorKind::NotFound => "not installed".to_owned(),
            _ => format!("cannot be started: {error}"),
        })?;
        let guard = Guard::new("kill -s KILL \"$1\"", child.id().to_string());
        let mut contestant = Self { port, http, process: Some(Process { child, _guard: guard }) };
        let listens = contestant.listens().await;
        listens.map_err(|problem| {
            let said = fs::read_to_string(&log).unwrap_or_default();
            format!("{problem}: {}", said.lines().last().unwrap_or("it said nothing"))
        })?;
        Ok(contestant)
    }

    async fn listens(&mut self) -> Result<(), &'static str> {
        let deadline = Instant::now() + START_LIMIT;
        while TcpStream::connect(("127.0.0.1", self.port)).await.is_err() {
            if self.process.as_mut().is_none_or(|process| !matches!(process.child.try_wait(), Ok(None))) {
                return Err("ended at once");
            }
            if Instant::now() >= deadline {
                return Err("does not listen");
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// The proxy's process.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(|process| process.child.id())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
