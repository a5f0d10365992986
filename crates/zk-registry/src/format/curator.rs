//! Curator's JSON.
//!
//! What we write is, byte for byte, what Curator writes; what Curator accepts or rejects, we accept or reject too. Our own
//! fields stand under one extra key, which Curator ignores; a mistake in there never costs the node. The payload and the
//! `uriSpec` belong to others and are not looked into. `docs/FORMAT.md` has the whole account.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io;
use std::num::NonZeroU16;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use serde_json::ser::{CharEscape, CompactFormatter, Formatter, Serializer};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::sealed::Codec;
use super::{Decoded, Format, NodeKind, Owner, Parents, jackson, refuse_attributes};
use crate::error::{Error, ErrorKind};
use crate::instance::{Attributes, Instance, InstanceId, NodeName, ServiceName, Status};

/// Curator's JSON with our own fields under one extra key.
///
/// Readers from Curator 4 on ignore that key. Older ones throw on it: use [`CuratorStrict`] where they still run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Curator;

/// Exactly Curator's nine fields, for fleets with readers older than Curator 4.
///
/// A weight, a zone, metadata and the status draining cannot be carried, and registering with one is refused.
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
    fn encode(
        &self,
        service: &ServiceName,
        id: &InstanceId,
        instance: &Instance,
        owner: &Owner,
        registered: SystemTime,
    ) -> Result<Vec<u8>, Error> {
        let ours = Ours::new(instance.attributes(), owner);
        let enabled = (instance.status() == Status::Draining).then_some(false);
        Record { enabled, ours: Some(ours), ..Record::new(service, id, instance, registered) }.write()
    }

    fn decode(&self, _: &ServiceName, name: &NodeName, data: &[u8]) -> Result<Decoded, String> {
        decode(name, data)
    }

    fn is_namespace(&self, node: NodeKind, data: &[u8]) -> bool {
        is_namespace(node, data)
    }

    fn parents(&self) -> Parents {
        Parents::Container
    }

    fn carries_status(&self) -> bool {
        true
    }
}

impl Codec for CuratorStrict {
    fn encode(
        &self,
        service: &ServiceName,
        id: &InstanceId,
        instance: &Instance,
        _: &Owner,
        registered: SystemTime,
    ) -> Result<Vec<u8>, Error> {
        refuse_attributes(self.name(), instance.attributes())?;
        Record::new(service, id, instance, registered).write()
    }

    fn decode(&self, _: &ServiceName, name: &NodeName, data: &[u8]) -> Result<Decoded, String> {
        decode(name, data)
    }

    fn is_namespace(&self, node: NodeKind, data: &[u8]) -> bool {
        is_namespace(node, data)
    }

    fn parents(&self) -> Parents {
        Parents::Container
    }

    fn carries_status(&self) -> bool {
        false
    }
}

/// A node with children, or an empty one that no session owns, is a part of the tree.
fn is_namespace(node: NodeKind, data: &[u8]) -> bool {
    node.children > 0 || (data.is_empty() && !node.ephemeral)
}

/// The record, in Curator's order of fields.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Record<'a> {
    name: &'a str,
    id: &'a str,
    address: Option<&'a str>,
    port: Option<u16>,
    ssl_port: Option<u16>,
    payload: (),
    #[serde(rename = "registrationTimeUTC")]
    registered: i64,
    service_type: &'static str,
    uri_spec: (),
    #[serde(skip_serializing_if = "Option::is_none")]
    enabled: Option<bool>,
    #[serde(rename = "zk-registry", skip_serializing_if = "Option::is_none")]
    ours: Option<Ours<'a>>,
}

/// Our own key. A field that has its default is not written.
#[derive(Serialize)]
struct Ours<'a> {
    v: u32,
    owner: OwnerRecord<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    weight: Option<NonZeroU16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    zone: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'static str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    metadata: &'a BTreeMap<String, String>,
}

