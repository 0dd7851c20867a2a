//! `connection.type`: logins with a cloud's tokens. Backstage makes these itself; greenroom is given them by a command or a
//! file, and says which.

use super::password::Said;
use super::section::Section;
use crate::config::mistake::Mistakes;

/// Checks that greenroom can log in where `connection.type` is not a password's. `None` is a mistake, which is noted.
pub(super) fn check(section: &Section<'_>, said: &Said, mistakes: &Mistakes) -> Option<()> {
    if !section.has("type") {
        return Some(());
    }
    let kind = section.text("type")?;
    // A token is as good from a file that somebody else keeps fresh.
    let has_tokens = said.command.is_some() || section.origin_of("password").text_file().is_some();
    let problem = match kind {
        "default" => return Some(()),
        "rds" | "azure" if has_tokens => return Some(()),
        // Whoever names a host means the Auth Proxy, which logs in itself, or the instance's own address.
        "cloudsql" if section.text("host").is_some() => return Some(()),
        "rds" => rds(section, said),
        "azure" => azure(said),
        "cloudsql" => cloudsql(said),
        other => format!("found {other}, expected default, rds, azure or cloudsql"),
    };
    // A type that the base connection has is told once, and not for every plugin that inherits it.
    if !mistakes.has(&section.origin_of("type")) {
        section.mistake("type", problem);
    }
    None
}

fn rds(section: &Section<'_>, said: &Said) -> String {
    let value = |key: &str| section.text(key).map_or_else(|| format!("<{key}>"), word);
    let port = section.get("port").and_then(|_| section.port("port", 1)).unwrap_or(5432);
    format!(
        "rds logs in with tokens of 15 minutes, expected the command that prints them: {}: {{ command: [aws, rds, \
         generate-db-auth-token, --hostname, {}, --port, {port}, --username, {}, --region, {}] }}, and beside type \
         ssl: {{ ca: {{ $file: global-bundle.pem }} }} (docs/credentials.md)",
        said.command_origin.dotted(),
        value("host"),
        value("user"),
        value("region"),
    )
}

fn azure(said: &Said) -> String {
    format!(
        "azure logs in with tokens of an hour, expected the command that prints them: {}: {{ command: [az, account, \
         get-access-token, --resource-type, oss-rdbms] }}, and beside type host, user and ssl: true \
         (docs/credentials.md)",
        said.command_origin.dotted()
    )
}

fn cloudsql(said: &Said) -> String {
    format!(
        "cloudsql is Google's own connector, which greenroom has not, expected host beside it: 127.0.0.1, where the Cloud \
         SQL Auth Proxy listens (cloud-sql-proxy --auto-iam-authn <instance>), or the instance's private IP with ssl and \
         {}: {{ command: [gcloud, sql, generate-login-token] }} (docs/credentials.md)",
        said.command_origin.dotted()
    )
}

/// A value as an element of a YAML list.
fn word(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    match text.bytes().all(plain) && text.starts_with(|first: char| first.is_ascii_alphabetic()) {
        true => text.to_owned(),
        false => serde_json::Value::from(text).to_string(),
    }
}
