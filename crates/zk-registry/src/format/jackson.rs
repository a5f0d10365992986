//! JSON as Jackson's tree model reads it, which is what decides whether Curator accepts a node.
//!
//! The last value of a key wins, whatever follows the object is not looked at, a byte order mark is skipped, and a value
//! is judged only where it is wanted: a scalar of the wrong type is coerced where Java would. Nothing is built for
//! keys that are not asked for, however deep they nest.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The text of a document: as much of it as is UTF-8. Cut short, an object that did not end before is malformed.
pub(super) fn text(data: &[u8]) -> &str {
    let data = data.strip_prefix(b"\xef\xbb\xbf").unwrap_or(data);
    match str::from_utf8(data) {
        Ok(text) => text,
        Err(error) => str::from_utf8(&data[..error.valid_up_to()]).unwrap_or_default(),
    }
}

/// What an object says under each of these keys, as JSON text; `None` where it says nothing.
pub(super) fn pick<'a, const N: usize>(
    text: &'a str,
    keys: &[&str; N],
) -> Result<[Option<&'a str>; N], serde_json::Error> {
    Wanted(keys).deserialize(&mut serde_json::Deserializer::from_str(text))
}

/// A string; numbers and booleans are taken as they are written.
pub(super) fn string(json: &str) -> Result<Option<Cow<'_, str>>, &'static str> {
    match json.as_bytes() {
        [b'n', ..] => Ok(None),
        [b'"', inner @ .., b'"'] if !inner.contains(&b'\\') => Ok(Some(json[1..json.len() - 1].into())),
        [b'"', ..] => serde_json::from_str(json)
            .map(|text: String| Some(text.into()))
            .map_err(|_| "half a surrogate pair"),
        [b'[' | b'{', ..] => Err("not a string"),
        _ => Ok(Some(json.into())),
    }
}

/// An integer; numeric strings are read, and fractions are cut off.
pub(super) fn integer(json: &str) -> Result<Option<i64>, &'static str> {
    const WHY: &str = "not an integer";
    match json.as_bytes() {
        [b'n', ..] => Ok(None),
        [b'"', ..] => match string(json)?.as_deref().map(str::trim) {
            None | Some("" | "null") => Ok(None),
            Some(digits) => digits.parse().map(Some).map_err(|_| WHY),
        },
        [b'-' | b'0'..=b'9', ..] => {
            let fraction = || json.parse().ok().map(f64::trunc).filter(|n| n.abs() < 2f64.powi(63));
            json.parse().ok().or_else(|| fraction().map(|n| n as i64)).map(Some).ok_or(WHY)
        }
        _ => Err(WHY),
    }
}

/// A boolean that is false when it is null; the strings `true` and `false` and integers are read too.
pub(super) fn boolean(json: &str) -> Result<bool, &'static str> {
    match json {
        "true" => Ok(true),
        "false" | "null" => Ok(false),
        _ if json.starts_with('"') => match string(json)?.as_deref().map(str::trim) {
            Some("true" | "True" | "TRUE") => Ok(true),
            None | Some("false" | "False" | "FALSE" | "" | "null") => Ok(false),
            Some(_) => Err("not a boolean"),
        },
        _ => json.parse().map(|n: i64| n != 0).map_err(|_| "not a boolean"),
    }
}

/// Whether a list is how Jackson writes an object that cannot carry its class: `["java.util.ArrayList",[1,2]]`.
pub(super) fn is_typed_list(json: &str) -> bool {
    let class = serde_json::from_str::<(Cow<'_, str>, IgnoredAny)>(json).map(|(class, _)| class);
    class.is_ok_and(|class| class.contains('.') || class.starts_with('['))
}

/// The seed behind [`pick`]: keys in, their values out.
struct Wanted<'k, const N: usize>(&'k [&'k str; N]);

impl<'de, const N: usize> DeserializeSeed<'de> for Wanted<'_, N> {
    type Value = [Option<&'de str>; N];

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, const N: usize> Visitor<'de> for Wanted<'_, N> {
    type Value = [Option<&'de str>; N];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = [None; N];
        while let Some(position) = map.next_key_seed(Position(self.0))? {
            match position {
                Some(n) => found[n] = Some(map.next_value::<&'de RawValue>()?.get()),
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(found)
    }
}

/// Where a key stands among those that are wanted.
struct Position<'k>(&'k [&'k str]);

impl<'de> DeserializeSeed<'de> for Position<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Position<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().position(|wanted| *wanted == key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_value_of_a_key_wins_and_the_rest_is_not_looked_at() {
        let [a, b, c] =
            pick(r#"{"a":1,"x":{"a":9},"b":[1, 2],"a":"two"} and so on"#, &["a", "b", "c"]).unwrap();
        assert_eq!((a, b, c), (Some(r#""two""#), Some("[1, 2]"), None));
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for bad in ["", " ", "null", "[]", "7", "\"a\"", "{", "{\"a\"}", "{\"a\":1", "{'a':1}"] {
            assert!(pick(bad, &["a"]).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_key_that_nobody_wants_may_nest_as_deep_as_it_likes() {
        let deep = format!("{{\"x\":{}{},\"a\":1}}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(pick(&deep, &["a"]).unwrap(), [Some("1")]);
    }

    #[test]
    fn scalars_are_coerced_as_in_java() {
        assert_eq!(string(r#""a\u0041""#), Ok(Some("aA".into())));
        assert_eq!(string("8080"), Ok(Some("8080".into())));
        assert!(string("{}").is_err() && string(r#""\ud800""#).is_err());
        assert_eq!(integer("8897.5"), Ok(Some(8897)));
        assert_eq!(integer("-1"), Ok(Some(-1)));
        assert_eq!(integer(r#"" 8080 ""#), Ok(Some(8080)));
        assert_eq!(integer(r#""""#), Ok(None));
        for bad in ["true", "[]", r#""x""#, r#""1.5""#, "1e99", "99999999999999999999"] {
            assert!(integer(bad).is_err(), "{bad}");
        }
        assert_eq!((boolean("null"), boolean(r#""false""#), boolean("1")), (Ok(false), Ok(false), Ok(true)));
        assert!(boolean(r#""no""#).is_err() && boolean("1.5").is_err() && boolean("{}").is_err());
    }
}
