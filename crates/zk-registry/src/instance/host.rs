//! The host of an instance, kept once: an instance is named by its address unless it is told otherwise, and the address
//! begins with the host.

use std::sync::Arc;

use super::InstanceId;

/// Where the host of an instance stands.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Host {
    /// In the id, from this byte on, so many bytes.
    InId { from: u32, len: u32 },
    /// Here, because the id does not have it, or there is no id.
    Here(Arc<str>),
}

impl Host {
    /// The place for the host of an instance with this id.
    pub(super) fn beside(id: &InstanceId, host: Arc<str>) -> Self {
        let len = u32::try_from(host.len()).unwrap_or(u32::MAX);
        match in_address(id.as_str()) {
            Some((from, known)) if known == &*host && len < u32::MAX => Self::InId { from, len },
            _ => Self::Here(host),
        }
    }

    /// The host of the instance that has this id.
    pub(super) fn as_str<'a>(&'a self, id: Option<&'a InstanceId>) -> &'a str {
        match self {
            Self::InId { from, len } => {
                let (from, len) = (*from as usize, *len as usize);
                id.and_then(|id| id.as_str().get(from..from + len)).unwrap_or_default()
            }
            Self::Here(host) => host,
        }
    }
}

/// The host in `host:port` or `[host]:port`, and the byte at which it begins.
fn in_address(address: &str) -> Option<(u32, &str)> {
    let (host, _) = address.rsplit_once(':')?;
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    Some(bare.map_or((0, host), |bare| (1, bare)))
}

#[cfg(test)]
mod tests {
    use crate::instance::Instance;

    #[test]
    fn the_host_is_what_was_told_whatever_the_id_is() {
        let hosts = [
            "[a",
            "",
            "[",
            "]",
            "[]",
            "a",
            "a:b",
            "10.0.0.1",
            "::1",
            "[::1]",
            "[::1",
            "fe80::1%eth0",
            "[a:b]",
            ":",
            "::",
        ];
        let ids = [
            "a",
            "a:1",
            "10.0.0.1:80",
            "10.0.0.1:81",
            "[::1]:80",
            "::1",
            "::1:80",
            "[]:80",
            ":80",
            "[:1",
            "[a:1",
            "a:b:1",
            "[[::1]]:80",
            ":::",
        ];
        for host in hosts {
            let plain = Instance::new(host, 80);
            let mut renamed = plain.clone();
            for id in ids {
                renamed = renamed.with_id(id.parse().unwrap());
                assert_eq!(renamed.host(), plain.host(), "{id}");
                assert_eq!(renamed, plain.clone().with_id(id.parse().unwrap()));
            }
        }
    }

    #[test]
    fn an_instance_that_is_named_by_its_address_has_its_host_once() {
        for host in ["10.0.0.1", "2001:db8::1", "time.example"] {
            let plain = Instance::new(host, 80);
            let id = plain.id().unwrap();
            assert!(matches!(plain.with_id(id).host, super::Host::InId { .. }));
        }
    }
}
