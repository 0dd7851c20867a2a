//! A connection in an overlay: greenroom's address in place of PostgreSQL's, everything else as it is written.

use std::path::Path;

use super::OverlayError;
use super::block::Block;
use super::string;
use crate::config::yaml::{Map, Node, Origin, Part, Value, parts};
use crate::config::{Environment, ListenAddress};

/// Where greenroom is.
pub(super) struct Front<'a> {
    pub(super) address: &'a ListenAddress,
    pub(super) environment: &'a Environment,
}

/// How much of a connection an overlay says.
#[derive(Clone, Copy)]
pub(super) struct Over<'n> {
    /// Whether the address must be in it; else only where the files give this connection one of its own, for Backstage
    /// lays it over the base one.
    pub(super) whole: bool,
    /// Whether the database counts. Backstage takes none from the base connection when each plugin has one.
    pub(super) with_database: bool,
    /// What clients prove, if it is not the connection's password.
    pub(super) client_password: Option<&'n Node>,
}

impl Front<'_> {
    /// Adds the `connection` that stands over the one in the files.
    pub(super) fn connection(
        &self,
        node: Option<&Node>,
        over: Over<'_>,
        block: &mut Block,
    ) -> Result<(), OverlayError> {
        let mut own = Block::default();
        match node.map(|node| (&node.value, node)) {
            Some((Value::Text(text), node)) => return self.string("connection", text, node, over, block),
            Some((Value::Map(map), _)) => match map.get("connectionString") {
                Some(node @ Node { value: Value::Text(text), .. }) => {
                    self.string("connectionString", text, node, over, &mut own)?;
                }
                _ => self.object(map, over, &mut own),
            },
            _ => self.object(&Map::new(), over, &mut own),
        }
        block.block("connection", own);
        Ok(())
    }

    fn object(&self, map: &Map, over: Over<'_>, block: &mut Block) {
        // A token of a cloud's is for PostgreSQL alone.
        if matches!(map.get("type"), Some(Node { value: Value::Text(kind), .. }) if kind != "default") {
            block.text("type", "default");
        }
        if over.whole || map.contains_key("host") || map.contains_key("port") {
            let port = match self.address {
                ListenAddress::Tcp { host, port } => {
                    block.text("host", host);
                    port
                }
                ListenAddress::Unix { directory, port } => {
                    block.text("host", &directory.to_string_lossy());
                    port
                }
            };
            block.plain("port", port);
        }
        if let Some(node) = map.get("user") {
            self.value("user", node, block);
        }
        if let Some(node) = over.client_password {
            self.password(node, &OF_CLIENTS, block);
        } else if let Some(node) = map.get("password") {
            self.password(node, &OF_THE_CONNECTION, block);
        }
        if let Some(node) = map.get("database").filter(|_| over.with_database) {
            self.value("database", node, block);
        }
        if over.whole || map.contains_key("ssl") {
            block.plain("ssl", "false # greenroom takes no TLS; its own way to PostgreSQL is as the files say");
        }
    }

    /// Adds a connection string; Backstage's merge replaces one as a whole.
    fn string(
        &self,
        key: &str,
        text: &str,
        node: &Node,
        over: Over<'_>,
        block: &mut Block,
    ) -> Result<(), OverlayError> {
        if let Some(password) = over.client_password {
            let problem = format!("clients prove {}, which cannot be put into a string", password.origin.dotted());
            return Err(OverlayError::String { at: node.origin.to_string(), problem });
        }
        let written = match node.origin.written().map(|node| node.value) {
            Some(Value::Text(written)) => written,
            // It came by an include, and greenroom's address cannot be put into what another file says.
            Some(Value::Map(_)) => {
                let problem = "host and port cannot be replaced in a string that $env or $file leads to".to_owned();
                return Err(OverlayError::String { at: node.origin.to_string(), problem });
            }
            _ => text.to_owned(),
        };
        let rewritten = string::rewrite(&written, self)
            .map_err(|problem| OverlayError::String { at: node.origin.to_string(), problem })?;
        if rewritten.without_password {
            block.comment(format!(
                "The password stands in clear {} and is not repeated here. Backstage needs it all the same: start it\n\
                 with the password in PGPASSWORD, or write ${{VAR}} in its place there.",
                at(&node.origin)
            ));
        }
        if rewritten.without_default {
            block.comment(format!(
                "A default {} is not repeated here, for it may hold a password: Backstage needs the variable,\n\
                 or it goes past greenroom.",
                at(&node.origin)
            ));
        }
        block.text(key, &rewritten.text);
        Ok(())
    }

    /// Adds what is no secret: as it is written, else what it came to.
    pub(super) fn value(&self, key: &str, node: &Node, block: &mut Block) {
        let Value::Text(text) = &node.value else { return };
        match written(node) {
            Reference::Text(written) => block.text(key, &written),
            Reference::Include(include, argument) => self.include(key, &include, &argument, &node.origin, block),
            Reference::Unknown => block.text(key, text),
        }
    }

    /// Adds a password that is a reference to one.
    fn password(&self, node: &Node, kind: &Secret, block: &mut Block) {
        match written(node) {
            Reference::Include(include, argument) => self.include("password", &include, &argument, &node.origin, block),
            Reference::Text(written) => match references(&written) {
                Some(References { text, without_default }) => {
                    if without_default {
                        block.comment(format!("its default {} is not repeated{}", at(&node.origin), kind.of_a_default));
                    }
                    block.text("password", &text);
                }
                None => kind.in_clear(&node.origin, block),
            },
            Reference::Unknown => kind.in_clear(&node.origin, block),
        }
    }

    fn include(&self, key: &str, include: &str, argument: &str, origin: &Origin, block: &mut Block) {
        if include == "$file" && Path::new(argument).is_relative() {
            block.comment(format!("relative to this file: keep it where {} is", origin.file()));
        }
        let mut inner = Block::default();
        inner.text(include, argument);
        block.block(key, inner);
    }
}

