//! What a text may leave behind, statement by statement, and the properties that hold for every text.

use super::effects::Effect;
use super::{Quoting, Scanner, scan};
use proptest::prelude::*;

fn effects(text: &str) -> Vec<Effect> {
    scan(text.as_bytes(), Quoting::Standard).iter().collect()
}

/// Without what says how a thing is left behind, or that something else is not any more.
fn left_behind(text: &str) -> Vec<Effect> {
    use Effect::{Local, Meaning, Placeholder, Reading, Release, Reset};
    let how = [Meaning, Placeholder, Reading, Reset, Release, Local];
    effects(text).into_iter().filter(|effect| !how.contains(effect)).collect()
}

#[test]
fn ordinary_statements_leave_nothing() {
    for text in [
        "select * from \"catalog\" where \"id\" = $1 limit $2",
        "update \"t\" set \"a\" = $1, \"role\" = 'x' where \"temp\" = 2",
        "insert into t (temp, \"set\") values (1, 'SET x = 1; LISTEN y')",
        "select setting from pg_settings where name = $1",
        "BEGIN;",
        "COMMIT;",
        "BEGIN TRANSACTION ISOLATION LEVEL SERIALIZABLE READ ONLY;",
        "SET TRANSACTION READ ONLY",
        "set constraints all deferred",
        "PREPARE TRANSACTION 'x'",
        "PREPARE TRANSACTION'x'",
        "select pg_advisory_xact_lock(1)",
        "select $$ set x = 1; $$, $a$ nextval('x') $$ $a$, 'it''s; reset all'",
        "/* set /* nested */ x */ select 1 -- reset all\n",
        "declare c cursor for select 1",
        "create table x (a serial, offset_set int)",
        "with t as (select 1) delete from x using t",
        "select temp from weather",
        "grant execute on function f to x",
        "select all x as execute from t",
        "select '\\'; select 1",
        "",
        ";;",
    ] {
        assert_eq!(effects(text), [], "{text}");
    }
}

#[test]
fn what_tells_others_leaves_nothing_but_is_found() {
    for text in ["select pg_notify($1, $2)", "NOTIFY ours, 'x'", "begin; notify ours; commit"] {
        assert_eq!(effects(text), [Effect::Notify], "{text}");
    }
}

#[test]
fn what_lasts_as_long_as_its_transaction_leaves_nothing_but_is_found() {
    for text in [
        "SET LOCAL work_mem TO '1MB'",
        "SET LOCAL TIME ZONE 'UTC'",
        "SET LOCAL ROLE x",
        "begin; set /* */ local datestyle = 'German'",
        "CREATE TEMP TABLE documents_to_insert (a int) ON COMMIT DROP",
    ] {
        assert_eq!(effects(text), [Effect::Local], "{text}");
    }
}

