//! SmartStack's nerve: numbered nodes, whose record stands in the data and, with path encoding, in the name too.

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::time::SystemTime;

use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use base64::{Engine as _, alphabet};
use serde::Serialize;
use serde_json::Value;

use super::parameters::Parameters;
use super::sealed::{Amendment, Carries, Codec, Decoded, Owner, Parents, READ_ONCE, check_address, refuse};
use super::{Format, digits};
use crate::error::{Error, ErrorKind};
use crate::instance::{Attributes, Instance, InstanceId, NodeName, ServiceName, Status};

/// Nodes of nerve, as synapse and Prometheus read them. The weight 0 is draining; a TLS port cannot be carried.
#[derive(Clone, Debug)]
pub struct Nerve {
    zone: String,
}

impl Default for Nerve {
    /// The zone is the label `az`.
    fn default() -> Self {
        Self { zone: "az".to_owned() }
    }
}

impl Nerve {
    /// The dialect with parameters of its word: `zone`, the label that states the zone.
    pub(super) fn with_parameters(mut parameters: Parameters<'_>) -> Result<Self, Error> {
        let zone = parameters.take("zone").unwrap_or_else(|| Self::default().zone);
        parameters.end()?;
        Ok(Self { zone })
    }
}

#[derive(Serialize)]
struct Service<'a> {
    host: &'a str,
    port: u16,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    weight: Option<u16>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<&'a str, &'a str>,
}

impl Format for Nerve {
    fn name(&self) -> &'static str {
        NAME
    }
}

impl Codec for Nerve {
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
        if instance.metadata().contains_key(&self.zone) {
            return Err(refuse(format!("format nerve: the label {:?} stands for the zone", self.zone)));
        }
        let mut labels: BTreeMap<_, _> =
            instance.metadata().iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        labels.extend(instance.zone().map(|zone| (self.zone.as_str(), zone)));
        let weight = match instance.status() {
            Status::Draining => Some(0),
            Status::Up => Some(instance.weight().get()).filter(|weight| *weight != 1),
        };
        let service =
            Service { host: instance.host(), port: instance.port(), name: id.as_str(), weight, labels };
        serde_json::to_vec(&service)
            .map_err(|error| Error::with_source(ErrorKind::Other, "the record cannot be written", error))
    }

    /// Synapse does not watch the data: what says something else has another name.
    fn name_of(&self, id: &InstanceId, data: &[u8]) -> Result<NodeName, Error> {
        format!("{id}_{}", digits::of(id.as_str(), data)).parse()
    }

    fn decode(&self, _: &ServiceName, name: &NodeName, data: &[u8]) -> Result<Decoded, String> {
        let from_name = in_name(name.as_str()).and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let value: Value = match from_name {
            Some(value) => value,
            None => serde_json::from_slice(data).map_err(|error| format!("not a nerve record: {error}"))?,
        };
        let host =
            value.get("host").and_then(Value::as_str).filter(|host| !host.is_empty()).ok_or("no host")?;
        let number = |value: &Value| value.as_i64().or_else(|| value.as_str()?.trim().parse().ok());
        let port = value.get("port").and_then(number).and_then(|port| u16::try_from(port).ok());
        let port = port.filter(|port| *port != 0).ok_or("no port")?;
        let mut attributes = Attributes::default();
        match value.get("weight").and_then(Value::as_i64) {
            Some(..=0) => attributes.status = Status::Draining,
            Some(weight) => {
                attributes.weight =
                    u16::try_from(weight).ok().and_then(NonZeroU16::new).unwrap_or(NonZeroU16::MAX);
            }
            None => {}
        }
        if let Some(labels) = value.get("labels").and_then(Value::as_object) {
            let text = |value: &Value| match value {
                Value::String(text) => Some(text.clone()),
                Value::Number(number) => Some(number.to_string()),
                Value::Bool(truth) => Some(truth.to_string()),
                _ => None,
            };
            attributes.metadata =
                labels.iter().filter_map(|(key, value)| Some((key.clone(), text(value)?))).collect();
        }
        attributes.zone = attributes.metadata.remove(&self.zone).filter(|zone| !zone.is_empty());
        let instance = Instance::new(host, port).with_attributes(attributes);
        let id = instance.id().map_err(|error| error.to_string())?;
        Ok(Decoded { instance: instance.with_id(id), owner: None })
    }

    fn unamendable(&self, _: Amendment<'_>) -> Option<String> {
        Some(READ_ONCE.to_owned())
    }

    fn parents(&self) -> Parents {
        Parents::Persistent
    }

    fn carries(&self) -> Carries {
        Carries { ssl_port: false, ..Carries::EVERYTHING }
    }
}

/// The record in a name `base64_<length>_<text>_<number>`; it is cut by the length, for the text may contain `_`.
fn in_name(name: &str) -> Option<Vec<u8>> {
    let (length, rest) = name.strip_prefix("base64_")?.split_once('_')?;
    let text = rest.get(..length.parse().ok()?)?;
    BASE64.decode(text).ok()
}

/// As lenient as Ruby, which nerve is written in: with padding or without, whatever is left over.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

const NAME: &str = "nerve";
