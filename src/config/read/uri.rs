//! Connection strings, as `pg-connection-string` (node-postgres's parser) understands them.

use std::collections::BTreeMap;

/// What a connection string says, by the names of a connection object.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::config) struct Parts {
    /// `host`, `port`, `user`, `password`, `database`. What an address leaves out is not absent but empty (a database is
    /// `None`), so that it covers what stands below: a plugin's string takes nothing from the base connection.
    pub(in crate::config) fields: BTreeMap<&'static str, Option<String>>,
    /// What it asks of TLS.
    pub(in crate::config) ssl: Ssl,
}

/// TLS as a connection string asks for it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::config) enum Ssl {
    /// Not mentioned.
    #[default]
    Unsaid,
    /// `sslmode=disable`.
    Off,
    /// The plain `ssl=` parameter, to be read like the `ssl` of an object.
    Word(String),
    /// `sslmode` or one of the files.
    On {
        /// Whether the certificate is checked.
        verify: Verify,
        /// `sslrootcert`, a file.
        ca: Option<String>,
        /// `sslcert`, a file.
        cert: Option<String>,
        /// `sslkey`, a file.
        key: Option<String>,
    },
}

/// What is checked of a server's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::config) enum Verify {
    /// Nothing.
    Nothing,
    /// Its chain.
    Chain,
    /// Its chain and name.
    Full,
}

/// Takes a connection string apart. The error never repeats it, for there is a password in it.
pub(in crate::config) fn parse(text: &str) -> Result<Parts, String> {
    if text.starts_with('/') {
        let mut words = text.split(' ').map(str::to_owned);
        let given = [("host", words.next()), ("database", words.next())].into_iter().filter(|(_, word)| word.is_some());
        return Ok(Parts { fields: given.collect(), ssl: Ssl::Unsaid });
    }
    let escapes = Escapes::of(text);
    let text = match escapes {
        // An URL has no line ends or tabs; the parser takes them out.
        Escapes::Hex => text.replace(['\t', '\n', '\r'], ""),
        Escapes::Digits => text.to_owned(),
    };
    let (scheme, rest) = text.split_once("://").unwrap_or(("", &text));
    match scheme.to_ascii_lowercase().as_str() {
        "postgres" | "postgresql" => server(rest, escapes),
        "socket" => socket(rest, escapes),
        _ => Err("not a connection string; expected postgresql://user:password@host:port/database (in a password, \
                  : / ? # [ ] @ and % are percent-encoded)"
            .to_owned()),
    }
}

/// Which percent signs of a string stand for a byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Escapes {
    /// Those before two hexadecimal digits.
    Hex,
    /// Those before two decimal digits: `pg-connection-string` repairs a string with a space or a stray percent sign in a
    /// way that makes a literal of every other one.
    Digits,
}

impl Escapes {
    fn of(text: &str) -> Self {
        let bytes = text.as_bytes();
        let stray = |at: usize| match (bytes.get(at + 1), bytes.get(at + 2)) {
            (Some(high), _) if !high.is_ascii_hexdigit() => true,
            (Some(_), Some(low)) => !low.is_ascii_hexdigit(),
            _ => false,
        };
        let odd = bytes.iter().enumerate().any(|(at, byte)| *byte == b' ' || (*byte == b'%' && stray(at)));
        if odd { Self::Digits } else { Self::Hex }
    }

    fn takes(self, digit: u8) -> bool {
        match self {
            Self::Hex => digit.is_ascii_hexdigit(),
            Self::Digits => digit.is_ascii_digit(),
        }
    }
}

fn server(rest: &str, escapes: Escapes) -> Result<Parts, String> {
    let rest = rest.split('#').next().unwrap_or_default();
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (login, address) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    let (host, port) = match address.strip_prefix('[').and_then(|address| address.split_once(']')) {
        Some((host, port)) => (host, port.strip_prefix(':').unwrap_or(port)),
        None => address.split_once(':').unwrap_or((address, "")),
    };
    let query = parameters(query, escapes)?;
    let given = |key: &str, otherwise: &str| match query.get(key).filter(|value| !value.is_empty()) {
        Some(value) => Ok(value.clone()),
        None => decode(otherwise, escapes, Within::Part),
    };
    let fields = BTreeMap::from([
        ("user", Some(given("user", user)?)),
        ("password", Some(given("password", password)?)),
        ("host", Some(given("host", host)?)),
        ("port", Some(given("port", port)?)),
        ("database", Some(decode(path, escapes, Within::Path)?).filter(|database| !database.is_empty())),
    ]);
    Ok(Parts { fields, ssl: ssl(&query)? })
}

