//! Which settings can go with their session from server to server, and which ones a text sets by their names.
//!
//! What can go: settings of PostgreSQL's own that any user may change, whose value means the same on every server of a
//! database and cannot be refused where it was accepted once. The others, and whatever a newer PostgreSQL adds, stay on the
//! server where they were set, and so does their session.

use super::letters::is_word;

/// Settings that can go from server to server, in lower case and in order.
///
/// Not among them, though any user may set them: what changes how texts and bytes are read (client_encoding,
/// standard_conforming_strings), what depends on objects that may be dropped (default_tablespace, temp_tablespaces,
/// default_table_access_method, default_text_search_config) or on the session's past (temp_buffers), what is about the
/// connection itself (tcp_*, client_connection_check_interval, idle_session_timeout, exit_on_error), the transaction at
/// hand (transaction_*), and what is for developers.
const CARRIED: &[&str] = &[
    "array_nulls",
    "backend_flush_after",
    "backslash_quote",
    "bytea_output",
    "check_function_bodies",
    "client_min_messages",
    "commit_siblings",
    "constraint_exclusion",
    "cpu_index_tuple_cost",
    "cpu_operator_cost",
    "cpu_tuple_cost",
    "cursor_tuple_fraction",
    "datestyle",
    "default_statistics_target",
    "default_toast_compression",
    "default_transaction_deferrable",
    "default_transaction_isolation",
    "default_transaction_read_only",
    "effective_cache_size",
    "effective_io_concurrency",
    "enable_async_append",
    "enable_bitmapscan",
    "enable_distinct_reordering",
    "enable_gathermerge",
    "enable_group_by_reordering",
    "enable_hashagg",
    "enable_hashjoin",
    "enable_incremental_sort",
    "enable_indexonlyscan",
    "enable_indexscan",
    "enable_material",
    "enable_memoize",
    "enable_mergejoin",
    "enable_nestloop",
    "enable_parallel_append",
    "enable_parallel_hash",
    "enable_partition_pruning",
    "enable_partitionwise_aggregate",
    "enable_partitionwise_join",
    "enable_presorted_aggregate",
    "enable_self_join_elimination",
    "enable_seqscan",
    "enable_sort",
    "enable_tidscan",
    "escape_string_warning",
    "extra_float_digits",
    "from_collapse_limit",
    "geqo",
    "geqo_effort",
    "geqo_generations",
    "geqo_pool_size",
    "geqo_seed",
    "geqo_selection_bias",
    "geqo_threshold",
    "gin_fuzzy_search_limit",
    "gin_pending_list_limit",
    "hash_mem_multiplier",
    "idle_in_transaction_session_timeout",
    "intervalstyle",
    "jit",
    "jit_above_cost",
    "jit_inline_above_cost",
    "jit_optimize_above_cost",
    "join_collapse_limit",
    "lc_monetary",
    "lc_numeric",
    "lc_time",
    "lock_timeout",
    "logical_decoding_work_mem",
    "maintenance_io_concurrency",
    "maintenance_work_mem",
    "max_parallel_maintenance_workers",
    "max_parallel_workers",
    "max_parallel_workers_per_gather",
    "min_parallel_index_scan_size",
    "min_parallel_table_scan_size",
    "parallel_leader_participation",
    "parallel_setup_cost",
    "parallel_tuple_cost",
    "password_encryption",
    "plan_cache_mode",
    "quote_all_identifiers",
    "random_page_cost",
    "recursive_worktable_factor",
    "row_security",
    "seq_page_cost",
    "statement_timeout",
    "stats_fetch_consistency",
    "synchronize_seqscans",
    "synchronous_commit",
    "timezone",
    "timezone_abbreviations",
    "transaction_timeout",
    "transform_null_equals",
    "vacuum_cost_delay",
    "vacuum_cost_limit",
    "vacuum_cost_page_dirty",
    "vacuum_cost_page_hit",
    "vacuum_cost_page_miss",
    "vacuum_freeze_min_age",
    "vacuum_freeze_table_age",
    "work_mem",
    "xmlbinary",
    "xmloption",
];

/// Whether this value of the setting `name` (in any case) can go with its session from server to server.
pub fn can_be_carried(name: &str, value: &str) -> bool {
    let name = name.to_ascii_lowercase();
    if !is_name(&name) || !value.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        return false;
    }
    // With less than a notice the server would talk to the client about statements that are not the client's.
    name != "client_min_messages"
        || ["notice", "warning", "error"].iter().any(|level| value.eq_ignore_ascii_case(level))
}

