//! The schema that extensions are in: which names it may have, and where it means anything.

use std::sync::Arc;

use super::database::Databases;
use super::section::Section;
use crate::config::{DatabaseConfig, Division, MAX_NAME_BYTES, PluginPlace, PluginSettings, is_plugin_id};

const KEY: &str = "extensionsSchema";

impl Databases<'_> {
    /// The schema of extensions for a plugin: that of its own section, or else everybody's.
    pub(super) fn extensions(&self, own: Option<&Section<'_>>) -> Option<Arc<str>> {
        let base = self.schema_of_extensions(&self.own);
        own.and_then(|section| self.schema_of_extensions(section)).or(base)
    }

    fn schema_of_extensions(&self, section: &Section<'_>) -> Option<Arc<str>> {
        let name = section.text(KEY)?;
        let configured = |id: &str| [&self.backend, &self.own].iter().any(|all| all.section("plugin").has(id));
        let plugin = name.strip_prefix(&*self.schema_prefix).filter(|id| is_plugin_id(id));
        if name.len() > MAX_NAME_BYTES || name.contains('\0') {
            section.expected(KEY, format!("the name of a schema, at most {MAX_NAME_BYTES} bytes"));
        } else if name.starts_with("pg_") || matches!(name, "information_schema" | "$user") {
            section.expected(KEY, "a schema of your own for extensions, not one of PostgreSQL's");
        } else if let Some(id) = plugin.filter(|id| !self.schema_prefix.is_empty() || configured(id)) {
            let problem = format!("found {name}, which is the schema of plugin {id}; expected one of no plugin");
            section.mistake(KEY, problem);
        }
        Some(name.into())
    }

    /// Tells what a schema of extensions means that is everybody's, and that without schema division none means anything.
    pub(super) fn warn_about_extensions(&self, config: &DatabaseConfig, warnings: &mut Vec<String>) {
        if config.is_for_extensions("public") {
            warnings.push(format!(
                "{KEY} is public: a plugin finds every table of public that it has no table of the same name for, whoever \
                 made it; a schema that holds nothing but extensions is safer"
            ));
        }
        let useless = |section: &Section<'_>, means_something: bool| {
            let useless = section.has(KEY) && !means_something;
            useless.then(|| format!("{} means nothing without division: schema", section.origin_of(KEY).dotted()))
        };
        let anywhere = config.plugins.values().chain([&config.base]).any(is_in_a_schema);
        warnings.extend(useless(&self.own, anywhere));
        for (id, settings) in &config.plugins {
            warnings.extend(useless(&self.own.section("plugin").section(id), is_in_a_schema(settings)));
        }
    }
}

fn is_in_a_schema(settings: &PluginSettings) -> bool {
    matches!(&settings.place, PluginPlace::Postgres(place) if place.division == Division::Schema)
}
