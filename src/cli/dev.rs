//! `greenroom dev`: a private PostgreSQL and greenroom in front of it, ready for a Backstage in one command.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;

use super::home::Home;
use super::runtime::{self, StopSignals};
use super::{logging, say};
use crate::config::{Config, ListenAddress, LogConfig};
use crate::proxy::Proxy;
use crate::temp_postgres::TempPostgres;

/// The login that owns the shared database, and that plugins use.
const USER: &str = "backstage";

/// The shared database.
const DATABASE: &str = "backstage";

/// Where the data is and where to listen.
#[derive(Debug, Args)]
pub(super) struct DevArgs {
    /// Where the data stays. Default: greenroom in XDG_DATA_HOME or ~/.local/share; for root /var/lib/greenroom.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The port for plugins on 127.0.0.1; 0 takes a free one.
    #[arg(long, default_value_t = 6432)]
    port: u16,
    /// The port for metrics and health on 127.0.0.1; 0 takes a free one.
    #[arg(long, default_value_t = 9632)]
    http_port: u16,
    /// The directory of PostgreSQL's server programs, when they are not in one of the usual places.
    #[arg(long, value_name = "DIR", env = "GREENROOM_PG_BIN")]
    pg_bin: Option<PathBuf>,
}

/// Runs both until SIGTERM or SIGINT, then ends both in order.
pub(super) fn run(args: &DevArgs) -> anyhow::Result<()> {
    drop(logging::start(&LogConfig::default())?);
    runtime::with_threads(1)?.block_on(async {
        let mut stop = StopSignals::listen()?;
        let home = Home::open(args.data_dir.as_deref())?;
        let Some(postgres) = stop.or(start_postgres(args, &home)).await else { return Ok(()) };
        let mut postgres = postgres?;
        let served = serve(args, &home, &mut postgres, stop).await;
        postgres.stop().await;
        served
    })
}

/// Serves until a signal, or until PostgreSQL ends without being asked to.
async fn serve(args: &DevArgs, home: &Home, postgres: &mut TempPostgres, stop: StopSignals) -> anyhow::Result<()> {
    let password = home.password(USER)?;
    let text = configuration(postgres.port(), &home.password_file(USER), args.port, args.http_port);
    let (config, written) = Config::parse_as_written(&text)?;
    let proxy = Proxy::start(config.clone()).await.context("cannot start greenroom")?;
    let addresses = proxy.addresses();
    let overlay = written.overlay(&config, addresses.first().context("greenroom listens nowhere")?)?;
    say(welcome(&proxy, home, &password, &overlay));
    tokio::select! {
        () = runtime::serve(proxy, stop) => Ok(()),
        log = postgres.ended() => bail!("PostgreSQL has ended:\n{log}"),
    }
}

/// Starts the cluster, with the shared database and its login in it.
async fn start_postgres(args: &DevArgs, home: &Home) -> anyhow::Result<TempPostgres> {
    let mut builder = TempPostgres::builder().data_dir(home.dir(), home.password("postgres")?);
    if let Some(dir) = &args.pg_bin {
        builder = builder.bin_dir(dir);
    }
    let postgres = builder.start().await.context("cannot start PostgreSQL")?;
    let exists = |rows: Vec<_>| !rows.is_empty();
    if !exists(postgres.sql("postgres", &format!("select from pg_roles where rolname = '{USER}'")).await?) {
        let password = home.password(USER)?;
        postgres.sql("postgres", &format!("create role {USER} login password '{password}'")).await?;
    }
    if !exists(postgres.sql("postgres", &format!("select from pg_database where datname = '{DATABASE}'")).await?) {
        postgres.sql("postgres", &format!("create database {DATABASE} owner {USER}")).await?;
    }
    Ok(postgres)
}

/// What greenroom runs on. The password is in a file, so that the overlay for Backstage can refer to it.
fn configuration(postgres_port: u16, password_file: &Path, port: u16, http_port: u16) -> String {
    // JSON's strings are YAML's, too.
    let password_file = serde_json::Value::from(password_file.to_string_lossy());
    format!(
        "\
backend:
  database:
    client: pg
    connection:
      host: 127.0.0.1
      port: {postgres_port}
      user: {USER}
      password: {{ $file: {password_file} }}
      database: {DATABASE}
greenroom:
  listen:
    - host: 127.0.0.1
      port: {port}
  http:
    host: 127.0.0.1
    port: {http_port}
  division: schema
  shutdownGraceMillis: 5000
"
    )
}

/// What a newcomer needs to know, with the addresses as they really are.
fn welcome(proxy: &Proxy, home: &Home, password: &str, overlay: &str) -> String {
    let port = proxy.addresses().iter().find_map(|address| match address {
        ListenAddress::Tcp { port, .. } => Some(*port),
        ListenAddress::Unix { .. } => None,
    });
    let port = port.unwrap_or_default();
    let overlay: String = overlay.lines().map(|line| format!("    {line}\n")).collect();
    let http = proxy.http_address().map(|address| format!("http://{address}/metrics")).unwrap_or_default();
    format!(
        "
greenroom is ready on 127.0.0.1:{port}. Ctrl-C ends it; the data stays in {data}.

  Look around (the tables land in schema catalog of database {DATABASE}):

    psql postgresql://{USER}:{password}@127.0.0.1:{port}/backstage_plugin_catalog

  Point a Backstage at it: save this as app-config.greenroom.yaml and start it with
  --config app-config.yaml --config app-config.greenroom.yaml

{overlay}
  Metrics: {http}
",
        data = home.dir().display(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Division;

    #[test]
    fn dev_runs_on_schema_division_and_tells_backstage_where_its_password_is() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("back \"stage\".password");
        std::fs::write(&file, "00012\n").unwrap();
        let (config, written) = Config::parse_as_written(&configuration(5433, &file, 6432, 9632)).unwrap();
        let place = config.database.base_place().unwrap();
        assert_eq!(place.division, Division::Schema);
        assert_eq!(place.connection.database.as_deref(), Some(DATABASE));
        assert!(config.warnings.is_empty(), "{:?}", config.warnings);
        let overlay = written.overlay(&config, &config.listeners[0].address).unwrap();
        let overlay: serde_yaml::Value = serde_yaml::from_str(&overlay).unwrap();
        let connection = &overlay["backend"]["database"]["connection"];
        assert_eq!(connection["port"], 6432);
        assert_eq!(connection["user"], USER);
        assert_eq!(connection["password"]["$file"], file.to_str().unwrap());
        assert_eq!(connection["ssl"], false, "an ssl of the app-config is merged away");
    }
}
