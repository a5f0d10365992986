//! An instance and a rejected node as both outputs show them.

use std::collections::BTreeMap;

use serde::Serialize;
use zk_registry::{Member, Rejected, ServiceName};

/// An instance.
#[derive(Debug, Serialize)]
pub(crate) struct Shown<'a> {
    pub(crate) service: &'a str,
    pub(crate) id: &'a str,
    pub(crate) address: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls_port: Option<u16>,
    pub(crate) status: String,
    pub(crate) weight: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) zone: Option<&'a str>,
    pub(crate) dialable: bool,
    /// The owning session in hexadecimal; none for a persistent node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) session: Option<String>,
    pub(crate) metadata: &'a BTreeMap<String, String>,
}

/// A node that is no instance.
#[derive(Debug, Serialize)]
pub(crate) struct Refused<'a> {
    pub(crate) service: &'a str,
    pub(crate) node: &'a str,
    pub(crate) rejected: &'a str,
}

impl<'a> Shown<'a> {
    pub(crate) fn of(service: &'a ServiceName, member: &'a Member) -> Self {
        Self {
            service: service.as_str(),
            id: member.id().as_str(),
            address: member.address(),
            tls_port: member.ssl_port(),
            status: member.status().to_string(),
            weight: member.weight().get(),
            zone: member.zone(),
            dialable: member.is_dialable(),
            session: (member.session() != 0).then(|| session(member.session())),
            metadata: member.metadata(),
        }
    }
}

impl<'a> Refused<'a> {
    pub(crate) fn of(service: &'a ServiceName, rejected: &'a Rejected) -> Self {
        Self { service: service.as_str(), node: &rejected.id, rejected: &rejected.reason }
    }
}

/// A session's id as ZooKeeper's own tools write it.
pub(crate) fn session(id: i64) -> String {
    format!("{id:#x}")
}

/// Metadata in one cell.
pub(crate) fn pairs(metadata: &BTreeMap<String, String>) -> String {
    metadata.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" ")
}

/// `1 instance`, `2 instances`.
pub(crate) fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}