#[derive(Serialize)]
struct OwnerRecord<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<&'a str>,
    incarnation: String,
}

impl<'a> Record<'a> {
    /// The nine fields.
    fn new(
        service: &'a ServiceName,
        id: &'a InstanceId,
        instance: &'a Instance,
        registered: SystemTime,
    ) -> Self {
        Self {
            name: service.as_str(),
            id: id.as_str(),
            address: Some(instance.host()).filter(|host| !host.is_empty()),
            port: Some(instance.port()).filter(|port| *port != 0),
            ssl_port: instance.ssl_port(),
            payload: (),
            registered: milliseconds(registered),
            service_type: DYNAMIC,
            uri_spec: (),
            enabled: None,
            ours: None,
        }
    }

    fn write(&self) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::with_capacity(320);
        self.serialize(&mut Serializer::with_formatter(&mut bytes, JacksonEscapes))
            .map_err(|error| Error::with_source(ErrorKind::Other, "the record cannot be written", error))?;
        Ok(bytes)
    }
}

impl<'a> Ours<'a> {
    fn new(attributes: &'a Attributes, owner: &'a Owner) -> Self {
        let owner = OwnerRecord {
            host: owner.host.as_deref(),
            incarnation: owner.incarnation.hyphenated().to_string(),
        };
        Self {
            v: VERSION,
            owner,
            weight: Some(attributes.weight).filter(|weight| *weight != NonZeroU16::MIN),
            zone: attributes.zone.as_deref(),
            status: (attributes.status == Status::Draining).then_some(DRAINING),
            metadata: &attributes.metadata,
        }
    }
}

/// Milliseconds since 1970; a clock outside of what they can say is cut to the nearest.
fn milliseconds(time: SystemTime) -> i64 {
    let whole = |duration: std::time::Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    time.duration_since(UNIX_EPOCH).map_or_else(|before| -whole(before.duration()), whole)
}

/// Jackson's way to escape: upper-case digits, and a surrogate pair for what lies outside of the basic plane.
struct JacksonEscapes;

impl Formatter for JacksonEscapes {
    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, text: &str) -> io::Result<()> {
        let mut plain = 0;
        for (at, c) in text.char_indices().filter(|(_, c)| *c > '\u{ffff}') {
            writer.write_all(&text.as_bytes()[plain..at])?;
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04X}")?;
            }
            plain = at + c.len_utf8();
        }
        writer.write_all(&text.as_bytes()[plain..])
    }

    fn write_char_escape<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        escape: CharEscape,
    ) -> io::Result<()> {
        match escape {
            CharEscape::AsciiControl(byte) => write!(writer, "\\u{byte:04X}"),
            other => CompactFormatter.write_char_escape(writer, other),
        }
    }
}

/// Reads what Curator would read. The id is the node's name, whatever the record says.
fn decode(node: &NodeName, data: &[u8]) -> Result<Decoded, String> {
    if data.is_empty() {
        return Err("no data".to_owned());
    }
    let fields = jackson::pick(jackson::text(data), &FIELDS).map_err(|error| match str::from_utf8(data) {
        Ok(_) => format!("not a JSON object: {error}"),
        Err(error) => format!("not UTF-8: {error}"),
    })?;
    let [name, json_id, address, port, ssl_port, payload, registered, service_type, enabled, ours] = fields;
    let at = |field: usize| move |why: &str| format!("{}: {why}", FIELDS[field]);
    name.map(jackson::string).transpose().map_err(at(0))?;
    json_id.map(jackson::string).transpose().map_err(at(1))?;
    let address = address.map(jackson::string).transpose().map_err(at(2))?.flatten().unwrap_or_default();
    let port = port.map(dialable).transpose().map_err(at(3))?.flatten().unwrap_or(0);
    let ssl_port = ssl_port.map(dialable).transpose().map_err(at(4))?.flatten();
    payload.map_or(Ok(()), check_payload).map_err(at(5))?;
    registered.map(jackson::integer).transpose().map_err(at(6))?;
    service_type.map_or(Ok(()), check_service_type).map_err(at(7))?;
    let enabled = enabled.map_or(Ok(true), jackson::boolean).map_err(at(8))?;

    let (mut attributes, owner) = ours.map(read_ours).unwrap_or_default();
    if !enabled {
        attributes.status = Status::Draining;
    }
    let mut instance = Instance::new(address, port).with_id(node.to_id()).with_attributes(attributes);
    if let Some(port) = ssl_port {
        instance = instance.with_ssl_port(port);
    }
    Ok(Decoded { instance, owner })
}

