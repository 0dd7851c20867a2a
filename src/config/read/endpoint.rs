//! A connection (a string, or an object) with another laid over it, as node-postgres would open it.

use std::path::PathBuf;
use std::sync::Arc;

use super::cloud;
use super::password::{Said, filled};
use super::section::Section;
use super::tls::{LIBPQ_MODE, tls};
use super::uri::{self, Parts, Ssl, Verify};
use crate::config::mistake::Mistakes;
use crate::config::yaml::{Map, Node, Origin, Value};
use crate::config::{Connection, Environment, Login, Password, SecretText, ServerAddress, ServerEndpoint, SslMode};

/// The key of an object under which node-postgres takes a string.
pub(super) const CONNECTION_STRING: &str = "connectionString";

/// What reading connections needs at hand.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    pub(super) environment: &'a Environment,
    pub(super) mistakes: &'a Mistakes,
}

impl Reader<'_> {
    /// A connection as an object: a string is taken apart into one. `None` where nothing usable is.
    pub(super) fn object(&self, node: Option<&Node>) -> Option<Map> {
        let node = node?;
        match &node.value {
            Value::Map(map) => Some(map.clone()),
            Value::Text(text) => self.string(text, node),
            Value::Null | Value::Broken => None,
            _ => {
                self.mistakes.add(&node.origin, "not a connection; expected a connection string or a mapping");
                None
            }
        }
    }

    /// Reads a connection out of its object, with what is said about its passwords elsewhere. A mistake about something
    /// that is missing is placed at `origin`.
    pub(super) fn connection(&self, object: &Map, origin: &Origin, said: Said) -> Option<Connection> {
        let object = &self.with_string(object)?;
        let section = Section::merged(object, origin.clone(), self.mistakes);
        if said.unreadable {
            return None;
        }
        cloud::check(&section, &said, self.mistakes)?;
        let address = self.address(&section);
        let tls = tls(&section, self.environment, self.mistakes);
        let user = self.user(&section);
        if user.is_none() && section.is_blank("user") {
            self.mistakes.missing(&origin.key("user"), ", expected the role that logs in");
        }
        let password = section.secret_text("password");
        let database = section.text("database").map(Arc::from);
        let (address, mut tls, user, password) = (address?, tls?, user?, password?);
        if matches!(address, ServerAddress::Unix { .. }) && tls.mode != SslMode::Disable {
            if section.has("ssl") {
                section.mistake("ssl", "cannot be honoured: PostgreSQL speaks no TLS over a unix socket; take it out");
            }
            tls.mode = SslMode::Disable;
        }
        let password = password.or_else(|| self.variable("PGPASSWORD").map(SecretText::fixed));
        let command = said.command.map(|template| Password::Command(filled(template, &address, user)));
        let login = Login {
            user: user.into(),
            client_password: said.client.or_else(|| password.clone()),
            password: command.or(password.map(Password::Text)),
        };
        Some(Connection { server: Arc::new(ServerEndpoint { address, tls }), login, database })
    }

    /// Whether an object says who logs in. What cannot be read says so, too: it is told when the connection is.
    pub(super) fn names_user(&self, object: &Map, origin: &Origin) -> bool {
        let section = Section::merged(object, origin.clone(), self.mistakes);
        !section.is_blank("user") || section.has(CONNECTION_STRING) || self.variable("PGUSER").is_some()
    }

    fn user<'s>(&'s self, section: &Section<'s>) -> Option<&'s str> {
        section.text("user").or(self.variable("PGUSER"))
    }

    /// An object with what its `connectionString` says: node-postgres lays all of it over the neighbours.
    fn with_string(&self, object: &Map) -> Option<Map> {
        let mut object = object.clone();
        if let Some(string @ Node { value: Value::Text(text), .. }) = object.get(CONNECTION_STRING).cloned().as_ref()
            && !text.is_empty()
        {
            object.extend(self.string(text, string)?);
        }
        Some(object)
    }

    fn address(&self, section: &Section<'_>) -> Option<ServerAddress> {
        let port = match section.get("port") {
            Some(Node { value: Value::Text(text), .. }) if text.is_empty() => self.standard_port(),
            Some(_) => section.port("port", 1)?,
            None => self.standard_port(),
        };
        let host = section.text("host");
        if host.is_none() && section.get("host").is_some_and(|node| !matches!(&node.value, Value::Text(_))) {
            return None;
        }
        let host = host.or(self.variable("PGHOST")).unwrap_or("localhost");
        Some(match host.starts_with('/') {
            true => ServerAddress::Unix { directory: PathBuf::from(host), port },
            false => ServerAddress::Tcp { host: host.into(), port },
        })
    }

    fn standard_port(&self) -> u16 {
        self.variable("PGPORT").and_then(|port| port.parse().ok()).unwrap_or(5432)
    }

    /// node-postgres falls back on libpq's variables, and so does Backstage.
    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        self.environment.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    fn string(&self, text: &str, node: &Node) -> Option<Map> {
        match uri::parse(text) {
            Ok(Parts { fields, ssl }) => {
                let value = |value: Option<String>| value.map_or(Value::Null, Value::Text);
                let fields = fields.into_iter().map(|(key, text)| (key.to_owned(), node.value_here(value(text))));
                let mut map: Map = fields.collect();
                if let Some(ssl) = self.ssl(ssl, node) {
                    map.insert("ssl".to_owned(), ssl);
                }
                Some(map)
            }
            Err(problem) => {
                self.mistakes.add(&node.origin, problem);
                None
            }
        }
    }

    /// What a string asks of TLS, in the form of an object's `ssl`.
    fn ssl(&self, ssl: Ssl, node: &Node) -> Option<Node> {
        let here = |value| node.value_here(value);
        let (verify, files) = match ssl {
            Ssl::Unsaid => return None,
            Ssl::Off => return Some(here(Value::Bool(false))),
            Ssl::Word(word) => return Some(node.text_here(word)),
            Ssl::On { verify, ca, cert, key } => (verify, [("ca", ca), ("cert", cert), ("key", key)]),
        };
        let mut map = Map::new();
        if verify == Verify::Nothing {
            map.insert("rejectUnauthorized".to_owned(), here(Value::Bool(false)));
        }
        if verify == Verify::Chain {
            map.insert(LIBPQ_MODE.to_owned(), node.text_here("verify-ca"));
        }
        for (key, file) in files {
            let Some(file) = file else { continue };
            let value = match std::fs::read_to_string(&file) {
                Ok(text) => Value::Text(text),
                Err(error) => {
                    self.mistakes.add(&node.origin, format!("cannot read the {key} file {file}: {error}"));
                    Value::Broken
                }
            };
            map.insert(key.to_owned(), here(value));
        }
        Some(here(Value::Map(map)))
    }
}
