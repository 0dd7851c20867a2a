//! What plugins rely on that schema division keeps from them: told in the log, once each, with the remedy.
//!
//! What a client is answered stays PostgreSQL's own.

use std::collections::{HashMap, HashSet};

use parking_lot::Mutex;

use crate::protocol::{body, sqlstate};
use crate::route::PluginId;

/// The most things that are told, over all plugins: their names come from clients.
const MOST_TOLD: usize = 500;

/// The longest name of one, in bytes.
const LONGEST_NAME: usize = 200;

/// What stands for the tables of public, beside the names of what is missing.
const PUBLIC: &str = "public.";

/// What PostgreSQL calls the places in its code that look for something an extension may bring, where the SQLSTATE alone
/// says only that some object is missing: types and operator classes. Its words depend on the server's language.
const LOOKS_FOR: [&[u8]; 2] = [b"typenameType", b"ResolveOpClass"];

/// What has been told already.
#[derive(Debug, Default)]
pub(super) struct Traps {
    /// Guards only the sets.
    told: Mutex<Told>,
}

#[derive(Debug, Default)]
struct Told {
    names: HashMap<PluginId, HashSet<Box<str>>>,
    count: usize,
}

impl Traps {
    /// A statement of the plugin has named the schema public.
    pub(super) fn public_was_named(&self, plugin: &PluginId) {
        if self.is_first(plugin, PUBLIC) {
            tracing::warn!(
                plugin = plugin.as_str(),
                "a statement names the schema public by hand: what it names is outside of the plugin's schema, and shared by \
                 all plugins and deployments in that database"
            );
        }
    }

    /// PostgreSQL has answered with an error. If something is missing that an extension may bring, tells where it would be
    /// found.
    pub(super) fn look_at_error(&self, plugin: &PluginId, extensions: Option<&str>, error: &[u8]) {
        let Some(name) = missing(error) else { return };
        if !self.is_first(plugin, &name) {
            return;
        }
        let (plugin, error) = (plugin.as_str(), &*name);
        match extensions {
            None => tracing::warn!(
                plugin,
                error,
                "if it comes from an extension in public or in another schema, set greenroom.extensionsSchema: the plugin's \
                 search_path has its own schema only"
            ),
            Some(schema) => tracing::warn!(
                plugin,
                error,
                schema,
                "if it comes from an extension, that is not in the schema of greenroom.extensionsSchema; to move it there: \
                 ALTER EXTENSION ... SET SCHEMA ..."
            ),
        }
    }

    /// Whether this has not been told of the plugin yet; it counts as told from now on.
    fn is_first(&self, plugin: &PluginId, name: &str) -> bool {
        let mut told = self.told.lock();
        if told.count >= MOST_TOLD || told.names.get(plugin).is_some_and(|names| names.contains(name)) {
            return false;
        }
        told.count += 1;
        told.names.entry(plugin.clone()).or_default().insert(name.into())
    }
}

/// The message of an error that says that a function, an operator, a type or an operator class is missing, without the types
/// of a function's arguments.
fn missing(error: &[u8]) -> Option<String> {
    let code = body::error_field(error, b'C')?;
    let of_extension = code == sqlstate::UNDEFINED_FUNCTION.as_bytes()
        || (code == sqlstate::UNDEFINED_OBJECT.as_bytes()
            && body::error_field(error, b'R').is_some_and(|routine| LOOKS_FOR.contains(&routine)));
    let message = body::error_field(error, b'M').filter(|_| of_extension)?;
    let mut name = String::from_utf8_lossy(&message[..message.len().min(LONGEST_NAME)]).into_owned();
    if let (Some(open), Some(close)) = (name.find('('), name.rfind(')')) {
        name.replace_range(open + 1..close.max(open + 1), "");
    }
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(code: &str, message: &str, routine: &str) -> Vec<u8> {
        format!("SERROR\0C{code}\0M{message}\0R{routine}\0\0").into_bytes()
    }

    #[test]
    fn a_missing_function_is_told_by_its_name() {
        let told = |code, message, routine| missing(&error(code, message, routine));
        assert_eq!(
            told("42883", "function similarity(text, unknown) does not exist", "ParseFuncOrColumn").as_deref(),
            Some("function similarity() does not exist")
        );
        let operator = "operator does not exist: text % text";
        assert_eq!(told("42883", operator, "op_error").as_deref(), Some(operator));
        let class = "operator class \"gin_trgm_ops\" does not exist for access method \"gin\"";
        assert_eq!(told("42704", class, "ResolveOpClass").as_deref(), Some(class));
        assert_eq!(
            told("42704", "Typ »hstore« existiert nicht", "typenameType").as_deref(),
            Some("Typ »hstore« existiert nicht")
        );
    }

    #[test]
    fn what_no_extension_brings_is_not_told() {
        assert_eq!(missing(&error("42704", "role \"x\" does not exist", "get_role_oid")), None);
        assert_eq!(missing(&error("42P01", "relation \"x\" does not exist", "parserOpenTable")), None);
        assert_eq!(missing(b""), None);
        assert_eq!(missing(b"C42883\0\0"), None);
    }

    #[test]
    fn everything_is_told_once_for_each_plugin_and_no_more_than_so_much() {
        let (traps, catalog) = (Traps::default(), PluginId("catalog".into()));
        assert!(traps.is_first(&catalog, "a") && traps.is_first(&catalog, "b"));
        assert!(!traps.is_first(&catalog, "a"));
        assert!(traps.is_first(&PluginId("search".into()), "a"));
        assert_eq!((0..1000).filter(|n| traps.is_first(&catalog, &n.to_string())).count(), MOST_TOLD - 3);
    }
}
