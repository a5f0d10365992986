//! Access control: who an identity is, which lists a node may have, and what a list permits.

use std::net::IpAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sha1::{Digest, Sha1};

use super::record::{AclEntry, AclList, AskedEntry, Code, Id, perms};

/// The list of a node that anyone may change.
pub(super) fn open() -> AclList {
    Arc::new([AclEntry { perms: perms::ALL, id: Id::new("world", "anyone") }])
}

/// The identity that may do everything.
pub(super) fn superuser() -> Id {
    Id::new("super", "")
}

/// The identity of a connection from this address.
pub(super) fn of_address(address: IpAddr) -> Id {
    Id::new("ip", address.to_string())
}

/// The identity that an authentication proves; `None`: the scheme is unknown, or there is nothing that it could prove.
pub(super) fn authenticate(scheme: &str, auth: Option<&[u8]>, address: IpAddr) -> Option<Id> {
    match scheme {
        "digest" => auth.map(digest_id),
        "ip" => Some(of_address(address)),
        _ => None,
    }
}

/// The identity of `user:password`.
pub(crate) fn digest_id(credentials: &[u8]) -> Id {
    Id::new("digest", digest(&String::from_utf8_lossy(credentials)))
}

/// `user:password` as it stands in a list: `user:` and the hash of both.
fn digest(credentials: &str) -> String {
    let user = credentials.split(':').next().unwrap_or_default();
    format!("{user}:{}", BASE64_STANDARD.encode(Sha1::digest(credentials)))
}

/// The name that a server tells of an identity, without the hash of a password.
pub(super) fn user(id: &Id) -> Id {
    let name = if id.scheme == "digest" { id.id.split(':').next().unwrap_or_default() } else { &id.id };
    Id::new(&id.scheme, name)
}

/// The list as a node gets it: each entry once, `auth` replaced by the authenticated identities of the connection.
pub(super) fn resolve(asked: &[AskedEntry], ids: &[Id]) -> Result<AclList, Code> {
    let mut entries: Vec<AclEntry> = Vec::new();
    for (n, asked_entry) in asked.iter().enumerate() {
        if asked[..n].contains(asked_entry) {
            continue;
        }
        let entry = asked_entry.as_ref().map_err(|code| *code)?;
        match (entry.id.scheme.as_str(), entry.id.id.as_str()) {
            ("world", "anyone") => entries.push(entry.clone()),
            ("auth", _) => {
                let before = entries.len();
                let proved = ids.iter().filter(|id| id.scheme == "digest");
                entries.extend(proved.map(|id| AclEntry { perms: entry.perms, id: id.clone() }));
                if entries.len() == before {
                    return Err(Code::InvalidAcl);
                }
            }
            ("digest", id) if is_digest(id) => entries.push(entry.clone()),
            ("ip", id) if Network::parse(id).is_some() => entries.push(entry.clone()),
            _ => return Err(Code::InvalidAcl),
        }
    }
    if entries.is_empty() { Err(Code::InvalidAcl) } else { Ok(entries.into()) }
}

/// Two parts around a colon, by Java's `split`: empty parts at the end do not count.
fn is_digest(id: &str) -> bool {
    id.trim_end_matches(':').split(':').count() == 2
}

/// Whether the list gives one of the identities one of the permissions.
pub(super) fn permits(acl: &[AclEntry], asked: i32, ids: &[Id]) -> bool {
    acl.is_empty()
        || ids.iter().any(|id| id.scheme == "super")
        || acl.iter().filter(|entry| entry.perms & asked != 0).any(|entry| {
            match (entry.id.scheme.as_str(), entry.id.id.as_str()) {
                ("world", "anyone") => true,
                ("digest", _) => ids.contains(&entry.id),
                ("ip", network) => Network::parse(network).is_some_and(|network| {
                    let addresses = ids.iter().filter(|id| id.scheme == "ip");
                    addresses.filter_map(|id| ipv4(&id.id)).any(|address| network.contains(address))
                }),
                _ => false,
            }
        })
}