/// `socket:///run/postgresql?db=name`, with `user:password@` before the path.
fn socket(rest: &str, escapes: Escapes) -> Result<Parts, String> {
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (login, path) = rest.split_once('@').unwrap_or(("", rest));
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    let query = parameters(query, escapes)?;
    let fields = BTreeMap::from([
        ("user", Some(decode(user, escapes, Within::Part)?)),
        ("password", Some(decode(password, escapes, Within::Part)?)),
        ("host", Some(decode(path, escapes, Within::Path)?)),
        ("database", query.get("db").cloned()),
    ]);
    Ok(Parts { fields, ssl: Ssl::Unsaid })
}

fn ssl(query: &BTreeMap<String, String>) -> Result<Ssl, String> {
    let get = |key: &str| query.get(key).filter(|value| !value.is_empty()).cloned();
    let (mode, ca, cert, key) = (get("sslmode"), get("sslrootcert"), get("sslcert"), get("sslkey"));
    let Some(mode) = mode.as_deref().or((ca.is_some() || cert.is_some() || key.is_some()).then_some("verify-full"))
    else {
        return Ok(get("ssl").map_or(Ssl::Unsaid, Ssl::Word));
    };
    let libpq = get("uselibpqcompat").as_deref() == Some("true");
    let verify = match (mode, libpq) {
        ("disable", _) => return Ok(Ssl::Off),
        ("prefer", true) => Verify::Nothing,
        ("require", true) if ca.is_none() => Verify::Nothing,
        ("verify-ca", true) if ca.is_none() => {
            return Err("sslmode=verify-ca needs sslrootcert, or any certificate would do".to_owned());
        }
        ("require" | "verify-ca", true) => Verify::Chain,
        ("prefer" | "require" | "verify-ca" | "verify-full", _) => Verify::Full,
        ("no-verify", false) => Verify::Nothing,
        _ => {
            return Err(format!(
                "found sslmode={mode}, expected disable, prefer, require, verify-ca, verify-full or no-verify"
            ));
        }
    };
    Ok(Ssl::On { verify, ca, cert, key })
}

fn parameters(query: &str, escapes: Escapes) -> Result<BTreeMap<String, String>, String> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decode(key, escapes, Within::Query)?, decode(value, escapes, Within::Query)?))
        })
        .collect()
}

/// Where a piece of a string stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Within {
    /// In the user, password, host or port.
    Part,
    /// In the path, where escaped separators stay as they are (JavaScript's `decodeURI`).
    Path,
    /// In the query, where a plus is a space.
    Query,
}

