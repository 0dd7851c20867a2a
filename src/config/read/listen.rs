//! `greenroom.listen` and `greenroom.http`: where clients and operators are accepted.

use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;

use super::section::Section;
use crate::config::mistake::Mistakes;
use crate::config::yaml::{Node, Origin, Value};
use crate::config::{AuthMethod, HttpAddress, ListenAddress, Listener, is_loopback};

const AUTH: &[(&str, AuthMethod)] =
    &[("scram-sha-256", AuthMethod::ScramSha256), ("md5", AuthMethod::Md5), ("trust", AuthMethod::Trust)];

/// The listeners, each with where it is written.
pub(super) fn listeners(greenroom: &Section<'_>, mistakes: &Mistakes) -> Vec<(Listener, Origin)> {
    let elements: &[Node] = match greenroom.get("listen") {
        None => return vec![(Listener::default(), greenroom.origin().key("listen"))],
        Some(Node { value: Value::List(list), .. }) => list,
        Some(_) => {
            greenroom.expected("listen", "a list of {host, port, auth} or {socket, port, auth}");
            return Vec::new();
        }
    };
    if elements.is_empty() {
        greenroom.mistake("listen", "found an empty list, expected at least one address to accept clients at");
    }
    let mut listeners: Vec<(Listener, Origin)> = Vec::new();
    for element in elements {
        let Some(listener) = listener(&Section::of(element, mistakes)) else { continue };
        match listeners.iter().find(|(other, _)| overlap(&other.address, &listener.address)) {
            Some((other, _)) => {
                mistakes.add(&element.origin, format!("{} is taken by {} already", listener.address, other.address));
            }
            None => listeners.push((listener, element.origin.clone())),
        }
    }
    listeners
}

fn listener(section: &Section<'_>) -> Option<Listener> {
    section.map()?;
    let port = section.port("port", 0);
    let port = if section.has("port") { port? } else { Listener::PORT };
    let address = if section.has("socket") {
        if section.has("host") {
            section.mistake("host", "stands beside socket, expected one of the two");
        }
        let directory = PathBuf::from(section.text("socket")?);
        if !directory.is_absolute() {
            section.expected("socket", "the absolute path of a directory");
            return None;
        }
        ListenAddress::Unix { directory, port }
    } else {
        let host = if section.has("host") { section.text("host") } else { Some("127.0.0.1") };
        if host.is_none() {
            section.expected("host", "a host name or an address");
        }
        ListenAddress::Tcp { host: host?.into(), port }
    };
    let auth = section.choice("auth", AUTH);
    let auth = if section.has("auth") { auth? } else { AuthMethod::default() };
    match &address {
        ListenAddress::Tcp { host, .. } if auth == AuthMethod::Trust && !is_loopback(host) => {
            section
                .mistake("auth", format!("trust on {host}, expected it only on loopback addresses and unix sockets"));
            None
        }
        _ => Some(Listener { address, auth }),
    }
}

/// `greenroom.http`; `None` is off.
pub(super) fn http(greenroom: &Section<'_>, listeners: &[(Listener, Origin)]) -> Option<HttpAddress> {
    let standard = HttpAddress::default();
    let address = match greenroom.get("http") {
        None => standard,
        Some(Node { value: Value::Bool(false), .. }) => return None,
        Some(Node { value: Value::Map(_), .. }) => {
            let section = greenroom.section("http");
            HttpAddress {
                host: section.text("host").map_or(standard.host, Into::into),
                port: section.port("port", 0).unwrap_or(standard.port),
            }
        }
        Some(_) => {
            greenroom.expected("http", "{host, port}, or false for none");
            return None;
        }
    };
    let as_listener = ListenAddress::Tcp { host: address.host.clone(), port: address.port };
    if let Some((listener, _)) = listeners.iter().find(|(listener, _)| overlap(&listener.address, &as_listener)) {
        greenroom.mistake("http", format!("{as_listener} is taken by the listener on {} already", listener.address));
    }
    Some(address)
}

/// Whether two addresses cannot both be listened at. Port 0 takes a free one, so it is never in the way.
fn overlap(a: &ListenAddress, b: &ListenAddress) -> bool {
    match (a, b) {
        (ListenAddress::Tcp { host: a, port }, ListenAddress::Tcp { host: b, port: other }) => {
            let (a, b) = (&*one_spelling(a), &*one_spelling(b));
            port == other && *port != 0 && (same_host(a, b) || covers(a, b) || covers(b, a))
        }
        (ListenAddress::Unix { .. }, ListenAddress::Unix { .. }) => a == b,
        _ => false,
    }
}

/// Whether a connection to `host` and `port` would arrive at `listener`, as far as names and addresses tell.
pub(super) fn reaches(listener: &ListenAddress, host: &str, port: u16) -> bool {
    let ListenAddress::Tcp { host: listening, port: listening_port } = listener else { return false };
    let (listening, host) = (&*one_spelling(listening), &*one_spelling(host));
    // Linux connects 0.0.0.0 and :: to this machine; a listener on :: commonly takes IPv4 as well.
    let everywhere = is_loopback(host) && (covers(listening, host) || listening.parse() == Ok(Ipv6Addr::UNSPECIFIED));
    let nowhere = is_any(host) && (is_any(listening) || is_loopback(listening));
    *listening_port == port && (same_host(listening, host) || everywhere || nowhere)
}

/// A host in one of the ways it can be written: names in small letters, this machine's own as `localhost`, addresses as
/// the standard library writes them, IPv4 ones in the clothes of IPv6 undressed.
fn one_spelling(host: &str) -> String {
    if let Ok(address) = host.parse::<IpAddr>() {
        return address.to_canonical().to_string();
    }
    let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    let own = matches!(&*name, "localhost.localdomain" | "ip6-localhost" | "ip6-loopback");
    if own || name.ends_with(".localhost") { "localhost".to_owned() } else { name }
}

fn same_host(a: &str, b: &str) -> bool {
    // `localhost` may be either loopback address; the two are different places to each other.
    let standard = |host: &str| matches!(host, "127.0.0.1" | "::1");
    a == b || (a == "localhost" && standard(b)) || (b == "localhost" && standard(a))
}

/// Whether `any` is all addresses of the kind that `host` is one of; a name may be of either kind.
fn covers(any: &str, host: &str) -> bool {
    match (any.parse(), host.parse()) {
        (Ok(any @ IpAddr::V4(_)), Ok(IpAddr::V4(_)) | Err(_)) => any.is_unspecified(),
        (Ok(any @ IpAddr::V6(_)), Ok(IpAddr::V6(_)) | Err(_)) => any.is_unspecified(),
        _ => false,
    }
}

fn is_any(host: &str) -> bool {
    host.parse::<IpAddr>().is_ok_and(|address| address.is_unspecified())
}
