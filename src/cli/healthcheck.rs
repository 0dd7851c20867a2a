//! `greenroom healthcheck`: one GET of /livez, for images that have no curl.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream, ToSocketAddrs as _};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::Args;

use super::{ConfigFiles, environment, reachable};
use crate::config::Config;

/// The longest that an answer may take.
const LIMIT: Duration = Duration::from_secs(5);

/// Where to ask.
#[derive(Debug, Args)]
pub(super) struct HealthcheckArgs {
    /// The host of greenroom's HTTP address, in place of the configured one.
    #[arg(long, requires = "port")]
    host: Option<String>,
    /// The port of greenroom's HTTP address, in place of the configured one.
    #[arg(long)]
    port: Option<u16>,
    #[command(flatten)]
    config: ConfigFiles,
}

/// Succeeds if greenroom says that it is alive.
pub(super) fn run(args: &HealthcheckArgs) -> anyhow::Result<()> {
    let (host, port) = match args.port {
        Some(port) => (args.host.clone().unwrap_or_else(|| Ipv4Addr::LOCALHOST.to_string()), port),
        None => configured(&args.config)?,
    };
    ask(&reachable(&host), port).with_context(|| format!("http://{host}:{port}/livez"))
}

/// The HTTP address in the configuration files.
fn configured(files: &ConfigFiles) -> anyhow::Result<(String, u16)> {
    let config = Config::load(&files.paths(), &environment())?;
    let http = config.http.context("greenroom.http: not set, so there is nothing to ask")?;
    Ok((http.host.to_string(), http.port))
}

fn ask(host: &str, port: u16) -> anyhow::Result<()> {
    let deadline = Instant::now() + LIMIT;
    let address = (host, port).to_socket_addrs()?.next().context("the host has no address")?;
    let mut stream = TcpStream::connect_timeout(&address, LIMIT)?;
    stream.set_write_timeout(Some(LIMIT))?;
    write!(stream, "GET /livez HTTP/1.1\r\nHost: greenroom\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    while !answer.contains(&b'\n') && answer.len() < 1024 {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::Error::from(io::ErrorKind::TimedOut).into());
        }
        stream.set_read_timeout(Some(left))?;
        let mut part = [0; 256];
        match stream.read(&mut part)? {
            0 => break,
            read => answer.extend_from_slice(&part[..read]),
        }
    }
    if answer.starts_with(b"HTTP/1.1 200 ") || answer.starts_with(b"HTTP/1.0 200 ") {
        return Ok(());
    }
    bail!("not alive: {}", String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().escape_debug())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// Answers one request with this text and returns what `run` makes of it.
    fn asked(answer: &'static str) -> anyhow::Result<()> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 512];
            let read = stream.read(&mut request).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8_lossy(&request[..read]).into_owned()
        });
        let args = HealthcheckArgs {
            host: Some("0.0.0.0".to_owned()),
            port: Some(port),
            config: ConfigFiles { files: Vec::new() },
        };
        let result = run(&args);
        assert!(server.join().unwrap().starts_with("GET /livez HTTP/1.1\r\n"));
        result
    }

    const CONFIG: &str = "
backend: { database: { client: pg, connection: { host: db, user: u, password: p } } }
greenroom: { http: { host: 127.0.0.1, port: 9000 } }
";

    #[test]
    fn only_the_answer_200_counts_as_alive() {
        asked("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
        let error = asked("HTTP/1.1 503 Service Unavailable\r\n\r\n").unwrap_err();
        assert!(format!("{error:#}").contains("503"), "{error:#}");
        asked("").unwrap_err();
        asked("SSH-2.0-200 \n").unwrap_err();
    }

    #[test]
    fn the_image_is_asked_on_its_own_loopback_address() {
        let file = std::env::temp_dir().join(format!("greenroom-healthcheck-{}.yaml", std::process::id()));
        std::fs::write(&file, CONFIG).unwrap();
        let image = concat!(env!("CARGO_MANIFEST_DIR"), "/config/image.yaml");
        let before = configured(&ConfigFiles { files: vec![file.clone(), image.into()] });
        let after = configured(&ConfigFiles { files: vec![image.into(), file.clone()] });
        std::fs::remove_file(&file).unwrap();
        assert_eq!(before.unwrap(), ("0.0.0.0".to_owned(), 9632));
        assert_eq!(after.unwrap(), ("127.0.0.1".to_owned(), 9000), "the operator's file wins");
        assert_eq!(reachable("0.0.0.0"), "127.0.0.1");
    }

    #[test]
    fn nobody_listening_is_not_alive() {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        ask("127.0.0.1", port).unwrap_err();
    }
}
