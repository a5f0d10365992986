//! Kratos: a record with one endpoint for each scheme.

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::time::SystemTime;

use serde::Serialize;
use serde_json::Value;

use super::Format;
use super::fields::Fields;
use super::parameters::Parameters;
use super::sealed::{
    Amendment, CANNOT_DRAIN, Carries, Child, Codec, Decoded, Drain, Owner, Parents, Reading, check_host,
    refuse,
};
use crate::error::{Error, ErrorKind};
use crate::instance::address;
use crate::instance::{Attributes, Instance, InstanceId, NodeName, ServiceName};

/// What Kratos 2 and 3 write and read, below the base `/microservices`. Draining cannot be said.
#[derive(Clone, Debug)]
pub struct Kratos {
    scheme: String,
}

impl Default for Kratos {
    /// The endpoint of the scheme `grpc`.
    fn default() -> Self {
        Self { scheme: "grpc".to_owned() }
    }
}

impl Kratos {
    /// The dialect with parameters of its word: `scheme`, whose endpoint is meant; with an `s` it is the TLS port's.
    pub(super) fn with_parameters(mut parameters: Parameters<'_>) -> Result<Self, Error> {
        let scheme = parameters.take("scheme").unwrap_or_else(|| Self::default().scheme);
        parameters.end()?;
        Ok(Self { scheme })
    }
}

#[derive(Serialize)]
struct Record<'a> {
    id: &'a str,
    name: &'a str,
    version: &'a str,
    metadata: Option<BTreeMap<&'a str, &'a str>>,
    endpoints: Vec<String>,
}

impl Format for Kratos {
    fn name(&self) -> &'static str {
        NAME
    }
}

impl Codec for Kratos {
    fn directories(&self, service: &ServiceName) -> Result<Vec<ServiceName>, Error> {
        if service.as_str().contains('/') {
            return Err(refuse(format!("format kratos: a service has one segment, not {service}")));
        }
        Ok(vec![service.clone()])
    }

    fn encode(
        &self,
        service: &ServiceName,
        id: &InstanceId,
        instance: &Instance,
        _: &Owner,
        _: SystemTime,
    ) -> Result<Vec<u8>, Error> {
        self.carries().check(NAME, instance)?;
        check_host(NAME, instance)?;
        let scheme = &self.scheme;
        let endpoint =
            |scheme: &str, port| format!("{scheme}://{}", Instance::new(instance.host(), port).address());
        let mut endpoints = Vec::new();
        if instance.port() != 0 {
            endpoints.push(endpoint(scheme, instance.port()));
        }
        endpoints.extend(instance.ssl_port().map(|port| endpoint(&format!("{scheme}s"), port)));
        let weight = (u32::from(instance.weight().get()) * u32::from(UNIT)).to_string();
        let mut metadata: BTreeMap<_, _> =
            instance.metadata().iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let version = metadata.remove(VERSION).unwrap_or_default();
        if let Some(key) = [WEIGHT, ZONE].into_iter().find(|key| metadata.contains_key(key)) {
            return Err(refuse(format!("format kratos: the metadata key {key} stands for an attribute")));
        }
        if instance.weight().get() != 1 {
            metadata.insert(WEIGHT, &weight);
        }
        metadata.extend(instance.zone().map(|zone| (ZONE, zone)));
        let metadata = Some(metadata).filter(|metadata| !metadata.is_empty());
        let record = Record { id: id.as_str(), name: service.as_str(), version, metadata, endpoints };
        serde_json::to_vec(&record)
            .map_err(|error| Error::with_source(ErrorKind::Other, "the record cannot be written", error))
    }