/// The list as it is shown to a reader who may not administer the node: no hash of a password.
pub(super) fn masked(acl: &[AclEntry]) -> Vec<AclEntry> {
    let mask = |entry: &AclEntry| match entry.id.id.split_once(':') {
        Some((user, _)) if entry.id.scheme == "digest" => {
            AclEntry { perms: entry.perms, id: Id::new("digest", format!("{user}:x")) }
        }
        _ => entry.clone(),
    };
    acl.iter().map(mask).collect()
}

/// An address, or the addresses that share its first bits. ZooKeeper 3.9 knows IPv4 alone.
struct Network {
    address: u32,
    bits: u32,
}

impl Network {
    fn parse(text: &str) -> Option<Self> {
        let (address, bits) = match text.split_once('/') {
            None => (text, 32),
            Some((address, bits)) => (address, bits.parse().ok().filter(|bits| *bits <= 32)?),
        };
        Some(Self { address: ipv4(address)?, bits })
    }

    fn contains(&self, address: u32) -> bool {
        // The bits that do not count are shifted out; all of them are more than a shift takes.
        (self.address ^ address).checked_shr(32 - self.bits).is_none_or(|differs| differs == 0)
    }
}

/// Four numbers with dots between them, written as one likes: `1.02.+3.4`.
fn ipv4(text: &str) -> Option<u32> {
    let mut octets = text.split('.').map(|octet| octet.parse::<u8>().ok());
    let address = [octets.next()??, octets.next()??, octets.next()??, octets.next()??];
    octets.next().is_none().then(|| u32::from_be_bytes(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(scheme: &str, id: &str) -> AclEntry {
        AclEntry { perms: perms::ALL, id: Id::new(scheme, id) }
    }

    #[test]
    fn a_digest_is_that_of_zookeeper() {
        // The example of ZooKeeper's programmer's guide.
        assert_eq!(digest("super:superpw"), "super:g9oN2HttPfn8MMWJZ2r45Np/LIA=");
    }

    #[test]
    fn a_list_is_taken_or_refused_as_a_server_does() {
        let ids = [Id::new("ip", "127.0.0.1"), Id::new("digest", "u:h")];
        let resolved = |entries: &[AclEntry]| {
            let asked: Vec<AskedEntry> = entries.iter().cloned().map(Ok).collect();
            resolve(&asked, &ids).map(|acl| acl.to_vec())
        };
        assert_eq!(resolved(&[entry("auth", ""), entry("auth", "")]), Ok(vec![entry("digest", "u:h")]));
        assert_eq!(resolve(&[Ok(entry("auth", ""))], &ids[..1]), Err(Code::InvalidAcl));
        for good in [
            entry("world", "anyone"),
            entry("digest", ":x"),
            entry("digest", "a:b:"),
            entry("ip", "10.0.0.0/8"),
            entry("ip", "1.02.+3.4/0"),
        ] {
            assert_eq!(resolved(std::slice::from_ref(&good)), Ok(vec![good]));
        }
        for bad in [
            entry("world", "x"),
            entry("digest", "u:"),
            entry("digest", "u"),
            entry("digest", "a:b:c"),
            entry("ip", "1.2.3"),
            entry("ip", "::1"),
            entry("ip", "1.2.3.4/33"),
            entry("x509", "CN=a"),
            entry("", ""),
        ] {
            assert_eq!(resolved(std::slice::from_ref(&bad)), Err(Code::InvalidAcl), "{bad:?}");
        }
        assert_eq!(resolved(&[]), Err(Code::InvalidAcl));
    }

    #[test]
    fn a_network_is_its_first_bits() {
        let from = |address: &str| [Id::new("ip", address)];
        assert!(permits(&[entry("ip", "10.1.0.0/15")], perms::READ, &from("10.0.3.4")));
        assert!(!permits(&[entry("ip", "10.1.0.0/16")], perms::READ, &from("10.0.3.4")));
        assert!(permits(&[entry("ip", "1.2.3.4/0")], perms::READ, &from("9.9.9.9")));
        assert!(!permits(&[entry("ip", "10.0.0.1")], perms::READ, &from("::1")));
    }
}
