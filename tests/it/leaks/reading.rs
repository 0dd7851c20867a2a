//! Texts that PostgreSQL reads in another way than a scanner that has not heard of it yet.

use super::Leaks;
use crate::harness::codes;
use crate::harness::frames::{Frame, bind, execute, parse, query, sync};

/// A literal to whoever takes a backslash for a backslash, and a LISTEN behind one to whoever does not.
const HIDDEN: &str = r"select 'a\''; listen gossip --'";

/// The same for one statement.
const HIDDEN_LOCK: &str = r"select 'a\'', pg_advisory_lock(7) --'";

fn queries(texts: &[&str]) -> Vec<Frame> {
    texts.iter().map(|text| query(text)).collect()
}

/// A Query whose literal ends with a character of two bytes, of which the second is a backslash.
fn hidden_by_encoding() -> Frame {
    Frame::new(b'Q', b"select E'\x83\x5c'; listen gossip --'\0".to_vec())
}

fn batch(texts: &[&str]) -> Vec<Frame> {
    texts.iter().flat_map(|sql| [parse("", sql), bind("", "", &[]), execute("", 0)]).chain([sync()]).collect()
}

/// What is sent, write by write.
fn ways() -> Vec<Vec<Vec<Frame>>> {
    let (off, local_off) = ("set standard_conforming_strings to off", "set local standard_conforming_strings to off");
    let (on, own) = ("set standard_conforming_strings to on", "reset standard_conforming_strings");
    let by_function = |local| format!("select set_config('standard_conforming_strings', 'off', {local})");
    let begin = || queries(&["begin"]);
    let commit = || queries(&["commit"]);
    let in_sjis = |set: &str| [queries(&[set]), vec![hidden_by_encoding()]].concat();
    vec![
        vec![queries(&[off, HIDDEN, on])],
        vec![queries(&[off, HIDDEN]), queries(&[own])],
        vec![queries(&["begin", local_off, HIDDEN, "commit"])],
        vec![queries(&["begin; set local \"standard_conforming_strings\" = off", HIDDEN, "commit"])],
        vec![queries(&["begin", &by_function("true"), HIDDEN, "commit"])],
        vec![queries(&[&by_function("false"), HIDDEN, own])],
        vec![begin(), batch(&[local_off, HIDDEN_LOCK]), commit()],
        vec![batch(&[off, HIDDEN_LOCK, on])],
        vec![in_sjis("set client_encoding to 'sjis'"), queries(&["reset client_encoding"])],
        vec![in_sjis("set names 'sjis'"), queries(&["set names 'utf8'", "reset client_encoding"])],
        vec![begin(), in_sjis("set local names 'sjis'"), commit()],
        vec![begin(), queries(&["set local client_encoding to 'sjis'"]), vec![hidden_by_encoding()], commit()],
        vec![begin(), in_sjis("select set_config('client_encoding', 'sjis', true)"), commit()],
    ]
}

#[tokio::test]
async fn what_is_hidden_by_another_way_of_reading_stays_with_its_client() {
    let leaks = Leaks::among(2).await;
    for (number, way) in ways().into_iter().enumerate() {
        let mut client = leaks.room.raw("catalog").await;
        for frames in way {
            assert_eq!(codes(&client.ask(&frames).await), [""; 0], "{number}");
        }
        leaks.assert_none(&format!("way {number}, its client still there")).await;
        client.leave().await;
        leaks.assert_none(&format!("way {number}")).await;
    }
}
