//! A service over several nodes: where its shards stand, which instance belongs to which, and the marker that says how many there
//! are.
//!
//! The marker is the data of the service's own node, which is read in any case. A shard is a sibling of that node, so that readers of
//! others, who take every child of a service for an instance, meet none that they cannot read. Pure.

use std::sync::Arc;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::Format;
use super::sealed::{
    Beside, Carries, Child, Codec, Decoded, NodeKind, Owner, Parents, Place, Reading, Record, Sharding,
};
use crate::error::Error;
use crate::instance::{Instance, InstanceId, NodeName, ServiceName};

/// The most shards that a service may have.
pub(crate) const MOST: u16 = 1_024;

/// The most bytes of data that may be a marker.
pub(crate) const LONGEST_MARKER: u32 = 1_024;

/// What stands between the name of a service and the number of a shard.
const INFIX: &str = "~shard-";

/// The shards of a service.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Shards {
    /// Over how many registrations are spread; 1: they stand below the service's own node.
    pub(crate) count: u16,
    /// How many are read besides the service's own node: all that may still have an instance. At least `count`, or none.
    pub(crate) read: u16,
}

/// What the data of a service's node say.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Marker {
    /// Nothing: the service has no shards.
    Absent,
    /// Somebody else's data, which are left alone: the service has no shards.
    Foreign,
    /// The service has shards.
    Shards { shards: Shards, node: OwnNode },
}

/// How a service's own node was made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum OwnNode {
    /// As a persistent node, for the marker to stay.
    Kept,
    /// In another way, perhaps as a container: the server deletes that, and the marker in it, some time after its last child.
    Passing,
}

/// A marker as JSON.
#[derive(Deserialize, Serialize)]
struct Document {
    #[serde(rename = "zk-registry")]
    ours: Fields,
}

#[derive(Deserialize, Serialize)]
struct Fields {
    v: u32,
    shards: u16,
    read: u16,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    kept: bool,
}

impl Shards {
    /// A service without shards.
    pub(crate) const NONE: Self = Self { count: 1, read: 0 };

    /// The shards of a service that is spread over `count` of them, and never was over more.
    pub(crate) fn new(count: u16) -> Self {
        Self::NONE.changed_to(count)
    }

    /// The shards of the same service once it is spread over `count` of them. All that were read until then are read on: instances
    /// have yet to leave them.
    pub(crate) fn changed_to(self, count: u16) -> Self {
        let count = count.clamp(1, MOST);
        Self { count, read: if count > 1 { self.read.max(count) } else { self.read } }
    }

    /// The shard of an instance, counted from 0; `None`: it stands below the service's own node. No version may answer otherwise
    /// than another one, whose readers and writers share the fleet.
    pub(crate) fn of(self, id: &InstanceId) -> Option<u16> {
        (self.count > 1).then(|| jump(u64::from(crc32fast::hash(id.as_str().as_bytes())), self.count))
    }

    /// The nodes below which the instances stand: the service's own, then each shard that is read. An error of kind `Invalid` for a
    /// service whose name is too long for the suffix of a shard.
    pub(crate) fn directories(self, service: &ServiceName) -> Result<Vec<ServiceName>, Error> {
        let shards = (0..self.read).map(|shard| directory(service, shard));
        std::iter::once(Ok(service.clone())).chain(shards).collect()
    }
}

/// The node of a shard, as a path below the base.
pub(crate) fn directory(service: &ServiceName, shard: u16) -> Result<ServiceName, Error> {
    format!("{service}{INFIX}{shard}").parse()
}

/// The service whose shard this directory is; `None` where it is no shard.
pub(crate) fn service_of(directory: &ServiceName) -> Option<ServiceName> {
    let (service, number) = directory.as_str().rsplit_once(INFIX)?;
    let shard: u16 = number.parse().ok()?;
    let is_canonical = shard < MOST && shard.to_string() == number;
    if is_canonical { service.parse().ok() } else { None }
}

impl Marker {
    /// The marker in the data of a service's own node. Data with numbers that no release writes are foreign.
    pub(crate) fn read(data: &[u8]) -> Self {
        if data.is_empty() {
            return Self::Absent;
        }
        let is_short = u32::try_from(data.len()).is_ok_and(|bytes| bytes <= LONGEST_MARKER);
        let document = if is_short { serde_json::from_slice(data).ok() } else { None };
        match document {
            Some(Document { ours: Fields { shards: count @ 1..=MOST, read: read @ 0..=MOST, kept, .. } })
                if count == 1 || read >= count =>
            {
                let node = if kept { OwnNode::Kept } else { OwnNode::Passing };
                Self::Shards { shards: Shards { count, read }, node }
            }
            _ => Self::Foreign,
        }
    }