/// Those that decide what a literal, or a text, is taken for when a statement is prepared, in order: a zone and its
/// abbreviations and DateStyle for dates and times, IntervalStyle for the signs of an interval, array_nulls for the word NULL
/// in an array, lc_monetary for the marks in a sum of money, xmloption for what is XML, backslash_quote for what ends a
/// literal, transform_null_equals for `= NULL`. Three others decide what the plan says that PostgreSQL keeps: it works out at
/// once how a float or bytea reads as text, and quote_ident() of a literal, as if nothing decided on that. What the rest
/// decide changes no result, or is decided each time that a plan runs.
const FOR_LITERALS: &[&str] = &[
    "array_nulls",
    "backslash_quote",
    "bytea_output",
    "datestyle",
    "extra_float_digits",
    "intervalstyle",
    "lc_monetary",
    "quote_all_identifiers",
    "timezone",
    "timezone_abbreviations",
    "transform_null_equals",
    "xmloption",
];

/// Whether a statement that was prepared under another value of this setting, in lower case, may mean something else.
pub fn decides_on_literals(name: &str) -> bool {
    FOR_LITERALS.binary_search(&name).is_ok()
}

/// Whether it is certain that no statement means anything else under another value of this setting, in any case.
pub fn is_free_of_literals(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    is_name(&name) && !decides_on_literals(&name)
}

/// Whether this is one of them, in lower case.
pub fn is_name(name: &str) -> bool {
    CARRIED.binary_search(&name).is_ok()
}

/// Whether whatever the text sets, it sets by `set_config('name', ...)` with a name that tells which setting it is: of
/// PostgreSQL's own, so that a server can be asked about it.
///
/// Looks at bytes, not at words: what stands in a comment or a string counts as well, and anything else than that one shape
/// makes the answer no.
pub fn names_what_it_sets(text: &[u8]) -> bool {
    // The seed cannot be read back, and the others decide how the texts behind this one are read.
    sets_only(text, |setting| !UNTOLD.iter().any(|untold| setting.eq_ignore_ascii_case(untold)))
}

/// Whether whatever the text sets, it sets by `set_config('name', ...)`, and no literal depends on it.
pub fn sets_nothing_for_literals(text: &[u8]) -> bool {
    sets_only(text, |setting| is_free_of_literals(&String::from_utf8_lossy(setting)))
}

/// Whether the code in a text may set what a literal depends on: it says `set` somewhere, and the name of such a setting, or what
/// stands for one (SET TIME ZONE, XML OPTION, RESET ALL).
pub fn may_set_for_literals(text: &[u8]) -> bool {
    let text = text.to_ascii_lowercase();
    let says = |word: &str| memchr::memmem::find(&text, word.as_bytes()).is_some();
    says("set") && (FOR_LITERALS.iter().any(|name| says(name)) || ["zone", "option", "reset"].into_iter().any(says))
}

/// Whether the text sets something, and only by `set_config('name', ...)` with names that are `right`.
fn sets_only(text: &[u8], right: impl Fn(&[u8]) -> bool) -> bool {
    const SET: &[u8] = b"set";
    let begins = (0..text.len()).filter(|at| text[*at..].get(..SET.len()).is_some_and(|w| w.eq_ignore_ascii_case(SET)));
    let mut calls = begins.filter(|at| !only_reads(text, *at)).peekable();
    calls.peek().is_some()
        && calls.all(|at| {
            let begins_a_word = at.checked_sub(1).is_none_or(|before| !is_word(text[before]));
            begins_a_word && named_setting(&text[at..]).is_some_and(&right)
        })
}

/// Whether what is there is the middle of the word `current_setting`.
fn only_reads(text: &[u8], at: usize) -> bool {
    const BEGINNING: &[u8] = b"current_";
    const WORD: &[u8] = b"current_setting";
    let Some(start) = at.checked_sub(BEGINNING.len()) else { return false };
    let is_its = text[start..].get(..WORD.len()).is_some_and(|word| word.eq_ignore_ascii_case(WORD));
    let is_part = |at: Option<usize>| at.and_then(|at| text.get(at)).is_some_and(|byte| is_word(*byte));
    is_its && !is_part(start.checked_sub(1)) && !is_part(Some(start + WORD.len()))
}

/// The name, where the text begins with `set_config('name',`.
fn named_setting(call: &[u8]) -> Option<&[u8]> {
    const NAME: &[u8] = b"set_config";
    let (name, rest) = call.split_at_checked(NAME.len())?;
    let argument = name.eq_ignore_ascii_case(NAME).then(|| past(rest, b'(')).flatten();
    let argument = argument.and_then(|argument| past(argument, b'\''))?;
    let len = argument.iter().position(|byte| !byte.is_ascii_alphabetic() && *byte != b'_').unwrap_or(0);
    let (setting, rest) = argument.split_at(len);
    let is_whole = len > 0 && rest.strip_prefix(b"'").is_some_and(|rest| past(rest, b',').is_some());
    is_whole.then_some(setting)
}

