//! The payload and the `uriSpec` of Spring Cloud, and what Spring's and Dubbo's payloads state.

use std::collections::BTreeMap;
use std::num::NonZeroU16;

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::format::jackson;
use crate::format::sealed::Beside;
use crate::instance::{Attributes, Status};

/// The class of Spring Cloud Zookeeper's payload.
const SPRING: &str = "org.springframework.cloud.zookeeper.discovery.ZookeeperInstance";
/// The class of Dubbo's payload.
const DUBBO: &str = "org.apache.dubbo.registry.zookeeper.ZookeeperInstance";

/// The keys of Spring's metadata that stand for an attribute.
pub(in crate::format) const STATUS: &str = "instance_status";
pub(in crate::format) const WEIGHT: &str = "weight";
pub(in crate::format) const ZONE: &str = "zone";

/// Spring's words for a status.
pub(in crate::format) const UP: &str = "UP";
pub(in crate::format) const OUT_OF_SERVICE: &str = "OUT_OF_SERVICE";

/// Spring Cloud Zookeeper's payload.
#[derive(Serialize)]
pub(in crate::format) struct Payload<'a> {
    #[serde(rename = "@class")]
    class: &'static str,
    id: &'a str,
    name: &'a str,
    metadata: BTreeMap<&'a str, &'a str>,
}

impl<'a> Payload<'a> {
    pub(in crate::format) fn new(id: &'a str, name: &'a str, metadata: BTreeMap<&'a str, &'a str>) -> Self {
        Self { class: SPRING, id, name, metadata }
    }
}

/// `{scheme}://{address}:{port}`, as Curator writes a template.
pub(in crate::format) struct UriSpec;

impl Serialize for UriSpec {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Part {
            value: &'static str,
            variable: bool,
        }
        #[derive(Serialize)]
        struct Parts {
            parts: [Part; 5],
        }
        let part = |value, variable| Part { value, variable };
        let parts = [
            part("scheme", true),
            part("://", false),
            part("address", true),
            part(":", false),
            part("port", true),
        ];
        Parts { parts }.serialize(serializer)
    }
}

/// Whose payload a record has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::format) enum Whose {
    Dubbo,
    Other,
    Spring,
}

/// Whose payload a record has; `Other` for a record without one, and for what is no record.
pub(in crate::format) fn whose(record: &[u8]) -> Whose {
    let class = || {
        let json = std::str::from_utf8(record).ok()?;
        let [payload] = jackson::pick(json, &["payload"]).ok()?;
        let [class] = jackson::pick(payload?, &["@class"]).ok()?;
        jackson::string(class?).ok()?
    };
    match class().as_deref() {
        Some(DUBBO) => Whose::Dubbo,
        Some(SPRING) => Whose::Spring,
        _ => Whose::Other,
    }
}

/// What Dubbo's and Spring's readers make of a record without their payload.
pub(in crate::format) fn beside_without_payload(record: &[u8]) -> Beside {
    match whose(record) {
        Whose::Dubbo => Beside::Refuse(DUBBO_LOSES),
        Whose::Spring => Beside::Warn(
            "Spring's readers see no weight, zone, metadata or draining of ours; format spring carries them",
        ),
        Whose::Other => Beside::Fine,
    }
}

/// Why nothing but its own records may stand beside Dubbo's.
pub(in crate::format) const DUBBO_LOSES: &str =
    "Dubbo's readers lose all instances of the application on a record without Dubbo's payload";

/// What a payload of Spring's or Dubbo's states; `None` of any other. What is no string, number or boolean is left out.
pub(super) fn read(json: &str) -> Option<Attributes> {
    let [class, metadata] = jackson::pick(json, &["@class", "metadata"]).ok()?;
    let class = jackson::string(class?).ok()??;
    if class != SPRING && class != DUBBO {
        return None;
    }
    let entries: BTreeMap<String, &RawValue> = serde_json::from_str(metadata?).unwrap_or_default();
    let text =
        |(key, value): (String, &RawValue)| Some((key, jackson::string(value.get()).ok()??.into_owned()));
    let mut attributes =
        Attributes { metadata: entries.into_iter().filter_map(text).collect(), ..Attributes::default() };
    if class == SPRING {
        let mut take = |key: &str| attributes.metadata.remove(key);
        let (status, weight, zone) = (take(STATUS), take(WEIGHT), take(ZONE));
        if status.is_some_and(|status| !status.trim().is_empty() && !status.eq_ignore_ascii_case("UP")) {
            attributes.status = Status::Draining;
        }
        let large = |weight: i64| u16::try_from(weight.max(0)).unwrap_or(u16::MAX);
        attributes.weight = weight
            .and_then(|weight| weight.trim().parse().ok())
            .map(large)
            .and_then(NonZeroU16::new)
            .unwrap_or(NonZeroU16::MIN);
        attributes.zone = zone.filter(|zone| !zone.is_empty());
    }
    Some(attributes)
}
