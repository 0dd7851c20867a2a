//! `${VAR}` in a string, by the rules of Backstage's configuration loader.

use crate::config::Environment;

/// What became of a string.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Substituted {
    /// The string with its variables filled in.
    Text(String),
    /// A variable without a value takes the whole string with it; this is its name.
    Unset(String),
}

/// Fills in the variables of `input`.
///
/// `${NAME}` is the variable, trimmed; `${NAME:-default}` the default when it is unset or empty; `$${NAME}` the literal
/// `${NAME}`. A variable that has no value (set but empty is a value) makes the whole string undefined. Braces do not
/// nest, and nothing else is special.
pub(super) fn substitute(input: &str, environment: &Environment) -> Substituted {
    let mut output = String::with_capacity(input.len());
    let mut rest = input;
    let mut unset = None;
    while let Some(start) = rest.find("${") {
        let (before, reference) = rest.split_at(start);
        let inner = &reference[2..];
        let Some(end) = inner.find(['{', '}']).filter(|&end| inner[end..].starts_with('}')) else {
            output.push_str(before);
            output.push_str("${");
            rest = inner;
            continue;
        };
        rest = &inner[end + 1..];
        let inner = &inner[..end];
        if let Some(before) = before.strip_suffix('$') {
            output.extend([before, "${", inner, "}"]);
            continue;
        }
        output.push_str(before);
        match value(inner, environment) {
            Ok(value) => output.push_str(value),
            Err(name) => unset = unset.or(Some(name)),
        }
    }
    output.push_str(rest);
    match unset {
        Some(name) => Substituted::Unset(name.to_owned()),
        None => Substituted::Text(output),
    }
}

/// The value of what stands between the braces, or the name of the variable that has none.
fn value<'v>(reference: &'v str, environment: &'v Environment) -> Result<&'v str, &'v str> {
    let (name, default) = match reference.split_once(":-") {
        Some((name, default)) => (trim(name), Some(trim(default))),
        None => (trim(reference), None),
    };
    let found = environment.get(name).map(|value| trim(value));
    match default {
        None => found.ok_or(name),
        Some(default) => found.into_iter().chain([default]).find(|value| !value.is_empty()).ok_or(name),
    }
}

/// Trims what JavaScript trims: a byte order mark as well, a next-line character not.
pub(super) fn trim(text: &str) -> &str {
    text.trim_matches(is_space)
}

/// Trims the end as JavaScript does.
pub(super) fn trim_end(text: &str) -> &str {
    text.trim_end_matches(is_space)
}

fn is_space(character: char) -> bool {
    character == '\u{feff}' || (character.is_whitespace() && character != '\u{85}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(input: &str) -> Substituted {
        let environment = [("HOST", " db.example \n"), ("EMPTY", ""), ("NAME-x", "dashed")];
        substitute(input, &environment.map(|(name, value)| (name.into(), value.into())).into())
    }

    fn text(expected: &str) -> Substituted {
        Substituted::Text(expected.into())
    }

    #[test]
    fn a_variable_is_filled_in_and_trimmed_anywhere_in_a_string() {
        assert_eq!(of("${HOST}"), text("db.example"));
        assert_eq!(of("pg://${ HOST }:5432/${HOST}"), text("pg://db.example:5432/db.example"));
        assert_eq!(of("${NAME-x}"), text("dashed"));
    }

    #[test]
    fn what_javascript_takes_for_space_is_trimmed() {
        assert_eq!(trim("\u{feff}\u{a0}a b\u{85}\r\n"), "a b\u{85}");
        assert_eq!(trim_end(" a\u{2028}\n"), " a");
    }

    #[test]
    fn set_but_empty_is_a_value_and_unset_drops_the_whole_string() {
        assert_eq!(of("a${EMPTY}b"), text("ab"));
        assert_eq!(of("a${NOPE}b${HOST}"), Substituted::Unset("NOPE".into()));
    }

    #[test]
    fn a_default_serves_for_unset_and_for_empty() {
        assert_eq!(of("${NOPE:-5432}"), text("5432"));
        assert_eq!(of("${EMPTY:- spaced }"), text("spaced"));
        assert_eq!(of("${HOST:-other}"), text("db.example"));
        assert_eq!(of("${NOPE:-a:-b}"), text("a:-b"));
        assert_eq!(of("${NOPE:-}"), Substituted::Unset("NOPE".into()));
        assert_eq!(of("${EMPTY:-}"), Substituted::Unset("EMPTY".into()));
    }

    #[test]
    fn a_doubled_dollar_is_literal() {
        assert_eq!(of("$${HOST}"), text("${HOST}"));
        assert_eq!(of("$$${HOST}"), text("$${HOST}"));
        assert_eq!(of("$${NOPE} ${HOST}"), text("${NOPE} db.example"));
    }

    #[test]
    fn what_only_looks_like_a_variable_is_left_alone() {
        for literal in ["$HOST", "${HOST", "${{HOST}", "$", "$}{", "{HOST}", ""] {
            let expected = if literal == "${{HOST}" { "${{HOST}" } else { literal };
            assert_eq!(of(literal), text(expected));
        }
        assert_eq!(of("${a{${HOST}"), text("${a{db.example"));
        assert_eq!(of("pa$$word"), text("pa$$word"));
    }
}
