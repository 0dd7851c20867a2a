//! A connection string with greenroom's address in it, its variables as they are written.
//!
//! A variable may stand for any part of a string, or for the whole. So each is taken for one opaque character while the
//! string is taken apart, and what comes of it is read back: host and port must be greenroom's then, all else unchanged.

use std::collections::BTreeMap;

use super::connection::Front;
use crate::config::ListenAddress;
use crate::config::read::uri::{self, Ssl};
use crate::config::yaml::{Part, Substituted, parts, substitute};

/// A connection string that leads to greenroom.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Rewritten {
    pub(super) text: String,
    /// Whether a password was left out because it is written in clear.
    pub(super) without_password: bool,
    /// Whether a default was left out because it may hold a password.
    pub(super) without_default: bool,
}

/// What a parameter of a connection string may say about the way to the server, which is another one now.
const OF_THE_WAY: [&str; 9] =
    ["host", "port", "ssl", "sslmode", "sslrootcert", "sslcert", "sslkey", "sslnegotiation", "uselibpqcompat"];

/// Puts greenroom's address into `written`. An error says what is in the way, and repeats nothing of the string.
pub(super) fn rewrite(written: &str, front: &Front<'_>) -> Result<Rewritten, String> {
    let Substituted::Text(resolved) = substitute(written, front.environment) else {
        return Err("a variable in it is not set".to_owned());
    };
    let template = Template::new(written)?;
    let rewritten = template.rewrite(&resolved, front)?;
    check(&rewritten, &resolved, front)?;
    Ok(rewritten)
}

/// The first of the characters that stand for variables; Unicode leaves their meaning to whoever uses them.
const FIRST: u32 = 0xE000;

/// A string in which each variable is one character.
struct Template<'w> {
    text: String,
    variables: Vec<(&'w str, Option<&'w str>)>,
}

impl<'w> Template<'w> {
    fn new(written: &'w str) -> Result<Self, String> {
        let stand_in = |character: char| (FIRST..=0xF8FF).contains(&u32::from(character));
        if written.contains(stand_in) {
            return Err("it has characters of no meaning in it".to_owned());
        }
        let mut template = Self { text: String::new(), variables: Vec::new() };
        for part in parts(written) {
            match part {
                Part::Literal(text) => template.text.push_str(text),
                Part::Escaped(_) => return Err("it has a $${ in it".to_owned()),
                Part::Variable { name, default } => {
                    let index = u32::try_from(template.variables.len()).ok().and_then(|at| char::from_u32(FIRST + at));
                    template.text.push(index.filter(|&index| stand_in(index)).ok_or("it has too many variables")?);
                    template.variables.push((name, default));
                }
            }
        }
        Ok(template)
    }

    fn variable(&self, character: char) -> Option<(&'w str, Option<&'w str>)> {
        let index = u32::from(character).checked_sub(FIRST)?;
        self.variables.get(usize::try_from(index).ok()?).copied()
    }

    fn rewrite(&self, resolved: &str, front: &Front<'_>) -> Result<Rewritten, String> {
        match self.text.chars().next().and_then(|first| self.variable(first)) {
            Some((name, default)) => self.whole(name, default, resolved, front),
            None if self.text.starts_with('/') => {
                let database = self.text.split_once(' ').map(|(_, database)| database);
                self.put_together("", database, "", front)
            }
            None => match self.text.split_once("://") {
                Some(("postgres" | "postgresql", rest)) => {
                    let rest = rest.split('#').next().unwrap_or_default();
                    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
                    let (authority, path) = rest.split_once('/').map_or((rest, None), |(a, path)| (a, Some(path)));
                    let login = authority.rsplit_once('@').map_or("", |(login, _)| login);
                    self.put_together(login, path, query, front)
                }
                Some(("socket", rest)) => {
                    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
                    let login = rest.split_once('@').map_or("", |(login, _)| login);
                    let database = query.split('&').find_map(|pair| pair.strip_prefix("db="));
                    self.put_together(login, database, "", front)
                }
                _ => Err("it cannot be taken apart".to_owned()),
            },
        }
    }

    /// A variable holds the string from its beginning on: what is added at the end wins over what is in it.
    fn whole(&self, name: &str, default: Option<&str>, resolved: &str, front: &Front<'_>) -> Result<Rewritten, String> {
        let default = default.filter(|default| !default.is_empty());
        let rest: String = self.text.chars().skip(1).collect();
        let is_set = front.environment.get(name).is_some_and(|value| !value.trim().is_empty());
        if let (false, Some(default)) = (is_set, default) {
            let written = format!("{default}{}", self.filled_in(&rest, |_| false).0);
            return rewrite(&written, front);
        }
        if !(rest.is_empty() || rest.starts_with(['/', '?', '&'])) || rest.contains('@') || rest.contains("password") {
            return Err("it cannot be told what a variable in it stands for".to_owned());
        }
        let (rest, dropped) = self.filled_in(&rest, may_hold_a_password);
        let sign = if resolved.contains('?') { '&' } else { '?' };
        let way = match front.address {
            ListenAddress::Tcp { host, port } => format!("host={}&port={port}", encoded(host)),
            ListenAddress::Unix { directory, port } => {
                format!("host={}&port={port}", encoded(&directory.to_string_lossy()))
            }
        };
        Ok(Rewritten {
            text: format!("${{{name}}}{rest}{sign}{way}&sslmode=disable"),
            without_password: false,
            without_default: dropped || default.is_some(),
        })
    }