/// What there is to say of a password that is not repeated.
struct Secret {
    of_a_default: &'static str,
    in_clear: &'static str,
}

const OF_THE_CONNECTION: Secret = Secret {
    of_a_default: "; Backstage's merge keeps it from there",
    in_clear: "; Backstage's merge keeps it from there",
};

const OF_CLIENTS: Secret = Secret {
    of_a_default: ": Backstage needs the variable",
    in_clear: ":\nwrite ${VAR} in its place there, for Backstage has to be told it here",
};

impl Secret {
    fn in_clear(&self, origin: &Origin, block: &mut Block) {
        block.comment(format!("password: stands in clear {} and is not repeated{}", at(origin), self.in_clear));
    }
}

/// Where something is written, for a comment.
fn at(origin: &Origin) -> String {
    match origin.line() {
        Some(line) => format!("in {}, line {line},", origin.file()),
        None => format!("in {}", origin.file()),
    }
}

/// How a value is written.
enum Reference {
    Text(String),
    /// `$env` or `$file`, and what it leads to.
    Include(String, String),
    /// Not in a form that can be repeated.
    Unknown,
}

fn written(node: &Node) -> Reference {
    match node.origin.written().map(|node| node.value) {
        Some(Value::Text(text)) => Reference::Text(text),
        Some(Value::Map(map)) => match map.into_iter().next() {
            Some((include, Node { value: Value::Text(argument), .. })) if matches!(&*include, "$env" | "$file") => {
                Reference::Include(include, argument)
            }
            _ => Reference::Unknown,
        },
        _ => Reference::Unknown,
    }
}

/// A text of nothing but references.
pub(super) struct References {
    /// Its variables, without their defaults.
    pub(super) text: String,
    /// Whether there was a default.
    pub(super) without_default: bool,
}

/// The references that `text` is made of; `None` when there is anything in clear beside them.
pub(super) fn references(text: &str) -> Option<References> {
    let mut found = References { text: String::new(), without_default: false };
    for part in parts(text) {
        let Part::Variable { name, default } = part else { return None };
        found.text.push_str(&format!("${{{name}}}"));
        found.without_default |= default.is_some_and(|default| !default.is_empty());
    }
    (!found.text.is_empty()).then_some(found)
}
