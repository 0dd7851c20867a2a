//! A client's startup message, read once.

use bytes::{Bytes, BytesMut};

use crate::protocol::body::cstr;
use crate::protocol::message::{Report, Severity, frame, put_str};
use crate::protocol::sqlstate::{
    FEATURE_NOT_SUPPORTED, INVALID_AUTHORIZATION_SPECIFICATION, INVALID_CATALOG_NAME, INVALID_PARAMETER_VALUE,
    PROTOCOL_VIOLATION,
};
use crate::protocol::tag::Backend;

/// The oldest version of the protocol that is spoken here: 3.0.
const OLDEST: u32 = 3 << 16;

/// The newest one: 3.2, which differs from it by longer cancel keys. 3.1 was never given out.
const NEWEST: u32 = OLDEST + 2;

/// What a client asks for when it begins a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Startup {
    /// The role it wants to be.
    pub user: String,
    /// The logical database it wants; its user's name if it names none.
    pub database: String,
    /// Command-line options (`-c name=value`), as sent.
    pub options: Option<Bytes>,
    /// Whether it asks for a replication connection.
    pub replication: bool,
    /// Settings for the session (`application_name`, `client_encoding`, ...), in the order they came.
    pub parameters: Vec<(Bytes, Bytes)>,
    /// Whether it takes cancel keys of more than four bytes.
    pub takes_long_keys: bool,
    /// NegotiateProtocolVersion, to be written before authentication; empty if the client asked for nothing newer.
    pub negotiation: Vec<u8>,
    /// What was read beyond the startup message. Before a password is asked for there is nothing to say: only a client
    /// that is let in by trust may have sent something.
    pub leftover: BytesMut,
}

impl Startup {
    /// The setting of this name, in any case, if the client sent it; the last one counts.
    pub fn parameter(&self, name: &str) -> Option<&[u8]> {
        let named = |(key, _): &&(Bytes, Bytes)| key.eq_ignore_ascii_case(name.as_bytes());
        self.parameters.iter().rfind(named).map(|(_, value)| &value[..])
    }

    /// What the client calls itself.
    pub fn application_name(&self) -> Option<&[u8]> {
        self.parameter("application_name")
    }

    /// The encoding that the client asked for.
    pub fn client_encoding(&self) -> Option<&[u8]> {
        self.parameter("client_encoding")
    }

    /// Reads `body`, which follows the version; the errors are PostgreSQL's own.
    pub(super) fn read(version: u32, body: &Bytes, leftover: BytesMut) -> Result<Self, Report> {
        let (major, minor) = (version >> 16, version & 0xffff);
        if major != NEWEST >> 16 {
            let message = format!("unsupported frontend protocol {major}.{minor}: server supports 3.0 to 3.2");
            return Err(fatal(FEATURE_NOT_SUPPORTED, message));
        }
        let (mut user, mut database) = (None, None);
        let (mut options, mut replication) = (None, false);
        let (mut parameters, mut unknown) = (Vec::new(), Vec::new());
        for (name, value) in pairs(body)? {
            match &name[..] {
                b"user" => user = Some(value),
                b"database" => database = Some(value),
                b"options" => options = Some(value),
                b"replication" => replication = wants_replication(&value)?,
                name if name.starts_with(b"_pq_.") => unknown.push(body.slice_ref(name)),
                _ => parameters.push((name, value)),
            }
        }
        let user = match user {
            Some(user) if !user.is_empty() => text(&user, INVALID_AUTHORIZATION_SPECIFICATION, "user name")?,
            _ => {
                let message = "no PostgreSQL user name specified in startup packet";
                return Err(fatal(INVALID_AUTHORIZATION_SPECIFICATION, message));
            }
        };
        let database = match database {
            Some(database) if !database.is_empty() => text(&database, INVALID_CATALOG_NAME, "database name")?,
            _ => user.clone(),
        };
        let spoken = version.min(NEWEST);
        let is_as_asked = spoken == version && unknown.is_empty();
        let negotiation = if is_as_asked { Vec::new() } else { negotiation(spoken, &unknown) };
        let takes_long_keys = spoken == NEWEST;
        Ok(Self { user, database, options, replication, parameters, takes_long_keys, negotiation, leftover })
    }
}

/// Names and values up to the empty name, which must be the last byte.
fn pairs(body: &Bytes) -> Result<Vec<(Bytes, Bytes)>, Report> {
    let misplaced = || fatal(PROTOCOL_VIOLATION, "invalid startup packet layout: expected terminator as last byte");
    let (mut found, mut rest) = (Vec::new(), &body[..]);
    loop {
        let (name, tail) = cstr(rest).ok_or_else(misplaced)?;
        if name.is_empty() {
            return if tail.is_empty() { Ok(found) } else { Err(misplaced()) };
        }
        let (value, tail) = cstr(tail).ok_or_else(misplaced)?;
        found.push((body.slice_ref(name), body.slice_ref(value)));
        rest = tail;
    }
}

fn text(bytes: &[u8], code: &'static str, what: &str) -> Result<String, Report> {
    let not_utf8 = |_| fatal(code, format!("{what} in startup packet is not valid UTF-8"));
    std::str::from_utf8(bytes).map(str::to_owned).map_err(not_utf8)
}

fn wants_replication(value: &[u8]) -> Result<bool, Report> {
    // As parse_bool: any unambiguous beginning of these words, in any case.
    let value = value.to_ascii_lowercase();
    let begins = |word: &str, least: usize| value.len() >= least && word.as_bytes().starts_with(&value);
    if value == b"database" || begins("true", 1) || begins("yes", 1) || value == b"on" || value == b"1" {
        return Ok(true);
    }
    if begins("false", 1) || begins("no", 1) || begins("off", 2) || value == b"0" {
        return Ok(false);
    }
    let value = String::from_utf8_lossy(&value).into_owned();
    Err(fatal(INVALID_PARAMETER_VALUE, format!("invalid value for parameter \"replication\": \"{value}\"")))
}

