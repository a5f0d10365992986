//! The record as it is written: Curator's nine fields byte for byte, and our own key.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io;
use std::num::NonZeroU16;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use serde_json::ser::{CharEscape, CompactFormatter, Formatter, Serializer};

use super::payload::{Payload, UriSpec};
use super::read::{DRAINING, DYNAMIC, VERSION};
use crate::error::{Error, ErrorKind};
use crate::format::sealed::Owner;
use crate::instance::{Attributes, Instance, InstanceId, ServiceName, Status};

/// The record, in Curator's order of fields.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::format) struct Record<'a> {
    pub(in crate::format) name: Cow<'a, str>,
    id: &'a str,
    pub(in crate::format) address: Option<Cow<'a, str>>,
    port: Option<u16>,
    ssl_port: Option<u16>,
    pub(in crate::format) payload: Option<Payload<'a>>,
    #[serde(rename = "registrationTimeUTC")]
    registered: i64,
    service_type: &'static str,
    pub(in crate::format) uri_spec: Option<UriSpec>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::format) enabled: Option<bool>,
    #[serde(rename = "zk-registry", skip_serializing_if = "Option::is_none")]
    pub(in crate::format) ours: Option<Ours<'a>>,
}

/// Our own key. A field that has its default is not written.
#[derive(Serialize)]
pub(in crate::format) struct Ours<'a> {
    v: u32,
    owner: OwnerRecord<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    weight: Option<NonZeroU16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    zone: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'static str>,
    #[serde(skip_serializing_if = "no_entries")]
    metadata: Cow<'a, BTreeMap<String, String>>,
}

#[derive(Serialize)]
struct OwnerRecord<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<&'a str>,
    incarnation: String,
}

impl<'a> Record<'a> {
    /// The nine fields.
    pub(in crate::format) fn new(
        service: &'a ServiceName,
        id: &'a InstanceId,
        instance: &'a Instance,
        registered: SystemTime,
    ) -> Self {
        Self {
            name: service.as_str().into(),
            id: id.as_str(),
            address: Some(instance.host()).filter(|host| !host.is_empty()).map(Into::into),
            port: Some(instance.port()).filter(|port| *port != 0),
            ssl_port: instance.ssl_port(),
            payload: None,
            registered: milliseconds(registered),
            service_type: DYNAMIC,
            uri_spec: None,
            enabled: None,
            ours: None,
        }
    }

    pub(in crate::format) fn write(&self) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::with_capacity(320);
        self.serialize(&mut Serializer::with_formatter(&mut bytes, JacksonEscapes))
            .map_err(|error| Error::with_source(ErrorKind::Other, "the record cannot be written", error))?;
        Ok(bytes)
    }
}

impl<'a> Ours<'a> {
    /// Nothing but who wrote the record.
    pub(in crate::format) fn owner(owner: &'a Owner) -> Self {
        let owner = OwnerRecord {
            host: owner.host.as_deref(),
            incarnation: owner.incarnation.hyphenated().to_string(),
        };
        Self { v: VERSION, owner, weight: None, zone: None, status: None, metadata: Cow::default() }
    }

    pub(in crate::format) fn new(attributes: &'a Attributes, owner: &'a Owner) -> Self {
        Self {
            weight: Some(attributes.weight).filter(|weight| *weight != NonZeroU16::MIN),
            zone: attributes.zone.as_deref(),
            status: (attributes.status == Status::Draining).then_some(DRAINING),
            metadata: Cow::Borrowed(&attributes.metadata),
            ..Self::owner(owner)
        }
    }
}

fn no_entries(metadata: &BTreeMap<String, String>) -> bool {
    metadata.is_empty()
}

/// Milliseconds since 1970; a clock outside of what they can say is cut to the nearest.
pub(in crate::format) fn milliseconds(time: SystemTime) -> i64 {
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