/// What a server cannot be asked about when it is too late.
const UNTOLD: [&[u8]; 3] = [b"seed", b"client_encoding", b"standard_conforming_strings"];

/// What stands behind blanks and this mark.
fn past(text: &[u8], mark: u8) -> Option<&[u8]> {
    let blanks = text.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
    text[blanks..].strip_prefix(&[mark])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_are_in_order() {
        assert!(
            CARRIED.is_sorted() && CARRIED.iter().all(|name| name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'))
        );
    }

    #[test]
    fn what_decides_on_literals_is_carried_too() {
        assert!(FOR_LITERALS.is_sorted() && FOR_LITERALS.iter().all(|name| is_name(name)));
        assert!(decides_on_literals("timezone") && !decides_on_literals("work_mem"));
    }

    #[test]
    fn what_means_the_same_everywhere_can_be_carried() {
        for (name, value) in [("work_mem", "77kB"), ("TimeZone", "Asia/Tokyo"), ("client_min_messages", "WARNING")] {
            assert!(can_be_carried(name, value), "{name}");
        }
        for (name, value) in [
            ("client_min_messages", "debug1"),
            ("client_min_messages", "log"),
            ("client_encoding", "latin1"),
            ("standard_conforming_strings", "off"),
            ("session_replication_role", "replica"),
            ("search_path", "a"),
            ("my.own", "x"),
            ("lc_time", "\u{e9}"),
        ] {
            assert!(!can_be_carried(name, value), "{name}");
        }
    }

    #[test]
    fn a_name_that_stands_there_tells_what_is_set() {
        for text in [
            "select set_config('work_mem', '1MB', false)",
            "SELECT pg_catalog.SET_CONFIG ( 'search_path' , $1, false), set_config('lock_timeout', $2, $3)",
            "select current_setting('jit'), set_config('jit', 'off', false)",
        ] {
            assert!(names_what_it_sets(text.as_bytes()), "{text}");
        }
        for text in [
            "select set_config($1, $2, false)",
            "select set_config('my.own', 'x', false)",
            "select set_config('my' || '.own', 'x', false)",
            "select set_config('my'\n'.own', 'x', false)",
            "select set_config('my'/**/ || '.own', 'x', false)",
            "select set_config(E'my', 'x', false)",
            "select \"set_config\"('my', 'x', false)",
            "select set_config/**/('my', 'x', false)",
            "select set_config('seed', '0.5', false)",
            "select set_config('', '0.5', false)",
            "select set_config('client_encoding', 'sjis', true)",
            "select set_config('Standard_Conforming_Strings', 'off', true)",
            "select set_config('work_mem', '1MB', false); set my.own to 1",
            "select a_set_config('work_mem', '1MB', false)",
            "select set_config('jit', 'off', false), not_current_setting('jit')",
            "select current_setting('jit')",
            "select set_config('work_mem'",
            "select 1",
        ] {
            assert!(!names_what_it_sets(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn code_that_may_set_what_a_literal_depends_on_says_so() {
        for text in [
            "do $$ begin set Time Zone 'UTC'; end $$",
            "do $$ begin perform set_config('DateStyle', 'German', false); end $$",
            "do $$ begin execute 'reset ' || 'all'; end $$",
        ] {
            assert!(may_set_for_literals(text.as_bytes()), "{text}");
        }
        for text in
            ["do $$ begin update item set name = 'a'; end $$", "do $$ begin perform now() at time zone 'UTC'; end $$"]
        {
            assert!(!may_set_for_literals(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn what_no_literal_depends_on_is_known_by_its_name() {
        let asyncpgs = "SELECT current_setting('jit') AS cur, set_config('jit', 'off', false) AS new";
        for text in [asyncpgs, "select set_config('JIT', $1, false)"] {
            assert!(sets_nothing_for_literals(text.as_bytes()), "{text}");
        }
        for text in [
            "select set_config('jit', 'off', false), set_config('TimeZone', 'UTC', false)",
            "select set_config('search_path', 'a', false)",
            "select set_config('jit', 'off', false); set timezone to 'UTC'",
            "select set_config($1, 'off', false)",
            "select 'jit'",
        ] {
            assert!(!sets_nothing_for_literals(text.as_bytes()), "{text}");
        }
    }
}