    /// The shards that the marker names: none where it is absent or foreign.
    pub(crate) fn shards(self) -> Shards {
        match self {
            Self::Absent | Self::Foreign => Shards::NONE,
            Self::Shards { shards, .. } => shards,
        }
    }
}

/// The data of a marker that names these shards.
pub(crate) fn marker(Shards { count, read }: Shards, node: OwnNode) -> Vec<u8> {
    let kept = node == OwnNode::Kept;
    let document = Document { ours: Fields { v: 1, shards: count, read, kept } };
    // Numbers and a boolean can always be written.
    serde_json::to_vec(&document).unwrap_or_default()
}

/// Jump consistent hash (Lamping and Veach, 2014): of `n` buckets the one of `key`. From `n` to `n + 1` one key of `n + 1` moves.
fn jump(key: u64, n: u16) -> u16 {
    let (mut key, mut bucket, mut next) = (key, 0, 0_u64);
    while next < u64::from(n) {
        bucket = next;
        key = key.wrapping_mul(2_862_933_555_777_941_757).wrapping_add(1);
        let scale = (1_u64 << 31) as f64 / ((key >> 33) + 1) as f64;
        next = ((bucket + 1) as f64 * scale) as u64;
    }
    u16::try_from(bucket).unwrap_or_default()
}

/// A format whose registrations stand in these shards.
#[derive(Clone, Debug)]
pub(crate) struct Sharded {
    format: Arc<dyn Format>,
    shards: Shards,
}

impl Sharded {
    /// The same format, but that registrations stand in `shards`.
    pub(crate) fn new(format: Arc<dyn Format>, shards: Shards) -> Self {
        Self { format, shards }
    }
}

impl Format for Sharded {
    fn name(&self) -> &'static str {
        self.format.name()
    }
}

impl Codec for Sharded {
    fn position(&self, service: &ServiceName, directory: &ServiceName) -> Option<usize> {
        let is_own = directory == service || service_of(directory).as_ref() == Some(service);
        // The children of a shard are read as those of the service's own node are.
        is_own.then_some(0)
    }

    fn service_of(&self, directory: &ServiceName) -> Option<ServiceName> {
        self.format.service_of(directory)
    }

    fn node_name(&self, id: &InstanceId) -> NodeName {
        self.format.node_name(id)
    }

    fn encode(
        &self,
        service: &ServiceName,
        id: &InstanceId,
        instance: &Instance,
        owner: &Owner,
        registered: SystemTime,
    ) -> Result<Vec<u8>, Error> {
        self.format.encode(service, id, instance, owner, registered)
    }

    fn record(&self, place: &Place<'_>, instance: &Instance) -> Result<Record, Error> {
        let record = self.format.record(place, instance)?;
        Ok(match self.shards.of(place.id) {
            Some(shard) => Record { directory: directory(place.service, shard)?, ..record },
            None => record,
        })
    }

    fn decode(&self, service: &ServiceName, name: &NodeName, data: &[u8]) -> Result<Decoded, String> {
        self.format.decode(service, name, data)
    }

    fn read(&self, service: &ServiceName, child: Child<'_>) -> Result<Reading, String> {
        self.format.read(service, child)
    }

    fn sharding(&self) -> Sharding {
        self.format.sharding()
    }

    fn may_disturb(&self) -> bool {
        self.format.may_disturb()
    }

    fn beside(&self, record: &[u8]) -> Beside {
        self.format.beside(record)
    }

    fn is_namespace(&self, node: NodeKind, data: &[u8]) -> bool {
        self.format.is_namespace(node, data)
    }

    fn parents(&self) -> Parents {
        self.format.parents()
    }

    fn carries(&self) -> Carries {
        self.format.carries()
    }

