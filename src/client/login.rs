//! Who a client is, where its data is, and whether that exists: from the startup message to the first ReadyForQuery.

use std::future::pending;
use std::sync::Arc;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::provisioning;
use super::registry::Registered;
use super::reply::{self, Reply};
use super::shared::Shared;
use super::startup::Startup;
use crate::auth::{Exchange, Step};
use crate::cancel::CancelKey;
use crate::config::AuthMethod;
use crate::metrics::{ClientState, InState, LoginResult};
use crate::net::Stream;
use crate::pool::{AcquireError, CloseReason, Configured, Kind, Lease, Member, Parameters};
use crate::protocol::frame::{self, MAX_AUTH_BYTES};
use crate::protocol::message::{self, Report, Severity};
use crate::protocol::tag::TxStatus;
use crate::protocol::{Frontend, sqlstate};
use crate::route::Route;
use crate::server::{Dress, Remains, Setting};
use crate::session::{PinReason, Session};
use crate::sql::{Quoting, carried};

/// What a client may send ahead of its greeting before it is read from no more, in bytes: far less than the buffer that it
/// is moved to.
const MOST_AHEAD_BYTES: usize = 8 << 10;

/// A client that has logged in.
pub(super) struct LoggedIn {
    pub(super) stream: Stream,
    pub(super) member: Member,
    pub(super) key: CancelKey,
    pub(super) registered: Registered,
    pub(super) dress: Dress,
    pub(super) session: Session,
    /// Where the plugin's extensions are, if it has a schema and they have one.
    pub(super) extensions: Option<Arc<str>>,
    /// What it was told of its settings, and of which configuration they are.
    pub(super) greeted: Configured,
    /// The server that the session keeps from the start, and why.
    pub(super) kept: Option<(Lease, PinReason)>,
    /// What the client has already sent.
    pub(super) leftover: BytesMut,
    pub(super) state: InState<ClientState>,
}

/// Logs the client in; `None` if it was refused, which it has been told.
pub(super) async fn log_in(
    mut stream: Stream,
    startup: Startup,
    auth: AuthMethod,
    shared: &Shared,
    arriving: InState<ClientState>,
) -> Option<LoggedIn> {
    let application_name = startup.application_name().and_then(|name| std::str::from_utf8(name).ok());
    let route = match shared.routes.resolve(&startup.database, application_name) {
        Ok(route) => route,
        Err(error) => {
            shared.metrics.unknown().login(LoginResult::UnknownDatabase);
            tracing::info!(database = startup.database, user = startup.user, %error, "login refused");
            reply::farewell(&mut stream, &reply::unknown_database(&error)).await;
            return None;
        }
    };
    let metrics = shared.metrics.plugin(route.plugin.as_str());
    drop(arriving);
    let state = metrics.clients.enter(ClientState::Login);
    let limit = shared.epoch().timeouts.login;
    let admitted = timeout(limit, authenticate(&mut stream, &startup, auth, &route, shared)).await;
    let refusal = match admitted {
        Ok(Ok(mut leftover)) => {
            let opened = tokio::select! {
                // Most often everything is known, and the client is not looked at.
                biased;
                opened = open_session(&startup, &route, shared) => opened.map_err(Refusal::unavailable),
                // Who has left keeps no place in the queue.
                () = leaves(&mut stream, &mut leftover) => Err(Refusal::gone()),
            };
            match opened {
                Ok(opened) => {
                    metrics.login(LoginResult::Ok);
                    let databases = shared.virtual_databases(&route);
                    let key = shared.keys.issue(startup.takes_long_keys);
                    return greet(stream, opened, key, databases, leftover, state, shared).await;
                }
                Err(refusal) => refusal,
            }
        }
        Ok(Err(refusal)) => refusal,
        Err(_) => Refusal { result: LoginResult::Timeout, reply: None },
    };
    metrics.login(refusal.result);
    if let Some(reply) = refusal.reply {
        let (code, error) = reply.summary();
        tracing::info!(database = startup.database, user = startup.user, code, error, "login refused");
        let mut out = Vec::new();
        reply.write(&mut out);
        reply::send_last(&mut stream, &out).await;
    }
    None
}

