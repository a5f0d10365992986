//! Which addresses a program dials. The addresses of a registry were written by other programs: one that means the reader's own
//! machine, or a group of machines, leads a request to a place that was never meant.
//!
//! A [`DialPolicy`] judges addresses, not names: the program resolves a name first and dials what the policy leaves. Nothing
//! here resolves or dials.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// A rule that says of resolved addresses whether they are dialled.
///
/// The default refuses what no instance can mean: the unspecified address (Linux connects to itself then), port 0, multicast
/// and broadcast. Loopback, link-local and private addresses are allowed, because fleets live there; a program that must not
/// be led to its own machine or network refuses them.
///
/// ```
/// use zk_registry::{AddressKind, DialPolicy};
///
/// let policy = DialPolicy::default().without(AddressKind::Loopback);
/// let resolved = ["127.0.0.1:8897", "10.0.0.1:8897"].map(|address| address.parse().unwrap());
/// assert_eq!(policy.select(resolved).unwrap(), ["10.0.0.1:8897".parse().unwrap()]);
///
/// let refused = policy.select(["127.0.0.1:8897".parse().unwrap()]).unwrap_err();
/// assert_eq!(refused.to_string(), "127.0.0.1:8897 is not dialled: the policy refuses loopback addresses");
/// ```
#[derive(Clone)]
pub struct DialPolicy {
    refused: Vec<AddressKind>,
    rules: Vec<Rule>,
}

/// The kinds of IP addresses that a policy can tell apart. An IPv4 address that is written as IPv6 is of its IPv4 kind.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum AddressKind {
    /// 255.255.255.255.
    Broadcast,
    /// 169.254.0.0/16 and fe80::/10.
    LinkLocal,
    /// 127.0.0.0/8 and ::1.
    Loopback,
    /// 224.0.0.0/4 and ff00::/8.
    Multicast,
    /// Every other address.
    Other,
    /// 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16 and fc00::/7.
    Private,
    /// 0.0.0.0 and ::.
    Unspecified,
}

/// The refusal of an address, with its reason.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DialRefused {
    address: SocketAddr,
    why: Why,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Why {
    Kind(AddressKind),
    Port,
    Rule(Arc<str>),
}

#[derive(Clone)]
struct Rule {
    what: Arc<str>,
    allows: Arc<dyn Fn(SocketAddr) -> bool + Send + Sync>,
}

impl DialPolicy {
    /// Refuses addresses of this kind as well.
    #[must_use]
    pub fn without(mut self, kind: AddressKind) -> Self {
        if !self.refused.contains(&kind) {
            self.refused.push(kind);
        }
        self
    }

    /// Allows only addresses of which `allows` says so, of those that the policy allows so far. `what` names them in the
    /// refusals of others.
    #[must_use]
    pub fn only(
        mut self,
        what: impl Into<String>,
        allows: impl Fn(SocketAddr) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.rules.push(Rule { what: what.into().into(), allows: Arc::new(allows) });
        self
    }

    /// Judges one address.
    ///
    /// # Errors
    ///
    /// The refusal, which names the address and the reason.
    pub fn check(&self, address: SocketAddr) -> Result<(), DialRefused> {
        let refuse = |why| Err(DialRefused { address, why });
        let kind = AddressKind::of(address.ip());
        if address.port() == 0 {
            return refuse(Why::Port);
        }
        if self.refused.contains(&kind) {
            return refuse(Why::Kind(kind));
        }
        match self.rules.iter().find(|rule| !(rule.allows)(address)) {
            Some(rule) => refuse(Why::Rule(rule.what.clone())),
            None => Ok(()),
        }
    }

    /// Those of the addresses that are allowed, in their order.
    ///
    /// # Errors
    ///
    /// The first refusal, if there were addresses and all of them were refused.
    pub fn select(
        &self,
        addresses: impl IntoIterator<Item = SocketAddr>,
    ) -> Result<Vec<SocketAddr>, DialRefused> {
        let (mut allowed, mut first) = (Vec::new(), None);
        for address in addresses {
            match self.check(address) {
                Ok(()) => allowed.push(address),
                Err(refused) => first = first.or(Some(refused)),
            }
        }
        match first {
            Some(refused) if allowed.is_empty() => Err(refused),
            _ => Ok(allowed),
        }
    }
}

impl Default for DialPolicy {
    fn default() -> Self {
        let refused = vec![AddressKind::Broadcast, AddressKind::Multicast, AddressKind::Unspecified];
        Self { refused, rules: Vec::new() }
    }
}

impl fmt::Debug for DialPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let only: Vec<_> = self.rules.iter().map(|rule| &rule.what).collect();
        f.debug_struct("DialPolicy").field("refused", &self.refused).field("only", &only).finish()
    }
}