    fn weight_unit(&self) -> u16 {
        self.format.weight_unit()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service() -> ServiceName {
        "time".parse().unwrap()
    }

    fn id(n: u32) -> InstanceId {
        format!("10.20.{}.{}:8897", n / 256, n % 256).parse().unwrap()
    }

    #[test]
    fn an_instance_has_the_same_shard_for_ever() {
        // A change of these would have every fleet move at once, and old and new processes disagree for as long.
        let shard = |n, count| Shards::new(count).of(&id(n));
        assert_eq!(shard(1, 1), None);
        let shards: Vec<_> = (1..9).map(|n| shard(n, 8).unwrap()).collect();
        assert_eq!(shards, SHARDS_OF_EIGHT);
        let shards: Vec<_> = (1..9).map(|n| shard(n, 1_000).unwrap()).collect();
        assert_eq!(shards, SHARDS_OF_A_THOUSAND);
    }

    const SHARDS_OF_EIGHT: [u16; 8] = [4, 5, 7, 0, 3, 1, 5, 1];
    const SHARDS_OF_A_THOUSAND: [u16; 8] = [384, 509, 53, 910, 778, 289, 392, 786];

    #[test]
    fn shards_are_of_one_size_and_little_moves_when_their_number_changes() {
        let count = |shards: u16| {
            let mut sizes = vec![0_u32; usize::from(shards)];
            (0..40_000).for_each(|n| sizes[usize::from(Shards::new(shards).of(&id(n)).unwrap())] += 1);
            sizes
        };
        for shards in [2, 7, 16, 100] {
            let fair = 40_000 / u32::from(shards);
            for size in count(shards) {
                assert!((fair * 8 / 10..=fair * 12 / 10).contains(&size), "{size} of {fair} in {shards}");
            }
        }
        let moved =
            (0..40_000).filter(|n| Shards::new(16).of(&id(*n)) != Shards::new(20).of(&id(*n))).count();
        assert!((7_000..9_000).contains(&moved), "{moved} of 40,000, for a fifth");
    }

    #[test]
    fn a_shards_directory_names_its_service() {
        assert_eq!(directory(&service(), 7).unwrap().as_str(), "time~shard-7");
        for (directory, service) in [
            ("time~shard-7", Some("time")),
            ("a/b~shard-1023", Some("a/b")),
            ("a~shard-1~shard-2", Some("a~shard-1")),
            ("time", None),
            ("~shard-7", None),
            ("a/~shard-7", None),
            ("time~shard-07", None),
            ("time~shard-1024", None),
            ("time~shard-+1", None),
            ("time~shard-", None),
            ("time~shard-7/b", None),
        ] {
            let found = service_of(&directory.parse().unwrap());
            assert_eq!(found.as_ref().map(ServiceName::as_str), service, "{directory}");
        }
    }

    #[test]
    fn a_marker_says_what_it_was_written_for_and_what_others_wrote_says_nothing() {
        for (count, read, node) in [
            (2, 2, OwnNode::Passing),
            (8, 16, OwnNode::Kept),
            (1, 8, OwnNode::Kept),
            (MOST, MOST, OwnNode::Passing),
        ] {
            let shards = Shards { count, read };
            assert_eq!(Marker::read(&marker(shards, node)), Marker::Shards { shards, node });
        }
        assert_eq!(
            String::from_utf8(marker(Shards { count: 8, read: 16 }, OwnNode::Kept)).unwrap(),
            r#"{"zk-registry":{"v":1,"shards":8,"read":16,"kept":true}}"#
        );
        assert_eq!(Marker::read(b""), Marker::Absent);
        let long = format!(r#"{{"zk-registry":{{"v":1,"shards":8,"read":8}}}}{}"#, " ".repeat(1_024));
        for foreign in [
            "10.0.0.1",
            "{}",
            r#"{"zk-registry":{"v":1,"shards":0,"read":0}}"#,
            r#"{"zk-registry":{"v":1,"shards":8,"read":4}}"#,
            r#"{"zk-registry":{"v":1,"shards":1025,"read":1025}}"#,
            r#"{"zk-registry":{"v":1,"shards":-1,"read":2}}"#,
            &long,
        ] {
            assert_eq!(Marker::read(foreign.as_bytes()), Marker::Foreign, "{foreign}");
        }
        let later = r#"{"other":1,"zk-registry":{"v":2,"shards":4,"read":4,"new":true}}"#;
        assert_eq!(Marker::read(later.as_bytes()).shards(), Shards::new(4), "unknown fields are left out");
    }

    #[test]
    fn what_was_read_is_read_after_a_change() {
        let changed = Shards::new(8).changed_to(4);
        assert_eq!(changed, Shards { count: 4, read: 8 });
        assert_eq!(changed.changed_to(1), Shards { count: 1, read: 8 });
        assert_eq!(changed.changed_to(1).changed_to(16), Shards { count: 16, read: 16 });
        assert_eq!(Shards::new(1), Shards::NONE);
        assert_eq!(Shards::new(2).directories(&service()).unwrap().len(), 3);
        assert_eq!(Shards::NONE.directories(&service()).unwrap(), [service()]);
    }
}