/// NegotiateProtocolVersion as PostgreSQL sends it: the whole version that is spoken, and the options that it does not know.
fn negotiation(spoken: u32, unknown: &[Bytes]) -> Vec<u8> {
    let mut out = Vec::new();
    let count = u32::try_from(unknown.len()).expect("a startup message holds a few thousand at most");
    frame(&mut out, Backend::NEGOTIATE_PROTOCOL.0, |out| {
        out.extend_from_slice(&spoken.to_be_bytes());
        out.extend_from_slice(&count.to_be_bytes());
        for name in unknown {
            put_str(out, name);
        }
    });
    out
}

fn fatal(code: &'static str, message: impl Into<String>) -> Report {
    Report::new(Severity::Fatal, code, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(version: u32, body: &'static [u8]) -> Result<Startup, Report> {
        Startup::read(version, &Bytes::from_static(body), BytesMut::new())
    }

    #[test]
    fn the_fields_are_told_apart_and_settings_keep_their_order() {
        let startup = read(
            NEWEST,
            b"user\0backstage\0database\0backstage_plugin_catalog\0options\0-c a=b\0Application_Name\0x\0TimeZone\0UTC\0\
              application_name\0y\xff\0\0",
        )
        .unwrap();
        assert_eq!((&*startup.user, &*startup.database), ("backstage", "backstage_plugin_catalog"));
        assert_eq!(startup.options.as_deref(), Some(&b"-c a=b"[..]));
        assert_eq!(startup.application_name(), Some(&b"y\xff"[..]));
        assert_eq!(startup.parameters[1].0, "TimeZone");
        assert_eq!(startup.client_encoding(), None);
        assert!(startup.negotiation.is_empty() && !startup.replication);
    }

    #[test]
    fn the_database_is_the_user_when_none_is_named() {
        assert_eq!(read(NEWEST, b"user\0backstage\0\0").unwrap().database, "backstage");
        assert_eq!(read(NEWEST, b"user\0backstage\0database\0\0\0").unwrap().database, "backstage");
    }

    #[test]
    fn a_newer_minor_version_and_unknown_options_are_negotiated() {
        let startup = read(NEWEST + 7, b"user\0u\0_pq_.a\0on\0_pq_.b\0\0\0").unwrap();
        assert_eq!(startup.negotiation, b"v\0\0\0\x1a\0\x03\0\x02\0\0\0\x02_pq_.a\0_pq_.b\0");
        assert_eq!(read(NEWEST + 1, b"user\0u\0\0").unwrap().negotiation, b"v\0\0\0\x0c\0\x03\0\x02\0\0\0\0");
        assert!(startup.parameters.is_empty());
        let old = read(OLDEST, b"user\0u\0_pq_.a\0on\0\0").unwrap();
        assert_eq!(old.negotiation, b"v\0\0\0\x13\0\x03\0\0\0\0\0\x01_pq_.a\0");
    }

    #[test]
    fn who_speaks_the_newest_version_takes_long_keys() {
        for (version, long) in [(OLDEST, false), (OLDEST + 1, false), (NEWEST, true), (NEWEST + 7, true)] {
            let startup = read(version, b"user\0u\0\0").unwrap();
            assert_eq!(
                (startup.takes_long_keys, startup.negotiation.is_empty()),
                (long, version <= NEWEST),
                "{version}"
            );
        }
    }

    #[test]
    fn what_postgresql_refuses_is_refused_in_its_words() {
        let refusal = |version, body| {
            let report = read(version, body).unwrap_err();
            (report.code, report.message)
        };
        let (code, message) = refusal(2 << 16, b"anything");
        assert_eq!((code, &*message), ("0A000", "unsupported frontend protocol 2.0: server supports 3.0 to 3.2"));
        assert_eq!(refusal(NEWEST, b"database\0d\0\0").0, "28000");
        assert_eq!(refusal(NEWEST, b"user\0\0\0").0, "28000");
        for broken in [&b""[..], b"user\0u\0", b"user\0u", b"user\0u\0\0more\0", b"user\0u\0\0\0"] {
            assert_eq!(refusal(NEWEST, broken).0, "08P01", "{broken:?}");
        }
        assert_eq!(refusal(NEWEST, b"user\0j\xf6rg\0\0").0, "28000");
        assert_eq!(refusal(NEWEST, b"user\0u\0database\0\xf6\0\0").0, "3D000");
        assert_eq!(refusal(NEWEST, b"user\0u\0replication\0maybe\0\0").0, "22023");
    }

    #[test]
    fn replication_is_read_as_postgresql_reads_it() {
        for (value, wanted) in
            [("true", true), ("ON", true), ("database", true), ("t", true), ("0", false), ("of", false)]
        {
            assert_eq!(wants_replication(value.as_bytes()), Ok(wanted), "{value}");
        }
        assert!(wants_replication(b"o").is_err() && wants_replication(b"").is_err());
    }

    proptest! {
        #[test]
        fn no_startup_message_makes_it_panic(version in any::<u32>(), body in proptest::collection::vec(any::<u8>(), 0..64)) {
            let body = Bytes::from(body);
            let _ = Startup::read(version, &body, BytesMut::new());
            let _ = Startup::read(NEWEST, &body, BytesMut::new());
        }
    }
}
