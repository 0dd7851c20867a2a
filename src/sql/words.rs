//! Which word, in which place, can leave something behind.

use super::effects::Effect;

/// The longest word that means anything here, in bytes. Longer ones are cut, and match nothing but a prefix.
pub(super) const LONGEST: usize = 40;

/// What a word may mean, given whether it begins a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    /// Nothing of interest.
    Plain,
    /// The name of a function, or another word that leaves this wherever it stands.
    Leaves(Effect),
    /// A keyword whose meaning depends on its neighbours.
    Key(Key),
}

/// Keywords that are read together with their neighbours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    Set,
    Reset,
    Discard,
    Listen,
    Prepare,
    Deallocate,
    Execute,
    Explain,
    All,
    As,
    Load,
    Do,
    Call,
    Declare,
    Create,
    Alter,
    Drop,
    Session,
    Local,
    Global,
    Role,
    Authorization,
    Transaction,
    Constraints,
    Characteristics,
    Into,
    Replace,
    Temp,
    Hold,
    On,
    Commit,
    /// FUNCTION, VIEW, RULE, ...: code of the database's own.
    CodeObject,
    /// search_path, and its other name SCHEMA: SET LOCAL of it can make tables temporary.
    SearchPath,
    /// seed: SET LOCAL of it outlives the transaction.
    Seed,
    /// standard_conforming_strings, client_encoding, and its other name NAMES: SET of it changes how texts are read.
    Reading,
    /// DEFAULT: behind SET it is a RESET.
    Default,
    /// CLOSE, UNLISTEN.
    Release,
    /// public, perhaps with a name of that schema behind it.
    Public,
    Update,
    /// pg_settings: an UPDATE of it is a SET.
    Settings,
}

/// Names of functions that leave something behind, of those that run a string as SQL, of what shows the names of prepared
/// statements, of what is about processes, and of what tells others.
const FUNCTIONS: &[(&[u8], Effect)] = &[
    (b"set_config", Effect::Settings),
    (b"set_limit", Effect::Settings),
    (b"nextval", Effect::Sequence),
    (b"currval", Effect::SequenceRead),
    (b"lastval", Effect::SequenceRead),
    (b"setval", Effect::Sequence),
    (b"setseed", Effect::Random),
    (b"pg_advisory_lock", Effect::AdvisoryLock),
    (b"pg_advisory_lock_shared", Effect::AdvisoryLock),
    (b"pg_try_advisory_lock", Effect::AdvisoryLock),
    (b"pg_try_advisory_lock_shared", Effect::AdvisoryLock),
    (b"query_to_xml", Effect::Procedural),
    (b"query_to_xmlschema", Effect::Procedural),
    (b"query_to_xml_and_xmlschema", Effect::Procedural),
    (b"cursor_to_xml", Effect::Procedural),
    (b"ts_stat", Effect::Procedural),
    (b"ts_rewrite", Effect::Procedural),
    (b"connectby", Effect::Procedural),
    (b"xpath_table", Effect::Procedural),
    (b"pg_prepared_statement", Effect::Prepare),
    (b"pg_prepared_statements", Effect::Prepare),
    (b"pg_get_backend_memory_contexts", Effect::Prepare),
    (b"pg_backend_memory_contexts", Effect::Prepare),
    (b"pg_backup_start", Effect::Procedural),
    (b"pg_start_backup", Effect::Procedural),
    (b"pg_backend_pid", Effect::Process),
    (b"pg_cancel_backend", Effect::Process),
    (b"pg_terminate_backend", Effect::Process),
    (b"notify", Effect::Notify),
    (b"pg_notify", Effect::Notify),
];

/// What the names of families of such functions begin with.
const FAMILIES: &[(&[u8], Effect)] = &[
    (b"pg_temp", Effect::Temporary),
    (b"pg_advisory_unlock", Effect::Release),
    (b"crosstab", Effect::Procedural),
    (b"table_to_xml", Effect::Prepare),
    (b"schema_to_xml", Effect::Prepare),
    (b"database_to_xml", Effect::Prepare),
    (b"dblink_connect", Effect::Procedural),
    (b"pg_replication_origin_session", Effect::Procedural),
    (b"pg_create_physical_replication", Effect::Procedural),
    (b"pg_create_logical_replication", Effect::Procedural),
    (b"pg_copy_physical_replication", Effect::Procedural),
    (b"pg_copy_logical_replication", Effect::Procedural),
];