    fn decode(&self, _: &ServiceName, name: &NodeName, data: &[u8]) -> Result<Decoded, String> {
        let value: Value =
            serde_json::from_slice(data).map_err(|error| format!("not a Kratos record: {error}"))?;
        let value = value.as_object().ok_or("not an object")?;
        let endpoints = value.get("endpoints").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let secure = format!("{}s", self.scheme);
        let (mut plain, mut tls) = (None, None);
        for endpoint in endpoints.iter().filter_map(Value::as_str) {
            let Some((scheme, rest)) = endpoint.split_once("://") else { continue };
            let (address, query) = rest.split_once('?').unwrap_or((rest, ""));
            let Ok((host, Some(port))) = address::split(address.split('/').next().unwrap_or_default()) else {
                continue;
            };
            let is_secure = query.split('&').any(|pair| pair == "isSecure=true");
            if scheme == secure || (scheme == self.scheme && is_secure) {
                tls.get_or_insert((host, port));
            } else if scheme == self.scheme {
                plain.get_or_insert((host, port));
            }
        }
        let (host, port) = match (plain, tls) {
            (Some(plain), _) => plain,
            (None, Some((host, _))) => (host, 0),
            (None, None) => return Err(format!("no endpoint of the scheme {}", self.scheme)),
        };
        let mut metadata: BTreeMap<String, String> = BTreeMap::new();
        for (key, value) in value.get("metadata").and_then(Value::as_object).into_iter().flatten() {
            metadata.extend(value.as_str().map(|value| (key.clone(), value.to_owned())));
        }
        let weight = metadata.remove(WEIGHT).and_then(|weight| weight.trim().parse::<i64>().ok());
        let weight = weight
            .filter(|weight| *weight > 0)
            .map_or(UNIT, |weight| u16::try_from(weight).unwrap_or(u16::MAX));
        let zone = metadata.remove(ZONE).filter(|zone| !zone.is_empty());
        metadata.retain(|key, value| key != VERSION || !value.is_empty());
        if let Some(version) =
            value.get("version").and_then(Value::as_str).filter(|version| !version.is_empty())
        {
            metadata.insert(VERSION.to_owned(), version.to_owned());
        }
        let weight = NonZeroU16::new(weight).unwrap_or(NonZeroU16::MIN);
        let attributes = Attributes { weight, zone, metadata, ..Attributes::default() };
        let mut instance = Instance::new(host, port).with_attributes(attributes).with_id(name.to_id());
        if let Some((_, port)) = tls {
            instance = instance.with_ssl_port(port);
        }
        Ok(Decoded { instance, owner: None })
    }

    /// Kratos skips the records of another service.
    fn read(&self, service: &ServiceName, child: Child<'_>) -> Result<Reading, String> {
        let named = |value: Value| Some(value.get("name")?.as_str()? != service.as_str());
        if serde_json::from_slice(child.data).ok().and_then(named) == Some(true) {
            return Ok(Reading::Ignored);
        }
        self.decode(service, child.name, child.data).map(Reading::Member)
    }

    fn unamendable(&self, amendment: Amendment<'_>) -> Option<String> {
        matches!(amendment, Amendment::Status(..)).then(|| CANNOT_DRAIN.to_owned())
    }

    fn amend(&self, data: &[u8], amendment: Amendment<'_>) -> Result<Vec<u8>, String> {
        let Amendment::Weight(weight) = amendment else { return Err(CANNOT_DRAIN.to_owned()) };
        let mut record = Fields::of(str::from_utf8(data).map_err(|error| error.to_string())?)?;
        let stated = record.get(METADATA).filter(|metadata| *metadata != "null").unwrap_or("{}");
        let mut metadata = Fields::of(stated)?;
        metadata.set(WEIGHT, format!("\"{weight}\""));
        record.set(METADATA, metadata.json());
        Ok(record.json().into_bytes())
    }

    fn parents(&self) -> Parents {
        Parents::Persistent
    }

    fn carries(&self) -> Carries {
        Carries { drain: Drain::Remove, ..Carries::EVERYTHING }
    }

    fn weight_unit(&self) -> u16 {
        UNIT
    }
}

const NAME: &str = "kratos";
const METADATA: &str = "metadata";
const WEIGHT: &str = "weight";
const ZONE: &str = "zone";
const VERSION: &str = "version";
/// The weight of an instance that states none.
const UNIT: u16 = 100;
