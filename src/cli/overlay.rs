//! `greenroom overlay`: the YAML that leads Backstage to greenroom.

use anyhow::{Context as _, bail};
use clap::Args;

use super::{ConfigFiles, environment, reachable, say};
use crate::config::{Config, ListenAddress, Listener, is_loopback};

/// Where Backstage finds greenroom.
#[derive(Debug, Args)]
pub(super) struct OverlayArgs {
    #[command(flatten)]
    config: ConfigFiles,
    /// The host of greenroom as Backstage sees it, or the directory of its unix socket. Default: a loopback address that
    /// greenroom.listen has, else a socket's directory, else another address.
    #[arg(long)]
    host: Option<String>,
    /// The port of greenroom as Backstage sees it. Default: the one of that listener.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
}

/// Prints the overlay.
pub(super) fn run(args: &OverlayArgs) -> anyhow::Result<()> {
    let (config, written) = Config::load_as_written(&args.config.paths(), &environment())?;
    let address = address(args, &config.listeners)?;
    say(written.overlay(&config, &address)?.trim_end());
    Ok(())
}

/// The address that was named, completed from the listeners.
fn address(args: &OverlayArgs, listeners: &[Listener]) -> anyhow::Result<ListenAddress> {
    let near = nearest(listeners).context("greenroom.listen: no listener")?;
    let port = match (&args.host, args.port) {
        (_, Some(port)) => port,
        // The listener at the host that was named, else the nearest one, whose port is probably mapped.
        (Some(host), None) => {
            port_of(listeners.iter().map(dialled).find(|it| host_of(it) == *host).as_ref().unwrap_or(&near))
        }
        (None, None) => port_of(&near),
    };
    if port == 0 {
        bail!("greenroom.listen: port 0 takes a free one when greenroom starts, so say here which: --port");
    }
    Ok(match (&args.host, near) {
        (Some(host), _) if host.starts_with('/') => ListenAddress::Unix { directory: host.into(), port },
        (Some(host), _) => ListenAddress::Tcp { host: host.as_str().into(), port },
        (None, ListenAddress::Tcp { host, .. }) => ListenAddress::Tcp { host, port },
        (None, ListenAddress::Unix { directory, .. }) => ListenAddress::Unix { directory, port },
    })
}

/// The listener that is nearest to a Backstage beside greenroom.
fn nearest(listeners: &[Listener]) -> Option<ListenAddress> {
    listeners.iter().map(dialled).min_by_key(|address| match address {
        ListenAddress::Tcp { host, .. } if is_loopback(host) => 0,
        ListenAddress::Unix { .. } => 1,
        ListenAddress::Tcp { .. } => 2,
    })
}

/// A listener's address as a client dials it.
fn dialled(listener: &Listener) -> ListenAddress {
    match listener.address.clone() {
        ListenAddress::Tcp { host, port } => ListenAddress::Tcp { host: reachable(&host).into(), port },
        unix => unix,
    }
}

fn host_of(address: &ListenAddress) -> String {
    match address {
        ListenAddress::Tcp { host, .. } => host.to_string(),
        ListenAddress::Unix { directory, .. } => directory.display().to_string(),
    }
}

fn port_of(address: &ListenAddress) -> u16 {
    match address {
        ListenAddress::Tcp { port, .. } | ListenAddress::Unix { port, .. } => *port,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address_of(listen: &str, host: Option<&str>, port: Option<u16>) -> anyhow::Result<String> {
        let text = format!(
            "backend: {{ database: {{ client: pg, connection: {{ host: db, user: u, password: p }} }} }}\n\
             greenroom: {{ listen: [{listen}] }}\n"
        );
        let args = OverlayArgs { config: ConfigFiles { files: Vec::new() }, host: host.map(str::to_owned), port };
        address(&args, &Config::parse(&text).unwrap().listeners).map(|address| address.to_string())
    }

    #[test]
    fn the_nearest_listener_is_taken() {
        for (listen, expected) in [
            ("{}", "127.0.0.1:6432"),
            ("{ socket: /run/greenroom }, { host: '::1', port: 7000 }", "[::1]:7000"),
            ("{ socket: /run/greenroom }, { host: 0.0.0.0, port: 7000 }", "127.0.0.1:7000"),
            ("{ host: '::', port: 7000 }", "[::1]:7000"),
            ("{ host: 10.0.0.5 }, { socket: /run/greenroom }", "/run/greenroom/.s.PGSQL.6432"),
            ("{ host: 10.0.0.5 }", "10.0.0.5:6432"),
        ] {
            assert_eq!(address_of(listen, None, None).unwrap(), expected, "{listen}");
        }
    }

    #[test]
    fn what_is_named_wins() {
        let listen = "{}, { socket: /run/greenroom, port: 7000 }";
        let of = |host, port| address_of(listen, host, port).unwrap();
        assert_eq!(of(Some("greenroom.internal"), None), "greenroom.internal:6432");
        assert_eq!(of(Some("greenroom.internal"), Some(5432)), "greenroom.internal:5432");
        assert_eq!(of(Some("/run/greenroom"), None), "/run/greenroom/.s.PGSQL.7000");
        assert_eq!(of(None, Some(7001)), "127.0.0.1:7001");
    }

    #[test]
    fn a_port_that_is_not_known_yet_must_be_named() {
        let error = address_of("{ port: 0 }", None, None).unwrap_err().to_string();
        assert!(error.contains("--port"), "{error}");
        assert_eq!(address_of("{ port: 0 }", None, Some(7000)).unwrap(), "127.0.0.1:7000");
    }
}