#[test]
fn what_outlives_the_transaction_is_found() {
    for (text, effect) in [
        ("set search_path to \"catalog\"", Effect::Settings),
        ("SET SESSION x = 1", Effect::Settings),
        ("SET\"x\" = 1", Effect::Settings),
        ("SET TIME ZONE 'UTC'", Effect::Settings),
        ("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", Effect::Settings),
        ("SET ROLE x", Effect::Role),
        ("set session role x", Effect::Role),
        ("SET SESSION AUTHORIZATION DEFAULT", Effect::Role),
        ("RESET ALL", Effect::Settings),
        ("select 1; /* x */ set a = 1", Effect::Settings),
        ("select SET_CONFIG('a', 'b', false)", Effect::Settings),
        ("select pg_catalog.\"set_config\"('a', 'b', false)", Effect::Settings),
        ("update pg_settings set setting = '2MB' where name = $1", Effect::Settings),
        ("explain analyze update only pg_catalog.\"pg_settings\" set setting = null", Effect::Settings),
        ("LISTEN x", Effect::Listen),
        ("create temp table x (a int)", Effect::Temporary),
        ("create local temporary table x (a int)", Effect::Temporary),
        ("select 1 into temp x", Effect::Temporary),
        ("create table pg_temp.x (a int)", Effect::Temporary),
        ("create temp table x (a int) on commit delete rows", Effect::Temporary),
        ("select pg_advisory_lock(1)", Effect::AdvisoryLock),
        ("select pg_try_advisory_lock_shared(1)", Effect::AdvisoryLock),
        ("declare c cursor with hold for select 1", Effect::HeldCursor),
        ("prepare x as select 1", Effect::Prepare),
        ("execute x(1)", Effect::Prepare),
        ("explain (analyze) execute x", Effect::Prepare),
        ("create table t as execute x", Effect::Prepare),
        ("deallocate x", Effect::Prepare),
        ("DEALLOCATE \"all\"", Effect::Prepare),
        ("deallocate prepare", Effect::Prepare),
        ("select name from pg_prepared_statements", Effect::Prepare),
        ("DEALLOCATE ALL", Effect::Deallocate),
        ("deallocate prepare all", Effect::Deallocate),
        ("select nextval('s')", Effect::Sequence),
        ("select lastval()", Effect::SequenceRead),
        ("select setseed(0.5)", Effect::Random),
        ("load 'x'", Effect::Load),
        ("do $$ begin perform 1; end $$", Effect::Procedural),
        ("DO'BEGIN PERFORM 1; END'", Effect::Procedural),
        ("do language plpgsql 'begin end'", Effect::Procedural),
        ("LOAD'x'", Effect::Load),
        ("SET local.x = 1", Effect::Settings),
        ("SET transaction . x = 1", Effect::Settings),
        ("set constraints/**/.x = 1", Effect::Settings),
        ("SET LOCAL app.tenant = 'x'", Effect::Settings),
        ("SET LOCAL \"app\".tenant = 'x'", Effect::Settings),
        ("SET LOCAL search_path TO 'pg_temp'", Effect::Temporary),
        ("SET LOCAL \"search_path\" TO 'pg_temp'", Effect::Temporary),
        ("SET LOCAL SCHEMA 'pg_temp'", Effect::Temporary),
        ("SET LOCAL seed = 0.5", Effect::Random),
        ("PREPARE transaction AS select 1", Effect::Prepare),
        ("select table_to_xml('pg_prepared_statements', true, true, '')", Effect::Prepare),
        ("select schema_to_xml_and_xmlschema('pg_catalog', true, true, '')", Effect::Prepare),
        ("select ident from pg_backend_memory_contexts", Effect::Prepare),
        ("PREPARE transaction(int) AS select 1", Effect::Prepare),
        ("select pg_create_logical_replication_slot('x', 'y', true)", Effect::Procedural),
        ("select * from crosstab4('select 1')", Effect::Procedural),
        ("call p()", Effect::Procedural),
        ("select query_to_xml('select 1', true, true, '')", Effect::Procedural),
        ("select U&\"\\0073et_config\"('a', 'b', false)", Effect::Unreadable),
        ("create function f() returns int language sql as 'select 1'", Effect::Code),
        ("create or replace view v as select 1", Effect::Code),
        ("select E'\\''; set x = 1", Effect::Settings),
        ("select E'a'\n'\\''; set x = 1 --'", Effect::Settings),
        ("select $$;$$; set x = 1", Effect::Settings),
        ("select $1; set x = 1", Effect::Settings),
        ("select '\\'; set x = 1", Effect::Settings),
    ] {
        assert_eq!(left_behind(text), [effect], "{text}");
    }
}

#[test]
fn a_setting_that_no_catalog_lists_is_told_from_the_others() {
    for text in [
        "set our.own to 1",
        "SET SESSION \"our\" . \"own\" = 1",
        "set session.own to 1",
        "set role.own to 1",
        "set seed.own to 1",
        "set search_path/* */.own to 1",
        "SET LOCAL app.tenant = 'x'",
        "select set_config('our.own', 'x', false)",
        "select set_limit(0.5)",
        "update pg_settings set setting = $1 where name = $2",
    ] {
        assert!(effects(text).contains(&Effect::Placeholder), "{text}");
    }
    for text in [
        "set work_mem to 1.5",
        "set search_path to a, \"b.c\"",
        "set time zone -7.5",
        "set role a",
        "set session characteristics as transaction read only",
        "set a = 1; select b.c",
    ] {
        assert!(!effects(text).contains(&Effect::Placeholder), "{text}");
    }
}

#[test]
fn what_changes_how_texts_are_read_is_found() {
    for text in [
        "set standard_conforming_strings to off",
        "SET LOCAL \"Standard_Conforming_Strings\" = off",
        "set session client_encoding to 'sjis'",
        "begin; set local names 'sjis'",
        "select set_config($1, $2, true)",
    ] {
        assert!(effects(text).contains(&Effect::Reading), "{text}");
    }
    for text in ["show standard_conforming_strings", "select names, client_encoding from t", "update t set a = 1"] {
        assert!(!effects(text).contains(&Effect::Reading), "{text}");
    }
}

#[test]
fn a_local_authorization_may_cost_the_role() {
    assert!(effects("set local session authorization default").contains(&Effect::Role));
}

