//! Which address each listener tells the world: an address that was stated, the listener's own, or one that has to wait
//! for ZooKeeper.
//!
//! Pure. Nothing is guessed from the list of network interfaces: the first of them is a container bridge as often as not.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use zk_registry::Instance;

use zk_registry::cli::UsageError;

/// A host (an IP address or a DNS name) and a port that peers can connect to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HostPort {
    host: String,
    port: u16,
}

/// How a listener comes to its advertised address.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Advertise {
    /// It is known.
    Address {
        /// What is advertised.
        address: HostPort,
        /// Whether it is the listener's own, so that no other process of this host can be serving it.
        own: bool,
    },
    /// The listener is bound to every address: it advertises the one from which this host reaches ZooKeeper.
    ViaZooKeeper,
}

/// Decides for every listener, given the addresses they are really bound to.
///
/// `stated` has one address for each listener, or none at all; then `pod_ip` is used with each listener's port.
///
/// # Errors
///
/// The numbers differ, or two listeners would advertise the same address.
pub fn plan(
    listeners: &[SocketAddr],
    stated: &[HostPort],
    pod_ip: Option<IpAddr>,
) -> Result<Vec<Advertise>, UsageError> {
    if !stated.is_empty() && stated.len() != listeners.len() {
        let what =
            format!("{} addresses for {} listeners; state one for each", stated.len(), listeners.len());
        return Err(UsageError::new("--advertise", what));
    }
    let plans: Vec<_> = listeners
        .iter()
        .enumerate()
        .map(|(n, listener)| match (stated.get(n), pod_ip) {
            (Some(address), _) => Advertise::address(address.clone(), listener),
            (None, Some(ip)) => Advertise::address(HostPort::from((ip, listener.port())), listener),
            (None, None) if listener.ip().is_unspecified() => Advertise::ViaZooKeeper,
            (None, None) => Advertise::address(HostPort::from((listener.ip(), listener.port())), listener),
        })
        .collect();

    let mut taken = HashMap::new();
    for (plan, listener) in plans.iter().zip(listeners) {
        let Advertise::Address { address, .. } = plan else { continue };
        if let Some(other) = taken.insert(address.to_string(), listener) {
            let what = format!(
                "the listeners {other} and {listener} would both advertise {address}; state one for each"
            );
            return Err(UsageError::new("--advertise", what));
        }
    }
    Ok(plans)
}

impl Advertise {
    /// What the library is asked to announce for this listener.
    pub fn of(&self, listener: SocketAddr) -> zk_registry::Advertise {
        match self {
            Self::Address { address, own } => {
                zk_registry::Advertise::at(&address.host, address.port).with_exclusive(*own)
            }
            Self::ViaZooKeeper => listener.into(),
        }
    }

    fn address(address: HostPort, listener: &SocketAddr) -> Self {
        let own = address.ip() == Some(listener.ip().to_canonical()) && address.port == listener.port();
        Self::Address { address, own }
    }
}

impl HostPort {
    /// The instance that can be reached there.
    fn instance(&self) -> Instance {
        Instance::new(self.host.clone(), self.port)
    }

    /// Whether only this very host can connect to it.
    pub fn is_loopback(&self) -> bool {
        self.ip().map_or_else(|| self.host.eq_ignore_ascii_case("localhost"), |ip| ip.is_loopback())
    }

    /// The host, if it is an address.
    fn ip(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }
}

impl From<(IpAddr, u16)> for HostPort {
    fn from((ip, port): (IpAddr, u16)) -> Self {
        Self { host: ip.to_canonical().to_string(), port }
    }
}

impl FromStr for HostPort {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let accepted =
            || "use HOST:PORT, such as 10.0.0.7:8897, [2001:db8::7]:8897 or time.example.org:8897".to_owned();
        let (host, port) = text.rsplit_once(':').ok_or_else(accepted)?;
        let port = port.parse().ok().filter(|&port| port != 0).ok_or_else(accepted)?;
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let ip = match bare {
            Some(bare) => Some(IpAddr::V6(bare.parse().map_err(|_| accepted())?)),
            None => host.parse().ok().filter(IpAddr::is_ipv4),
        };
        match ip {
            // Also in the spellings that only the system's resolver takes for an address, such as 0x0.
            _ if !Instance::new(host, port).is_dialable() => Err(format!(
                "no peer can connect to {host}; use an address that peers can reach, such as 10.0.0.7:8897"
            )),
            Some(ip) => Ok((ip, port).into()),
            None if is_name(host) => Ok(Self { host: host.to_owned(), port }),
            None => Err(accepted()),
        }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.instance().address())
    }
}