    fn put_together(
        &self,
        login: &str,
        database: Option<&str>,
        query: &str,
        front: &Front<'_>,
    ) -> Result<Rewritten, String> {
        let mut without_password = false;
        let mut without_default = false;
        // A password is repeated when it is variables and nothing else, whose defaults are no password's.
        let mut secret = |text: &str| {
            let variables: Option<Vec<_>> = text.chars().map(|character| self.variable(character)).collect();
            let plain = variables
                .is_some_and(|variables| variables.iter().all(|(_, default)| default.is_none_or(str::is_empty)));
            without_password |= !plain && !text.is_empty();
            plain && !text.is_empty()
        };
        let (user, password) = login.split_once(':').map_or((login, None), |(user, word)| (user, Some(word)));
        let password = password.filter(|password| secret(password));
        let others: Vec<&str> = query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .filter(|pair| {
                let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                !OF_THE_WAY.contains(&key) && (key != "password" || secret(value))
            })
            .collect();
        let mut text = |template: &str| {
            let (text, dropped) = self.filled_in(template, may_hold_a_password);
            without_default |= dropped;
            text
        };
        let (user, password) = (text(user), password.map(&mut text));
        let at = if login.is_empty() { "" } else { "@" };
        let login = password.map_or(user.clone(), |password| format!("{user}:{password}"));
        let database = database.map(|database| format!("/{}", text(database))).unwrap_or_default();
        let (host, mut query) = match front.address {
            ListenAddress::Tcp { host, port } if !host.contains(':') => (format!("{host}:{port}"), Vec::new()),
            // node-postgres keeps the brackets of an IPv6 address, and finds no host of that name.
            ListenAddress::Tcp { host, port } => (String::new(), vec![format!("host={}&port={port}", encoded(host))]),
            ListenAddress::Unix { directory, port } => {
                (String::new(), vec![format!("host={}&port={port}", encoded(&directory.to_string_lossy()))])
            }
        };
        let database = if host.is_empty() && database.is_empty() { "/".to_owned() } else { database };
        query.extend(others.iter().map(|pair| text(pair)));
        query.push("sslmode=disable".to_owned());
        let text = format!("postgresql://{login}{at}{host}{database}?{}", query.join("&"));
        Ok(Rewritten { text, without_password, without_default })
    }

    /// The text with its variables in it again, and whether one lost a default.
    fn filled_in(&self, template: &str, drop_default: impl Fn(&str) -> bool) -> (String, bool) {
        let (mut text, mut dropped) = (String::new(), false);
        for character in template.chars() {
            match self.variable(character) {
                None => text.push(character),
                Some((name, Some(default))) if !drop_default(default) => {
                    text.push_str(&format!("${{{name}:-{default}}}"));
                }
                Some((name, default)) => {
                    dropped |= default.is_some();
                    text.push_str(&format!("${{{name}}}"));
                }
            }
        }
        (text, dropped)
    }
}

/// Whether a default could be more than a name, a number or a host.
fn may_hold_a_password(default: &str) -> bool {
    default.contains([':', '@', '='])
}

/// Reads the result back.
fn check(rewritten: &Rewritten, resolved: &str, front: &Front<'_>) -> Result<(), String> {
    let Substituted::Text(text) = substitute(&rewritten.text, front.environment) else {
        return Err("a variable in it is not set, and its default may hold a password".to_owned());
    };
    let (before, after) = (uri::parse(resolved)?, uri::parse(&text)?);
    let (host, port) = match front.address {
        ListenAddress::Tcp { host, port } => (host.to_string(), port),
        ListenAddress::Unix { directory, port } => (directory.to_string_lossy().into_owned(), port),
    };
    // What one form leaves out may be empty in the other.
    let said = |parts: uri::Parts| -> BTreeMap<&str, String> {
        parts
            .fields
            .into_iter()
            .filter_map(|(key, value)| Some((key, value.filter(|value| !value.is_empty())?)))
            .collect()
    };
    let is_plain = after.ssl == Ssl::Off;
    let (mut expected, after) = (said(before), said(after));
    expected.extend([("host", host), ("port", port.to_string())]);
    if rewritten.without_password {
        expected.remove("password");
    }
    match after == expected && is_plain {
        true => Ok(()),
        false => Err("it cannot be told what a variable in it stands for".to_owned()),
    }
}

/// A value of a parameter.
fn encoded(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for byte in value.bytes() {
        match byte {
            byte if byte.is_ascii_alphanumeric() || b"-._~/:".contains(&byte) => out.push(char::from(byte)),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}
