//! Spring Cloud Zookeeper: Curator's record with Spring's payload, which carries everything but the owner.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::time::SystemTime;

use super::Format;
use super::curator::amend::{WeightIn, amend};
use super::curator::payload::{
    DUBBO_LOSES, OUT_OF_SERVICE, Payload, STATUS, UP, UriSpec, WEIGHT, Whose, ZONE, whose,
};
use super::curator::read::{decode, is_namespace};
use super::curator::record::{Ours, Record};
use super::sealed::{Amendment, Beside, Carries, Codec, Decoded, NodeKind, Owner, refuse};
use crate::error::Error;
use crate::instance::{Instance, InstanceId, NodeName, ServiceName, Status};

/// What Spring Cloud Zookeeper writes and reads, from 2.0 on: lossless, with the owner under one extra key.
///
/// A service whose name has several segments is registered under `/a/b`, as Spring's nested names are. Spring Cloud 1.x throws on
/// the extra key: use [`CuratorStrict`](super::CuratorStrict) there.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spring;

impl Format for Spring {
    fn name(&self) -> &'static str {
        "spring"
    }
}

impl Codec for Spring {
    fn encode(
        &self,
        service: &ServiceName,
        id: &InstanceId,
        instance: &Instance,
        owner: &Owner,
        registered: SystemTime,
    ) -> Result<Vec<u8>, Error> {
        if instance.port() == 0 {
            return Err(refuse("format spring: an instance needs a port, also beside a TLS port: Spring's readers lose the whole service on one without".to_owned()));
        }
        let is_draining = instance.status() == Status::Draining;
        let weight = instance.weight().to_string();
        let mut metadata = BTreeMap::from([(STATUS, if is_draining { OUT_OF_SERVICE } else { UP })]);
        if weight != "1" {
            metadata.insert(WEIGHT, &weight);
        }
        metadata.extend(instance.zone().map(|zone| (ZONE, zone)));
        for (key, value) in instance.metadata() {
            if [STATUS, WEIGHT, ZONE].contains(&key.as_str()) {
                return Err(refuse(format!(
                    "format spring: the metadata key {key:?} stands for an attribute"
                )));
            }
            metadata.insert(key, value);
        }
        let name: Cow<'_, str> = match service.as_str() {
            nested if nested.contains('/') => format!("/{nested}").into(),
            flat => flat.into(),
        };
        let payload = Payload::new(id.as_str(), &name, metadata);
        let mut record = Record::new(service, id, instance, registered);
        if instance.host().parse::<Ipv6Addr>().is_ok() {
            record.address = Some(format!("[{}]", instance.host()).into());
        }
        record.name = name.as_ref().into();
        record.payload = Some(payload);
        record.uri_spec = Some(UriSpec);
        record.enabled = is_draining.then_some(false);
        record.ours = Some(Ours::owner(owner));
        record.write()
    }

    fn decode(&self, _: &ServiceName, name: &NodeName, data: &[u8]) -> Result<Decoded, String> {
        decode(name, data)
    }

    fn unamendable(&self, _: Amendment<'_>) -> Option<String> {
        None
    }

    fn amend(&self, data: &[u8], amendment: Amendment<'_>) -> Result<Vec<u8>, String> {
        amend(data, amendment, WeightIn::Payload)
    }

    fn may_disturb(&self) -> bool {
        true
    }

    fn beside(&self, record: &[u8]) -> Beside {
        match whose(record) {
            Whose::Dubbo => Beside::Refuse(DUBBO_LOSES),
            Whose::Other | Whose::Spring => Beside::Fine,
        }
    }

    fn is_namespace(&self, node: NodeKind, data: &[u8]) -> bool {
        is_namespace(node, data)
    }

    fn carries(&self) -> Carries {
        Carries::EVERYTHING
    }
}