/// Why a client was not let in, and what it is told, if anything.
struct Refusal {
    result: LoginResult,
    reply: Option<Reply>,
}

impl Refusal {
    fn denied(report: Report) -> Self {
        Self { result: LoginResult::Denied, reply: Some(Reply::Ours(report)) }
    }

    fn unavailable(reply: Reply) -> Self {
        Self { result: LoginResult::Unavailable, reply: Some(reply) }
    }

    fn gone() -> Self {
        Self { result: LoginResult::Broken, reply: None }
    }
}

/// Has the client prove that it is the route's login; returns what it sent beyond its proof.
async fn authenticate(
    stream: &mut Stream,
    startup: &Startup,
    auth: AuthMethod,
    route: &Route,
    shared: &Shared,
) -> Result<BytesMut, Refusal> {
    if startup.replication {
        let report = Report::new(
            Severity::Fatal,
            sqlstate::FEATURE_NOT_SUPPORTED,
            "replication connections are not served by greenroom",
        );
        return Err(Refusal::denied(report.hint("Connect to PostgreSQL directly.")));
    }
    let mut buf = startup.leftover.clone();
    if auth != AuthMethod::Trust && !buf.is_empty() {
        return Err(Refusal::denied(reply::protocol_violation(
            "nothing may follow the startup message before its answer",
        )));
    }
    let mut out = startup.negotiation.clone();
    let known = shared.credentials(&route.target.login).await;
    let unknown = shared.unknown_credentials(&startup.user);
    let is_login = *route.target.login.user == *startup.user;
    let (mut exchange, mut step) = Exchange::start(auth, if is_login { &known } else { &unknown });
    loop {
        match step {
            Step::Accepted(bytes) => {
                out.extend_from_slice(&bytes);
                stream.write_all(&out).await.map_err(|_| Refusal::gone())?;
                return Ok(buf);
            }
            Step::Refused => return Err(Refusal::denied(reply::wrong_password(&startup.user))),
            Step::Send(bytes) => {
                out.extend_from_slice(&bytes);
                stream.write_all(&out).await.map_err(|_| Refusal::gone())?;
                out.clear();
            }
        }
        let answer = loop {
            match frame::take(&mut buf, MAX_AUTH_BYTES) {
                Ok(Some(frame)) if Frontend(frame.tag) == Frontend::PASSWORD => break frame.body,
                Ok(Some(_)) => {
                    return Err(Refusal::denied(reply::protocol_violation(
                        "expected an answer to the password request",
                    )));
                }
                Ok(None) => {}
                Err(error) => return Err(Refusal::denied(reply::protocol_violation(error.to_string()))),
            }
            match stream.read_buf(&mut buf).await {
                Ok(0) | Err(_) => return Err(Refusal::gone()),
                Ok(_) => {}
            }
        };
        step = exchange.answer(&answer).map_err(|error| {
            let report = Report::new(Severity::Fatal, sqlstate::PROTOCOL_VIOLATION, error.message);
            Refusal::denied(report.detail(error.detail))
        })?;
    }
}

/// Ready once the client has left. What it sends meanwhile is kept.
async fn leaves(stream: &mut Stream, sent: &mut BytesMut) {
    while sent.len() < MOST_AHEAD_BYTES {
        // Dropping this loses nothing: what was read is there.
        if !stream.read_buf(sent).await.is_ok_and(|len| len > 0) {
            return;
        }
    }
    pending().await
}

/// Everything a session needs before its client is greeted.
struct Opened {
    member: Member,
    dress: Dress,
    /// What the client is told of its settings.
    greeting: Parameters,
    /// What it knows of the configuration then.
    greeted: Configured,
    extensions: Option<Arc<str>>,
    kept: Option<(Lease, PinReason)>,
}

