//! What a client may do next, and how likely it is.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};

use super::steps::{Act, Step, Word};

/// More than there are servers.
pub(super) const CLIENTS: usize = 6;
/// Their plugins, in turns.
pub(super) const PLUGINS: [&str; 2] = ["alpha", "bravo"];

/// What the clients of a script are like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// They leave nothing in their servers but what goes along with them.
    Passing,
    /// They leave whatever can be left.
    Staying,
    /// They tell each other things.
    Listening,
}

/// Parts of texts that may keep a server beyond the transaction: temporary things, locks, cursors, numbers, names, and
/// settings that cannot be carried.
const KEEPING: [&str; 16] = [
    "temp",
    "advisory_lock",
    "with hold",
    "prepare ",
    "nextval",
    "currval",
    "lastval",
    "do $",
    "my.own",
    "our.own",
    "client_encoding",
    "names",
    "standard_conforming_strings",
    "update pg_settings",
    "execute",
    "deallocate",
];

impl Kind {
    /// Servers for all clients.
    pub(super) fn servers(self) -> u32 {
        match self {
            Self::Passing => 2,
            Self::Staying | Self::Listening => 3,
        }
    }

    /// And one that listens for them.
    pub(super) fn listeners(self) -> u32 {
        u32::from(self == Self::Listening)
    }
}

/// Whether what is said keeps a server because of a LISTEN that is not alone.
pub(super) fn listens_among_others(words: &[Word], in_transaction: bool) -> bool {
    let text = |word: &Word| match word {
        Word::Query(sql) | Word::Parse(_, sql) => sql.to_ascii_lowercase(),
        _ => String::new(),
    };
    let texts: Vec<_> = words.iter().map(text).collect();
    let listens_only = |sql: &str| sql.split(';').all(|one| one.contains("listen") || one.trim().is_empty());
    let is_lone = |sql: &String| listens_only(sql) && !in_transaction && words.len() == 1;
    texts.iter().any(|sql| sql.replace("unlisten", "").contains("listen") && !is_lone(sql))
}

/// Whether what is said may keep a server beyond the transaction.
pub(super) fn stays(words: &[Word]) -> bool {
    words.iter().any(|word| match word {
        // Beside what is not plain.
        Word::Parse(name, _) if !name.is_empty() => true,
        // It may have been read before what is set beside it, and keep its server as long as it is there.
        Word::Parse(..) if words.len() > 1 && words.iter().any(sets) => true,
        Word::Query(sql) | Word::Parse(_, sql) => {
            // Beside another SET nobody looks which setting it is that a function sets.
            let sets = sql.matches("set").count();
            let beside_others = sql.contains("set_config") && sql.matches("set_config").count() < sets;
            beside_others || KEEPING.iter().any(|part| sql.contains(part))
        }
        _ => false,
    })
}

/// Whether a text may set something.
fn sets(word: &Word) -> bool {
    matches!(word, Word::Query(sql) | Word::Parse(_, sql) if sql.contains("set"))
}

/// Whether a name is used behind a Parse that sets something, in one write: a limit (docs/adr/0009-prepared-statements.md).
fn uses_names_behind_a_set(words: &[Word]) -> bool {
    let uses = |word: &Word| match word {
        Word::Bind { statement, .. } | Word::DescribeStatement(statement) => !statement.is_empty(),
        _ => false,
    };
    words.iter().skip_while(|word| !(matches!(word, Word::Parse(..)) && sets(word))).any(uses)
}

/// Whether SQL looks for a name in the middle of a batch: it finds what is on that server, a limit (docs/adr/0009-prepared-statements.md).
fn looks_for_names_in_a_batch(words: &[Word]) -> bool {
    const LOOKS: [&str; 3] = ["execute", "prepare s", "deallocate s"];
    let looks = |word: &Word| match word {
        Word::Query(sql) | Word::Parse(_, sql) => LOOKS.iter().any(|look| sql.contains(look)),
        _ => false,
    };
    words.windows(2).any(|pair| looks(&pair[1]) && !matches!(pair[0], Word::Sync | Word::Query(_)))
}