const KEYS: &[(&[u8], Key)] = &[
    (b"set", Key::Set),
    (b"reset", Key::Reset),
    (b"discard", Key::Discard),
    (b"listen", Key::Listen),
    (b"unlisten", Key::Release),
    (b"prepare", Key::Prepare),
    (b"deallocate", Key::Deallocate),
    (b"execute", Key::Execute),
    (b"explain", Key::Explain),
    (b"all", Key::All),
    (b"as", Key::As),
    (b"load", Key::Load),
    (b"do", Key::Do),
    (b"call", Key::Call),
    (b"declare", Key::Declare),
    (b"create", Key::Create),
    (b"alter", Key::Alter),
    (b"drop", Key::Drop),
    (b"session", Key::Session),
    (b"local", Key::Local),
    (b"global", Key::Global),
    (b"role", Key::Role),
    (b"authorization", Key::Authorization),
    (b"transaction", Key::Transaction),
    (b"constraints", Key::Constraints),
    (b"characteristics", Key::Characteristics),
    (b"into", Key::Into),
    (b"replace", Key::Replace),
    (b"temp", Key::Temp),
    (b"temporary", Key::Temp),
    (b"hold", Key::Hold),
    (b"on", Key::On),
    (b"commit", Key::Commit),
    (b"function", Key::CodeObject),
    (b"procedure", Key::CodeObject),
    (b"routine", Key::CodeObject),
    (b"aggregate", Key::CodeObject),
    (b"view", Key::CodeObject),
    (b"rule", Key::CodeObject),
    (b"trigger", Key::CodeObject),
    (b"extension", Key::CodeObject),
    (b"language", Key::CodeObject),
    (b"policy", Key::CodeObject),
    (b"operator", Key::CodeObject),
    (b"cast", Key::CodeObject),
    (b"transform", Key::CodeObject),
    (b"type", Key::CodeObject),
    (b"domain", Key::CodeObject),
    (b"search_path", Key::SearchPath),
    (b"schema", Key::SearchPath),
    (b"seed", Key::Seed),
    (b"standard_conforming_strings", Key::Reading),
    (b"client_encoding", Key::Reading),
    (b"names", Key::Reading),
    (b"public", Key::Public),
    (b"update", Key::Update),
    (b"pg_settings", Key::Settings),
    (b"default", Key::Default),
    (b"close", Key::Release),
];

/// For each first letter, the lengths (one bit each) at which a word of interest exists: rules most words out at once.
const LENGTHS: [u32; 26] = {
    let mut table = [0u32; 26];
    let mut i = 0;
    while i < FUNCTIONS.len() {
        let word = FUNCTIONS[i].0;
        table[(word[0] - b'a') as usize] |= 1 << bit(word.len());
        i += 1;
    }
    let mut i = 0;
    while i < FAMILIES.len() {
        // Every length from the family's name on.
        let word = FAMILIES[i].0;
        table[(word[0] - b'a') as usize] |= u32::MAX << bit(word.len());
        i += 1;
    }
    let mut i = 0;
    while i < KEYS.len() {
        let word = KEYS[i].0;
        table[(word[0] - b'a') as usize] |= 1 << bit(word.len());
        i += 1;
    }
    table
};

/// The bit of a length; the last one stands for every longer word.
const fn bit(len: usize) -> usize {
    if len < 31 { len } else { 31 }
}

/// Whether a word of this length that begins with this letter (either case) can matter.
#[inline]
pub(super) fn may_matter(first: u8, len: usize) -> bool {
    let letter = (first | 0x20).wrapping_sub(b'a') as usize;
    letter < 26 && LENGTHS[letter] & (1 << bit(len)) != 0
}

/// Which rows of a table (one bit each) have a word that begins with a letter, or is so long: few words are compared with others.
struct Rows {
    by_letter: [u64; 26],
    by_length: [u64; LONGEST + 1],
}

impl Rows {
    const fn of<T>(table: &[(&[u8], T)]) -> Self {
        assert!(table.len() <= 64, "a bit for each row");
        let mut rows = Self { by_letter: [0; 26], by_length: [0; LONGEST + 1] };
        let mut i = 0;
        while i < table.len() {
            let word = table[i].0;
            rows.by_letter[(word[0] - b'a') as usize] |= 1 << i;
            rows.by_length[word.len()] |= 1 << i;
            i += 1;
        }
        rows
    }
}

const FAMILY_ROWS: Rows = Rows::of(FAMILIES);
const FUNCTION_ROWS: Rows = Rows::of(FUNCTIONS);
const KEY_ROWS: Rows = Rows::of(KEYS);

/// The first of these rows whose word is the right one.
#[inline]
fn find<T: Copy>(table: &[(&[u8], T)], mut rows: u64, is_right: impl Fn(&[u8]) -> bool) -> Option<T> {
    while rows != 0 {
        let (name, meaning) = table[rows.trailing_zeros() as usize];
        if is_right(name) {
            return Some(meaning);
        }
        rows &= rows - 1;
    }
    None
}

/// What `word` (lower case) may mean. A quoted name is never a keyword.
pub(super) fn look_up(word: &[u8], quoted: bool) -> Word {
    let letter = word.first().map_or(26, |first| usize::from(first.wrapping_sub(b'a')));
    if letter >= 26 {
        return Word::Plain;
    }
    if let Some(effect) = find(FAMILIES, FAMILY_ROWS.by_letter[letter], |name| word.starts_with(name)) {
        return Word::Leaves(effect);
    }
    let rows = |rows: &Rows| rows.by_letter[letter] & rows.by_length.get(word.len()).unwrap_or(&0);
    if let Some(effect) = find(FUNCTIONS, rows(&FUNCTION_ROWS), |name| name == word) {
        return Word::Leaves(effect);
    }
    match find(KEYS, rows(&KEY_ROWS), |name| name == word) {
        // Settings and schemas have their name in quotes as well.
        Some(key)
            if !quoted || matches!(key, Key::SearchPath | Key::Seed | Key::Reading | Key::Public | Key::Settings) =>
        {
            Word::Key(key)
        }
        _ => Word::Plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_of_interest_passes_the_length_table() {
        for word in FUNCTIONS.iter().map(|f| f.0).chain(KEYS.iter().map(|k| k.0)).chain([
            &b"pg_temp"[..],
            b"pg_temp_3",
            b"crosstab4",
        ]) {
            assert!(may_matter(word[0], word.len()), "{}", String::from_utf8_lossy(word));
            assert!(may_matter(word[0].to_ascii_uppercase(), word.len()));
            assert!(word.len() < LONGEST);
            assert_ne!(look_up(word, false), Word::Plain);
        }
    }
}
