use proptest::prelude::*;

use super::setting::{Assignment, Discard, Setting};
use super::{Effect, Quoting, scan};

fn read(text: &str) -> Option<Setting> {
    Setting::read(text.as_bytes())
}

fn assignment(name: &str, value: &str) -> Assignment {
    Assignment { name: name.to_owned(), value: value.to_owned() }
}

fn set(name: &str, value: &str) -> Option<Setting> {
    Some(Setting::Set(vec![assignment(name, value)]))
}

fn reset_to(name: &str) -> Option<Setting> {
    Some(Setting::Reset(name.to_owned()))
}

#[test]
fn a_setting_is_named_as_postgresql_knows_it_and_its_value_stays_as_it_was_written() {
    for (text, name, value) in [
        ("set work_mem to '4MB'", "work_mem", "'4MB'"),
        ("SET SESSION Work_Mem=4096 ; ;", "work_mem", "4096"),
        ("SET \"TimeZone\" = UTC", "timezone", "UTC"),
        ("set my.Setting to E'it\\'s'", "my.setting", "E'it\\'s'"),
        ("set\"my\" . b.c=$q$;$q$", "my.b.c", "$q$;$q$"),
        ("/* a /* b */ */ SET -- c\n x /**/ TO/**/a /* d */ , 'b;' -- e", "x", "a /* d */ , 'b;'"),
        ("set x =-1.5e3", "x", "-1.5e3"),
        ("set x to - 5, + .5, 1.", "x", "- 5, + .5, 1."),
        ("set x to ''", "x", "''"),
        ("set x to'a'", "x", "'a'"),
        ("set x to on;", "x", "on"),
        // Words that have a form of their own are names as well.
        ("set session = 1", "session", "1"),
        ("set session.x = 1", "session.x", "1"),
        ("set local.x to 1", "local.x", "1"),
        ("set session local to 1", "local", "1"),
        ("set time = 1", "time", "1"),
        ("set names.x to a", "names.x", "a"),
        ("set transaction . x to a", "transaction.x", "a"),
        ("set role to a", "role", "a"),
    ] {
        assert_eq!(read(text), set(name, value), "{text}");
    }
}

#[test]
fn the_forms_with_words_of_their_own_name_the_same_settings() {
    for (text, name, value) in [
        ("SET TIME ZONE 'Europe/Berlin'", "timezone", "'Europe/Berlin'"),
        ("set session time zone -7", "timezone", "-7"),
        ("set time zone \"local\"", "timezone", "\"local\""),
        ("SET NAMES 'latin1'", "client_encoding", "'latin1'"),
        ("SET SCHEMA 'x'", "search_path", "'x'"),
        ("set role none", "role", "none"),
        ("SET SESSION ROLE \"A\";", "role", "\"A\""),
        ("set session authorization 'x'", "session_authorization", "'x'"),
        ("set session session authorization x", "session_authorization", "x"),
        ("SET XML OPTION document", "xmloption", "document"),
    ] {
        assert_eq!(read(text), set(name, value), "{text}");
    }
    let three = [("isolation", "'repeatable read'"), ("read_only", "off"), ("deferrable", "off")];
    let three = three.map(|(mode, value)| assignment(&format!("default_transaction_{mode}"), value));
    let text = "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ WRITE NOT DEFERRABLE;";
    assert_eq!(read(text), Some(Setting::Set(three.to_vec())));
}

#[test]
fn what_goes_back_and_what_does_not_last_is_told_apart() {
    for (text, name) in [
        ("reset \"My\".x", "my.x"),
        ("RESET TIME ZONE", "timezone"),
        ("reset session authorization;", "session_authorization"),
        ("reset session.authorization", "session.authorization"),
        ("RESET ROLE", "role"),
        ("reset transaction isolation level", "transaction_isolation"),
        ("set x to default", "x"),
        ("SET SESSION x = DEFAULT", "x"),
        ("set time zone local", "timezone"),
        ("set time zone default", "timezone"),
        ("SET NAMES", "client_encoding"),
        ("SET NAMES DEFAULT;", "client_encoding"),
        ("set session authorization default", "session_authorization"),
    ] {
        assert_eq!(read(text), reset_to(name), "{text}");
    }
    for (text, name) in [
        ("set local x = 1", "x"),
        ("SET LOCAL \"my\".x TO DEFAULT", "my.x"),
        ("set local time zone local", "timezone"),
        ("set local role x", "role"),
        ("set local session authorization x", "session_authorization"),
    ] {
        assert_eq!(read(text), Some(Setting::Local(name.to_owned())), "{text}");
    }
    for text in ["SET TRANSACTION READ ONLY", "set local transaction deferrable", "set transaction snapshot '1-1'"] {
        assert_eq!(read(text), Some(Setting::Transaction), "{text}");
    }
    assert_eq!(read("reset ALL"), Some(Setting::ResetAll));
    assert_eq!(read("reset \"all\""), reset_to("all"));
    for (word, what) in [
        ("all", Discard::All),
        ("PLANS", Discard::Plans),
        ("sequences", Discard::Sequences),
        ("temp", Discard::Temp),
        ("TEMPORARY", Discard::Temp),
    ] {
        assert_eq!(read(&format!("discard {word}")), Some(Setting::Discard(what)));
    }
}

