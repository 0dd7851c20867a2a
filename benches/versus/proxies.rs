//! How each proxy is set up: as alike as they let us, and otherwise as they are by default.

use std::net::TcpListener;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use crate::stage::{PASSWORD, PLUGINS, SHARED, Stage, USER};
use crate::workload::Scene;

/// More than there ever are.
const MAX_CLIENTS: u32 = 1000;

/// A proxy that is to be started.
pub(crate) struct Proxy {
    pub(crate) command: Command,
    /// Where it will listen.
    pub(crate) port: u16,
    /// Where it will serve metrics.
    pub(crate) http: Option<u16>,
}

/// greenroom, with one database of a plugin, or with the plugins as schemas of a shared one.
pub(crate) fn greenroom(stage: &Stage, scene: &Scene) -> Proxy {
    let [port, http] = free_ports();
    let (database, limits) = match scene.plugins {
        1 => ("", format!("reservedConnections: 0\n  pool: {{ max: {} }}", scene.servers)),
        _ => (SHARED, "division: schema".to_owned()),
    };
    let config = format!(
        "backend:\n  database:\n    client: pg\n    connection: {{ host: 127.0.0.1, port: {}, user: {USER}, \
         password: {PASSWORD}, database: {database:?} }}\n\
         greenroom:\n  listen: [{{ host: 127.0.0.1, port: {port} }}]\n  http: {{ host: 127.0.0.1, port: {http} }}\n  \
         maxServerConnections: {}\n  {limits}\n  log: {{ level: error }}\n",
        stage.port(),
        scene.servers
    );
    let mut command = Command::new(env!("CARGO_BIN_EXE_greenroom"));
    command.args(["serve", "--config"]).arg(stage.write("greenroom.yaml", &config));
    Proxy { command, port, http: Some(http) }
}

/// PgBouncer, in transaction mode as far as it can. It counts servers by database, and a database needs one at least.
/// With PostgreSQL's own verifier it need not derive keys from a password for each login.
pub(crate) async fn pgbouncer(stage: &Stage, scene: &Scene) -> Proxy {
    let [port] = free_ports();
    let users = stage.write("users.txt", &format!("\"{USER}\" \"{}\"\n", stage.verifier().await));
    let servers = (scene.servers / scene.plugins).max(1);
    let (mode, servers, named_statements) = match (scene.named_statements, has_named_statements()) {
        (true, true) => ("transaction", servers, "max_prepared_statements = 200\n"),
        (true, false) => ("session", MAX_CLIENTS, ""),
        (false, _) => ("transaction", servers, ""),
    };
    let config = format!(
        "[databases]\n* = host=127.0.0.1 port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
         unix_socket_dir =\nauth_type = scram-sha-256\nauth_file = {}\npool_mode = {mode}\n{named_statements}\
         default_pool_size = {servers}\nmax_client_conn = {MAX_CLIENTS}\nlog_connections = 0\nlog_disconnections = 0\n",
        stage.port(),
        users.display(),
    );
    let mut command = Command::new("pgbouncer");
    command.arg("-q").arg(stage.write("pgbouncer.ini", &config));
    if let Some((uid, gid)) = unprivileged() {
        chown(&users, Some(uid), Some(gid)).expect("root may give files away");
        command.uid(uid).gid(gid);
    }
    Proxy { command, port, http: None }
}

/// HAProxy, which passes bytes on and knows nothing of PostgreSQL: a server for each client.
pub(crate) fn haproxy(stage: &Stage) -> Proxy {
    let [port] = free_ports();
    let config = format!(
        "global\n  nbthread 1\n  maxconn {MAX_CLIENTS}\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 60s\n  \
         timeout server 60s\nlisten postgres\n  bind 127.0.0.1:{port}\n  server one 127.0.0.1:{}\n",
        stage.port()
    );
    let mut command = Command::new("haproxy");
    command.args(["-db", "-q", "-f"]).arg(stage.write("haproxy.cfg", &config));
    Proxy { command, port, http: None }
}

/// What is to be known of how the pools are set up, for the line above the table.
pub(crate) fn in_words(scene: &Scene) -> String {
    let servers = scene.servers;
    if scene.plugins > 1 {
        return format!("greenroom has {servers} servers, PgBouncer one for each database, {PLUGINS}");
    }
    if scene.named_statements && !has_named_statements() {
        return format!(
            "greenroom has {servers} servers. PgBouncer is in session mode, with a server for each client: in transaction mode this \
             version has no named statements"
        );
    }
    format!("greenroom and PgBouncer have {servers} servers")
}

/// Whether PgBouncer can keep named statements apart in transaction mode: since 1.21.
fn has_named_statements() -> bool {
    let Ok(output) = Command::new("pgbouncer").arg("--version").output() else { return true };
    let said = String::from_utf8_lossy(&output.stdout);
    let version = said.split_whitespace().nth(1).unwrap_or_default();
    let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or_default());
    (parts.next(), parts.next()) >= (Some(1), Some(21))
}

/// Ports that nobody has at the moment.
fn free_ports<const N: usize>() -> [u16; N] {
    let listeners = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"));
    listeners.map(|listener| listener.local_addr().expect("it has an address").port())
}

/// Whom PgBouncer can run as when we are root, which it refuses.
fn unprivileged() -> Option<(u32, u32)> {
    let id = |what: &[&str]| {
        let output = Command::new("id").args(what).output().ok().filter(|output| output.status.success())?;
        String::from_utf8_lossy(&output.stdout).trim().parse::<u32>().ok()
    };
    (id(&["-u"]) == Some(0)).then(|| Some((id(&["-u", "postgres"])?, id(&["-g", "postgres"])?))).flatten()
}
