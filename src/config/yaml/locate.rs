//! Finds the line of a path in YAML text, by letting the YAML parser itself walk there.
//!
//! The parser gives no positions for what it accepts, but an exact one for what it refuses. So a visitor follows the
//! path and refuses the key (or the list element) at its end: anchors, flow style, comments and quoting need no second
//! reading of YAML that could disagree with the first. It costs a parse for each mistake, and mistakes are few.

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::node::Step;

/// The line of the last part of `path` that is there, counted from 1; `None` when not even its first part is.
pub(super) fn line_of(text: &str, path: &[Step]) -> Option<usize> {
    (1..=path.len()).rev().find_map(|length| {
        let refused = Seek(&path[..length]).deserialize(serde_yaml::Deserializer::from_str(text)).err()?;
        refused.location().map(|location| location.line())
    })
}

/// Goes along the path from here.
struct Seek<'p>(&'p [Step]);

impl<'de> DeserializeSeed<'de> for Seek<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.0.is_empty() {
            return deserializer.deserialize_any(Refuse);
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seek<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("anything")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let [Step::Key(wanted), rest @ ..] = self.0 else { return drain(map) };
        while let Some(found) = map.next_key_seed(SeekKey { wanted, refuse: rest.is_empty() })? {
            if found {
                map.next_value_seed(Seek(rest))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let (wanted, rest) = match self.0 {
            [Step::Index(wanted), rest @ ..] => (*wanted, rest),
            _ => (usize::MAX, self.0),
        };
        for index in 0.. {
            let there = match index == wanted {
                true => list.next_element_seed(Seek(rest))?.is_some(),
                false => list.next_element::<IgnoredAny>()?.is_some(),
            };
            if !there {
                break;
            }
        }
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

fn drain<'de, A: MapAccess<'de>>(mut map: A) -> Result<(), A::Error> {
    while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
    Ok(())
}

/// Looks at a key, and refuses it when it is the end of the path.
struct SeekKey<'p> {
    wanted: &'p str,
    refuse: bool,
}

impl<'de> DeserializeSeed<'de> for SeekKey<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for SeekKey<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<bool, E> {
        if key != self.wanted {
            return Ok(false);
        }
        if self.refuse { Err(E::custom("here")) } else { Ok(true) }
    }
}

/// Accepts nothing, so that the parser tells where it is.
struct Refuse;

impl Visitor<'_> for Refuse {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("nothing")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# a comment: with a colon
backend:
  database:
    client: pg   # pg
    connection: { host: db,
      port: 5432 }
    text: |
      greenroom:
        port: 1
greenroom:
  listen:
    - host: 127.0.0.1
      port: 6432
    - { socket: /run/greenroom }
  'quoted key': 1
  base: &anchor
    max: 1
  other: *anchor
  7: seven
";

    fn line(path: &str) -> Option<usize> {
        let steps: Vec<Step> =
            path.split('.').map(|part| part.parse().map_or(Step::Key(part.into()), Step::Index)).collect();
        line_of(TEXT, &steps)
    }

    #[test]
    fn the_line_of_a_key_is_found_in_block_and_flow_style() {
        assert_eq!(line("backend.database"), Some(3));
        assert_eq!(line("backend.database.client"), Some(4));
        assert_eq!(line("backend.database.connection.host"), Some(5));
        assert_eq!(line("backend.database.connection.port"), Some(6));
        assert_eq!(line("greenroom"), Some(10));
        assert_eq!(line("greenroom.quoted key"), Some(15));
    }

    #[test]
    fn the_line_of_a_list_element_is_found() {
        assert_eq!(line("greenroom.listen.0"), Some(12));
        assert_eq!(line("greenroom.listen.0.port"), Some(13));
        assert_eq!(line("greenroom.listen.1"), Some(14));
        assert_eq!(line("greenroom.listen.1.socket"), Some(14));
    }

    #[test]
    fn an_alias_leads_to_where_its_value_is_written() {
        assert_eq!(line("greenroom.other.max"), Some(17));
    }

    #[test]
    fn what_is_not_there_is_placed_at_the_nearest_part_that_is() {
        assert_eq!(line("backend.database.connection.user"), Some(5));
        assert_eq!(line("backend.database.client.deeper"), Some(4));
        assert_eq!(line("greenroom.listen.7"), Some(11));
        assert_eq!(line("nothing.at.all"), None);
    }
}