#[test]
fn what_is_not_certain_is_left_to_the_server() {
    for text in [
        "",
        "set",
        "set x",
        "set x to",
        "set x to a b",
        "set x to a,",
        "set x to a; select 1",
        ";set x to a",
        "begin; set x to a",
        "select 1",
        "settle x to a",
        "set_config",
        "set x from current",
        "set transaction to a",
        "set local constraints = a",
        "set x to default, a",
        "set x to $1",
        "set x to 'a' 'b'",
        "set x to 'a'\n'b'",
        "set x to 'a\\b'",
        "set x to U&'a'",
        "set x to N'a'",
        "set x to B'1'",
        "set x to E'a",
        "set x to E'\u{e9}'",
        "set x to \u{e9}",
        "set \"\u{e9}\" to a",
        "set x to $\u{e9}$a$\u{e9}$",
        "set x to $$a",
        "set x to 1a",
        "set x to 0x10",
        "set x to 1_000",
        "set x to +a",
        "set x to a /* b",
        "set x == 1",
        "set \"\" to a",
        "set x. to a",
        "set sort_mem to 64",
        "set constraints all deferred",
        "set time zone interval '1' hour",
        "set names latin1",
        "set role default",
        "set schema x",
        "set catalog 'x'",
        "set session characteristics as transaction",
        "set transaction read only,",
        "set local session characteristics as transaction read only, deferrable",
        "reset",
        "reset x, y",
        "discard",
        "discard \"all\"",
        "update t set x = 1",
    ] {
        assert_eq!(read(text), None, "{text}");
    }
    assert_eq!(Setting::read(b"set x to '\xff'"), None);
    let long = "a".repeat(64);
    assert_eq!(read(&format!("set {long} to a")), None);
    assert_eq!(read(&format!("set x to {long}")), None);
}

/// A gap between two tokens.
fn gap() -> impl Strategy<Value = String> {
    let pieces = [" ", "\n", "\t\r ", "/**/", "/* ; ' /* \" */ $$ */", "-- ' ; /*\n"];
    proptest::collection::vec(proptest::sample::select(pieces.to_vec()), 1..3).prop_map(|pieces| pieces.concat())
}

fn literal() -> impl Strategy<Value = String> {
    prop_oneof![
        "[^'\\\\\0]{0,8}".prop_map(|text| format!("'{text}'")),
        "[ -&(-\\[\\]-~]{0,8}".prop_map(|text| format!("E'{text}\\'\\\\'")),
        "[^$\0]{0,8}".prop_map(|text| format!("$t${text}$t$")),
        "[a-z]{2}[a-z0-9_$]{0,6}".prop_filter("DEFAULT is no value", |word| word != "default"),
        "\"[^\"\\\\\0]{1,8}\"",
        "-?[0-9]{1,5}(\\.[0-9]{1,3})?",
    ]
}

/// Words and marks of such statements, in any order.
fn soup() -> impl Strategy<Value = String> {
    let pieces = [
        "set",
        "set",
        "reset",
        "discard",
        "session",
        "local",
        "transaction",
        "characteristics",
        "as",
        "read",
        "only",
        "time",
        "zone",
        "names",
        "role",
        "authorization",
        "schema",
        "xml",
        "option",
        "document",
        "to",
        "to",
        "=",
        "default",
        "all",
        "temp",
        "x",
        "my",
        ".",
        ",",
        ";",
        "'a'",
        "'",
        "\"b\"",
        "\"",
        "$$",
        "E'",
        "\\",
        "--",
        "\n",
        "/*",
        "*/",
        "1",
        "-",
        "é",
    ];
    proptest::collection::vec((proptest::sample::select(pieces.to_vec()), any::<bool>()), 0..10)
        .prop_map(|parts| parts.into_iter().flat_map(|(piece, gap)| [piece, if gap { " " } else { "" }]).collect())
}

proptest! {
    #[test]
    fn a_name_and_its_values_are_found_whatever_stands_between_them(
        gaps in proptest::collection::vec(gap(), 6),
        name in "[a-z][a-z0-9_]{1,8}(\\.[a-z_]{2,5})?",
        loud in any::<bool>(),
        quoted in any::<bool>(),
        values in proptest::collection::vec(literal(), 1..4),
        semicolons in 0usize..3,
    ) {
        prop_assume!(!["session", "local"].contains(&name.as_str()));
        let spelt = if loud { name.to_uppercase() } else { name.clone() };
        let spelt = if quoted { spelt.split('.').map(|part| format!("\"{part}\"")).collect::<Vec<_>>().join(".") } else { spelt };
        let value = values.join(&format!("{},{}", gaps[0], gaps[1]));
        let text = [&*gaps[2], "Set", &gaps[3], &spelt, &gaps[4], "TO", &gaps[5], &value, &gaps[0], &";".repeat(semicolons)];
        prop_assert_eq!(read(&text.concat()), set(&name, &value));
    }

    #[test]
    fn nothing_is_read_into_a_text_that_goes_on(text in soup()) {
        if read(&text).is_some() {
            prop_assert_eq!(read(&format!("{text}\n; select 1")), None);
            prop_assert_eq!(read(&format!("/* a */ {text}\n-- b")), read(&text));
        }
    }

    #[test]
    fn what_lasts_is_flagged_by_the_scanner_as_well(text in soup()) {
        if matches!(read(&text), Some(Setting::Set(_) | Setting::Reset(_) | Setting::ResetAll | Setting::Discard(_))) {
            let found = scan(text.as_bytes(), Quoting::Standard);
            prop_assert!(found.contains(Effect::Settings) || found.contains(Effect::Role), "{:?}", found);
            prop_assert_eq!(found, scan(text.as_bytes(), Quoting::Backslash));
        }
    }

    #[test]
    fn no_bytes_make_it_panic(text in proptest::collection::vec(any::<u8>(), 0..60), soup in soup()) {
        Setting::read(&text);
        Setting::read(&[b"set x to ", &text[..]].concat());
        Setting::read(&[soup.as_bytes(), &text].concat());
    }
}
