//! Curator's JSON.
//!
//! What we write is, byte for byte, what Curator writes; what Curator accepts or rejects, we accept or reject too. Our own
//! fields stand under one extra key, which Curator ignores; a mistake in there never costs the node. Of a payload only
//! Spring's and Dubbo's metadata are read. `docs/formats/curator.md` has the whole account.

pub(super) mod amend;
pub(super) mod payload;
pub(super) mod read;
pub(super) mod record;

use std::time::SystemTime;

use self::amend::{WeightIn, amend};
use self::payload::beside_without_payload;
use self::read::{decode, is_namespace};
use self::record::{Ours, Record};
use super::Format;
use super::sealed::{Amendment, Beside, Carries, Codec, Decoded, Drain, NodeKind, Owner, Sharding};
use super::shards;
use crate::error::Error;
use crate::instance::{Instance, InstanceId, NodeName, ServiceName, Status};

/// Curator's JSON with our own fields under one extra key.
///
/// Readers from Curator 4 on ignore that key. Older ones throw on it: use [`CuratorStrict`] where they still run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Curator;

/// Exactly Curator's nine fields, for fleets with readers older than Curator 4.
///
/// A weight, a zone and metadata cannot be carried, and registering with one is refused. An instance that drains has no node.
#[derive(Clone, Copy, Debug, Default)]
pub struct CuratorStrict;

impl Format for Curator {
    fn name(&self) -> &'static str {
        "curator"
    }
}

impl Format for CuratorStrict {
    fn name(&self) -> &'static str {
        "curator-strict"
    }
}

impl Codec for Curator {
    fn service_of(&self, directory: &ServiceName) -> Option<ServiceName> {
        Some(shards::service_of(directory).unwrap_or_else(|| directory.clone()))
    }

    fn sharding(&self) -> Sharding {
        Sharding::ReadAndWrite
    }

    fn encode(
        &self,
        service: &ServiceName,
        id: &InstanceId,
        instance: &Instance,
        owner: &Owner,
        registered: SystemTime,
    ) -> Result<Vec<u8>, Error> {
        let mut record = Record::new(service, id, instance, registered);
        record.enabled = (instance.status() == Status::Draining).then_some(false);
        record.ours = Some(Ours::new(instance.attributes(), owner));
        record.write()
    }

    fn decode(&self, _: &ServiceName, name: &NodeName, data: &[u8]) -> Result<Decoded, String> {
        decode(name, data)
    }

    fn unamendable(&self, _: Amendment<'_>) -> Option<String> {
        None
    }

    fn amend(&self, data: &[u8], amendment: Amendment<'_>) -> Result<Vec<u8>, String> {
        amend(data, amendment, WeightIn::Ours)
    }

    fn may_disturb(&self) -> bool {
        true
    }

    fn beside(&self, record: &[u8]) -> Beside {
        beside_without_payload(record)
    }

    fn is_namespace(&self, node: NodeKind, data: &[u8]) -> bool {
        is_namespace(node, data)
    }

    fn carries(&self) -> Carries {
        Carries::EVERYTHING
    }
}

impl Codec for CuratorStrict {
    fn service_of(&self, directory: &ServiceName) -> Option<ServiceName> {
        Some(shards::service_of(directory).unwrap_or_else(|| directory.clone()))
    }

    fn sharding(&self) -> Sharding {
        Sharding::Read
    }

    fn encode(
        &self,
        service: &ServiceName,
        id: &InstanceId,
        instance: &Instance,
        _: &Owner,
        registered: SystemTime,
    ) -> Result<Vec<u8>, Error> {
        self.carries().check(self.name(), instance)?;
        Record::new(service, id, instance, registered).write()
    }

    fn decode(&self, _: &ServiceName, name: &NodeName, data: &[u8]) -> Result<Decoded, String> {
        decode(name, data)
    }

    fn may_disturb(&self) -> bool {
        true
    }

    fn beside(&self, record: &[u8]) -> Beside {
        beside_without_payload(record)
    }

    fn is_namespace(&self, node: NodeKind, data: &[u8]) -> bool {
        is_namespace(node, data)
    }

    fn carries(&self) -> Carries {
        Carries { weight: false, zone: false, metadata: false, drain: Drain::Remove, ..Carries::EVERYTHING }
    }
}
