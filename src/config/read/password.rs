//! What is said about passwords outside of connections: `clientPassword` and `passwordCommand`.

use super::section::Section;
use crate::config::yaml::{Node, Origin, Value};
use crate::config::{PasswordCommand, SecretText, ServerAddress};

/// What `greenroom`, or the section of one plugin or database in it, says about passwords.
#[derive(Clone)]
pub(super) struct Said {
    /// Where a command is written, or would be.
    pub(super) command_origin: Origin,
    /// What clients prove.
    pub(super) client: Option<SecretText>,
    /// What prints PostgreSQL's password, its `{host}`, `{port}` and `{user}` not filled in yet.
    pub(super) command: Option<PasswordCommand>,
    /// Something about passwords is written that cannot be read, which is noted.
    pub(super) unreadable: bool,
}

impl Said {
    /// Reads what one section says.
    pub(super) fn of(section: &Section<'_>) -> Self {
        let client = section.secret_text("clientPassword");
        let command = section.has("passwordCommand").then(|| command(&section.section("passwordCommand")));
        Self {
            command_origin: section.origin_of("passwordCommand"),
            unreadable: client.is_none() || command.as_ref().is_some_and(Option::is_none),
            client: client.flatten(),
            command: command.flatten(),
        }
    }

    /// Adds what is said for all. It does not count for a connection that brings a password of its own: that is nearer.
    pub(super) fn or(self, all: &Self, own_password: bool) -> Self {
        let all = Some(all).filter(|_| !own_password);
        Self {
            client: self.client.or_else(|| all?.client.clone()),
            command: self.command.or_else(|| all?.command.clone()),
            unreadable: self.unreadable || all.is_some_and(|all| all.unreadable),
            ..self
        }
    }
}

/// The command with its placeholders filled in. Others than these three stay as they are: a command may have braces of its
/// own.
pub(super) fn filled(template: PasswordCommand, address: &ServerAddress, user: &str) -> PasswordCommand {
    let (host, port) = match address {
        ServerAddress::Tcp { host, port } => (host.to_string(), port),
        ServerAddress::Unix { directory, port } => (directory.display().to_string(), port),
    };
    let values = [("{host}", host), ("{port}", port.to_string()), ("{user}", user.to_owned())];
    let fill = |word: String| fill(&word, &values);
    PasswordCommand { command: template.command.into_iter().map(fill).collect(), ..template }
}

/// Fills in from left to right, so that a value is never looked into.
fn fill(word: &str, values: &[(&str, String)]) -> String {
    let (mut out, mut rest) = (String::with_capacity(word.len()), word);
    let first = |text: &str| {
        let found = values.iter().filter_map(|(name, value)| Some((text.find(name)?, *name, value.clone())));
        found.min_by_key(|(at, ..)| *at)
    };
    while let Some((at, name, value)) = first(rest) {
        out.extend([&rest[..at], &value]);
        rest = &rest[at + name.len()..];
    }
    out + rest
}

fn command(section: &Section<'_>) -> Option<PasswordCommand> {
    section.map()?;
    let time = |key: &str, standard| match section.has(key) {
        true => section.millis(key),
        false => Some(standard),
    };
    let refresh_before = match section.has("refreshBeforeMillis") {
        true => section.millis_or_off("refreshBeforeMillis").map(Option::unwrap_or_default),
        false => Some(PasswordCommand::REFRESH_BEFORE),
    };
    let (timeout, valid_for) =
        (time("timeoutMillis", PasswordCommand::TIMEOUT), time("validForMillis", PasswordCommand::VALID_FOR));
    Some(PasswordCommand {
        command: words(section)?,
        timeout: timeout?,
        valid_for: valid_for?,
        refresh_before: refresh_before?,
    })
}

/// The program and its arguments. A number is taken as it is written: ports are arguments.
fn words(section: &Section<'_>) -> Option<Vec<String>> {
    let expected = "a list of the program and its arguments, such as [aws, rds, generate-db-auth-token, ...]";
    let list = match section.get("command").map(|node| &node.value) {
        Some(Value::List(list)) if list.is_empty() => {
            section.mistake("command", format!("found an empty list, expected {expected}"));
            return None;
        }
        Some(Value::List(list)) => list,
        _ => {
            section.expected("command", expected);
            return None;
        }
    };
    let word = |node: &Node| match &node.value {
        Value::Text(text) if !text.contains('\0') => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    let words: Option<Vec<String>> = list.iter().map(word).collect();
    let words = words.filter(|words| words.first().is_some_and(|program| !program.is_empty()));
    if words.is_none() {
        section.mistake("command", format!("has an element that is no text, or no program, expected {expected}"));
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_filled_in_once_and_other_braces_left_alone() {
        let values = [("{host}", "{user}".to_owned()), ("{user}", "me".to_owned())];
        assert_eq!(fill("--for={user}@{host}:{user}", &values), "--for=me@{user}:me");
        assert_eq!(fill("{accessToken:accessToken}", &values), "{accessToken:accessToken}");
        assert_eq!(fill("", &values), "");
    }
}