/// Undoes percent-encoding.
fn decode(text: &str, escapes: Escapes, within: Within) -> Result<String, String> {
    let hex = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [byte, after @ ..] = rest {
        rest = after;
        match (byte, after) {
            (b'%', [high, low, after @ ..]) if escapes.takes(*high) && escapes.takes(*low) => {
                let decoded = hex(*high).zip(hex(*low)).map_or(b'%', |(high, low)| high << 4 | low);
                rest = after;
                match within == Within::Path && b";/?:@&=+$,#".contains(&decoded) {
                    true => bytes.extend([b'%', *high, *low]),
                    false => bytes.push(decoded),
                }
            }
            (b'+', _) if within == Within::Query => bytes.push(b' '),
            _ => bytes.push(*byte),
        }
    }
    String::from_utf8(bytes).map_err(|_| "a percent-encoded part is not UTF-8".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(text: &str, key: &str) -> Option<String> {
        parse(text).unwrap().fields.get(key).cloned().flatten()
    }

    fn ssl_of(query: &str) -> Ssl {
        parse(&format!("postgres://u:p@h/d?{query}")).unwrap().ssl
    }

    fn on(verify: Verify) -> Ssl {
        Ssl::On { verify, ca: None, cert: None, key: None }
    }

    #[test]
    fn every_part_of_an_address_is_read_and_decoded() {
        let text = "postgresql://us%40er:p%3A%23w%2f@db.example:6543/shared%20one";
        let read = ["user", "password", "host", "port", "database"].map(|key| get(text, key).unwrap());
        assert_eq!(read, ["us@er", "p:#w/", "db.example", "6543", "shared one"]);
    }

    #[test]
    fn what_an_address_leaves_out_is_empty_and_a_bare_path_says_nothing_else() {
        let empty = |key: &str| get("postgres://db", key).unwrap();
        assert_eq!(["user", "password", "port"].map(empty), ["", "", ""]);
        assert_eq!(parse("postgres://db").unwrap().fields["database"], None);
        assert_eq!(parse("/run/pg").unwrap().fields.keys().copied().collect::<Vec<_>>(), ["host"]);
        assert!(!parse("socket://u:p@/run/pg").unwrap().fields.contains_key("port"));
    }

    #[test]
    fn percent_signs_are_read_as_pg_connection_string_reads_them() {
        assert_eq!(get("postgres://u:p%@h/d", "password").as_deref(), Some("p%"));
        assert_eq!(get("postgres://u:a b%2Fc%41@h/d", "password").as_deref(), Some("a b%2FcA"));
        assert_eq!(get("postgres://u:p@h/d%2Fe%20f", "database").as_deref(), Some("d%2Fe f"));
        assert_eq!(get("postgres://u:p@h/\n", "database"), None);
        assert_eq!(get("POSTGRES://u:p@h/d", "host").as_deref(), Some("h"));
    }

    #[test]
    fn ipv6_and_an_at_sign_in_the_password_are_understood() {
        assert_eq!(get("postgres://u:p@[::1]:5433/d", "host").as_deref(), Some("::1"));
        assert_eq!(get("postgres://u:p@[::1]:5433/d", "port").as_deref(), Some("5433"));
        assert_eq!(get("postgres://u:p@ss@h/d", "password").as_deref(), Some("p@ss"));
    }

    #[test]
    fn unix_sockets_are_named_in_every_way() {
        for text in ["/run/pg shared", "postgres://u@%2Frun%2Fpg/shared", "postgres://u@/shared?host=/run/pg"] {
            assert_eq!(get(text, "host").as_deref(), Some("/run/pg"), "{text}");
            assert_eq!(get(text, "database").as_deref(), Some("shared"), "{text}");
        }
        assert_eq!(get("socket://u:p@/run/pg?db=shared", "host").as_deref(), Some("/run/pg"));
    }

    #[test]
    fn parameters_win_over_the_address() {
        assert_eq!(get("postgres://a:b@h:1/d?user=x&port=2&host=other", "user").as_deref(), Some("x"));
        assert_eq!(get("postgres://a:b@h:1/d?user=x&port=2&host=other", "port").as_deref(), Some("2"));
        assert_eq!(get("postgres://a:b@h:1/d?user=x&port=2&host=other", "host").as_deref(), Some("other"));
    }

    #[test]
    fn sslmode_means_what_it_means_to_node_postgres() {
        assert_eq!(ssl_of(""), Ssl::Unsaid);
        assert_eq!(ssl_of("sslmode=disable"), Ssl::Off);
        for mode in ["prefer", "require", "verify-ca", "verify-full"] {
            assert_eq!(ssl_of(&format!("sslmode={mode}")), on(Verify::Full), "{mode}");
        }
        assert_eq!(ssl_of("sslmode=no-verify"), on(Verify::Nothing));
        assert_eq!(ssl_of("ssl=true"), Ssl::Word("true".into()));
        assert_eq!(
            ssl_of("sslrootcert=/ca.pem"),
            Ssl::On { verify: Verify::Full, ca: Some("/ca.pem".into()), cert: None, key: None }
        );
        assert!(parse("postgres://h/d?sslmode=allow").unwrap_err().contains("sslmode=allow"));
    }

    #[test]
    fn sslmode_means_what_it_means_to_libpq_when_asked_for() {
        assert_eq!(ssl_of("uselibpqcompat=true&sslmode=prefer"), on(Verify::Nothing));
        assert_eq!(ssl_of("uselibpqcompat=true&sslmode=require"), on(Verify::Nothing));
        assert_eq!(ssl_of("uselibpqcompat=true&sslmode=verify-full"), on(Verify::Full));
        let Ssl::On { verify, .. } = ssl_of("uselibpqcompat=true&sslmode=require&sslrootcert=/ca") else { panic!() };
        assert_eq!(verify, Verify::Chain);
        assert!(parse("postgres://h/d?uselibpqcompat=true&sslmode=verify-ca").is_err());
    }

    #[test]
    fn an_error_never_shows_the_string() {
        let error = parse("mysql://me:geheim@h/d").unwrap_err();
        assert!(!error.contains("geheim"), "{error}");
    }
}
