//! `${VAR}` in a string, by the rules of Backstage's configuration loader.

use crate::config::Environment;

/// What became of a string.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::config) enum Substituted {
    /// The string with its variables filled in.
    Text(String),
    /// A variable without a value takes the whole string with it; this is its name.
    Unset(String),
}

/// A part of a string.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::config) enum Part<'t> {
    /// Text that stands for itself.
    Literal(&'t str),
    /// `$${NAME}`, which means `${NAME}`; this is the latter.
    Escaped(&'t str),
    /// `${NAME}` or `${NAME:-default}`, with the spaces taken off.
    Variable {
        /// The variable.
        name: &'t str,
        /// What serves for it when it is unset or empty.
        default: Option<&'t str>,
    },
}

/// Takes a string apart. Braces do not nest, and nothing else is special.
pub(in crate::config) fn parts(input: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let (mut plain, mut from) = (0, 0);
    while let Some(start) = input[from..].find("${").map(|found| from + found) {
        let inside = start + 2;
        let Some(end) = input[inside..].find(['{', '}']).map(|found| inside + found) else { break };
        if !input[end..].starts_with('}') {
            from = inside;
            continue;
        }
        let escaped = input[plain..start].ends_with('$');
        parts.push(Part::Literal(&input[plain..start - usize::from(escaped)]));
        parts.push(match escaped {
            true => Part::Escaped(&input[start..=end]),
            false => variable(&input[inside..end]),
        });
        (plain, from) = (end + 1, end + 1);
    }
    parts.push(Part::Literal(&input[plain..]));
    parts.retain(|part| *part != Part::Literal(""));
    parts
}

/// What stands between the braces.
fn variable(reference: &str) -> Part<'_> {
    match reference.split_once(":-") {
        Some((name, default)) => Part::Variable { name: trim(name), default: Some(trim(default)) },
        None => Part::Variable { name: trim(reference), default: None },
    }
}

/// Fills in the variables of `input`.
///
/// `${NAME}` is the variable, trimmed; `${NAME:-default}` the default when it is unset or empty; `$${NAME}` the literal
/// `${NAME}`. A variable that has no value (set but empty is a value) makes the whole string undefined.
pub(in crate::config) fn substitute(input: &str, environment: &Environment) -> Substituted {
    let mut output = String::with_capacity(input.len());
    let mut unset = None;
    for part in parts(input) {
        match part {
            Part::Literal(text) | Part::Escaped(text) => output.push_str(text),
            Part::Variable { name, default } => match value(name, default, environment) {
                Some(value) => output.push_str(value),
                None => unset = unset.or(Some(name)),
            },
        }
    }
    match unset {
        Some(name) => Substituted::Unset(name.to_owned()),
        None => Substituted::Text(output),
    }
}

/// The value of a variable, if it has one.
fn value<'v>(name: &str, default: Option<&'v str>, environment: &'v Environment) -> Option<&'v str> {
    let found = environment.get(name).map(|value| trim(value));
    match default {
        None => found,
        Some(default) => found.into_iter().chain([default]).find(|value| !value.is_empty()),
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
    fn the_parts_of_a_string_are_told_apart() {
        let variable = |name, default| Part::Variable { name, default };
        assert_eq!(
            parts("pg://${ U }:${P:- x }@$${H}/d"),
            [
                Part::Literal("pg://"),
                variable("U", None),
                Part::Literal(":"),
                variable("P", Some("x")),
                Part::Literal("@"),
                Part::Escaped("${H}"),
                Part::Literal("/d"),
            ]
        );
        assert_eq!(parts("${a{${B}$"), [Part::Literal("${a{"), variable("B", None), Part::Literal("$")]);
        assert_eq!(parts(""), []);
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
