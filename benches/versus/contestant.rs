//! Who takes part: PostgreSQL itself, and proxies in front of it, each with eight servers for a database.

use std::fs;
use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use greenroom::temp_postgres::TempPostgres;

/// How many plugins there are, each with a database of its own.
pub(crate) const PLUGINS: u32 = 30;

/// Servers that a proxy may have for one database.
const SERVERS: u32 = 8;

const USER: &str = "bench";
const PASSWORD: &str = "bench";

/// The name of a plugin's database; the first is the one that single workloads use.
pub(crate) fn plugin_database(plugin: u32) -> String {
    format!("backstage_plugin_p{plugin}")
}

/// PostgreSQL with the databases of all plugins, and a directory for what the contestants write.
pub(crate) struct Stage {
    postgres: TempPostgres,
    dir: PathBuf,
}

impl Stage {
    pub(crate) async fn build() -> Self {
        let builder = TempPostgres::builder().setting("max_connections", "400").setting("shared_buffers", "256MB");
        let postgres = builder.setting("log_min_messages", "fatal").start().await.expect("PostgreSQL starts");
        let run = async |database: &str, sql: &str| {
            postgres.sql(database, sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
        };
        run("postgres", &format!("create role {USER} superuser login password '{PASSWORD}'")).await;
        let dir = std::env::temp_dir().join(format!("greenroom-bench-{}", std::process::id()));
        fs::create_dir_all(&dir).expect("a directory");
        // PgBouncer runs as somebody else.
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).expect("the directory is ours");
        let stage = Self { postgres, dir };
        let first = plugin_database(0);
        run_in(&stage, &format!("create database {first}")).await;
        stage.pgbench_tables(&first);
        let megabyte = "create table megabyte as select repeat('x', 100) as line from generate_series(1, 10000)";
        stage.postgres.sql(&first, megabyte).await.expect("a table");
        for plugin in 1..PLUGINS {
            run_in(&stage, &format!("create database {} template {first}", plugin_database(plugin))).await;
        }
        stage
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    fn pgbench_tables(&self, database: &str) {
        let mut pgbench = program_at(self.postgres.port(), "pgbench", self);
        let status = pgbench.args(["-i", "-q", "-s", "5", database]).stderr(Stdio::null()).status();
        assert!(status.expect("pgbench starts").success(), "pgbench -i failed");
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

async fn run_in(stage: &Stage, sql: &str) {
    stage.postgres.sql("postgres", sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
}

/// One way to PostgreSQL.
pub(crate) struct Contestant {
    pub(crate) name: &'static str,
    port: u16,
    /// The proxy's process.
    pub(crate) pid: Option<u32>,
    child: Option<Child>,
}

impl Contestant {
    /// All that are installed, PostgreSQL itself first.
    pub(crate) fn start_all(stage: &Stage) -> Vec<Self> {
        let direct = Self { name: "direct", port: stage.postgres.port(), pid: None, child: None };
        let proxies = [greenroom(stage), pgbouncer(stage), haproxy(stage)];
        std::iter::once(direct).chain(proxies.into_iter().flatten()).collect()
    }

    /// A program of PostgreSQL, to be given a database.
    pub(crate) fn program(&self, name: &str, stage: &Stage) -> Command {
        program_at(self.port, name, stage)
    }

    fn running(name: &'static str, port: u16, child: Child) -> Self {
        let pid = child.id();
        let proxy = Self { name, port, pid: Some(pid), child: Some(child) };
        let deadline = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "{name} does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        proxy
    }
}

impl Drop for Contestant {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn program_at(port: u16, name: &str, stage: &Stage) -> Command {
    let mut command = Command::new(stage.postgres.bin_dir().join(name));
    for (variable, _) in std::env::vars_os().filter(|(variable, _)| variable.as_encoded_bytes().starts_with(b"PG")) {
        command.env_remove(variable);
    }
    let port = port.to_string();
    command.envs([("PGHOST", "127.0.0.1"), ("PGPORT", &port), ("PGUSER", USER), ("PGPASSWORD", PASSWORD)]);
    command.current_dir(&stage.dir).stdin(Stdio::null());
    command
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it has an address").port()
}

fn write(stage: &Stage, name: &str, text: &str) -> PathBuf {
    let path = stage.dir.join(name);
    fs::File::create(&path).and_then(|mut file| file.write_all(text.as_bytes())).expect("a file can be written");
    path
}

fn quiet(command: &mut Command) -> Option<Child> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()
}

fn greenroom(stage: &Stage) -> Option<Contestant> {
    let port = free_port();
    let config = format!(
        "backend:\n  database:\n    client: pg\n    connection: {{ host: 127.0.0.1, port: {}, user: {USER}, password: {PASSWORD} }}\n\
         greenroom:\n  listen: [{{ host: 127.0.0.1, port: {port} }}]\n  http: false\n  maxServerConnections: 240\n  \
         pool: {{ max: {SERVERS} }}\n  log: {{ level: error }}\n",
        stage.postgres.port()
    );
    let path = write(stage, "greenroom.yaml", &config);
    let mut command = Command::new(env!("CARGO_BIN_EXE_greenroom"));
    let child = quiet(command.args(["serve", "--config"]).arg(path))?;
    Some(Contestant::running("greenroom", port, child))
}

fn pgbouncer(stage: &Stage) -> Option<Contestant> {
    let port = free_port();
    let users = write(stage, "users.txt", &format!("\"{USER}\" \"{PASSWORD}\"\n"));
    let config = format!(
        "[databases]\n* = host=127.0.0.1 port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
         unix_socket_dir =\nauth_type = scram-sha-256\nauth_file = {}\npool_mode = transaction\n\
         default_pool_size = {SERVERS}\nmax_client_conn = 1000\nmax_db_connections = {SERVERS}\nlog_connections = 0\nlog_disconnections = 0\n",
        stage.postgres.port(),
        users.display()
    );
    let path = write(stage, "pgbouncer.ini", &config);
    let mut command = Command::new("pgbouncer");
    command.arg("-q").arg(path);
    if let Some((uid, gid)) = unprivileged() {
        chown(&users, Some(uid), Some(gid)).expect("root may give files away");
        command.uid(uid).gid(gid);
    }
    let child = quiet(&mut command)?;
    Some(Contestant::running("pgbouncer", port, child))
}

fn haproxy(stage: &Stage) -> Option<Contestant> {
    let port = free_port();
    let config = format!(
        "global\n  nbthread 1\n  maxconn 1000\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 60s\n  \
         timeout server 60s\nlisten postgres\n  bind 127.0.0.1:{port}\n  server one 127.0.0.1:{}\n",
        stage.postgres.port()
    );
    let path = write(stage, "haproxy.cfg", &config);
    let mut command = Command::new("haproxy");
    let child = quiet(command.args(["-db", "-q", "-f"]).arg(path))?;
    Some(Contestant::running("haproxy", port, child))
}

/// Whom PgBouncer can run as when we are root, which it refuses.
fn unprivileged() -> Option<(u32, u32)> {
    let id = |what: &[&str]| {
        let output = Command::new("id").args(what).output().ok().filter(|output| output.status.success())?;
        String::from_utf8_lossy(&output.stdout).trim().parse::<u32>().ok()
    };
    (id(&["-u"]) == Some(0)).then(|| Some((id(&["-u", "postgres"])?, id(&["-g", "postgres"])?))).flatten()
}