/// Finds out what the client's PostgreSQL reports, makes its schema exist, and opens a server of its own if the session
/// needs one from the start. With everything known, no server is needed at all.
async fn open_session(startup: &Startup, route: &Route, shared: &Shared) -> Result<Opened, Reply> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let application_name = startup.application_name().map(text).unwrap_or_default();
    let member = provisioning::member(route, Severity::Fatal, shared)?;
    let not_lent = |error: AcquireError| reply::not_lent(&error, Severity::Fatal);

    let mut search_path = shared.search_path(&route.target);
    let is_known = route.target.schema.is_none() || search_path.is_some();
    if member.pool.parameters().is_none() || !is_known {
        search_path = provisioning::ensure(&member, route, shared).await?;
    }
    let configured = member.pool.configured();
    let extensions = route.target.extensions.clone();
    let mut dress = Dress::new(search_path, &application_name);
    let (number, parameters) = configured.map_or((0, Parameters::default()), |known| (known.number, known.parameters));

    let Some(reason) = needs_own_server(startup, &parameters, &application_name) else {
        let greeting = as_the_session_sees_them(&parameters, &dress);
        let greeted = Configured { number, parameters };
        return Ok(Opened { member, dress, greeting, greeted, extensions, kept: None });
    };
    let kind = Kind::Private { startup: own_startup(startup, &dress)?, dress: dress.clone() };
    let (mut lease, reported) = member.acquire(kind).await.map_err(not_lent)?;
    let defaults = parameters;
    let greeting = reported.unwrap_or_default();
    // A new server may be the first one of a new configuration: what shared ones have is looked at with the first lease.
    let greeted = Configured { number: 0, parameters: Arc::clone(&greeting) };
    // PostgreSQL has accepted it all: what can go from server to server needs no server of its own.
    let asked = timeout(member.create_timeout(), Remains::ask(lease.server())).await;
    let carried = match asked {
        Ok(Ok(remains)) if !sets_what_stays(startup) => what_goes_along(remains, &dress, &defaults),
        _ => None,
    };
    let kept = match carried {
        Some(settings) => {
            dress.begins_with(settings);
            lease.release();
            None
        }
        None => Some((lease, reason)),
    };
    Ok(Opened { member, dress, greeting, greeted, extensions, kept })
}

/// The settings that the session began with beside those of every session, if all of them can go from server to server.
fn what_goes_along(remains: Remains, dress: &Dress, defaults: &Parameters) -> Option<Vec<(String, String)>> {
    let is_default = |setting: &Setting| match setting.name.as_str() {
        "search_path" => dress.search_path.as_deref() == Some(&setting.value),
        "application_name" => *dress.application_name == *setting.value,
        name => {
            name == "client_encoding"
                && defaults.iter().any(|(name, value)| **name == *"client_encoding" && **value == *setting.value)
        }
    };
    let settings: Vec<_> = remains.settings.into_iter().filter(|setting| !is_default(setting)).collect();
    let can_go = remains.left.is_empty()
        && remains.role.is_none()
        && settings.iter().all(|setting| carried::can_be_carried(&setting.name, &setting.value));
    can_go.then(|| settings.into_iter().map(|setting| (setting.name, setting.value)).collect())
}

/// Whether the startup message may set what no server can be asked about: a setting of an extension, the seed, another user
/// to begin with.
fn sets_what_stays(startup: &Startup) -> bool {
    let Some(options) = startup.options.as_deref().map_or(Some(Vec::new()), option_names) else { return true };
    let stays =
        |name: Vec<u8>| name.contains(&b'.') || [&b"seed"[..], b"role", b"session_authorization"].contains(&&*name);
    let names = startup.parameters.iter().map(|(name, _)| name.to_ascii_lowercase());
    options.into_iter().chain(names).any(stays)
}

