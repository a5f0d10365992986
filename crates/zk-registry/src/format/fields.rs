//! A JSON object of which a field or two is changed, and everything else stays as somebody else wrote it.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The fields of a JSON object as they were written, in their order.
pub(super) struct Fields(Vec<(String, Box<RawValue>)>);

impl Fields {
    /// The fields of `json`, which must be an object.
    ///
    /// # Errors
    ///
    /// Why it is none.
    pub(super) fn of(json: &str) -> Result<Self, String> {
        let mut deserializer = serde_json::Deserializer::from_str(json);
        Self::deserialize(&mut deserializer).map_err(|error| format!("not a JSON object: {error}"))
    }

    /// An object of one field. `json` must be a JSON value.
    pub(super) fn single(key: &str, json: String) -> Self {
        let mut fields = Self(Vec::new());
        fields.set(key, json);
        fields
    }

    /// The value of a field as it was written; the last one where there are several, as readers have it.
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().rev().find(|(name, _)| name == key).map(|(_, value)| value.get())
    }

    /// Replaces a field where it stands, or adds it at the end. `json` must be a JSON value.
    pub(super) fn set(&mut self, key: &str, json: String) {
        let Ok(value) = RawValue::from_string(json) else { return };
        match self.0.iter_mut().rev().find(|(name, _)| name == key) {
            Some((_, old)) => *old = value,
            None => self.0.push((key.to_owned(), value)),
        }
    }

    /// Replaces, adds or takes out a field.
    pub(super) fn put(&mut self, key: &str, json: Option<String>) {
        match json {
            Some(json) => self.set(key, json),
            None => self.remove(key),
        }
    }

    /// Whether there is no field.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes a field out, however often it is there.
    pub(super) fn remove(&mut self, key: &str) {
        self.0.retain(|(name, _)| name != key);
    }

    /// The object, without blanks between its fields.
    pub(super) fn json(&self) -> String {
        let fields =
            self.0.iter().map(|(key, value)| format!("{}:{value}", serde_json::Value::from(key.as_str())));
        format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
    }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Entries)
    }
}

struct Entries;

impl<'de> Visitor<'de> for Entries {
    type Value = Fields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = map.next_entry()? {
            fields.push(field);
        }
        Ok(Fields(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_changed_stays_as_it_was_written() {
        let mut fields = Fields::of(r#"{"a":1.50,"b":{"z":1,"y":[ 2 ]},"a":"é\u00e9"}"#).unwrap();
        assert_eq!(fields.get("a"), Some(r#""é\u00e9""#));
        fields.set("c", "7".to_owned());
        fields.set("b", "true".to_owned());
        assert_eq!(fields.json(), r#"{"a":1.50,"b":true,"a":"é\u00e9","c":7}"#);
        fields.remove("a");
        assert_eq!(fields.json(), r#"{"b":true,"c":7}"#);
        assert!(Fields::of("[1]").is_err());
    }
}
