//! Kitex and Hertz: the name is the address, the data its weight and tags.

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::time::SystemTime;

use serde::Serialize;
use serde_json::Value;

use super::Format;
use super::fields::Fields;
use super::sealed::{Amendment, Carries, Codec, Decoded, Drain, Owner, Parents, check_address, refuse};
use crate::error::{Error, ErrorKind};
use crate::instance::{Attributes, Instance, InstanceId, NodeName, ServiceName};

/// What Kitex and Hertz write and read. A TLS port, an IPv6 address and draining cannot be carried.
#[derive(Clone, Copy, Debug, Default)]
pub struct Kitex;

#[derive(Serialize)]
struct Data<'a> {
    #[serde(rename = "Weight")]
    weight: u32,
    #[serde(rename = "Tags")]
    tags: Option<BTreeMap<&'a str, &'a str>>,
}

impl Format for Kitex {
    fn name(&self) -> &'static str {
        NAME
    }
}

impl Codec for Kitex {
    fn encode(
        &self,
        _: &ServiceName,
        id: &InstanceId,
        instance: &Instance,
        _: &Owner,
        _: SystemTime,
    ) -> Result<Vec<u8>, Error> {
        self.carries().check(NAME, instance)?;
        check_address(NAME, id, instance)?;
        if instance.metadata().contains_key(ZONE) {
            return Err(refuse("format kitex: the tag zone stands for the zone".to_owned()));
        }
        let mut tags: BTreeMap<_, _> =
            instance.metadata().iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        tags.extend(instance.zone().map(|zone| (ZONE, zone)));
        let weight = u32::from(instance.weight().get()) * u32::from(UNIT);
        serde_json::to_vec(&Data { weight, tags: Some(tags).filter(|tags| !tags.is_empty()) })
            .map_err(|error| Error::with_source(ErrorKind::Other, "the record cannot be written", error))
    }

    fn decode(&self, _: &ServiceName, name: &NodeName, data: &[u8]) -> Result<Decoded, String> {
        let value: Value =
            serde_json::from_slice(data).map_err(|error| format!("not a Kitex record: {error}"))?;
        let value = value.as_object().ok_or("not an object")?;
        // Kitex writes IPv6 without brackets.
        let (host, port) =
            name.as_str().rsplit_once(':').ok_or("the name is no address: the port is missing")?;
        let port =
            port.parse().ok().filter(|port: &u16| *port != 0).ok_or("the name is no address: no port")?;
        if host.is_empty() {
            return Err("the name is no address: the host is empty".to_owned());
        }
        let weight = match value.get("Weight") {
            None | Some(Value::Null) => 0,
            Some(weight) => weight.as_i64().ok_or("the weight is no integer")?,
        };
        let weight = if weight > 0 { u16::try_from(weight).unwrap_or(u16::MAX) } else { UNIT };
        let mut metadata = BTreeMap::new();
        if let Some(tags) = value.get("Tags").filter(|tags| !tags.is_null()) {
            for (key, value) in tags.as_object().ok_or("the tags are no object")? {
                metadata.insert(key.clone(), value.as_str().ok_or("a tag is no string")?.to_owned());
            }
        }
        let zone = metadata.remove(ZONE).filter(|zone| !zone.is_empty());
        let weight = NonZeroU16::new(weight).unwrap_or(NonZeroU16::MIN);
        let attributes = Attributes { weight, zone, metadata, ..Attributes::default() };
        Ok(Decoded {
            instance: Instance::new(host, port).with_attributes(attributes).with_id(name.to_id()),
            owner: None,
        })
    }

    fn unamendable(&self, amendment: Amendment<'_>) -> Option<String> {
        matches!(amendment, Amendment::Status(..)).then(cannot_drain)
    }

    /// Readers ask for the data again and again.
    fn amend(&self, data: &[u8], amendment: Amendment<'_>) -> Result<Vec<u8>, String> {
        let Amendment::Weight(weight) = amendment else { return Err(cannot_drain()) };
        let mut record = Fields::of(str::from_utf8(data).map_err(|error| error.to_string())?)?;
        record.set("Weight", weight.to_string());
        Ok(record.json().into_bytes())
    }

    fn parents(&self) -> Parents {
        Parents::Persistent
    }

    fn carries(&self) -> Carries {
        Carries { ssl_port: false, ipv6: false, drain: Drain::Remove, ..Carries::EVERYTHING }
    }

    fn weight_unit(&self) -> u16 {
        UNIT
    }
}

fn cannot_drain() -> String {
    format!("nothing says that it is draining: a weight of 0 means {UNIT} to its readers")
}

const NAME: &str = "kitex";
const ZONE: &str = "zone";
/// The weight of an instance that states none.
const UNIT: u16 = 10;
