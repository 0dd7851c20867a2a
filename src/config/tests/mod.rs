//! Promises about whole configurations.

mod backstage;
mod credentials;
mod documents;
mod files;
mod guides;
mod mistakes;
mod overlay;
mod settings;

use super::{Config, Connection, PluginPlace, PostgresPlace};

/// The smallest `backend.database`, with `more` below it, indented by four.
fn backend(more: &str) -> String {
    format!(
        "backend:\n  database:\n    client: pg\n    connection: {{ host: db, user: backstage, password: geheim, database: \
         shared }}\n{more}"
    )
}

/// The smallest configuration with `more` as its last lines.
fn with(more: &str) -> String {
    format!("{}{more}", backend(""))
}

fn config(text: &str) -> Config {
    Config::parse(text).unwrap_or_else(|errors| panic!("{errors}\n\n{text}"))
}

/// What is wrong with `text`, one mistake a line.
fn errors(text: &str) -> String {
    Config::parse(text).expect_err(text).to_string()
}

fn place(config: &Config, plugin: &str) -> PostgresPlace {
    match &config.database.plugin(plugin).place {
        PluginPlace::Postgres(place) => place.clone(),
        elsewhere => panic!("{plugin} is in {elsewhere:?}"),
    }
}

fn connection(text: &str) -> Connection {
    place(&config(text), "catalog").connection
}
