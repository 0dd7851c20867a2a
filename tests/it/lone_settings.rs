//! What `sql::setting` reads into a statement is what PostgreSQL does with it.

use greenroom::sql::quote;
use greenroom::sql::setting::{Assignment, Discard, Setting};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use crate::harness::{RawClient, Stage, Startup, codes, rows, seed};

/// A session that has much to lose: everything differs from what it began with.
const BEFORE: &[&str] = &[
    "set work_mem to 1024",
    "set timezone to 'Asia/Tokyo'",
    "set search_path to other, public",
    "set client_encoding to 'LATIN2'",
    "set xmloption to document",
    "set \"my.setting\" to 'before'",
    "set default_transaction_isolation to serializable",
    "set default_transaction_read_only to off",
    "set default_transaction_deferrable to on",
    "set role to stagehand",
];

/// Forms that every one of which PostgreSQL takes; `$LOGIN` is a login.
const FORMS: &[&str] = &[
    "set work_mem to '4MB'",
    "SET SESSION \"Work_Mem\"=4096;;",
    "set work_mem = + 5000",
    "set seq_page_cost to 1.5e0",
    "set my . setting to E'it\\'s \\\\'",
    "set my.setting to \"C d\"",
    "set datestyle to iso, 'dmy'",
    "set \"my.setting\" = $q$a;$q$ -- ;",
    "SET NAMES.x TO a",
    "set local.x to 1",
    "set session.x to 1",
    "set search_path to '', \"A\", b /* c */, 'd,e'",
    "set schema 'a, b'",
    "SET SCHEMA E'a\\n'",
    "set time zone 'Europe/Berlin'",
    "set session time zone utc",
    "SET TIME/**/ZONE -7.5",
    "set time zone \"utc\"",
    "set time zone local",
    "set time zone default",
    "set timezone to default",
    "set names 'LATIN1'",
    "SET NAMES",
    "set names default",
    "set session characteristics as transaction isolation level repeatable read, read only not deferrable",
    "set session characteristics as transaction read write",
    "set local session characteristics as transaction read write",
    "set role none",
    "set role to '$LOGIN'",
    "set session role \"$LOGIN\"",
    "set role to default",
    "reset role",
    "set session authorization $LOGIN",
    "set session session authorization '$LOGIN'",
    "set session_authorization to $LOGIN",
    "set session authorization default",
    "reset session authorization",
    "set xml option content",
    "set local work_mem to '4MB'",
    "set local time zone local",
    "set local role none",
    "set local session authorization $LOGIN",
    "set local xml option content",
    "set transaction read only",
    "SET SESSION TRANSACTION isolation level read committed, read only",
    "set local transaction deferrable",
    "reset work_mem",
    "reset \"My\".Setting",
    "reset time zone",
    "reset all",
    "discard all",
    "discard plans",
    "discard sequences",
    "discard temp",
    "DISCARD TEMPORARY ;",
];

/// The statements of greenroom's own that do the same.
fn same(setting: &Setting) -> Vec<String> {
    match setting {
        Setting::Set(made) => {
            let set = |Assignment { name, value }: &Assignment| format!("SET {} TO {value}", quote::identifier(name));
            made.iter().map(set).collect()
        }
        Setting::Reset(name) => vec![format!("RESET {}", quote::identifier(name))],
        Setting::ResetAll => vec!["RESET ALL".to_owned()],
        Setting::Discard(Discard::All) => vec!["DISCARD ALL".to_owned()],
        Setting::Local(_) | Setting::Transaction => vec![],
        Setting::Discard(Discard::Plans | Discard::Sequences | Discard::Temp) => vec![],
    }
}

/// A session of the superuser, who may become anybody.
struct Session(RawClient);

impl Session {
    async fn start(stage: &Stage) -> Self {
        let startup = Startup::new("postgres", stage.postgres().password(), &stage.database);
        Self(RawClient::log_in(&stage.address(), &startup.with("TimeZone", "Africa/Cairo")).await)
    }

    /// Every setting after `statements`, each a query of its own, in a session that had those of [`BEFORE`]; or why one of
    /// them failed.
    async fn after(&mut self, statements: &[String]) -> Result<Vec<String>, String> {
        self.0.run("discard all").await;
        for statement in BEFORE {
            self.0.run(statement).await;
        }
        for statement in statements {
            let replies = self.0.query(statement).await;
            if let Some(code) = codes(&replies).pop() {
                return Err(code);
            }
        }
        let all = "select name || ' ' || setting || ' ' || source from pg_settings where name not like 'transaction_%'
            union all select name || ' ' || coalesce(current_setting(name, true), '')
            from unnest(array['my.setting', 'names.x', 'local.x', 'session.x', 'role', 'session_authorization']) name
            order by 1";
        Ok(rows(&self.0.run(all).await))
    }

    /// Whether the statement, if PostgreSQL takes it, does what was read into it.
    async fn assert_does(&mut self, text: &str, setting: &Setting) -> bool {
        let Ok(settings) = self.after(&[text.to_owned()]).await else { return false };
        let same = self.after(&same(setting)).await;
        assert_eq!(same.as_ref(), Ok(&settings), "{text} was read as {setting:?}");
        true
    }
}

#[tokio::test]
async fn every_form_is_read_as_postgresql_takes_it() {
    let stage = Stage::shared().await;
    let mut session = Session::start(&stage).await;
    for form in FORMS {
        let text = form.replace("$LOGIN", &stage.login);
        let setting = Setting::read(text.as_bytes()).unwrap_or_else(|| panic!("{text} is not read"));
        assert!(session.assert_does(&text, &setting).await, "{text} is refused");
    }
}

#[tokio::test]
async fn whatever_is_read_into_a_text_at_random_is_what_postgresql_does() {
    let stage = Stage::shared().await;
    let mut session = Session::start(&stage).await;
    let mut random = StdRng::seed_from_u64(seed());
    let (mut read, mut taken) = (0, 0);
    while read < 300 {
        let text = mutated(&mut random, &stage.login);
        let Some(setting) = Setting::read(text.as_bytes()) else { continue };
        read += 1;
        taken += usize::from(session.assert_does(&text, &setting).await);
    }
    eprintln!("of {read} texts PostgreSQL took {taken}");
    assert!(taken > read / 4, "PostgreSQL took only {taken} of {read}");
}

/// One of the forms with words left out, doubled or taken from another one.
fn mutated(random: &mut StdRng, login: &str) -> String {
    let mut form = || FORMS.choose(random).expect("there are forms").replace("$LOGIN", login);
    let (one, other) = (form(), form());
    let (mut words, others): (Vec<&str>, Vec<&str>) = (one.split(' ').collect(), other.split(' ').collect());
    for _ in 0..random.random_range(1..3) {
        let at = random.random_range(0..words.len());
        let word = *others.choose(random).expect("a form has words");
        match random.random_range(0..4) {
            0 => words[at] = word,
            1 => words.insert(at, word),
            2 if words.len() > 1 => drop(words.remove(at)),
            _ => words.extend([",", word]),
        }
    }
    words.join([" ", "\n", "/*;*/ "].choose(random).expect("there are gaps"))
}