/// Whether the tables of prepared statements may not be found any more: pg_prepared_statements lacks those that cannot be prepared elsewhere, a
/// limit (docs/adr/0009-prepared-statements.md).
fn may_hide_tables(words: &[Word]) -> bool {
    const HOW: [&str; 4] = ["set search_path", "session search_path", "local search_path", "('search_path'"];
    words.iter().any(|word| match word {
        Word::Query(sql) | Word::Parse(_, sql) => HOW.iter().any(|how| sql.contains(how)),
        _ => false,
    })
}

/// Whether something goes back to what the session began with.
pub(super) fn resets(words: &[Word]) -> bool {
    words.iter().any(|word| match word {
        Word::Query(sql) | Word::Parse(_, sql) => {
            ["reset", "to default", "discard all"].iter().any(|how| sql.contains(how))
        }
        _ => false,
    })
}

/// Whether something may go back to the session's own search_path or application_name in one write with something else: on a
/// server that was borrowed, that is a limit (docs/compatibility.md).
fn resets_among_others(words: &[Word]) -> bool {
    const RESETS: [&str; 6] = [
        "reset all",
        "reset search_path",
        "reset application_name",
        "set search_path to default",
        "set application_name to default",
        "discard all",
    ];
    let resets = |word: &Word| match word {
        Word::Query(sql) | Word::Parse(_, sql) => RESETS.iter().any(|reset| sql.contains(reset)),
        _ => false,
    };
    words.iter().any(resets) && !matches!(words, [Word::Query(sql)] if !sql.contains(';'))
}

/// Whether a setting keeps its server.
fn is_kept(setting: &str) -> bool {
    KEEPING.contains(&setting)
}

/// The script of a seed.
pub(super) fn script(kind: Kind, seed: u64) -> Vec<Step> {
    let mut choose = Choose { random: StdRng::seed_from_u64(seed), kind, client: 0 };
    (0..120)
        .map(|_| {
            // Several steps in a row are usual: transactions are made of them.
            if choose.one_in(3) {
                choose.client = choose.random.random_range(0..CLIENTS);
            }
            let act = loop {
                let act = choose.act();
                let is_beyond_limits = |words: &[Word]| {
                    resets_among_others(words)
                        || uses_names_behind_a_set(words)
                        || looks_for_names_in_a_batch(words)
                        || (kind == Kind::Staying && may_hide_tables(words))
                };
                if !matches!(&act, Act::Say(words) if is_beyond_limits(words)) {
                    break act;
                }
            };
            Step { client: choose.client, act }
        })
        .collect()
}

/// Settings with values that PostgreSQL takes, and some that it does not.
const SETTINGS: [(&str, &[&str]); 20] = [
    ("work_mem", &["65kB", "1MB", "1234kB", "x"]),
    ("timezone", &["Asia/Tokyo", "UTC", "-03:30", "Nowhere"]),
    ("datestyle", &["German", "SQL, DMY", "ISO"]),
    ("intervalstyle", &["iso_8601", "postgres"]),
    ("application_name", &["a", "it''s"]),
    ("extra_float_digits", &["0", "-3", "99"]),
    ("my.own", &["x", "it''s \\ \"q\"", ""]),
    ("our.own", &["y"]),
    ("statement_timeout", &["61s"]),
    ("lock_timeout", &["62s", "-62s"]),
    ("default_transaction_read_only", &["on", "off"]),
    ("default_transaction_isolation", &["repeatable read"]),
    ("standard_conforming_strings", &["off", "on"]),
    ("client_encoding", &["latin1", "utf8"]),
    ("bytea_output", &["escape"]),
    ("enable_seqscan", &["off"]),
    ("row_security", &["off"]),
    ("search_path", &["pg_catalog", "nowhere", "$user"]),
    ("role", &["stagehand", "none", "nobody_here"]),
    ("no_such_setting", &["1"]),
];

const STATEMENTS: [&str; 3] = ["s1", "s2", "s3"];
const PORTALS: [&str; 2] = ["", "p1"];

/// Everything that a session can hold.
const LOOK: &str =
    "select name, setting from pg_settings where name not like 'transaction%' and name not like 'plpgsql.%'
    order by name; show search_path; select current_user, session_user, current_schema();
    select nullif(current_setting('my.own', true), ''), nullif(current_setting('our.own', true), '');
    select name, statement, from_sql from pg_prepared_statements order by name;
    select name, is_holdable from pg_cursors order by name;
    select relname from pg_class where relnamespace = pg_my_temp_schema() order by relname;
    select mode, objid from pg_locks where locktype = 'advisory' and pid = pg_backend_pid() order by objid, mode";