/// Why the session cannot share servers from its first moment on, if it cannot.
fn needs_own_server(startup: &Startup, parameters: &Parameters, application_name: &str) -> Option<PinReason> {
    let is_default = |(name, value): &(bytes::Bytes, bytes::Bytes)| match &*name.to_ascii_lowercase() {
        b"application_name" => Dress::is_plain_application_name(application_name),
        b"client_encoding" => parameters
            .iter()
            .any(|(name, default)| &**name == "client_encoding" && is_same_encoding(value, default.as_bytes())),
        _ => false,
    };
    let shares = startup.options.is_none() && startup.parameters.iter().all(is_default);
    (!shares).then_some(PinReason::StartupSettings)
}

/// PostgreSQL compares encoding names by their letters and digits only; `unicode` is UTF8.
fn is_same_encoding(a: &[u8], b: &[u8]) -> bool {
    let clean = |name: &[u8]| {
        let name: Vec<u8> =
            name.iter().filter(|byte| byte.is_ascii_alphanumeric()).map(u8::to_ascii_lowercase).collect();
        if name == b"unicode" { b"utf8".to_vec() } else { name }
    };
    clean(a) == clean(b)
}

/// What a shared server reports is what this session sees, but for what it will be dressed in.
fn as_the_session_sees_them(parameters: &Parameters, dress: &Dress) -> Parameters {
    let value = |name: &str, default: &str| match (name, &dress.search_path) {
        ("application_name", _) => (*dress.application_name).into(),
        ("search_path", Some(path)) => (**path).into(),
        _ => default.into(),
    };
    parameters.iter().map(|(name, default)| (name.clone(), value(name, default))).collect()
}

/// The startup parameters of a server of the session's own: the client's, and the schema's search_path unless the client
/// brings one.
fn own_startup(startup: &Startup, dress: &Dress) -> Result<Vec<(String, String)>, Reply> {
    let text = |bytes: &[u8], name: &str| match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.to_owned()),
        Err(_) => {
            let message = format!("startup parameter \"{name}\" is not valid UTF-8");
            Err(Reply::Ours(Report::new(Severity::Fatal, sqlstate::INVALID_PARAMETER_VALUE, message)))
        }
    };
    let mut parameters = Vec::new();
    let options = startup.options.as_deref();
    if let Some(path) = &dress.search_path
        && !options.is_some_and(sets_search_path)
    {
        parameters.push(("search_path".to_owned(), path.to_string()));
    }
    if let Some(options) = options {
        parameters.push(("options".to_owned(), text(options, "options")?));
    }
    for (name, value) in &startup.parameters {
        let name = text(name, "?")?;
        let value = text(value, &name)?;
        if name.eq_ignore_ascii_case("search_path") {
            parameters.retain(|(name, _)| name != "search_path");
        }
        parameters.push((name, value));
    }
    Ok(parameters)
}

/// Whether command-line options set search_path (`-c search_path=x`, `-csearch-path=x`, `--search_path=x`).
fn sets_search_path(options: &[u8]) -> bool {
    named_settings(&option_words(options)).any(|name| name.is_some_and(|name| name == b"search_path"))
}

/// The settings that command-line options name, in lower case, if nothing else is among them.
fn option_names(options: &[u8]) -> Option<Vec<Vec<u8>>> {
    let words = option_words(options);
    named_settings(&words).map(|name| name.map(<[u8]>::to_vec)).collect()
}

