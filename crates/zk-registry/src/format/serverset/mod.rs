//! Serversets, of Twitter's commons, Finagle and Aurora: numbered members, and vectors of weights beside them.

pub(super) mod vector;

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::SystemTime;

use serde::Serialize;
use serde_json::Value;

use self::vector::{SHARD, Vector};
use super::parameters::Parameters;
use super::rules::{Rule, Rules};
use super::sealed::{
    Amendment, Carries, Child, Codec, Decoded, Drain, Owner, Parents, READ_ONCE, Reading, check_address,
    refuse,
};
use super::{Format, digits};
use crate::error::{Error, ErrorKind};
use crate::instance::{Attributes, Instance, InstanceId, NodeName, ServiceName, Status};

/// Members of a serverset, as Finagle, Aurora, Armeria, Prometheus and Python's commons read them.
///
/// Weights are the operators', in vectors, which are read and never written; draining cannot be said. The TLS port is
/// the additional endpoint `https`, the metadata key `shard` the shard.
#[derive(Clone, Debug, Default)]
pub struct ServerSet {
    endpoint: Option<String>,
}

impl ServerSet {
    /// The dialect with parameters of its word: `endpoint`, the name of the additional endpoint that is meant.
    pub(super) fn with_parameters(mut parameters: Parameters<'_>) -> Result<Self, Error> {
        let endpoint = parameters.take("endpoint");
        parameters.end()?;
        Ok(Self { endpoint })
    }
}

#[derive(Serialize)]
struct Endpoint<'a> {
    host: &'a str,
    port: u16,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Member<'a> {
    service_endpoint: Endpoint<'a>,
    additional_endpoints: BTreeMap<&'a str, Endpoint<'a>>,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    shard: Option<u32>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    metadata: BTreeMap<&'a str, &'a str>,
}

impl Format for ServerSet {
    fn name(&self) -> &'static str {
        NAME
    }
}

impl Codec for ServerSet {
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
        let endpoint = |port| Endpoint { host: instance.host(), port };
        let mut additional_endpoints = BTreeMap::new();
        additional_endpoints.extend(instance.ssl_port().map(|port| (HTTPS, endpoint(port))));
        additional_endpoints.extend(self.endpoint.as_deref().map(|name| (name, endpoint(instance.port()))));
        let mut metadata: BTreeMap<_, _> =
            instance.metadata().iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let number = |shard: &str| shard.parse().ok().filter(|number: &u32| number.to_string() == shard);
        let shard = metadata.remove(SHARD).map(|shard| number(shard).ok_or(())).transpose();
        let shard =
            shard.map_err(|_| refuse("format serverset: the metadata key shard is a number".to_owned()))?;
        if metadata.contains_key(ZONE) {
            return Err(refuse("format serverset: the metadata key zone stands for the zone".to_owned()));
        }
        metadata.extend(instance.zone().map(|zone| (ZONE, zone)));
        let service_endpoint = endpoint(instance.port());
        let member = Member { service_endpoint, additional_endpoints, status: ALIVE, shard, metadata };
        serde_json::to_vec(&member)
            .map_err(|error| Error::with_source(ErrorKind::Other, "the record cannot be written", error))
    }

    /// Readers never read a member's data again: what says something else has another name.
    fn name_of(&self, id: &InstanceId, data: &[u8]) -> Result<NodeName, Error> {
        format!("{MEMBER}{}", digits::of(id.as_str(), data)).parse()
    }

    fn decode(&self, _: &ServiceName, _: &NodeName, data: &[u8]) -> Result<Decoded, String> {
        let value: Value = serde_json::from_slice(data).map_err(|error| format!("not a member: {error}"))?;
        let endpoint = |value: &Value| {
            let port = value.get("port")?.as_u64().and_then(|port| u16::try_from(port).ok())?;
            Some((value.get("host")?.as_str()?.to_owned(), port))
        };
        let additional = value.get("additionalEndpoints");
        let chosen = match &self.endpoint {
            None => value.get("serviceEndpoint"),
            Some(name) => additional.and_then(|all| all.get(name)),
        };
        let (host, port) =
            chosen.and_then(endpoint).ok_or("the endpoint is missing, or its port no integer")?;
        let status = match value.get("status").and_then(Value::as_str) {
            Some(ALIVE) => Status::Up,
            Some("DEAD" | "STARTING" | "STOPPING" | "STOPPED" | "WARNING") => Status::Draining,
            _ => return Err("no status of a serverset's".to_owned()),
        };
        let texts = |value: &Value| {
            let entries = value.as_object()?.iter();
            Some(entries.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect())
        };
        let mut metadata: BTreeMap<String, String> =
            value.get("metadata").and_then(texts).unwrap_or_default();
        if let Some(shard) = value.get("shard").and_then(Value::as_i64) {
            metadata.insert(SHARD.to_owned(), shard.to_string());
        }
        let zone = metadata.remove(ZONE).filter(|zone| !zone.is_empty());
        let weight = NonZeroU16::new(UNIT).unwrap_or(NonZeroU16::MIN);
        let mut instance =
            Instance::new(host, port).with_attributes(Attributes { weight, zone, status, metadata });
        if let Some((_, port)) =
            additional.and_then(|all| endpoint(all.get(HTTPS)?)).filter(|(_, port)| *port != 0)
        {
            instance = instance.with_ssl_port(port);
        }
        let id = instance.id().map_err(|error| error.to_string())?;
        Ok(Decoded { instance: instance.with_id(id), owner: None })
    }

    fn read(&self, service: &ServiceName, child: Child<'_>) -> Result<Reading, String> {
        let name = child.name.as_str();
        if name.starts_with(MEMBER) {
            self.decode(service, child.name, child.data).map(Reading::Member)
        } else if name.starts_with(VECTOR) {
            let rule = Rule::Vector(Vector::read(child.data)?);
            Ok(Reading::Rules(Rules::new(rule, child.name, child.data)))
        } else {
            Ok(Reading::Ignored)
        }
    }

    /// All weights that are about a member multiply; a product that is not above 0 takes it out of use.
    fn apply(&self, rules: &[Arc<Rules>], name: &NodeName, instance: &Instance) -> Option<Instance> {
        let product: f64 = rules
            .iter()
            .map(|rules| match &rules.rule {
                Rule::Vector(vector) => vector.product(name, instance),
                Rule::Override(_) => 1.0,
            })
            .product();
        let mut attributes = instance.attributes().clone();
        if product > 0.0 {
            let weight = (f64::from(UNIT) * product).round().clamp(1.0, f64::from(u16::MAX));
            attributes.weight = NonZeroU16::new(weight as u16).unwrap_or(NonZeroU16::MIN);
        } else {
            attributes.status = Status::Draining;
        }
        (attributes != *instance.attributes()).then(|| instance.clone().with_attributes(attributes))
    }

    fn unamendable(&self, _: Amendment<'_>) -> Option<String> {
        Some(READ_ONCE.to_owned())
    }

    fn is_composed(&self) -> bool {
        true
    }

    fn parents(&self) -> Parents {
        Parents::Persistent
    }

    fn carries(&self) -> Carries {
        Carries { weight: false, drain: Drain::Remove, ..Carries::EVERYTHING }
    }

    fn weight_unit(&self) -> u16 {
        UNIT
    }
}

const NAME: &str = "serverset";
const MEMBER: &str = "member_";
const VECTOR: &str = "vector_";
const ALIVE: &str = "ALIVE";
const HTTPS: &str = "https";
const ZONE: &str = "zone";
/// The weight of a member that no vector is about: vectors state fractions of it.
const UNIT: u16 = 100;
