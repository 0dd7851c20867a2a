//! What a server is dressed in for a session: the settings that ride ahead of the client's own bytes.
//!
//! Only what cannot fail rides ahead: a search_path (PostgreSQL does not check that its schemas exist) and an
//! application_name. Each goes in a simple query of its own, so that no ROLLBACK of the client undoes it.

use std::sync::Arc;

use crate::protocol::message;
use crate::sql::quote;

/// The settings of a session that greenroom carries from server to server.
#[derive(Debug, Clone)]
pub struct Dress {
    /// The schemas to look in, as SET takes them; `None` where the login's own default is right.
    pub search_path: Option<Arc<str>>,
    /// The client's application_name.
    pub application_name: Arc<str>,
    /// The queries that set each, made once.
    path_query: Arc<[u8]>,
    name_query: Arc<[u8]>,
}

impl Dress {
    /// The search_path that a shared server of schema division starts with, and that a RESET returns it to: a schema that
    /// nobody has. What escapes the dress finds nothing and can create nothing, instead of landing in somebody's schema.
    pub const NOWHERE: &str = "\"greenroom: search_path was reset\"";

    /// What a shared server calls itself until it is dressed, and again after a RESET.
    pub const OWN_NAME: &str = "greenroom";

    /// The statement that sets the search_path.
    pub fn search_path_sql(&self) -> String {
        format!("SET search_path TO {}", self.search_path.as_deref().unwrap_or("DEFAULT"))
    }

    /// The statement that sets the application_name.
    pub fn application_name_sql(&self) -> String {
        format!("SET application_name TO {}", quote::literal(&self.application_name))
    }

    /// The dress of a session with this search_path, written as SET takes it.
    pub fn new(search_path: Option<Arc<str>>, application_name: &str) -> Self {
        let mut dress = Self {
            search_path,
            application_name: application_name.into(),
            path_query: Arc::default(),
            name_query: Arc::default(),
        };
        let query = |sql: String| {
            let mut out = Vec::new();
            message::query(&mut out, &sql);
            out.into()
        };
        dress.path_query = query(dress.search_path_sql());
        dress.name_query = query(dress.application_name_sql());
        dress
    }

    /// Appends the queries that turn this dress into `wanted`, and says how many answers they bring.
    pub fn change_to(&mut self, wanted: &Self, out: &mut Vec<u8>) -> u32 {
        let mut cycles = 0;
        if self.search_path != wanted.search_path {
            out.extend_from_slice(&wanted.path_query);
            cycles += 1;
        }
        if self.application_name != wanted.application_name {
            out.extend_from_slice(&wanted.name_query);
            cycles += 1;
        }
        if cycles > 0 {
            self.clone_from(wanted);
        }
        cycles
    }

    /// Whether PostgreSQL keeps `name` exactly as it is: printable ASCII, shorter than an identifier's 64 bytes.
    ///
    /// Source: PostgreSQL, "application_name". Anything else comes back changed, and only a server can tell how.
    pub fn is_plain_application_name(name: &str) -> bool {
        name.len() < 64 && name.bytes().all(|byte| (b' '..=b'~').contains(&byte))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_sent_when_nothing_differs() {
        let mut out = Vec::new();
        let wanted = Dress::new(Some("catalog".into()), "backstage_plugin_catalog");
        assert_eq!(wanted.clone().change_to(&wanted, &mut out), 0);
        assert!(out.is_empty());
    }

    #[test]
    fn each_difference_is_a_query_of_its_own() {
        let (mut dress, mut out) = (Dress::new(None, "greenroom"), Vec::new());
        let wanted = Dress::new(Some("\"user-settings\"".into()), "it's");
        assert_eq!(dress.change_to(&wanted, &mut out), 2);
        let text = String::from_utf8_lossy(&out).into_owned();
        assert!(text.contains("SET search_path TO \"user-settings\"\0Q"), "{text}");
        assert!(text.ends_with("SET application_name TO 'it''s'\0"), "{text}");
        assert_eq!(dress.change_to(&wanted, &mut out), 0);
    }

    #[test]
    fn a_name_that_postgresql_would_change_is_not_plain() {
        assert!(Dress::is_plain_application_name("backstage_plugin_catalog"));
        for name in ["é", "a\tb", &"x".repeat(64)] {
            assert!(!Dress::is_plain_application_name(name), "{name}");
        }
    }
}