/// The words of command-line options, in lower case.
///
/// Source: PostgreSQL, `pg_split_opts` and `ParseLongOption`: words end at white space, a backslash keeps the next byte,
/// and `-` in a name means `_`.
fn option_words(options: &[u8]) -> Vec<Vec<u8>> {
    let (mut words, mut word, mut escaped) = (Vec::new(), Vec::new(), false);
    for &byte in options {
        match byte {
            b'\\' if !escaped => escaped = true,
            byte if byte.is_ascii_whitespace() && !escaped => words.push(std::mem::take(&mut word)),
            byte => {
                word.push(if byte == b'-' { b'_' } else { byte.to_ascii_lowercase() });
                escaped = false;
            }
        }
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    words
}

/// The setting that each option names (`-c name=value`, `-cname=value`, `--name=value`); `None` for any other word, such as
/// several letters behind one dash.
fn named_settings(words: &[Vec<u8>]) -> impl Iterator<Item = Option<&[u8]>> {
    let mut after_c = false;
    words.iter().filter_map(move |word| {
        let is_c = !after_c && word == b"_c";
        let setting = match std::mem::replace(&mut after_c, is_c) {
            _ if is_c => return None,
            true => Some(&word[..]),
            false => word.strip_prefix(b"_c").or_else(|| word.strip_prefix(b"__")),
        };
        Some(setting.and_then(|setting| Some(&setting[..memchr::memchr(b'=', setting)?])))
    })
}

/// Tells the client that it is in.
async fn greet(
    mut stream: Stream,
    opened: Opened,
    key: CancelKey,
    databases: Option<Arc<str>>,
    leftover: BytesMut,
    state: InState<ClientState>,
    shared: &Shared,
) -> Option<LoggedIn> {
    let Opened { member, dress, greeting, greeted, extensions, kept } = opened;
    let registered = shared.registry.enter(&key, &member);
    let mut out = Vec::with_capacity(1024);
    message::authentication_ok(&mut out);
    let mut session = Session::new(Quoting::Standard);
    session.is_known_as(key.pid);
    if dress.began_with_settings() {
        session.begins_with_settings();
    }
    if let Some(view) = databases {
        session.serve_databases(view);
    }
    for (name, value) in greeting.iter() {
        message::parameter_status(&mut out, name, value);
        match (&**name, &**value) {
            ("standard_conforming_strings", "off") => session.set_quoting(Quoting::Backslash),
            ("client_encoding", name) => session.set_encoding(name.as_bytes()),
            _ => {}
        }
    }
    message::backend_key_data(&mut out, key.pid, &key.secret);
    message::ready_for_query(&mut out, TxStatus::Idle);
    match timeout(shared.epoch().timeouts.login, stream.write_all(&out)).await {
        Ok(Ok(())) => Some(LoggedIn {
            stream,
            member,
            key,
            registered,
            dress,
            session,
            extensions,
            greeted,
            kept,
            leftover,
            state,
        }),
        _ => {
            if let Some((lease, _)) = kept {
                lease.close(CloseReason::Pinned);
            }
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_encodings_name_is_its_letters_and_digits() {
        assert!(is_same_encoding(b"utf-8", b"UTF8"));
        assert!(is_same_encoding(b"UNICODE", b"UTF8"));
        assert!(!is_same_encoding(b"LATIN1", b"UTF8"));
    }

    #[test]
    fn options_that_name_no_settings_are_not_known() {
        assert_eq!(
            option_names(b"-c a=b -cour.own=x --c-d=e"),
            Some(vec![b"a".into(), b"our.own".into(), b"c_d".into()])
        );
        for options in ["-ecour.own=x", "-S 321", "-c a=b -e", "-c a", "stray"] {
            assert_eq!(option_names(options.as_bytes()), None, "{options}");
        }
    }

    #[test]
    fn a_search_path_among_the_options_is_found_however_it_is_spelled() {
        for options in ["-c search_path=x", "-csearch_path=x", "--search-path=x", "-c geqo=off -c SEARCH_PATH=a\\ b"] {
            assert!(sets_search_path(options.as_bytes()), "{options}");
        }
        for options in ["-c my.search_path=x", "-c geqo=off", "-c application_name=--search_path=x", ""] {
            assert!(!sets_search_path(options.as_bytes()), "{options}");
        }
    }
}
