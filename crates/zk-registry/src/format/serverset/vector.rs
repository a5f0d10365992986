//! Weights that operators put beside the members: `vector_*` nodes.

use serde_json::Value;

use crate::instance::{Instance, NodeName};

/// The entries of one vector.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::format) struct Vector(Vec<Entry>);

#[derive(Clone, Debug, PartialEq)]
struct Entry {
    select: Select,
    weight: f64,
}

/// Which members an entry is about.
#[derive(Clone, Debug, PartialEq)]
enum Select {
    /// Host and port; no port: any.
    Inet(String, Option<u16>),
    Member(String),
    Shard(i64),
}

impl Vector {
    /// Reads the data of a node. An entry that Finagle drops is dropped.
    pub(super) fn read(data: &[u8]) -> Result<Self, String> {
        let value: Value = serde_json::from_slice(data).map_err(|error| format!("not a vector: {error}"))?;
        let entries = value.get("vector").and_then(Value::as_array).ok_or("not a vector")?;
        let read = |entry: &Value| {
            let (key, argument) = entry.get("select")?.as_str()?.split_once('=')?;
            let select = match key {
                "inet" => inet(argument)?,
                "member" => Select::Member(argument.to_owned()),
                "shard" => Select::Shard(argument.parse().ok()?),
                _ => return None,
            };
            // A whole number is silently 1.0 to Finagle.
            let weight = entry.get("weight").filter(|weight| weight.is_f64()).and_then(Value::as_f64);
            Some(Entry { select, weight: weight.unwrap_or(1.0) })
        };
        Ok(Self(entries.iter().filter_map(read).collect()))
    }

    /// The product of the weights that are about this member.
    pub(super) fn product(&self, name: &NodeName, instance: &Instance) -> f64 {
        let shard = instance.metadata().get(SHARD).and_then(|shard| shard.parse::<i64>().ok());
        let is_about = |select: &Select| match select {
            Select::Inet(host, port) => {
                host == instance.host() && port.is_none_or(|port| port == instance.port())
            }
            Select::Member(member) => member == name.as_str(),
            Select::Shard(number) => shard == Some(*number),
        };
        self.0.iter().filter(|entry| is_about(&entry.select)).map(|entry| entry.weight).product()
    }
}

fn inet(argument: &str) -> Option<Select> {
    let (host, port) = argument.split_once(':')?;
    if port.contains(':') {
        return None;
    }
    match port.split(',').next()? {
        "*" => Some(Select::Inet(host.to_owned(), None)),
        port => Some(Select::Inet(host.to_owned(), Some(port.parse().ok()?))),
    }
}

/// The metadata key that states the shard of a member.
pub(super) const SHARD: &str = "shard";
