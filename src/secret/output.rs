//! What a command may print: a bare password, or an object that has one and tells when it ends.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use secrecy::SecretString;
use serde_json::{Map, Value};

use super::time;

/// What was printed, understood.
pub(super) struct Output {
    pub(super) password: SecretString,
    /// How much longer it is good for, where that was printed as well.
    pub(super) lifetime: Option<Duration>,
}

/// Why what was printed is no password. The messages never repeat it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OutputError {
    /// Nothing.
    #[error("printed nothing")]
    Nothing,
    /// More than a password can be.
    #[error("printed more than {} bytes", super::run::MAX_BYTES)]
    TooMuch,
    /// Bytes that are no text.
    #[error("printed something that is not UTF-8")]
    NotText,
    /// Several lines, or something that no password has.
    #[error("printed several lines or control characters, expected a password alone or a JSON object")]
    SeveralLines,
    /// Something that begins like an object.
    #[error("printed something that begins with a brace and is no JSON object")]
    NotJson,
    /// An object without a password.
    #[error("printed a JSON object without text in password or accessToken")]
    NoPassword,
    /// A time that cannot be understood.
    #[error("printed a JSON object whose {0} is neither RFC 3339 nor seconds since 1970")]
    NotATime(&'static str),
    /// A password that is over.
    #[error("printed a password that has expired already")]
    Expired,
}

/// Understands the standard output of a command that ended well at `now`.
pub(super) fn understand(stdout: &[u8], now: SystemTime) -> Result<Output, OutputError> {
    let text = std::str::from_utf8(stdout).map_err(|_| OutputError::NotText)?.trim();
    if text.is_empty() {
        return Err(OutputError::Nothing);
    }
    if text.starts_with('{') {
        return object(text, now);
    }
    match text.chars().any(char::is_control) {
        true => Err(OutputError::SeveralLines),
        false => Ok(Output { password: text.into(), lifetime: None }),
    }
}

/// `{"password": ..., "expiresAt": ...}`, or what `az account get-access-token` prints.
fn object(text: &str, now: SystemTime) -> Result<Output, OutputError> {
    let object: Map<String, Value> = serde_json::from_str(text).map_err(|_| OutputError::NotJson)?;
    let text = |key: &str| object.get(key)?.as_str().filter(|text| !text.is_empty());
    let password = text("password").or_else(|| text("accessToken")).ok_or(OutputError::NoPassword)?;
    // Azure's `expiresOn` is in local time without saying which, and older versions have no other: such a token is good
    // for as long as is configured.
    let expires = ["expiresAt", "expires_on"].into_iter().find_map(|key| Some((key, object.get(key)?)));
    let lifetime = match expires.filter(|(_, value)| !value.is_null()) {
        None => None,
        Some((key, value)) => Some(lifetime(value, now, key)?),
    };
    Ok(Output { password: password.into(), lifetime })
}

fn lifetime(value: &Value, now: SystemTime, key: &'static str) -> Result<Duration, OutputError> {
    let seconds = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.parse().ok().or_else(|| time::rfc3339(text)),
        _ => None,
    };
    // Milliseconds since 1970 would be a time far away, and the token would never be renewed.
    let seconds = seconds.filter(|seconds| (0.0..1e11).contains(seconds)).ok_or(OutputError::NotATime(key))?;
    let left = (UNIX_EPOCH + Duration::from_secs_f64(seconds)).duration_since(now);
    left.ok().filter(|left| !left.is_zero()).ok_or(OutputError::Expired)
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    const NOW: Duration = Duration::from_secs(1_764_093_440);

    fn understood(stdout: &str) -> Result<(String, Option<u64>), OutputError> {
        let output = understand(stdout.as_bytes(), UNIX_EPOCH + NOW)?;
        Ok((output.password.expose_secret().to_owned(), output.lifetime.map(|lifetime| lifetime.as_secs())))
    }

    #[test]
    fn a_bare_password_is_taken_without_its_line_end() {
        assert_eq!(understood("db.example:5432/?Action=connect&X-Amz=a%2F\n"), {
            Ok(("db.example:5432/?Action=connect&X-Amz=a%2F".to_owned(), None))
        });
        assert_eq!(understood("  two words \r\n\n"), Ok(("two words".to_owned(), None)));
    }

    #[test]
    fn an_object_tells_the_password_and_its_end_in_every_way() {
        for expires in [
            r#""expiresAt": "2025-11-25T17:58:20Z""#,
            r#""expiresAt": "2025-11-25T18:58:20.0+01:00""#,
            r#""expiresAt": 1764093500"#,
            r#""expiresAt": "1764093500""#,
            r#""expiresAt": 1764093500.25"#,
        ] {
            let read = understood(&format!(r#"{{"password": "geheim", {expires}, "more": [1]}}"#));
            assert_eq!(read, Ok(("geheim".to_owned(), Some(60))), "{expires}");
        }
        assert_eq!(understood(r#"{"password": "geheim"}"#), Ok(("geheim".to_owned(), None)));
        assert_eq!(understood(r#"{"password": "geheim", "expiresAt": null}"#), Ok(("geheim".to_owned(), None)));
    }

    #[test]
    fn what_azure_prints_is_understood() {
        let new = r#"{ "accessToken": "eyJ0", "expiresOn": "2025-11-25 18:57:20.000000", "expires_on": 1764097040,
            "subscription": "x", "tenant": "y", "tokenType": "Bearer" }"#;
        assert_eq!(understood(new), Ok(("eyJ0".to_owned(), Some(3600))));
        let old = r#"{ "accessToken": "eyJ0", "expiresOn": "2025-11-25 18:57:20.000000", "tokenType": "Bearer" }"#;
        assert_eq!(understood(old), Ok(("eyJ0".to_owned(), None)));
    }

    #[test]
    fn anything_else_is_refused_and_never_shown() {
        for (stdout, told) in [
            ("", OutputError::Nothing),
            (" \n\n", OutputError::Nothing),
            ("geheim\ngeheim", OutputError::SeveralLines),
            ("geheim\u{1b}[0m", OutputError::SeveralLines),
            ("{geheim", OutputError::NotJson),
            ("{} geheim", OutputError::NotJson),
            (r#"{"token": "geheim"}"#, OutputError::NoPassword),
            (r#"{"password": ""}"#, OutputError::NoPassword),
            (r#"{"password": 7}"#, OutputError::NoPassword),
            (r#"{"password": "geheim", "expiresAt": "soon"}"#, OutputError::NotATime("expiresAt")),
            (r#"{"password": "geheim", "expiresAt": 1764093500000}"#, OutputError::NotATime("expiresAt")),
            (r#"{"password": "geheim", "expiresAt": -1}"#, OutputError::NotATime("expiresAt")),
            (r#"{"password": "geheim", "expiresAt": "NaN"}"#, OutputError::NotATime("expiresAt")),
            (r#"{"accessToken": "geheim", "expires_on": []}"#, OutputError::NotATime("expires_on")),
            (r#"{"password": "geheim", "expiresAt": 1764093440}"#, OutputError::Expired),
            (r#"{"password": "geheim", "expiresAt": "1999-12-31T23:59:59Z"}"#, OutputError::Expired),
        ] {
            let error = understood(stdout).unwrap_err();
            assert_eq!(error, told, "{stdout}");
            assert!(!error.to_string().contains("geheim"), "{error}");
        }
        assert_eq!(understand(b"\xff\xfe", UNIX_EPOCH).err(), Some(OutputError::NotText));
    }
}
