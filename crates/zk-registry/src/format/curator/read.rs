//! The record as it is read: what Curator accepts, and what stands in our own key and in known payloads.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::value::RawValue;
use uuid::Uuid;

use super::payload;
use crate::format::jackson;
use crate::format::sealed::{Decoded, NodeKind, Owner};
use crate::instance::{Attributes, Instance, NodeName, Status};

/// A node with children, or an empty one that no session owns, is a part of the tree.
pub(in crate::format) fn is_namespace(node: NodeKind, data: &[u8]) -> bool {
    node.children > 0 || (data.is_empty() && !node.ephemeral)
}

/// Reads what Curator would read. The id is the node's name, whatever the record says.
pub(in crate::format) fn decode(node: &NodeName, data: &[u8]) -> Result<Decoded, String> {
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
    let stated = payload.and_then(payload::read).unwrap_or_default();
    registered.map(jackson::integer).transpose().map_err(at(6))?;
    service_type.map_or(Ok(()), check_service_type).map_err(at(7))?;
    let enabled = enabled.map_or(Ok(true), jackson::boolean).map_err(at(8))?;

    let (mut attributes, owner) = match ours {
        Some(ours) => read_ours(ours, stated),
        None => (stated, None),
    };
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

/// Takes what it can read of our own key, and what is `stated` elsewhere for the rest.
fn read_ours(json: &str, stated: Attributes) -> (Attributes, Option<Owner>) {
    let mut attributes = stated;
    let Ok([v, owner, weight, zone, status, metadata]) = jackson::pick(json, &OUR_FIELDS) else {
        return (attributes, None);
    };
    if v.is_some_and(|v| v.parse() != Ok(VERSION)) {
        return (attributes, None);
    }
    if let Some(weight) = weight.and_then(|json| json.parse().ok()) {
        attributes.weight = weight;
    }
    if let Some(zone) = zone.and_then(text) {
        attributes.zone = Some(zone.into_owned());
    }
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
    OUR_KEY,
];
const OUR_FIELDS: [&str; 6] = ["v", "owner", "weight", "zone", "status", "metadata"];
/// The version of our own key.
pub(super) const VERSION: u32 = 1;
pub(super) const OUR_KEY: &str = "zk-registry";
pub(super) const DYNAMIC: &str = "DYNAMIC";
pub(super) const DRAINING: &str = "draining";
