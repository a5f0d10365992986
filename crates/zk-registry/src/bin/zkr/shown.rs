//! An instance and a rejected node as both outputs show them.

use std::collections::BTreeMap;
use std::time::SystemTime;

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

/// A number of seconds in at most four characters.
pub(crate) fn age(seconds: u64) -> String {
    match seconds {
        0..=99 => format!("{seconds}s"),
        100..=5_999 => format!("{}m", seconds / 60),
        6_000..=359_999 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", (seconds / 86_400).min(999)),
    }
}

/// The time of a day, UTC.
pub(crate) fn clock(at: SystemTime) -> String {
    // 2026-11-28T15:41:41Z
    humantime::format_rfc3339_seconds(at).to_string().get(11..19).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_takes_four_characters_at_most_and_a_clock_eight() {
        let ages = [
            (0, "0s"),
            (99, "99s"),
            (100, "1m"),
            (5_999, "99m"),
            (6_000, "1h"),
            (360_000, "4d"),
            (u64::MAX, "999d"),
        ];
        for (seconds, shown) in ages {
            assert_eq!(age(seconds), shown);
        }
        assert_eq!(clock(SystemTime::UNIX_EPOCH), "00:00:00");
    }
}