/// A port as Java has them, an `int`; one that cannot be dialled is none.
fn dialable(json: &str) -> Result<Option<u16>, &'static str> {
    let port = jackson::integer(json)?.map(i32::try_from).transpose().map_err(|_| "out of range")?;
    Ok(port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port != 0))
}

/// A payload may be anything but a list that does not say its class.
fn check_payload(json: &str) -> Result<(), &'static str> {
    if json.starts_with('[') && !jackson::is_typed_list(json) {
        Err("a list without its class")
    } else {
        Ok(())
    }
}

/// One of Curator's words; null and their numbers are read too, as Jackson does.
fn check_service_type(json: &str) -> Result<(), &'static str> {
    match json {
        "null" | "0" | "1" | "2" | "3" => Ok(()),
        _ => match jackson::string(json)?.as_deref() {
            Some(DYNAMIC | "STATIC" | "PERMANENT" | "DYNAMIC_SEQUENTIAL") => Ok(()),
            _ => Err("not one of Curator's"),
        },
    }
}

/// Takes what it can read of our own key, and defaults for the rest.
fn read_ours(json: &str) -> (Attributes, Option<Owner>) {
    let mut attributes = Attributes::default();
    let Ok([v, owner, weight, zone, status, metadata]) = jackson::pick(json, &OUR_FIELDS) else {
        return (attributes, None);
    };
    if v.is_some_and(|v| v.parse() != Ok(VERSION)) {
        return (attributes, None);
    }
    if let Some(weight) = weight.and_then(|json| json.parse().ok()) {
        attributes.weight = weight;
    }
    attributes.zone = zone.and_then(text).map(Cow::into_owned);
    if status.and_then(text).as_deref() == Some(DRAINING) {
        attributes.status = Status::Draining;
    }
    if let Some(metadata) = metadata {
        attributes.metadata = read_metadata(metadata);
    }
    (attributes, owner.and_then(read_owner))
}

fn read_owner(json: &str) -> Option<Owner> {
    let [host, incarnation] = jackson::pick(json, &["host", "incarnation"]).ok()?;
    let incarnation = Uuid::try_parse(&text(incarnation?)?).ok()?;
    Some(Owner { host: host.and_then(text).map(Cow::into_owned), incarnation })
}

/// The entries that are strings.
fn read_metadata(json: &str) -> BTreeMap<String, String> {
    let entries: BTreeMap<String, &RawValue> = serde_json::from_str(json).unwrap_or_default();
    entries.into_iter().filter_map(|(key, value)| Some((key, text(value.get())?.into_owned()))).collect()
}

/// A string and nothing else.
fn text(json: &str) -> Option<Cow<'_, str>> {
    if json.starts_with('"') { jackson::string(json).ok()? } else { None }
}

const FIELDS: [&str; 10] = [
    "name",
    "id",
    "address",
    "port",
    "sslPort",
    "payload",
    "registrationTimeUTC",
    "serviceType",
    "enabled",
    "zk-registry",
];
const OUR_FIELDS: [&str; 6] = ["v", "owner", "weight", "zone", "status", "metadata"];
/// The version of our own key.
const VERSION: u32 = 1;
const DYNAMIC: &str = "DYNAMIC";
const DRAINING: &str = "draining";