struct Choose {
    random: StdRng,
    kind: Kind,
    client: usize,
}

impl Choose {
    fn one_in(&mut self, many: u32) -> bool {
        self.random.random_range(0..many) == 0
    }

    fn of<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices.choose(&mut self.random).expect("there are some")
    }

    fn number(&mut self) -> i32 {
        self.random.random_range(0..7)
    }

    fn act(&mut self) -> Act {
        match self.random.random_range(0..20) {
            0 if self.one_in(3) => self.leave(),
            0 | 1 if self.kind != Kind::Listening => Act::Say(vec![Word::Query(LOOK.to_owned())]),
            0..=12 => Act::Say(self.queries()),
            13 => Act::Say(self.copy()),
            _ => Act::Say(self.pipeline()),
        }
    }

    fn leave(&mut self) -> Act {
        let startup = if self.one_in(2) {
            let options = ["", "-c geqo=off", "-c my.own=options --lock-timeout=63s"];
            let options = &options[..if self.kind == Kind::Staying { 3 } else { 2 }];
            vec![
                ("work_mem", self.of(&["111kB", "222kB"])),
                ("TimeZone", "Asia/Kolkata"),
                ("options", self.of(options)),
            ]
        } else {
            Vec::new()
        };
        Act::Leave { kindly: self.one_in(2), startup }
    }

    /// One simple query, a text of several statements, or several queries in one write.
    fn queries(&mut self) -> Vec<Word> {
        match self.random.random_range(0..8) {
            0 => vec![Word::Query([self.sql(), self.sql()].join("; "))],
            1 => vec![Word::Query([self.sql(), self.sql(), self.sql()].join("; "))],
            2 => vec![Word::Query(self.sql()), Word::Query(self.sql())],
            _ => vec![Word::Query(self.sql())],
        }
    }

    fn copy(&mut self) -> Vec<Word> {
        match self.random.random_range(0..4) {
            0 => vec![Word::Query("copy item to stdout".to_owned())],
            1 => vec![Word::Query("copy log from stdin".to_owned()), Word::CopyData("9\tcopied\n"), Word::CopyDone],
            2 => vec![Word::Query("copy log from stdin".to_owned()), Word::CopyData("x\twrong\n"), Word::CopyDone],
            _ => vec![Word::Query("copy log from stdin".to_owned()), Word::CopyData("9\tcopied\n"), Word::CopyFail],
        }
    }

    /// Messages of the extended protocol in one write, with one Sync at the end or several in between.
    fn pipeline(&mut self) -> Vec<Word> {
        let mut words = Vec::new();
        for _ in 0..self.random.random_range(1..5) {
            match self.random.random_range(0..10) {
                0..=4 => {
                    let (name, portal) = (self.statement(), self.of(&PORTALS));
                    let (sql, parameters) = self.prepared();
                    if !name.is_empty() && self.one_in(2) {
                        words.push(Word::CloseStatement(name));
                    }
                    words.push(Word::Parse(name, sql));
                    if self.one_in(3) {
                        words.push(Word::DescribeStatement(name));
                    }
                    if !self.one_in(4) {
                        words.push(Word::Bind { portal, statement: name, parameters });
                        words.push(Word::Execute(portal, 0));
                    }
                }
                5..=7 => {
                    let (statement, portal) = (self.statement(), self.of(&PORTALS));
                    let parameters = vec![self.number().to_string(); self.random.random_range(0..8).min(1)];
                    words.push(Word::Bind { portal, statement, parameters });
                    if self.one_in(2) {
                        words.push(Word::DescribePortal(portal));
                    }
                    let limit = self.of(&["0", "1"]).parse().expect("a number");
                    words.push(Word::Execute(portal, limit));
                }
                8 => match self.random.random_range(0..4) {
                    0 => words.push(Word::DescribeStatement(self.statement())),
                    1 => words.push(Word::CloseStatement(self.statement())),
                    2 => words.push(Word::ClosePortal(self.of(&PORTALS))),
                    _ => words.push(Word::Flush),
                },
                // Never the unnamed one: PostgreSQL 15 itself dies of an Execute of the portal that a failed Query has left.
                _ => words.push(Word::Execute("p1", 1)),
            }
            if self.one_in(4) {
                words.push(Word::Sync);
                if self.one_in(3) {
                    words.push(Word::Query(self.sql()));
                }
            }
        }
        words.push(Word::Sync);
        words
    }

    fn statement(&mut self) -> &'static str {
        if self.kind == Kind::Passing || self.one_in(3) { "" } else { self.of(&STATEMENTS) }
    }

    /// A text for Parse, and parameters for it.
    fn prepared(&mut self) -> (String, Vec<String>) {
        let one = [
            "select name from item where id = $1",
            "select $1::int + 1",
            "select 10 / $1::int",
            "select current_setting('work_mem'), nullif(current_setting('my.own', true), ''), current_user, $1::text",
            "select timestamptz '2026-01-02 03:04+00', 1::float8 / 3, interval '1 day', '\\xff'::bytea, $1::text",
            "select count(*) from log where who = $1::int",
            "insert into log values ($1::int, 'prepared')",
            "select n from generate_series(1, 3) n where n > $1 - 5",
        ];
        if self.one_in(3) {
            return (self.sql(), Vec::new());
        }
        (self.of(&one).to_owned(), vec![self.number().to_string()])
    }

    /// One statement.
    fn sql(&mut self) -> String {
        match self.random.random_range(0..16) {
            0..=4 => self.transaction(),
            5 | 6 if self.kind == Kind::Listening => self.plain(),
            7..=14 if self.kind == Kind::Listening => self.listening(),
            _ if self.kind == Kind::Listening => {
                self.of(&["create temp table t (x int)", "drop table t", "discard all"]).to_owned()
            }
            5..=8 => self.plain(),
            9 if self.kind == Kind::Passing => self.carried(),
            10..=12 if self.kind == Kind::Passing => self.setting(),
            _ if self.kind == Kind::Passing => self.of_one_transaction(),
            9 => self.of_one_transaction(),
            10..=12 => self.setting(),
            _ => self.kept(),
        }
    }

    /// Of the channels of a plugin: for PostgreSQL itself they are those of another database.
    fn listening(&mut self) -> String {
        let plugin = PLUGINS[self.client % PLUGINS.len()];
        let channel = format!("{plugin}_{}", self.of(&["a", "b", "c"]));
        let number: u16 = self.random.random();
        match self.random.random_range(0..24) {
            0..=3 => format!("listen {channel}"),
            4 => format!("LISTEN \"{channel}\" ;"),
            5 | 6 => format!("unlisten {channel}"),
            7 => "unlisten *".to_owned(),
            8 => format!("do $$ begin execute 'listen {channel}'; end $$"),
            9 => format!("do $$ begin perform pg_notify('{channel}', 'by code {number}'); end $$"),
            10 => format!("select pg_notify('{channel}', '{number} ' || n) from generate_series(1, 3) n"),
            11 => format!("select pg_notify('{channel}', '{number}' || repeat('x', 7900)), repeat('y', 30000)"),
            12 => format!("notify {channel}"),
            13 => format!("listen {channel}; listen {plugin}_c"),
            14 => format!("listen \"{channel}\";unlisten {plugin}_a;"),
            15 => format!("unlisten *; LISTEN {channel}"),
            16 => format!("unlisten {plugin}_b; unlisten {channel}"),
            _ => format!("notify {channel}, '{number}'"),
        }
    }

    fn transaction(&mut self) -> String {
        // Behind a statement that was prepared again for SQL in the same transaction it is too late: a limit (docs/adr/0009-prepared-statements.md).
        let isolated = if self.kind == Kind::Passing { "begin isolation level repeatable read" } else { "begin" };
        let texts = [
            "begin",
            "begin",
            "begin",
            isolated,
            "begin read only",
            "commit",
            "commit",
            "commit",
            "rollback",
            "rollback",
            "savepoint a",
            "rollback to a",
            "release a",
            "select 1/0",
            "selec",
            "commit and chain",
            "end",
            "start transaction",
            "set transaction read only",
        ];
        self.of(&texts[..if self.kind == Kind::Passing { 18 } else { 19 }]).to_owned()
    }

    fn plain(&mut self) -> String {
        let (client, number) = (self.client, self.number());
        match self.random.random_range(0..9) {
            0 => format!("insert into log values ({client}, 'said')"),
            1 => format!("select name from item where id = {number}"),
            2 => "select who, count(*) from log group by who order by who".to_owned(),
            3 => "select name from item order by id".to_owned(),
            4 => "select timestamptz '2026-01-02 03:04+00', 1::float8 / 3, interval '1 day', 'a\\'".to_owned(),
            5 => "select current_user, current_schema(), current_setting('search_path')".to_owned(),
            6 => "table nobody".to_owned(),
            7 => String::new(),
            _ => format!("select {client}, {number} /* begin; */"),
        }
    }

    /// What goes along from server to server.
    fn carried(&mut self) -> String {
        let texts = [
            "set search_path to pg_catalog",
            "set search_path = nowhere, \"$user\"",
            "set role stagehand",
            "reset role",
            "set role none",
            "set role nobody_here",
            "set session search_path to default",
        ];
        self.of(&texts[..6]).to_owned()
    }

    /// What ends with its transaction.
    fn of_one_transaction(&mut self) -> String {
        let texts = [
            "set local work_mem to '88kB'",
            "set local timezone to 'Asia/Tokyo'",
            "set local search_path to pg_catalog",
            "set local role stagehand",
            "select pg_advisory_xact_lock(77)",
            "show work_mem",
            "show timezone",
            "declare c cursor for select id from item order by id",
            "fetch 2 from c",
            "close c",
        ];
        // A lock that two of them wait for would never be had.
        self.of(&texts).replace("lock(77)", &format!("lock({})", 700 + self.client))
    }

    fn setting(&mut self) -> String {
        let passing = self.kind == Kind::Passing;
        let (name, values) = loop {
            let (name, values) = *SETTINGS.choose(&mut self.random).expect("there are some");
            if !(passing && is_kept(name)) {
                break (name, values);
            }
        };
        let value = self.of(values);
        match self.random.random_range(0..16) {
            8..=10 if passing => format!("set {name} to '{value}'"),
            0..=3 => format!("set {name} to '{value}'"),
            4 => format!("set session {name} = '{value}'"),
            5 => format!("set local {name} to '{value}'"),
            6 => format!("select set_config('{name}', '{value}', false)"),
            7 => format!("select set_config('{name}', '{value}', true)"),
            8 => format!("do $$ begin perform set_config('{name}', '{value}', false); end $$"),
            9 => format!("do $$ begin set {name} to '{value}'; end $$"),
            10 => "update pg_settings set setting = '2MB' where name = 'work_mem'".to_owned(),
            11 => format!("reset {name}"),
            12 => format!("set {name} to default"),
            13 => {
                let texts = ["reset all", "reset role", "set time zone 'UTC'", "set names 'latin1'"];
                self.of(&texts[..if passing { 3 } else { 4 }]).to_owned()
            }
            14 => self
                .of(&["discard all", "discard plans", "set session characteristics as transaction read write"])
                .to_owned(),
            _ => format!("show {name}"),
        }
    }

    /// What keeps its server.
    fn kept(&mut self) -> String {
        let key = self.client % PLUGINS.len() * 10 + self.random.random_range(0..3);
        match self.random.random_range(0..20) {
            0 => "create temp table t (x int)".to_owned(),
            1 => "create temp table if not exists t (x int)".to_owned(),
            2 => "create temp table d (x int) on commit drop".to_owned(),
            3 => format!("insert into t values ({})", self.number()),
            4 => "table t".to_owned(),
            5 => self.of(&["drop table t", "discard temp"]).to_owned(),
            6 => "create temp table item as select 1 as id, 'temporary' as name".to_owned(),
            7 => "discard temp".to_owned(),
            8 => "declare h cursor with hold for select id from item order by id".to_owned(),
            9 => "fetch 2 from h".to_owned(),
            10 => self.of(&["close h", "close all"]).to_owned(),
            11 => format!("prepare {} as select 'in SQL', {}", self.of(&STATEMENTS), self.client),
            12 => format!("execute {}", self.of(&STATEMENTS)),
            13 => self.of(&["deallocate s1", "deallocate all"]).to_owned(),
            14 | 15 => format!("select pg_try_advisory_lock({key}), pg_try_advisory_lock_shared({key} + 100)"),
            16 => format!("select pg_advisory_unlock({key})"),
            17 => self.of(&["select pg_advisory_unlock_all()", "discard sequences"]).to_owned(),
            18 => "select nextval('ticket')".to_owned(),
            _ => self.of(&["select currval('ticket')", "select lastval()"]).to_owned(),
        }
    }
}