/// Whether this can be a DNS name. All digits and dots would be a mistyped IPv4 address.
fn is_name(host: &str) -> bool {
    let letters = |label: &str| label.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
    !host.is_empty()
        && host.len() <= 253
        && host
            .trim_end_matches('.')
            .split('.')
            .all(|label| !label.is_empty() && label.len() <= 63 && letters(label))
        && !host.chars().all(|c| c.is_ascii_digit() || c == '.')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host_port(text: &str) -> HostPort {
        text.parse().unwrap()
    }

    fn listeners<const N: usize>(texts: [&str; N]) -> [SocketAddr; N] {
        texts.map(|text| text.parse().unwrap())
    }

    fn known(text: &str, own: bool) -> Advertise {
        Advertise::Address { address: host_port(text), own }
    }

    #[test]
    fn addresses_and_names_are_accepted_as_one_would_dial_them() {
        for (text, shown) in [
            ("10.0.0.7:8897", "10.0.0.7:8897"),
            ("[2001:DB8::7]:8897", "[2001:db8::7]:8897"),
            ("time.example.org:1", "time.example.org:1"),
            ("localhost:65535", "localhost:65535"),
        ] {
            assert_eq!(host_port(text).to_string(), shown);
        }
    }

    #[test]
    fn what_cannot_be_dialled_is_refused() {
        for bad in [
            "",
            "10.0.0.7",
            "10.0.0.7:",
            "10.0.0.7:0",
            "10.0.0.7:65536",
            "2001:db8::7:8897",
            "[::1]",
            "[x]:1",
            ":8897",
            "a/b:1",
            "a b:1",
            "10.0.0:1",
            "a..b:1",
            "0.0.0.0:8897",
            "[::]:8897",
            "[::ffff:0.0.0.0]:8897",
            "0x0:8897",
            "0x0.0:8897",
        ] {
            assert!(bad.parse::<HostPort>().is_err(), "{bad:?}");
        }
        assert!(
            "0.0.0.0:1".parse::<HostPort>().unwrap_err().contains("10.0.0.7:8897"),
            "says how to set one"
        );
    }

    #[test]
    fn a_listener_advertises_its_own_address_unless_told_otherwise() {
        let ours = listeners(["127.0.0.1:1", "[::1]:2", "0.0.0.0:3", "[::]:4"]);
        let all = [
            known("127.0.0.1:1", true),
            known("[::1]:2", true),
            Advertise::ViaZooKeeper,
            Advertise::ViaZooKeeper,
        ];
        assert_eq!(plan(&ours, &[], None).unwrap(), all);

        let stated = ["time.example:1", "[::1]:2", "10.0.0.7:3", "10.0.0.7:4"].map(host_port);
        let all = [
            known("time.example:1", false),
            known("[::1]:2", true),
            known("10.0.0.7:3", false),
            known("10.0.0.7:4", false),
        ];
        assert_eq!(plan(&ours, &stated, "10.9.9.9".parse().ok()).unwrap(), all);
    }

    #[test]
    fn the_pods_address_goes_with_each_listeners_port() {
        let ours = listeners(["0.0.0.0:1", "10.0.0.7:2"]);
        let all = [known("10.0.0.7:1", false), known("10.0.0.7:2", true)];
        assert_eq!(plan(&ours, &[], "10.0.0.7".parse().ok()).unwrap(), all);
    }

    #[test]
    fn two_listeners_cannot_advertise_the_same_address() {
        let ours = listeners(["127.0.0.1:1", "127.0.0.1:2"]);
        let same = ["10.0.0.7:1", "10.0.0.7:1"].map(host_port);
        let error = plan(&ours, &same, None).unwrap_err().to_string();
        assert!(error.starts_with("--advertise: ") && error.contains("10.0.0.7:1"), "{error}");
        assert!(plan(&ours, &same[..1], None).is_err(), "one address for two listeners");
    }
}