#[test]
fn a_way_back_to_the_beginning_is_found() {
    for text in [
        "reset work_mem",
        "RESET ALL",
        "discard temp",
        "set work_mem to default",
        "set search_path = DEFAULT",
        "set time zone local",
        "set session authorization default",
        "select set_config('work_mem', null, false)",
        "update pg_settings set setting = null",
    ] {
        assert!(effects(text).contains(&Effect::Reset), "{text}");
    }
    for text in ["set work_mem to '1MB'", "create table t (a int default 1)", "set local work_mem to 1", "set role a"] {
        assert!(!effects(text).contains(&Effect::Reset), "{text}");
    }
}

#[test]
fn what_may_take_something_away_is_found() {
    for text in [
        "drop table t",
        "deallocate all",
        "close c",
        "unlisten *",
        "select pg_advisory_unlock_all()",
        "DROP VIEW IF EXISTS v",
    ] {
        assert!(effects(text).contains(&Effect::Release), "{text}");
    }
}

#[test]
fn discard_resets_settings_and_frees_names() {
    assert_eq!(effects("DISCARD ALL"), [Effect::Settings, Effect::Meaning, Effect::Deallocate, Effect::Reset]);
    assert_eq!(effects("DISCARD /* ALL */ PLANS"), [Effect::Settings, Effect::Meaning, Effect::Reset]);
}

#[test]
fn what_is_named_in_the_schema_public_is_found() {
    for text in [
        "SELECT \"CasbinRule\".\"id\" FROM \"public\".\"casbin_rule\" \"CasbinRule\"",
        "CREATE TABLE \"public\".\"casbin_rule\" (\"id\" SERIAL NOT NULL, \"ptype\" character varying)",
        "INSERT INTO \"public\".\"casbin_rule\"(\"id\") VALUES (DEFAULT) RETURNING \"id\"",
        "DELETE FROM \"public\".\"casbin_rule\" WHERE \"id\" IN ($1)",
        "select * from public.t",
        "select * from Public . t",
        "select * from public /* . */\n.t",
        "select public.f(1)",
    ] {
        assert_eq!(effects(text), [Effect::Public], "{text}");
    }
}

#[test]
fn the_word_public_alone_names_nothing() {
    for text in [
        "select 'public.t', E'public.t', $$ public.t $$ -- public.t\n/* public.t */",
        "select * from pg_tables where schemaname = 'public'",
        "grant select on t to public",
        "select public from t where public = 1.5 and public in (.5)",
        "select t.public, \"public.t\" from t",
        "select x as public; .5",
        "select publics.t, a_public.t, \"public \".t",
    ] {
        assert_eq!(effects(text), [], "{text}");
    }
}

#[test]
fn a_backslash_hides_a_quote_only_where_the_server_says_so() {
    let text = b"select '\\'; set x = 1 --'";
    assert!(scan(text, Quoting::Standard).contains(Effect::Settings));
    assert!(scan(text, Quoting::Backslash).is_empty());
}

#[test]
fn a_default_that_calls_a_stateful_function_is_code_too() {
    let found = scan(b"alter table t add column a text default set_config('x', 'y', false)", Quoting::Standard);
    assert!(found.contains(Effect::Code) && found.contains(Effect::Settings));
}

fn sql() -> impl Strategy<Value = String> {
    let pieces = [
        "set",
        "select",
        " ",
        "'",
        "''",
        "\"",
        "$$",
        "$a$",
        "--",
        "\n",
        "/*",
        "*/",
        ";",
        "\\",
        "e'",
        "U&\"",
        "x",
        "temp",
        "create",
        "(",
        "1",
        "$1",
        "nextval",
        "on commit drop",
        "é",
    ];
    proptest::collection::vec(proptest::sample::select(pieces.to_vec()), 0..24).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn the_answer_does_not_depend_on_how_the_text_is_cut(text in sql(), cut in 1usize..7) {
        for quoting in [Quoting::Standard, Quoting::Backslash] {
            let mut scanner = Scanner::new(quoting);
            text.as_bytes().chunks(cut).for_each(|piece| scanner.feed(piece));
            prop_assert_eq!(scanner.finish(), scan(text.as_bytes(), quoting));
        }
    }

    #[test]
    fn no_bytes_make_it_panic(text in proptest::collection::vec(any::<u8>(), 0..200)) {
        scan(&text, Quoting::Standard);
        scan(&text, Quoting::Backslash);
    }

    #[test]
    fn a_set_behind_a_whole_statement_is_never_missed(
        name in "[a-z_]{1,8}", value in "[^']{0,12}", comment in "[^*/]{0,12}",
    ) {
        let text = format!("select '{value}' /*{comment}*/ ; SET {name} = 1");
        // A word that makes SET something else is the one exception.
        prop_assume!(!["local", "transaction", "constraints", "session"].contains(&name.as_str()));
        prop_assert!(!scan(text.as_bytes(), Quoting::Standard).is_empty());
    }
}