impl AddressKind {
    /// The kind of an address.
    pub fn of(ip: IpAddr) -> Self {
        let ip = ip.to_canonical();
        let (is_link_local, is_private, is_broadcast) = match ip {
            IpAddr::V4(ip) => (ip.is_link_local(), ip.is_private(), ip.is_broadcast()),
            IpAddr::V6(ip) => (ip.is_unicast_link_local(), ip.is_unique_local(), false),
        };
        if ip.is_unspecified() {
            Self::Unspecified
        } else if ip.is_loopback() {
            Self::Loopback
        } else if ip.is_multicast() {
            Self::Multicast
        } else if is_broadcast {
            Self::Broadcast
        } else if is_link_local {
            Self::LinkLocal
        } else if is_private {
            Self::Private
        } else {
            Self::Other
        }
    }
}

impl fmt::Display for AddressKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Broadcast => "broadcast",
            Self::LinkLocal => "link-local",
            Self::Loopback => "loopback",
            Self::Multicast => "multicast",
            Self::Other => "other",
            Self::Private => "private",
            Self::Unspecified => "unspecified",
        })
    }
}

impl DialRefused {
    /// The address that was refused.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl fmt::Display for DialRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is not dialled: ", self.address)?;
        match &self.why {
            Why::Kind(kind) => write!(f, "the policy refuses {kind} addresses"),
            Why::Port => f.write_str("nothing listens on port 0"),
            Why::Rule(what) => write!(f, "the policy allows only {what}"),
        }
    }
}

impl std::error::Error for DialRefused {}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn refusal(policy: &DialPolicy, text: &str) -> String {
        policy.check(address(text)).map_or_else(|refused| refused.to_string(), |()| "allowed".to_owned())
    }

    #[test]
    fn by_default_only_addresses_that_nothing_listens_on_are_refused() {
        let policy = DialPolicy::default();
        for (bad, why) in [
            ("0.0.0.0:80", "unspecified"),
            ("[::]:80", "unspecified"),
            ("[::ffff:0.0.0.0]:80", "unspecified"),
            ("224.0.0.1:80", "multicast"),
            ("[::ffff:239.1.2.3]:80", "multicast"),
            ("[ff02::1]:80", "multicast"),
            ("255.255.255.255:80", "broadcast"),
            ("10.0.0.1:0", "port 0"),
            ("[2001:db8::1]:0", "port 0"),
        ] {
            let refusal = refusal(&policy, bad);
            assert!(refusal.starts_with(bad) && refusal.contains(why), "{refusal}");
        }
        for good in [
            "127.0.0.1:80",
            "[::1]:80",
            "[::ffff:127.0.0.1]:80",
            "169.254.1.2:80",
            "[fe80::1]:80",
            "10.0.0.1:80",
            "172.31.0.1:80",
            "192.168.0.1:80",
            "[fd00::1]:80",
            "198.51.100.1:80",
            "[2001:db8::1]:80",
        ] {
            assert_eq!(refusal(&policy, good), "allowed", "{good}");
        }
    }

    #[test]
    fn a_program_may_narrow_the_policy() {
        let narrow = [AddressKind::Loopback, AddressKind::LinkLocal, AddressKind::Private]
            .into_iter()
            .fold(DialPolicy::default(), DialPolicy::without);
        for bad in ["127.9.9.9:1", "[::ffff:127.0.0.1]:1", "[fe80::1]:1", "10.0.0.1:1", "[fd00::1]:1"] {
            assert_ne!(refusal(&narrow, bad), "allowed", "{bad}");
        }
        assert_eq!(refusal(&narrow, "198.51.100.1:1"), "allowed");
        let only = narrow.only("port 8897", |address| address.port() == 8897);
        assert!(refusal(&only, "198.51.100.1:1").ends_with("the policy allows only port 8897"));
        assert_eq!(refusal(&only, "198.51.100.1:8897"), "allowed");
        assert!(refusal(&only, "10.0.0.1:8897").contains("private"), "narrowing never widens");
    }

    #[test]
    fn of_several_addresses_the_allowed_ones_are_left_in_their_order() {
        let policy = DialPolicy::default();
        let all = ["10.0.0.2:1", "0.0.0.0:1", "10.0.0.1:1"].map(address);
        assert_eq!(policy.select(all).unwrap(), ["10.0.0.2:1", "10.0.0.1:1"].map(address));
        assert_eq!(policy.select(all[1..2].to_vec()).unwrap_err().address(), all[1]);
        assert_eq!(policy.select([]).unwrap(), []);
    }
}
